// The page's questions answered by the library: see playground.hpp. Each tab of the page has an object here, which
// keeps the weights of its last view, so that turning a knob does not draw them anew.
#include "playground.hpp"

#include <fewbit/fewbit.hpp>
#include <fewbit/io/npy.hpp>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "../support/colour.hpp"
#include "../support/table.hpp"
#include "json.hpp"
#include "weights.hpp"

namespace {

using example::fixed;
using example::general;
using example::joined;
using example::JsonList;
using example::JsonObject;
using example::Matrix;
using example::percent;
using example::scientific;
using example::View;
using fewbit::Index;

// The user's weights, or why there are none; `version` tells one set from the next.
struct Own {
  Matrix W;
  int version = 0;
  std::string error = "fewbit: there are no weights of yours yet; paste numbers, or open a .npy file";
};
Own& own() {
  static Own o;
  return o;
}

// The weights that a view names, drawn anew only if it names others than the last one.
class Weights {
 public:
  void take(const View& view) {
    std::string name;
    for (const char* key : {"weights", "shape", "spread", "seed"}) name += joined(view.text(key, ""), ' ');
    if (example::are_own(view)) {
      if (!own().error.empty()) throw std::invalid_argument(own().error);
      name = joined("own ", own().version);
    }
    if (name == name_) return;
    name_.clear();  // a view that throws leaves no weights behind that another would take for its own
    W_ = example::are_own(view) ? own().W : example::weights_of(view);
    name_ = name;
  }
  const Matrix& matrix() const { return W_; }

