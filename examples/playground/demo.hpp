#pragma once
// The demo's page: one matrix, one way to quantize it, three pictures, and the document's predictions. Rule: it keeps
// the weights of its last view, so that turning a knob does not draw them anew.

#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "../support/colour.hpp"
#include "weights.hpp"
#include "words.hpp"

namespace example {

inline fewbit::Granularity granularity(const View& view) {
  const fewbit::ScaleType scale = scale_type(view);
  switch (view.choice("per", {"tensor", "channel", "group"})) {
    case 0: return fewbit::per_tensor(scale);
    case 1: return fewbit::per_channel(scale);
    default: return fewbit::per_group(view.integer("group", 8, 1, most_weights), scale);
  }
}

enum class Scheme { asymmetric, linear, nf4 };

inline fewbit::QuantizedMatrix quantized(const Matrix& W, Scheme scheme, int bits,
                                         fewbit::Granularity granularity = {}) {
  switch (scheme) {
    case Scheme::asymmetric: return fewbit::quantize(W, fewbit::Asymmetric(bits), granularity);
    case Scheme::linear: return fewbit::quantize(W, fewbit::Symmetric(bits), granularity);
    default: return fewbit::quantize(W, fewbit::nf4, granularity);
  }
}

// A scheme at a width, on one matrix: what the document's demo shows.
struct Result {
  fewbit::QuantizedMatrix q;
  Matrix back, error;
  fewbit::ErrorReport report;

  Result() = default;
  Result(const Matrix& W, fewbit::QuantizedMatrix quantized)
      : q(std::move(quantized)), back(fewbit::dequantize<Matrix>(q)), error(back - W),
        report(fewbit::compare(W, back)) {}
  Result(const Matrix& W, Scheme scheme, int bits) : Result(W, quantized(W, scheme, bits)) {}

  double ratio() const { return q.bits() / 32.0; }
  double true_ratio() const { return static_cast<double>(q.bytes()) / (4.0 * static_cast<double>(q.size())); }
  double scale() const { return as_double(q.affine(0, 0).scale); }
};

// Colours ready to be copied.
class ColourMap {
 public:
  template <class ToColour>
  ColourMap(double low, double high, const ToColour& colour) : low_(low), per_unit_((steps - 1) / (high - low)) {
    for (int k = 0; k < steps; ++k) {
      const Rgb c = colour(low + (high - low) * k / (steps - 1));
      colours_[static_cast<std::size_t>(k)] = {c.r, c.g, c.b, 255};
    }
  }
  const std::array<std::uint8_t, 4>& operator()(double x) const {
    const double at = std::clamp((x - low_) * per_unit_ + 0.5, 0., steps - 1.);  // NaN is not a weight
    return colours_[static_cast<std::size_t>(at)];
  }

 private:
  static constexpr int steps = 1025;  // odd, so that 0 has a colour of its own among errors
  double low_, per_unit_;
  std::array<std::array<std::uint8_t, 4>, steps> colours_;
};

class Demo {
 public:
  std::string answer(const View& view) {
    view.allow({"weights", "shape", "spread", "seed", "scheme", "bits", "per", "group", "scales", "colours"});
    const auto scheme = static_cast<Scheme>(view.choice("scheme", {"asymmetric", "linear", "nf4"}));
    const int bits = view.integer("bits", 4, 1, 16);
    const bool stretched = view.choice("colours", {"fixed", "stretched"}) == 1;
    const fewbit::Granularity blocks = granularity(view);
    result_ = {};
    weights_.take(view);
    const Matrix& W = weights_.matrix();
    if (W.size() == 0) fewbit::fail_argument("a matrix of ", W.rows(), " x ", W.cols(), " has no weights to show");
    result_ = Result(W, quantized(W, scheme, bits, blocks));
    // Errors of all widths on one scale, which ends at half a step of the coarsest.
    const double half_step = as_double(fewbit::Asymmetric(2).fit({W.minCoeff(), W.maxCoeff()}).scale) / 2;
    error_limit_ = stretched ? result_.report.max_error : half_step;
    if (!(error_limit_ > 0)) error_limit_ = 1;
    return described();
  }

