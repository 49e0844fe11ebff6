#pragma once
// The range that costs least: shrunk step by step, every candidate is tried on the block's weights. Rule: of two
// candidates that cost the same the earlier one counts, which clips less.

#include <algorithm>
#include <cmath>
#include <vector>

#include <fewbit/estimate/error_sum.hpp>
#include <fewbit/estimate/estimate.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/kernel/dispatch.hpp>

namespace fewbit {

// Minimises the sum of importance * |w - q(w)|^exponent over the block's range times p = 1 - i / steps, for
// 0 <= i < shrink * steps. Each candidate is what the grid makes of its range, and has its scale as it is stored; one
// whose scale its type cannot hold is left out.
//
// Where the zero-point is 0 and the levels are no mirror image of themselves (signed_scale, NF4), the same scale with
// the other sign is tried as well: the longer side may belong to the tail without the largest weight. And where one
// side is shorter, the range may have to grow before the largest weight finds a level there: negative i come first,
// down to p = longer / shorter side or 1.2. (With -8 .. 7 in groups of 32 that takes 3 % off the squared error.)
//
// Throws std::invalid_argument for an exponent that is not 2 or 2.4, and for fields that make no sense. A block is
// tried up to 2 * (shrink + .2) * steps times. (2.4 is GPTQ's reference code; 2 and both signs, llama.cpp's search.)
struct MseSearch {
  double exponent = 2;
  int steps = 100;
  double shrink = 0.8;
  // One number for each input, the mean of x^2 over calibration data, or none. 0 where nothing matters; a block of
  // nothing but zeros counts as if there were none.
  std::vector<float> importance{};

  // Throws std::invalid_argument unless the fields make sense for W[rows, cols].
  void check(Index /*rows*/, Index cols) const {
    check_fields();
    if (importance.empty()) return;
    if (static_cast<Index>(importance.size()) != cols)
      fail_argument(importance.size(), " importances do not fit ", cols, " inputs; give one for each column of W");
    check_importance(0, importance.size());
  }

  // The same for columns in another order: column k is for input inputs[k].
  MseSearch reordered(std::span<const Index> inputs) const {
    MseSearch to = *this;
    for (std::size_t k = 0; k < importance.size(); ++k)
      to.importance[k] = importance[static_cast<std::size_t>(inputs[k])];
    return to;
  }

  template <class G>
  Affine operator()(const Block& block, const G& grid) const {
    check_fields();
    const float* importance_at = importances(block);
    const std::size_t n = block.weights.size();
    Range r;
    kernel::active().ranges(block.weights.data(), n, n, &r);
    Affine best = grid.fit(r);
    if (r.lo == r.hi) return best;

    const Levels& levels = grid.levels();
    const bool both_signs = !is_mirrored(levels);
    std::vector<Affine> candidates;
    for (int i = first_step(best, levels); i <= 0 || i < shrink * steps; ++i) {
      const double p = 1 - i / static_cast<double>(steps);
      const Affine a = grid.fit({shrunk(r.lo, p), shrunk(r.hi, p)});
      if (!is_storable(a, grid.scale_type())) continue;
      candidates.push_back({a.scale, a.zero + 0.f});
      if (both_signs && a.zero == 0) candidates.push_back({-a.scale, 0});
    }

    ErrorSum sum(exponent == 2, std::max(-r.lo, r.hi));
    double least = std::numeric_limits<double>::infinity();
    const auto take = [&](std::size_t c, double cost) {
      if (cost < least) least = cost, best = candidates[c];
    };
    const Trial trial{block.weights, levels, importance_at, static_cast<std::size_t>(block.width)};
    if (n <= piece / 2) {
      trial.side_by_side(candidates, sum, take);
    } else {
      for (std::size_t c = 0; c < candidates.size(); ++c) take(c, trial.in_pieces(candidates[c], sum, least));
    }
    return best;
  }

 private:
  static constexpr std::size_t piece = 2048;  // weights that stay in the first cache, decoded ones beside them

  // What candidates cost on the weights of a block.
  struct Trial {
    std::span<const float> block;
    const Levels& levels;
    const float* importance;  // of the block's columns, or null
    std::size_t width;

