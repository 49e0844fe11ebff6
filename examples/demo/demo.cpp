// From 32 bits to 4 to 2: one matrix of weights, its codes and its error at 16, 8, 4 and 2 bits.
//
//   demo [IMAGE.png]     prints the figures and the matrices, and writes the matrices to an image (demo.png)
#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cmath>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "../support/colour.hpp"
#include "../support/figures.hpp"
#include "../support/image.hpp"
#include "../support/numpy_random.hpp"
#include "../support/terminal.hpp"
#include "demo_weights.hpp"

namespace {

using example::fixed;
using example::joined;
using example::Matrix;
using fewbit::Index;

constexpr Index side = 24;

// One width of the page: codes, decoded weights, and what they cost.
struct Result {
  int bits;
  fewbit::QuantizedMatrix q;
  Matrix back, error;
  fewbit::ErrorReport report;
  double scale, zero;

  template <class Grid>
  Result(const Matrix& W, const Grid& grid)
      : bits(grid.levels().bits()), q(fewbit::quantize(W, grid)), back(fewbit::dequantize<Matrix>(q)), error(back - W),
        report(fewbit::compare(W, back)), scale(static_cast<double>(q.affine(0, 0).scale)),
        zero(static_cast<double>(q.affine(0, 0).zero)) {}

  double ratio() const { return q.bits() / 32.0; }
  double true_ratio() const { return static_cast<double>(q.bytes()) / (4.0 * static_cast<double>(q.size())); }
};

// Cells where the page's round(W / scale + zero) is another code than the library's round(W / scale) + zero.
int other_codes(const Matrix& W, const Result& r) {
  int differ = 0;
  for (Index i = 0; i < W.rows(); ++i)
    for (Index j = 0; j < W.cols(); ++j) {
      const float quotient = W(i, j) / static_cast<float>(r.scale);
      differ += std::nearbyint(static_cast<double>(quotient) + r.zero) != static_cast<double>(r.q.code(i, j));
    }
  return differ;
}

// Weights from -zero to 15 - zero in steps of one half: with 4 bits the scale is 1, and every second one is a tie.
Matrix ties(int zero) {
  Matrix W(1, 31);
  for (Index j = 0; j < W.cols(); ++j) W(0, j) = static_cast<float>(j) / 2 - static_cast<float>(zero);
  return W;
}

void print_tables(const Matrix& W, const std::vector<Result>& asymmetric, const std::vector<Result>& linear) {
  example::Table schemes({"scheme", "bits", "scale", "zero", "RMSE", "max |err|", "bits/32", "with scale and zero"});
  for (const auto* results : {&asymmetric, &linear})
    for (const Result& r : *results)
      schemes.row({results == &asymmetric ? "asymmetric" : "linear", std::to_string(r.bits),
                   example::scientific(r.scale, 4), fixed(r.zero, 0), example::scientific(r.report.rmse, 2),
                   example::scientific(r.report.max_error, 2), example::general(r.ratio(), 4),
                   fixed(r.true_ratio(), 4)});
  example::Table cells({"row 12, asymmetric", "W", "W_int", "W_back", "err"});
  for (const Result& r : asymmetric)
    for (const Index j : {0, 8, 16}) {
      const auto number = [j](const Matrix& m) { return fixed(static_cast<double>(m(12, j)), 6); };
      cells.row({joined(r.bits, " bits, column ", j), number(W), std::to_string(r.q.code(12, j)), number(r.back),
                 number(r.error)});
    }
  std::cout << schemes << '\n' << cells << '\n';
}

// How matrices become colours, and characters where there are none: weights from the lowest to the highest, errors
// of all widths on one scale, which ends at half a step of the coarsest.
struct Colours {
  double low, high, most_error;

