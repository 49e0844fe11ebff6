// The documents' subjects as pictures: where four bits of levels lie over the weights that they stand for, and what a
// bit more buys. Writes SVG files into the folder that it is given, or into the one it runs in; one of them draws the
// language model's record.
#include <fewbit/fewbit.hpp>

#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "../support/numpy_random.hpp"
#include "../support/plot.hpp"

namespace {

using example::Axis;
using example::fixed;
using example::joined;
using example::Plot;
using example::Point;
using fewbit::Affine;
using fewbit::Index;
using Marker = example::Plot::Marker;

// Three ways to place the levels of four bits between the largest magnitudes of groups of 64 weights: the blog's normal
// weights.
Plot level_placement() {
  constexpr Index group = 64;
  const fewbit::RowMajorMatrixXf w = example::NumpyRandom(42).normals(160, group) * 0.5f;
  fewbit::RowMajorMatrixXf unit = w;
  for (Index i = 0; i < w.rows(); ++i) unit.row(i) /= w.row(i).cwiseAbs().maxCoeff();

  const auto largest = [](std::span<const float> block, const auto&) {
    float most = 0;
    for (const float x : block) most = std::max(most, std::fabs(x));
    return Affine{most, 0};
  };
  const fewbit::Codebook fitted = fewbit::lloyd_max({unit.data(), static_cast<std::size_t>(unit.size())}, 16);
  const double int4 =
      fewbit::compare(w, fewbit::dequantize(fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(group)))).mse;
  const double nf4 =
      fewbit::compare(w, fewbit::dequantize(fewbit::quantize(w, fewbit::nf4, fewbit::per_group(group)))).mse;
  const double best =
      fewbit::compare(w, fewbit::dequantize(fewbit::quantize(w, fitted, fewbit::per_group(group), largest))).mse;

  constexpr int bins = 50;
  std::vector<double> counts(bins, 0);
  for (const float u : unit.reshaped())
    ++counts[static_cast<std::size_t>(std::min(bins - 1, static_cast<int>((u + 1) / 2 * bins)))];
  const double tallest = *std::max_element(counts.begin(), counts.end());

  Plot plot("The levels of four bits over normal weights",
            {"weight / largest magnitude of its group of 64", -1, 1, {-1, -0.5, 0, 0.5, 1}, 1},
            {"weights", 0, tallest * 1.05, {}}, {760, 470, 170, 170});
  for (int k = 0; k < bins; ++k)
    plot.bar(2. * k / bins - 1, 2. * (k + 1) / bins - 1, counts[static_cast<std::size_t>(k)]);
  const auto levels_of = [](const fewbit::Levels& l, double by) {
    std::vector<double> at;
    for (int i = 0; i < l.count(); ++i) at.push_back(static_cast<double>(l[i]) * by);
    return at;
  };
  plot.row_of_marks("INT4", levels_of(fewbit::Symmetric(4).levels(), 1. / 7), 1,
                    joined("MSE ", fixed(1e3 * int4, 2), "e-3"));
  plot.row_of_marks("NF4", levels_of(fewbit::nf4.levels(), 1), 0, joined("MSE ", fixed(1e3 * nf4, 2), "e-3"));
  plot.row_of_marks("Lloyd-Max", levels_of(fitted.levels(), 1), 2, joined("MSE ", fixed(1e3 * best, 2), "e-3"));
  return plot;
}

