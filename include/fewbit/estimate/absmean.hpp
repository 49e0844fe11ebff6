#pragma once
// The mean magnitude as the scale. Rule: no range is looked at; whatever lies beyond the last level is clipped.

#include <fewbit/estimate/estimate.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/kernel/dispatch.hpp>

namespace fewbit {

// scale = mean|w|, no zero-point (BitNet b1.58, arXiv 2402.17764): with Symmetric(2) the codes are clamp(rint(w /
// scale), -1, 1). For grids whose levels lie on both sides of zero. A block of zeros has scale 1.
struct AbsMean {
  template <class G>
  Affine operator()(std::span<const float> block, const G& grid) const {
    const double sum = kernel::active().absolute_sum(block.data(), block.size());
    if (sum == 0) return {};
    const float scale = round_scale(sum / static_cast<double>(block.size()), ScaleType::f32);
    return {round_scale(scale, grid.scale_type()), 0};
  }
};

static_assert(Estimator<AbsMean, Symmetric>);

}  // namespace fewbit
