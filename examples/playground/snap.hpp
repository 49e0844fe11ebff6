#pragma once
// The blog's playground: weights over the largest magnitude of their group, where all groups have the same levels.
// Rule: every codebook is measured on the same weights in the same groups.

#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "weights.hpp"
#include "words.hpp"

namespace example {

class Snap {
 public:
  std::string answer(const View& view) {
    view.allow({"weights", "shape", "spread", "seed", "bits", "group", "grid", "scales"});
    const int bits = view.integer("bits", 4, 2, 8), group = view.integer("group", 0, 0, most_weights);
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
    return weight_json(weights_.matrix(), q_, i, j, most_);
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

}  // namespace example