    // Calls f(c, cost) for every candidate c. Copies of a small block make a row with a group for each candidate: the
    // kernels are made for such rows, and a call for each would cost more than the work.
    template <class F>
    void side_by_side(std::span<const Affine> candidates, ErrorSum& sum, F&& f) const {
      const std::size_t n = block.size(), at_once = std::min(piece / n, candidates.size());
      float copies[piece], decoded[piece], spread[piece / 2];
      for (std::size_t j = 0; j < at_once; ++j) std::copy(block.begin(), block.end(), copies + j * n);
      const float* weighted_by = importances(0, n, spread);
      for (std::size_t c = 0, m = 0; c < candidates.size(); c += m) {
        m = std::min(at_once, candidates.size() - c);
        kernel::active().fake_quantize(copies, {m * n, n, candidates.data() + c, &levels}, decoded, nullptr);
        for (std::size_t j = 0; j < m; ++j) {
          sum.clear();
          sum.add(copies, decoded + j * n, weighted_by, n);
          f(c + j, sum.total());
        }
      }
    }
    // What one candidate costs; once it is clear that this is not below `enough`, something not below it.
    double in_pieces(Affine a, ErrorSum& sum, double enough) const {
      float decoded[piece], spread[piece];
      double cost = 0;
      sum.clear();
      for (std::size_t k = 0, n = 0; k < block.size() && cost < enough; k += n) {
        n = std::min(piece, block.size() - k);
        kernel::active().fake_quantize(block.data() + k, {n, n, &a, &levels}, decoded, nullptr);
        sum.add(block.data() + k, decoded, importances(k, n, spread), n);
        cost = sum.total();
      }
      return cost;
    }
    // Those of weights k .. k + n - 1.
    const float* importances(std::size_t k, std::size_t n, float* spread) const {
      if (importance == nullptr) return nullptr;
      const std::size_t from = k % width;
      if (from + n <= width) return importance + from;
      for (std::size_t i = 0, j = from; i < n; ++i, j = j + 1 == width ? 0 : j + 1) spread[i] = importance[j];
      return spread;
    }
  };

  void check_fields() const {
    if (exponent != 2 && exponent != 2.4)
      fail_argument("a search for the least error to the power ", exponent, " is not possible; use 2 or 2.4");
    if (steps < 1) fail_argument("a search in ", steps, " steps is not possible; use 1 or more");
    if (!(shrink >= 0 && shrink <= 1)) fail_argument("shrink is ", shrink, "; use 0 to 1");
  }
  void check_importance(std::size_t from, std::size_t to) const {
    for (std::size_t j = from; j < to; ++j)
      if (!(importance[j] >= 0 && std::isfinite(importance[j])))
        fail_argument("the importance of input ", j, " is ", importance[j], "; use finite numbers of 0 or more");
  }
  // Of the block's columns, or null where all weights count alike.
  const float* importances(const Block& block) const {
    if (importance.empty()) return nullptr;
    const auto from = static_cast<std::size_t>(block.col), to = from + static_cast<std::size_t>(block.width);
    if (to > importance.size())
      fail_argument(importance.size(), " importances do not reach to input ", to - 1,
                    "; give one for each column of W");
    check_importance(from, to);
    const auto none = [](float x) { return x == 0; };
    return std::all_of(importance.begin() + block.col, importance.begin() + block.col + block.width, none)
               ? nullptr
               : importance.data() + from;
  }

  // Rounded from double: where it is added to something, nothing can be contracted.
  static float shrunk(float end, double p) {
    constexpr double most = std::numeric_limits<float>::max();
    return static_cast<float>(std::clamp(static_cast<double>(end) * p, -most, most));
  }
  int first_step(Affine plain, const Levels& levels) const {
    const double below = -static_cast<double>(levels.first()), above = static_cast<double>(levels.last());
    if (plain.zero != 0 || !(below > 0 && above > 0)) return 0;
    const double grown = std::min(std::max(below, above) / std::min(below, above), 1.2);
    return -static_cast<int>((grown - 1) * steps);
  }

  static bool is_storable(Affine a, ScaleType type) {
    return a.scale != 0 && std::isfinite(round_scale(a.scale, type)) && std::isfinite(a.zero);
  }
  static bool is_mirrored(const Levels& levels) {
    if (levels.uniform()) return levels.first() == -levels.last();
    for (int i = 0; i < levels.count(); ++i)
      if (levels[i] != -levels[levels.count() - 1 - i]) return false;
    return true;
  }
};

static_assert(PlacedEstimator<MseSearch, Symmetric>);

}  // namespace fewbit
