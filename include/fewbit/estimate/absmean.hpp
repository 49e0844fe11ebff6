#pragma once
// The mean magnitude as the scale. Rule: no range is looked at; whatever lies beyond the last level is clipped.

#include <cmath>

#include <fewbit/estimate/estimate.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/kernel/dispatch.hpp>

namespace fewbit {

// scale = mean|w|, no zero-point (BitNet b1.58, arXiv 2402.17764): with Symmetric(2) the codes are clamp(rint(w /
// scale), -1, 1). A block of zeros has scale 1. Throws std::invalid_argument for a grid whose levels do not lie on both
// sides of zero, as those of Asymmetric do not.
struct AbsMean {
  template <class G>
  Affine operator()(std::span<const float> block, const G& grid) const {
    if (!(grid.levels().first() < 0 && grid.levels().last() > 0))
      fail_argument("AbsMean has no zero-point, and levels ", grid.levels().first(), " to ", grid.levels().last(),
                    " lie on one side of zero; use Symmetric(2) or more bits, or another estimator");
    const double sum = kernel::active().absolute_sum(block.data(), block.size());
    if (sum == 0) return {};
    const float scale = round_scale(sum / static_cast<double>(block.size()), ScaleType::f32);
    const float stored = round_scale(scale, grid.scale_type());
    return {std::isfinite(stored) ? stored : scale, 0};  // the latter is refused by its value
  }
};

static_assert(Estimator<AbsMean, Symmetric>);

}  // namespace fewbit
