#pragma once
// An estimator looks at the weights of one block and chooses their Affine on a grid. Rule: one call operator; the
// block is never empty and all finite, and the grid's fit() already answers with scales as they will be stored. What
// an estimator decides is the same on every instruction set and at every -march: a sum that a choice hangs on has one
// order, and no product of its terms is inexact, because a compiler may contract that product and the sum.

#include <span>

#include <fewbit/grid/grid.hpp>

namespace fewbit {

// The weights of one block of W[out, in], row by row, `width` of them to a row; the first is weight (row, col) of W.
struct Block {
  std::span<const float> weights;
  Index row = 0, col = 0, width = 0;
};

template <class E, class G>
concept UnplacedEstimator = Grid<G> && std::copy_constructible<E> &&
    requires(const E& e, std::span<const float> block, const Stored<G>& g) {
  { e(block, g) } -> std::same_as<Affine>;
};

// One that asks where its block lies. Between the two call operators the plain one counts: it is asked for first, so
// that a generic lambda over spans is never tried on a Block.
//
// It may add check(Index rows, Index cols), which throws if the estimator and a matrix of this shape do not belong
// together. Whoever fits a whole matrix calls it before any weight is looked at.
template <class E, class G>
concept PlacedEstimator = !UnplacedEstimator<E, G> && Grid<G> && std::copy_constructible<E> &&
                          requires(const E& e, const Block& block, const Stored<G>& g) {
  { e(block, g) } -> std::same_as<Affine>;
};

template <class E, class G>
concept Estimator = UnplacedEstimator<E, G> || PlacedEstimator<E, G>;

// One that needs no more than the block's range. It is fitted while the range is known anyway, and a block that
// spans many rows is never gathered for it.
template <class E, class G>
concept RangeEstimator = UnplacedEstimator<E, G> && requires(const E& e, Range r, const Stored<G>& g) {
  { e(r, g) } -> std::same_as<Affine>;
};

// The estimator's word on a matrix of this shape, if it has one.
template <class E>
void check_shape(const E& estimate, Index rows, Index cols) {
  if constexpr (requires { estimate.check(rows, cols); }) estimate.check(rows, cols);
}

}  // namespace fewbit
