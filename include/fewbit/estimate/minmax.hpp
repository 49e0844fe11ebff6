#pragma once
// The range as it is. Rule: nothing is clipped.

#include <fewbit/estimate/estimate.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/kernel/dispatch.hpp>

namespace fewbit {

// Covers the observed range, from the smallest to the largest weight.
struct MinMax {
  template <class G>
  constexpr Affine operator()(Range r, const G& grid) const {
    return grid.fit(r);
  }
  template <class G>
  Affine operator()(std::span<const float> block, const G& grid) const {
    Range r;
    kernel::active().ranges(block.data(), block.size(), block.size(), &r);
    return grid.fit(r);
  }
};

static_assert(RangeEstimator<MinMax, Symmetric>);

}  // namespace fewbit