 private:
  Matrix W_;
  std::string name_;
};

// Weights as people read them: six decimals, as the documents have, unless all would be zeros or there are too many.
std::string weight_text(double x, double most) {
  return most == 0 || (most >= 1e-2 && most < 1e5) ? fixed(x, 6) : scientific(x, 4);
}
std::string mse_text(double mse) { return mse == 0 || mse >= 1e-5 ? fixed(mse, 6) : scientific(mse, 2); }
std::string decibels(double db) { return std::isfinite(db) ? joined(fixed(db, 2), " dB") : "no error"; }
std::string times(double ratio, int digits) { return joined(fixed(ratio, digits), "x"); }
double as_double(float x) { return static_cast<double>(x); }
double most_of(const Matrix& m) { return m.size() == 0 ? 0 : as_double(m.cwiseAbs().maxCoeff()); }

fewbit::ScaleType scale_type(const View& view) {
  constexpr fewbit::ScaleType types[] = {fewbit::ScaleType::f32, fewbit::ScaleType::f16, fewbit::ScaleType::bf16};
  return types[view.choice("scales", {"f32", "f16", "bf16"})];
}

fewbit::Granularity granularity(const View& view) {
  const fewbit::ScaleType scale = scale_type(view);
  switch (view.choice("per", {"tensor", "channel", "group"})) {
    case 0: return fewbit::per_tensor(scale);
    case 1: return fewbit::per_channel(scale);
    default: return fewbit::per_group(view.integer("group", 8, 1, example::most_weights), scale);
  }
}

enum class Scheme { asymmetric, linear, nf4, nf4_blog };

fewbit::QuantizedMatrix quantized(const Matrix& W, Scheme scheme, int bits, fewbit::Granularity granularity = {}) {
  switch (scheme) {
    case Scheme::asymmetric: return fewbit::quantize(W, fewbit::Asymmetric(bits), granularity);
    case Scheme::linear: return fewbit::quantize(W, fewbit::Symmetric(bits), granularity);
    case Scheme::nf4: return fewbit::quantize(W, fewbit::nf4, granularity);
    default: return fewbit::quantize(W, fewbit::nf4_blog, granularity);
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

// Colours ready to be copied, 1024 to a map.
class ColourMap {
 public:
  template <class ToColour>
  ColourMap(double low, double high, const ToColour& colour) : low_(low), per_unit_((steps - 1) / (high - low)) {
    for (int k = 0; k < steps; ++k) {
      const example::Rgb c = colour(low + (high - low) * k / (steps - 1));
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
    const auto scheme = static_cast<Scheme>(view.choice("scheme", {"asymmetric", "linear", "nf4", "nf4_blog"}));
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
              general(r.ratio(), 4) == printed ? Verdict::holds : Verdict::wrong);
    };
    const auto compared = [&](const Result& r, const Result& with, const char* name) {
      return with.report.rmse > 0 ? joined(rmse(r), ", ", times(r.report.rmse / with.report.rmse, 1), " that at ", name)
                                  : rmse(r);
    };

    JsonList all;
    {
      Prediction p("16 bits", "bits=16&scheme=asymmetric&per=tensor");
      const double dark = dark_share(at16);
      p.claim("error matrix mostly black", joined(percent(dark, 1), " of the cells look black"), holds(dark > 0.5));
      p.claim("RMSE ≪ 0.01", rmse(at16), holds(at16.report.rmse < 1e-4));
      ratio(p, at16, "0.5");
      all.raw(p.json());
    }
    {
      Prediction p("8 bits", "bits=8&scheme=asymmetric&per=tensor");
      ratio(p, at8, "0.25");
      p.claim("RMSE rises, and is still tiny",
              joined(compared(at8, at16, "16 bits"), "; ", decibels(at8.report.sqnr_db), " under the weights"),
              holds(at8.report.rmse > at16.report.rmse && at8.report.sqnr_db > 40));
      p.claim("tiny grid-like patterns in the errors", alike(at8, at2), holds(likeness(at8.error) > 0.3));
      all.raw(p.json());
    }
    {
      Prediction p("4 bits", "bits=4&scheme=asymmetric&per=tensor");
      ratio(p, at4, "0.125");
      const double rise = at8.report.rmse > 0 ? at4.report.rmse / at8.report.rmse : 0;
      p.claim("RMSE roughly 4x that at 8 bits", compared(at4, at8, "8 bits"), holds(rise > 2 && rise < 8),
              "The error follows the scale, and range / 15 is 17 times range / 255, not 4 times.");
      p.claim("visible banding in the errors", alike(at4, at2), holds(likeness(at4.error) > 0.3));
      all.raw(p.json());
    }
    {
      Prediction p("2 bits", "bits=2&scheme=asymmetric&per=tensor");
      p.claim("4 possible values per weight", joined(at2.q.levels().count(), " levels, ", values(at2), " in use"),
              holds(at2.q.levels().count() == 4));
      p.claim("RMSE shoots up", compared(at2, at4, "4 bits"), holds(at2.report.rmse > 3 * at4.report.rmse));
      p.claim("per-channel scales make it work",
              joined("a scale per row: ", rmse(rows2), ", ", fixed(rows2.q.bits_per_weight(), 2), " bits per weight"),
              holds(rows2.report.rmse < at2.report.rmse));
      all.raw(p.json());
    }
    {
      Prediction p("linear", "bits=4&scheme=linear&per=tensor");
      p.claim("asymmetric usually wins at 4 bits", joined("asymmetric ", rmse(at4), ", linear ", rmse(linear4)),
              holds(at4.report.rmse < linear4.report.rmse));
      const double bound = at4.scale() / 2 + most_of(W) * 0x1p-23;  // and the roundings to float
      p.claim("errors within ± scale / 2", joined("at most ", fixed(at4.report.max_error / at4.scale(), 4), " scale"),
              holds(at4.report.max_error <= bound));
      all.raw(p.json());
    }
    return all.str();
  }

  std::string cell(std::size_t k) const {
    const Index cols = result_.q.cols(), i = static_cast<Index>(k) / std::max<Index>(cols, 1);
    if (i >= result_.q.rows()) fewbit::fail_argument("there is no weight ", k);
    const Index j = static_cast<Index>(k) % cols;
    const auto number = [&](const Matrix& m) { return weight_text(as_double(m(i, j)), most_of_weights()); };
    const unsigned code = result_.q.code(i, j);
    return JsonObject()
        .text("place", joined("row ", i, ", column ", j))
        .text("weight", number(weights_.matrix()))
        .text("code", std::to_string(code))
        .text("level", general(as_double(result_.q.levels()[static_cast<int>(code)]), 6))
        .text("back", number(result_.back))
        .text("error", number(result_.error))
        .str();
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
  enum class Verdict { holds, wrong };
  static Verdict holds(bool does) { return does ? Verdict::holds : Verdict::wrong; }

  class Prediction {
   public:
    Prediction(const char* title, const char* view) { object_.text("title", title).text("view", view); }
    void claim(const std::string& says, const std::string& measured, Verdict verdict, const std::string& why = {}) {
      JsonObject c;
      c.text("says", says).text("measured", measured).text("verdict", verdict == Verdict::holds ? "holds" : "wrong");
      if (!why.empty() && verdict == Verdict::wrong) c.text("why", why);
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
    const double n = static_cast<double>(q.size());
    const double held = static_cast<double>(q.bytes()), codes = static_cast<double>(q.codes().size());
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
        .text("overhead", joined(fixed(8 * (held - codes) / n, 3)))
        .text("smaller", times(4 * n / held, 2))
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

  double most_of_weights() const { return most_; }
  ColourMap weight_map() const {
    const double low = low_, high = high_ > low_ ? high_ : low_ + 1;
    return {low, high, [&](double x) { return example::rising_colour((x - low) / (high - low)); }};
  }
  ColourMap error_map() const {
    return {-error_limit_, error_limit_, [&](double x) { return example::error_colour(x / error_limit_); }};
  }

  // The cells of the error matrix that look black, when the colours end at half a step of 2 bits.
  static double dark_share(const Result& r) {
    const double most = as_double(fewbit::Asymmetric(2).fit({r.back.minCoeff(), r.back.maxCoeff()}).scale) / 2;
    Index dark = 0;
    for (const float e : r.error.reshaped())
      dark += example::brightness(example::error_colour(most > 0 ? as_double(e) / most : 0)) < 0.05;
    return static_cast<double>(dark) / static_cast<double>(r.error.size());
  }
  // How alike errors beside or under each other are, from -1 to 1: where bands or patterns are seen, they are. Of the
  // two directions the one in which they are more so.
  static double likeness(const Matrix& error) {
    const Index rows = error.rows(), cols = error.cols();
    const auto correlation = [](const auto& a, const auto& b) {
      const double both = a.cwiseProduct(b).template cast<double>().sum();
      const double alone = std::sqrt(a.template cast<double>().squaredNorm() * b.template cast<double>().squaredNorm());
      return alone > 0 ? both / alone : 0;
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

// The blog's playground: weights over the largest magnitude of their group, where all groups have the same levels.
class Snap {
 public:
  std::string answer(const View& view) {
    view.allow({"weights", "shape", "spread", "seed", "bits", "group", "grid", "scales"});
    const int bits = view.integer("bits", 4, 2, 8), group = view.integer("group", 0, 0, example::most_weights);
    const int wanted = view.choice("grid", {"int", "even", "nf4", "nf4_blog", "lloyd"});
    if ((wanted == 2 || wanted == 3) && bits != 4)
      fewbit::fail_argument("NF4 has 16 levels, which are 4 bits; choose 4 bits, or another grid than at ", bits);
    const fewbit::Granularity blocks =
        group == 0 ? fewbit::per_tensor(scale_type(view)) : fewbit::per_group(group, scale_type(view));
    dots_.clear(), q_ = {};
    weights_.take(view);
    const Matrix& W = weights_.matrix();
    if (W.size() == 0) fewbit::fail_argument("a matrix of ", W.rows(), " x ", W.cols(), " has no weights to show");
    most_ = most_of(W);

    measure_blocks(blocks);
    std::vector<Way> ways = fixed_ways(bits);
    const auto measure = [&](Way& way) {
      if (!way.possible) return;
      fewbit::QuantizedMatrix q = way.quantize(W, blocks);
      way.report = fewbit::compare(W, fewbit::dequantize<Matrix>(q));
      if (static_cast<int>(&way - ways.data()) == wanted) q_ = std::move(q);
    };
    for (Way& way : ways) measure(way);
    ways.push_back(lloyd_max(1 << bits, wanted == 4));  // after the others, which say best what is wrong with weights
    measure(ways.back());
    const auto least = std::min_element(ways.begin(), ways.end(),
                                        [](const Way& a, const Way& b) { return a.report.mse < b.report.mse; });
    const auto best = static_cast<std::size_t>(least - ways.begin());
    choose_dots();
    return described(ways, static_cast<std::size_t>(wanted), best);
  }

  const std::vector<float>& dots() const { return dots_; }

  std::string dot(std::size_t k) const {
    if (2 * k >= dots_.size()) fewbit::fail_argument("there is no dot ", k);
    const Index at = place(k), i = at / q_.cols(), j = at % q_.cols();
    const unsigned code = q_.code(i, j);
    const auto back = q_(i, j), w = weights_.matrix()(i, j);
    const auto number = [&](float x) { return weight_text(as_double(x), most_); };
    return JsonObject()
        .text("place", joined("row ", i, ", column ", j))
        .text("weight", number(w))
        .text("code", std::to_string(code))
        .text("level", general(as_double(q_.levels()[static_cast<int>(code)]), 6))
        .text("back", number(back))
        .text("error", number(back - w))
        .str();
  }

 private:
  // One codebook of the width: its levels over the largest magnitude, and what it costs.
  struct Way {
    const char* id;
    std::string name, what;
    bool possible = true;
    std::vector<double> levels;
    std::function<fewbit::QuantizedMatrix(const Matrix&, fewbit::Granularity)> quantize;
    fewbit::ErrorReport report{.mse = std::numeric_limits<double>::infinity()};
  };

  template <class Grid>
  static Way way(const char* id, const std::string& name, const std::string& what, const Grid& grid, double reach) {
    Way w{id,   name, what,
          true, {},   [grid](const Matrix& W, fewbit::Granularity g) { return fewbit::quantize(W, grid, g); }};
    for (int k = 0; k < grid.levels().count(); ++k) w.levels.push_back(as_double(grid.levels()[k]) / reach);
    return w;
  }
  static Way codebook(const char* id, const std::string& name, const std::string& what, const fewbit::Codebook& grid) {
    return way(id, name, what, grid, as_double(grid.reach()));
  }
  static Way impossible(Way w) {
    w.possible = false;
    return w;
  }

  static std::vector<Way> fixed_ways(int bits) {
    const fewbit::Symmetric symmetric(bits);
    // The blog compares with np.linspace(-1, 1, 16).
    const int count = 1 << bits;
    std::vector<float> evenly;
    for (int k = 0; k < count; ++k) evenly.push_back(static_cast<float>(-1 + k * (2. / (count - 1))));
    std::vector<Way> ways;
    const auto last = symmetric.levels().last();
    ways.push_back(
        way("int", joined("INT", bits), joined(-last, " to ", last, ", times a scale"), symmetric, as_double(last)));
    ways.push_back(codebook("even", joined("INT", bits, " of the blog"),
                            joined("linspace(-1, 1, ", count, "), no zero"), fewbit::Codebook(evenly)));
    ways.push_back(codebook("nf4", "NF4", "QLoRA's table", fewbit::nf4));
    ways.push_back(codebook("nf4_blog", "NF4 of the blog", "another table", fewbit::nf4_blog));
    if (bits != 4) ways[2] = impossible(ways[2]), ways[3] = impossible(ways[3]);
    return ways;
  }

  // Fitted to the weights, or to every n-th if they are many. One scale leaves them in their own units, as the blog's
  // example has them.
  Way lloyd_max(int count, bool needed) const {
    constexpr Index enough = 20'000;
    const Matrix& W = weights_.matrix();
    const Index step = (W.size() + enough - 1) / enough;
    const std::string what = step == 1 ? "fitted to these weights" : joined("fitted to every ", step, "th of them");
    std::vector<float> samples;
    for (Index k = 0; k < W.size(); k += step)
      samples.push_back(block_most_.size() == 1 ? W.data()[k] : static_cast<float>(unit(k)));
    const auto [low, high] = std::minmax_element(samples.begin(), samples.end());
    if (*low == *high && !needed)  // the library says no to samples of one value
      return impossible(codebook("lloyd", "Lloyd-Max", what, fewbit::nf4));
    return codebook("lloyd", "Lloyd-Max", what, fewbit::lloyd_max(samples, count));
  }

  void measure_blocks(fewbit::Granularity g) {
    const Matrix& W = weights_.matrix();
    tiling_ = fewbit::Tiling(W.rows(), W.cols(), g);
    block_most_.assign(tiling_.blocks(), 0);
    for (Index k = 0; k < W.size(); ++k) {
      float& most = block_most_[block_of(k)];
      most = std::max(most, std::fabs(W.data()[k]));
    }
  }
  std::size_t block_of(Index k) const {
    if (block_most_.size() == 1) return 0;
    return static_cast<std::size_t>(k / tiling_.cols / tiling_.block_rows * tiling_.blocks_across() +
                                    k % tiling_.cols / tiling_.block_cols);
  }
  double over_most(Index k, float x) const {
    const float most = block_most_[block_of(k)];
    return most > 0 ? as_double(x) / as_double(most) : 0;
  }
  double unit(Index k) const { return over_most(k, weights_.matrix().data()[k]); }

  static constexpr Index most_dots = 160;
  Index place(std::size_t dot) const {
    const Index n = q_.size(), dots = std::min(n, most_dots);
    return static_cast<Index>(dot) * n / dots;
  }
  void choose_dots() {
    for (Index d = 0; d < std::min(q_.size(), most_dots); ++d) {
      const Index k = place(static_cast<std::size_t>(d));
      dots_.push_back(static_cast<float>(unit(k)));
      dots_.push_back(static_cast<float>(over_most(k, q_(k / q_.cols(), k % q_.cols()))));
    }
  }

  template <class Numbers>
  static std::string list(const Numbers& numbers) {
    JsonList l;
    for (const auto x : numbers) l.raw(general(static_cast<double>(x), 6));
    return l.str();
  }

  std::string described(const std::vector<Way>& ways, std::size_t chosen, std::size_t best) const {
    const Matrix& W = weights_.matrix();
    const auto bins = static_cast<std::size_t>(std::clamp(2 * std::sqrt(static_cast<double>(W.size())), 10., 80.));
    std::vector<double> bars(bins), used(static_cast<std::size_t>(q_.levels().count()));
    for (Index k = 0; k < W.size(); ++k)
      ++bars[std::min(bins - 1, static_cast<std::size_t>((unit(k) + 1) / 2 * static_cast<double>(bins)))];
    for (Index i = 0; i < q_.rows(); ++i)
      for (Index j = 0; j < q_.cols(); ++j) ++used[q_.code(i, j)];
    const auto [emptiest, fullest] = std::minmax_element(used.begin(), used.end());
    const double n = static_cast<double>(W.size());
    double worst = 0;
    for (const Way& w : ways)
      if (w.possible) worst = std::max(worst, w.report.mse);

    JsonList rows;
    for (std::size_t k = 0; k < ways.size(); ++k) {
      const Way& w = ways[k];
      JsonObject row;
      row.text("id", w.id).text("name", w.name).text("what", w.what).raw("possible", w.possible ? "true" : "false");
      if (w.possible)
        row.text("mse", mse_text(w.report.mse))
            .text("sqnr", decibels(w.report.sqnr_db))
            .text("against", against(w.report.mse, ways[0].report.mse))
            .raw("share", fixed(worst > 0 ? w.report.mse / worst : 0, 4))
            .raw("best", k == best ? "true" : "false")
            .raw("levels", list(w.levels));
      rows.raw(row.str());
    }
    JsonList axis;
    for (const double tick : {-1., -0.5, 0., 0.5, 1.})
      axis.text(block_most_.size() == 1 ? general(tick * most_, 4) : general(tick, 2));
    return JsonObject()
        .text("weights", joined(W.size()))
        .text("blocks", joined(block_most_.size()))
        .text("most", general(most_, 4))
        .text("bits_per_weight", fixed(q_.bits_per_weight(), 3))
        .text("fullest", percent(*fullest / n, 2))
        .text("emptiest", percent(*emptiest / n, 2))
        .text("levels", joined(q_.levels().count()))
        .raw("axis", axis.str())
        .raw("one_scale", block_most_.size() == 1 ? "true" : "false")
        .raw("ways", rows.str())
        .raw("chosen", joined(chosen))
        .raw("bars", list(bars))
        .raw("used", list(used))
        .str();
  }

  // "46.4% better", beside uniform levels.
  static std::string against(double mse, double uniform) {
    if (mse == uniform || !(uniform > 0)) return "";
    return mse < uniform ? joined(percent(1 - mse / uniform, 1), " less")
                         : joined(percent(mse / uniform - 1, 1), " more");
  }

  Weights weights_;
  fewbit::Tiling tiling_;
  std::vector<float> block_most_, dots_;  // dots: weight and level in turn
  fewbit::QuantizedMatrix q_;
  double most_ = 0;
};

Demo& demo() {
  static Demo d;
  return d;
}
Snap& snap() {
  static Snap s;
  return s;
}

// Nothing, or why an act failed.
template <class Act>
std::string failure(Act&& act) {
  try {
    act();
    return {};
  } catch (const std::bad_alloc&) {
    return "fewbit: there is not enough memory for this matrix; use a smaller one";
  } catch (const std::exception& e) {
    return e.what();
  }
}

// The text of an answer, kept until the next one; or why there is none.
template <class Answer>
const char* answered(Answer&& answer) {
  static std::string text;
  if (const std::string error = failure([&] { text = answer(); }); !error.empty())
    text = JsonObject().text("error", error).str();
  return text.c_str();
}

template <class Load>
const char* take_own(Load&& load) {
  return answered([&] {
    Own& o = own();
    o.W.resize(0, 0), ++o.version;
    o.error = failure([&] {
      Matrix W = load();
      example::check_size(W.rows(), W.cols());
      o.W = std::move(W);
    });
    if (!o.error.empty()) throw std::runtime_error(o.error);
    return JsonObject().text("rows", joined(o.W.rows())).text("cols", joined(o.W.cols())).str();
  });
}

}  // namespace

const char* playground_own_text(const char* text) {
  return take_own([&] { return example::parse_weights(text); });
}
const char* playground_own_npy(const char* path) {
  return take_own([&]() -> Matrix { return fewbit::load_npy(path); });
}

const char* playground_demo(const char* view) {
  return answered([&] { return demo().answer(View(view)); });
}
const char* playground_predictions() {
  return answered([] { return demo().predictions(); });
}
const char* playground_cell(std::size_t k) {
  return answered([&] { return demo().cell(k); });
}
const std::uint8_t* playground_pixels(int which) { return demo().pixels(which); }
const std::uint8_t* playground_colour_bar(int errors, int width) { return demo().colour_bar(errors != 0, width); }

const char* playground_snap(const char* view) {
  return answered([&] { return snap().answer(View(view)); });
}
const float* playground_dot_positions() { return snap().dots().data(); }
std::size_t playground_dots() { return snap().dots().size() / 2; }
const char* playground_dot(std::size_t dot) {
  return answered([&] { return snap().dot(dot); });
}