  // Each of the document's five predictions: what it says, what this matrix says.
  std::string predictions() const {
    const Matrix& W = weights_.matrix();
    if (result_.q.size() == 0) fewbit::fail_argument("there is no matrix to judge the predictions by");
    const Result at16(W, Scheme::asymmetric, 16), at8(W, Scheme::asymmetric, 8), at4(W, Scheme::asymmetric, 4),
        at2(W, Scheme::asymmetric, 2), linear4(W, Scheme::linear, 4);
    const Result rows2(W, quantized(W, Scheme::asymmetric, 2, fewbit::per_channel()));
    const auto rmse = [](const Result& r) { return scientific(r.report.rmse, 2); };
    const auto ratio = [&](Prediction& p, const Result& r, const char* printed) {
      p.claim(joined("memory ratio ", printed),
              joined(general(r.ratio(), 4), " of codes, ", fixed(r.true_ratio(), 4), " with scale and zero-point"),
              general(r.ratio(), 4) == printed);
    };
    const auto compared = [&](const Result& r, const Result& with, const char* name) {
      return with.report.rmse > 0 ? joined(rmse(r), ", ", times(r.report.rmse / with.report.rmse, 1), " that at ", name)
                                  : rmse(r);
    };

    JsonList all;
    {
      Prediction p("16 bits", "bits=16&scheme=asymmetric&per=tensor");
      const double dark = dark_share(at16);
      p.claim("error matrix mostly black", joined(percent(dark, 1), " of the cells look black"), dark > 0.5);
      p.claim("RMSE ≪ 0.01", rmse(at16), at16.report.rmse < 1e-4);
      ratio(p, at16, "0.5");
      all.raw(p.json());
    }
    {
      Prediction p("8 bits", "bits=8&scheme=asymmetric&per=tensor");
      ratio(p, at8, "0.25");
      p.claim("RMSE rises, and is still tiny",
              joined(compared(at8, at16, "16 bits"), "; ", decibels(at8.report.sqnr_db), " under the weights"),
              at8.report.rmse > at16.report.rmse && at8.report.sqnr_db > 40);
      p.claim("tiny grid-like patterns in the errors", alike(at8, at2), likeness(at8.error) > seen);
      all.raw(p.json());
    }
    {
      Prediction p("4 bits", "bits=4&scheme=asymmetric&per=tensor");
      ratio(p, at4, "0.125");
      const double rise = at8.report.rmse > 0 ? at4.report.rmse / at8.report.rmse : 0;
      p.claim("RMSE roughly 4x that at 8 bits", compared(at4, at8, "8 bits"), rise > 2 && rise < 8,
              "The error follows the scale, and range / 15 is 17 times range / 255, not 4 times.");
      p.claim("visible banding in the errors", alike(at4, at2), likeness(at4.error) > seen);
      all.raw(p.json());
    }
    {
      Prediction p("2 bits", "bits=2&scheme=asymmetric&per=tensor");
      p.claim("4 possible values per weight", joined(at2.q.levels().count(), " levels, ", values(at2), " in use"),
              at2.q.levels().count() == 4);
      p.claim("RMSE shoots up", compared(at2, at4, "4 bits"), at2.report.rmse > 3 * at4.report.rmse);
      p.claim("per-channel scales help",
              joined("a scale per row: ", rmse(rows2), ", ", fixed(rows2.q.bits_per_weight(), 2), " bits per weight"),
              rows2.report.rmse < at2.report.rmse);
      all.raw(p.json());
    }
    {
      Prediction p("linear", "bits=4&scheme=linear&per=tensor");
      p.claim("asymmetric usually wins at 4 bits", joined("asymmetric ", rmse(at4), ", linear ", rmse(linear4)),
              at4.report.rmse < linear4.report.rmse);
      const double bound = at4.scale() / 2 + most_of(W) * 0x1p-23;  // and the roundings to float
      p.claim("errors within ± scale / 2", joined("at most ", fixed(at4.report.max_error / at4.scale(), 4), " scale"),
              at4.report.max_error <= bound);
      all.raw(p.json());
    }
    return all.str();
  }

  std::string cell(std::size_t k) const {
    const Index cols = result_.q.cols(), i = static_cast<Index>(k) / std::max<Index>(cols, 1);
    if (i >= result_.q.rows()) fewbit::fail_argument("there is no weight ", k);
    return weight_json(weights_.matrix(), result_.q, i, static_cast<Index>(k) % cols, most_);
  }

  const std::uint8_t* pixels(int which) {
    const Matrix& m = which == 0 ? weights_.matrix() : which == 1 ? result_.back : result_.error;
    pixels_.assign(static_cast<std::size_t>(picture_width() * picture_height()) * 4, 0);
    const ColourMap map = which == 2 ? error_map() : weight_map();
    for (Index k = 0; k < m.size(); ++k) {
      const auto& colour = map(as_double(m.data()[k]));
      std::copy(colour.begin(), colour.end(), pixels_.begin() + 4 * k);
    }
    return pixels_.data();
  }
  const std::uint8_t* colour_bar(bool errors, int width) {
    pixels_.clear();
    const ColourMap map = errors ? error_map() : weight_map();
    const double low = errors ? -error_limit_ : low_, high = errors ? error_limit_ : high_;
    for (int x = 0; x < width; ++x) {
      const auto& colour = map(low + (high - low) * (x + 0.5) / width);
      pixels_.insert(pixels_.end(), colour.begin(), colour.end());
    }
    return pixels_.data();
  }

 private:
  class Prediction {
   public:
    Prediction(const char* title, const char* view) { object_.text("title", title).text("view", view); }
    void claim(const std::string& says, const std::string& measured, bool holds, const std::string& why = {}) {
      JsonObject c;
      c.text("says", says).text("measured", measured).text("verdict", holds ? "holds" : "wrong");
      if (!why.empty() && !holds) c.text("why", why);
      claims_.raw(c.str());
    }
    std::string json() { return object_.raw("claims", claims_.str()).str(); }

   private:
    JsonObject object_;
    JsonList claims_;
  };