// No code of b bits a weight takes the noise of normal weights further down than 6.02 b dB. How much of that is left
// lying, against what is really stored.
Plot error_against_bits() {
  const fewbit::RowMajorMatrixXf w = example::NumpyRandom(7).normals(128, 1024) * 0.02f;
  const auto point = [&](const fewbit::QuantizedMatrix& q) {
    const double most = 20 * std::log10(2.) * q.bits_per_weight();
    return Point{q.bits_per_weight(), most - fewbit::compare(w, fewbit::dequantize(q)).sqnr_db};
  };
  const auto groups = fewbit::per_group(128, fewbit::ScaleType::f16);
  const auto deviation = [](std::span<const float> block, const auto&) {
    double sum = 0;
    for (const float x : block) sum += static_cast<double>(x) * static_cast<double>(x);
    return Affine{static_cast<float>(std::sqrt(sum / static_cast<double>(block.size()))), 0};
  };
  std::vector<Point> min_max, least_squares, lloyd;
  for (int bits = 2; bits <= 8; ++bits) {
    min_max.push_back(point(fewbit::quantize(w, fewbit::Symmetric(bits), groups)));
    least_squares.push_back(point(fewbit::quantize(w, fewbit::Symmetric(bits), groups, fewbit::MseSearch{})));
    lloyd.push_back(point(fewbit::quantize(w, fewbit::lloyd_max_normal(1 << bits), groups, deviation)));
  }
  Plot plot("What is lost to the limit: normal weights in groups of 128",
            {"bits per weight, scales included", 1.8, 8.4, {2, 3, 4, 5, 6, 7, 8}},
            {"dB short of 6.02 dB a bit", 0, 12, {0, 2, 4, 6, 8, 10, 12}}, {820, 420, 240, 56});
  plot.series("levels of Lloyd and Max", lloyd, 2, Marker::diamond);
  plot.series("INT, range of least error", least_squares, 0, Marker::circle);
  plot.series("INT, from largest magnitude", min_max, 1, Marker::square);
  plot.series("NF4", {point(fewbit::quantize(w, fewbit::nf4, groups))}, 3, Marker::triangle);
  return plot;
}

// A table as `perplexity` of language_model/ prints it: cells are apart by two spaces or more.
std::vector<std::vector<std::string>> rows_of(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(file, line) && !line.empty();) {
    std::vector<std::string> cells;
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t end = std::min(line.find("  ", at), line.size());
      cells.push_back(line.substr(at, end - at));
      at = std::min(line.find_first_not_of(' ', end), line.size());
    }
    rows.push_back(std::move(cells));
  }
  return rows;
}

// What each way to quantize adds to the perplexity of the language model, against what is really stored.
Plot perplexity_against_bits(const std::string& record) {
  struct Way {
    const char* method;
    Marker marker;
    std::vector<Point> points = {};
  };
  std::vector<Way> ways = {{"round to nearest", Marker::square},
                           {"HQQ", Marker::diamond},
                           {"AWQ", Marker::triangle},
                           {"GPTQ", Marker::circle},
                           {"GPTQ, refined", Marker::circle},
                           {"QAT", Marker::diamond}};
  std::string floats;
  for (const auto& row : rows_of(record)) {
    if (row.size() > 4 && row[0] == "FP32") floats = row[4];
    if (row.size() < 6 || (row[0].rfind("INT", 0) != 0 && row[0] != "ternary") || row[0] == "INT8") continue;
    // BitNet's scale is what ternary weights are rounded to nearest with.
    const std::string method = row[1] == "scale mean|w|" ? "round to nearest" : row[1];
    for (Way& way : ways)
      if (method == way.method) way.points.push_back({std::stod(row[2]), std::stod(row[5])});
  }
  if (floats.empty()) throw std::runtime_error(record + " has no row of FP32");
  Plot plot("What bits cost a small language model", {"bits per weight, scales included", 1.6, 5, {2, 3, 4, 5}},
            {joined("added to a perplexity of ", floats), 0.005, 100, {0.01, 0.1, 1, 10, 100}, 2, true},
            {760, 420, 180, 56});
  const int colours[] = {1, 4, 3, 0, 5, 2};
  for (std::size_t i = 0; i < ways.size(); ++i) plot.series(ways[i].method, ways[i].points, colours[i], ways[i].marker);
  return plot;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc > 3) throw std::runtime_error("usage: pictures [FOLDER [perplexity.expected]]");
  const std::string folder = argc > 1 ? joined(argv[1], "/") : "";
  level_placement().save(folder + "level_placement.svg");
  error_against_bits().save(folder + "error_against_bits.svg");
  std::cout << "level_placement.svg and error_against_bits.svg are written\n";
  if (argc < 3) return EXIT_SUCCESS;
  perplexity_against_bits(argv[2]).save(folder + "perplexity_against_bits.svg");
  std::cout << "perplexity_against_bits.svg is written\n";
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return EXIT_FAILURE;
}
