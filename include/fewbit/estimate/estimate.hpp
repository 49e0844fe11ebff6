#pragma once
// An estimator looks at the weights of one block and chooses their Affine on a grid. Rule: one call operator; the
// block is never empty and all finite, and the grid's fit() already answers with scales as they will be stored.

#include <span>

#include <fewbit/grid/grid.hpp>

namespace fewbit {

template <class E, class G>
concept Estimator = Grid<G> && std::copy_constructible<E> &&
    requires(const E& e, std::span<const float> block, const Stored<G>& g) {
  { e(block, g) } -> std::same_as<Affine>;
};

// One that needs no more than the block's range. It is fitted while the range is known anyway, and a block that
// spans many rows is never gathered for it.
template <class E, class G>
concept RangeEstimator = Estimator<E, G> && requires(const E& e, Range r, const Stored<G>& g) {
  { e(r, g) } -> std::same_as<Affine>;
};

}  // namespace fewbit