  std::string described() {
    const Matrix& W = weights_.matrix();
    const fewbit::QuantizedMatrix& q = result_.q;
    low_ = as_double(W.minCoeff()), high_ = as_double(W.maxCoeff()), most_ = most_of(W);
    fewbit::Range scales{std::numeric_limits<float>::max(), 0};
    bool zeros = false;
    for (Index i = 0; i < q.blocks_down(); ++i)
      for (Index j = 0; j < q.blocks_across(); ++j) {
        const fewbit::Affine a = q.affine(i, j);
        scales = {std::min(scales.lo, std::fabs(a.scale)), std::max(scales.hi, std::fabs(a.scale))};
        zeros = zeros || a.zero != 0;
      }
    const std::size_t blocks = q.tiling().blocks();
    return JsonObject()
        .text("rows", std::to_string(q.rows()))
        .text("cols", std::to_string(q.cols()))
        .text("bits", std::to_string(q.bits()))
        .text("levels", std::to_string(q.levels().count()))
        .text("blocks", std::to_string(blocks))
        .text("scale", blocks == 1
                           ? scientific(result_.scale(), 4)
                           : joined(scientific(as_double(scales.lo), 2), " … ", scientific(as_double(scales.hi), 2)))
        .text("zero", blocks == 1 ? fixed(as_double(q.affine(0, 0).zero), 0)
                      : zeros     ? "one per scale"
                                  : "0")
        .text("mse", general(result_.report.mse, 5))
        .text("rmse", scientific(result_.report.rmse, 2))
        .text("max_error", scientific(result_.report.max_error, 2))
        .text("sqnr", decibels(result_.report.sqnr_db))
        .text("ratio", general(result_.ratio(), 4))
        .text("true_ratio", fixed(result_.true_ratio(), 4))
        .text("bits_per_weight", fixed(q.bits_per_weight(), 3))
        .text("bytes", joined(q.bytes()))
        .text("smaller", times(1 / result_.true_ratio(), 2))
        .text("low", general(low_, 4))
        .text("high", general(high_, 4))
        .text("error_low", general(-error_limit_, 3))
        .text("error_limit", general(error_limit_, 3))
        .raw("width", std::to_string(picture_width()))
        .raw("height", std::to_string(picture_height()))
        .str();
  }

  // A vector is laid out in lines, as text is.
  Index picture_width() const {
    const Matrix& W = weights_.matrix();
    if (W.rows() > 1 && W.cols() > 1) return W.cols();
    return static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(W.size()))));
  }
  Index picture_height() const { return (weights_.matrix().size() + picture_width() - 1) / picture_width(); }

  ColourMap weight_map() const {
    const double low = low_, high = high_ > low_ ? high_ : low_ + 1;
    return {low, high, [&](double x) { return rising_colour((x - low) / (high - low)); }};
  }
  ColourMap error_map() const {
    return {-error_limit_, error_limit_, [&](double x) { return error_colour(x / error_limit_); }};
  }

  // Errors side by side that are more alike than this are seen as bands.
  static constexpr double seen = 0.3;

  // The cells of the error matrix that look black, when the colours end at half a step of 2 bits.
  static double dark_share(const Result& r) {
    const double most = as_double(fewbit::Asymmetric(2).fit({r.back.minCoeff(), r.back.maxCoeff()}).scale) / 2;
    Index dark = 0;
    for (const float e : r.error.reshaped())
      dark += brightness(error_colour(most > 0 ? as_double(e) / most : 0)) < 0.05;
    return static_cast<double>(dark) / static_cast<double>(r.error.size());
  }
  // How alike errors beside or under each other are, from -1 to 1: where bands or patterns are seen, they are. Of the
  // two directions the one in which they are more so.
  static double likeness(const Matrix& error) {
    const Index rows = error.rows(), cols = error.cols();
    const auto correlation = [](const auto& a, const auto& b) {
      const auto x = a.template cast<double>(), y = b.template cast<double>();
      const double alone = std::sqrt(x.squaredNorm() * y.squaredNorm());
      return alone > 0 ? x.cwiseProduct(y).sum() / alone : 0;
    };
    return std::max(correlation(error.leftCols(cols - 1), error.rightCols(cols - 1)),
                    correlation(error.topRows(rows - 1), error.bottomRows(rows - 1)));
  }
  static std::string alike(const Result& r, const Result& at2) {
    return joined("errors side by side correlate by ", fixed(likeness(r.error), 2), "; at 2 bits by ",
                  fixed(likeness(at2.error), 2));
  }
  static int values(const Result& r) {
    std::vector<bool> used(static_cast<std::size_t>(r.q.levels().count()));
    for (Index i = 0; i < r.q.rows(); ++i)
      for (Index j = 0; j < r.q.cols(); ++j) used[r.q.code(i, j)] = true;
    return static_cast<int>(std::count(used.begin(), used.end(), true));
  }

  Weights weights_;
  Result result_;
  double low_ = 0, high_ = 0, most_ = 0, error_limit_ = 1;
  std::vector<std::uint8_t> pixels_;
};

}  // namespace example