  static char character(double share) {
    constexpr std::string_view ramp = " .:-=+*#%@";
    const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(ramp.size());
    return ramp[std::min(static_cast<std::size_t>(at), ramp.size() - 1)];
  }
  example::Cell weight(double x) const {
    const double share = (x - low) / (high - low);
    return {example::rising_colour(share), character(share)};
  }
  example::Cell error(double x) const {
    return {example::error_colour(x / most_error), character(std::sqrt(std::abs(x) / most_error))};
  }
};

template <class ToCell>
example::Panel panel(const std::string& title, const Matrix& m, const ToCell& to_cell) {
  example::Panel p{title, static_cast<int>(m.rows()), static_cast<int>(m.cols()), {}};
  for (Index i = 0; i < m.rows(); ++i)
    for (Index j = 0; j < m.cols(); ++j) p.cells.push_back(to_cell(static_cast<double>(m(i, j))));
  return p;
}

std::vector<example::Panel> panels(const Matrix& W, const Result& r, const Colours& colours) {
  const auto weight = [&](double x) { return colours.weight(x); };
  const auto error = [&](double x) { return colours.error(x); };
  const std::string levels = joined(r.bits, " bits: ", r.q.levels().count(), " levels");
  return {panel("weights", W, weight), panel(levels, r.back, weight),
          panel(joined("error, RMSE ", example::scientific(r.report.rmse, 1)), r.error, error)};
}

// All widths under each other, and the two scales of colours.
example::Image picture(const Matrix& W, const std::vector<Result>& results, const Colours& colours) {
  constexpr int cell = 12, size = static_cast<int>(side) * cell, gap = 28, margin = 28, top = 116, height = size + 58;
  constexpr example::Rgb paper{24, 26, 32}, ink{232, 234, 240}, pale{150, 156, 170};
  const int legend = top + static_cast<int>(results.size()) * height, bar = 2 * size + gap, errors = margin + bar + gap;
  example::Image image(2 * margin + 3 * size + 2 * gap, legend + 74, paper);
  image.text(margin, 28, "From 32 bits to 4 to 2", ink, 4);
  image.text(margin, 76, "24 x 24 weights, one scale and one zero-point for all of them", pale, 2);
  int y = top;
  for (const Result& r : results) {
    int x = margin;
    for (const example::Panel& p : panels(W, r, colours)) {
      image.text(x, y, p.title, ink, 2);
      for (int i = 0; i < p.rows; ++i)
        for (int j = 0; j < p.columns; ++j) image.fill(x + j * cell, y + 24 + i * cell, cell, cell, p.at(i, j).colour);
      x += size + gap;
    }
    y += height;
  }
  for (int x = 0; x < bar; ++x) image.fill(margin + x, legend, 1, 16, example::rising_colour(x / (bar - 1.0)));
  for (int x = 0; x < size; ++x) image.fill(errors + x, legend, 1, 16, example::error_colour(2 * x / (size - 1.0) - 1));
  const auto label = [&](int x, const std::string& text, double align) {
    image.text(x - static_cast<int>(align * example::Image::text_width(text, 2)), legend + 26, text, pale, 2);
  };
  label(margin, fixed(colours.low, 2), 0);
  label(margin + bar / 2, "weight", 0.5);
  label(margin + bar, fixed(colours.high, 2), 1);
  label(errors, fixed(-colours.most_error, 2), 0);
  label(errors + size / 2, "error", 0.5);
  label(errors + size, fixed(colours.most_error, 2), 1);
  return image;
}

void check_figures(example::Figures& figures, const Matrix& W, const std::vector<Result>& asymmetric,
                   const std::vector<Result>& linear, const Colours& colours) {
  const Result &at16 = asymmetric[0], &at8 = asymmetric[1], &at4 = asymmetric[2], &at2 = asymmetric[3];
  const auto times = [](double ratio, int digits) { return joined(fixed(ratio, digits), "x"); };
  const auto dark = [](const example::Cell& c) { return example::brightness(c.colour) < 0.05; };
  const auto errors = panels(W, at16, colours)[2].cells;
  const bool mostly_black = 2 * std::count_if(errors.begin(), errors.end(), dark) > W.size();

  figures.published("16 bits: memory ratio", "0.5", example::general(at16.ratio(), 4));
  figures.published("16 bits: RMSE", "≪ 0.01", at16.report.rmse < 1e-4 ? "≪ 0.01" : fixed(at16.report.rmse, 4));
  figures.published("16 bits: error matrix", "mostly black", mostly_black ? "mostly black" : "not black");
  figures.published("8 bits: memory ratio", "0.25", example::general(at8.ratio(), 4));
  figures.published("8 bits: compression", "4x", times(1 / at8.ratio(), 0));
  figures.published("4 bits: memory ratio", "0.125", example::general(at4.ratio(), 4));
  figures.published("4 bits: compression", "8x", times(1 / at4.ratio(), 0));
  figures.published("4 bits: wins on RMSE", "asymmetric",
                    at4.report.rmse < linear[2].report.rmse ? "asymmetric" : "linear");
  figures.published("2 bits: possible values per weight", "4", std::to_string(at2.q.levels().count()));
  for (const Result& r : asymmetric) {
    // On top of half a step come the roundings to float of the quotient and of the decoded weight.
    const double bound = r.scale / 2 + std::max(std::abs(colours.low), std::abs(colours.high)) * 0x1p-23;
    figures.published(joined(r.bits, " bits: largest |err|"), "at most scale/2",
                      r.report.max_error <= bound ? "at most scale/2" : fixed(r.report.max_error / r.scale, 4));
  }

  const Matrix many = example::NumpyRandom(42).normals(512, 512);
  const double many_rmse =
      Result(many, fewbit::Asymmetric(4)).report.rmse / Result(many, fewbit::Asymmetric(8)).report.rmse;
  figures.corrected("4 bits: scale, times that of 8 bits", "", "17.0x", times(at4.scale / at8.scale, 1));
  figures.corrected("4 bits: RMSE of 512 x 512 from N(0,1), times that of 8 bits", "roughly 4x", "17.0x",
                    times(many_rmse, 1),
                    "The error follows the scale, and range / 15 is 17 times range / 255, not 4 times.");
  const char* const ratios[][2] = {{"0.5", "0.5026"}, {"0.25", "0.2522"}, {"0.125", "0.1272"}, {"0.0625", "0.0647"}};
  for (std::size_t k = 0; k < asymmetric.size(); ++k)
    figures.corrected(joined(asymmetric[k].bits, " bits: memory ratio of this matrix"), ratios[k][0], ratios[k][1],
                      fixed(asymmetric[k].true_ratio(), 4),
                      k == 3 ? "bits / 32 leaves out the scale and the zero-point." : "");
  int differ = 0;
  for (const Result& r : asymmetric) differ += other_codes(W, r);
  const Matrix odd = ties(3), even = ties(4);
  const auto tied = [](const Matrix& m) { return std::to_string(other_codes(m, Result(m, fewbit::Asymmetric(4)))); };
  figures.corrected("this matrix, all widths: codes that are not the page's", "", "0", std::to_string(differ));
  figures.corrected("31 weights, 15 of them ties, zero = 4: codes that are not the page's", "", "0", tied(even));
  figures.corrected(
      "31 weights, 15 of them ties, zero = 3: codes that are not the page's", "", "15", tied(odd),
      "The page rounds after adding the zero-point, the library before: an odd one sends ties the other way.");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "demo.png";
  const Matrix W = example::demo_weights(side);
  std::vector<Result> asymmetric, linear;
  for (const int bits : {16, 8, 4, 2}) {
    asymmetric.emplace_back(W, fewbit::Asymmetric(bits));
    linear.emplace_back(W, fewbit::Symmetric(bits));
  }
  const Colours colours{static_cast<double>(W.minCoeff()), static_cast<double>(W.maxCoeff()),
                        asymmetric.back().scale / 2};

  example::Figures figures(joined("Demo, \"From 32 bits to 4 to 2\": 24 x 24 weights from ", fixed(colours.low, 3),
                                  " to ", fixed(colours.high, 3), ", one scale and one zero-point"));
  print_tables(W, asymmetric, linear);
  for (const Result& r : asymmetric) {
    example::show(std::cout, panels(W, r, colours), example::terminal_palette());
    std::cout << '\n';
  }
  const example::Image image = picture(W, asymmetric, colours);
  try {
    example::write_png(image, path);
  } catch (const std::exception& e) {
    std::cerr << "demo: " << e.what() << '\n';
    return 1;
  }
  std::cout << "The same as a picture: " << path << " (" << image.width() << " x " << image.height() << ")\n\n";
  check_figures(figures, W, asymmetric, linear, colours);
  return figures.close();
}
