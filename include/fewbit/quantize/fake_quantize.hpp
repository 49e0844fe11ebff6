#pragma once
// Quantize and dequantize at once, staying float. Rule: bit for bit what dequantize(quantize(...)) gives, without
// ever packing a code.

#include <fewbit/quantize/quantize.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Replaces W[out, in], any Eigen matrix, Map, Ref or Block, by its quantized weights. Throws as quantize does, and then
// W is as it was: every block is fitted before the first weight changes.
template <class Derived, Grid G, Estimator<G> E = MinMax>
void fake_quantize_in_place(Eigen::DenseBase<Derived>& w, const G& grid, Granularity granularity = per_tensor(),
                            const E& estimate = {}, const QuantizeOptions& options = {}) {
  const Tiling tiling(w.rows(), w.cols(), granularity);
  const Levels levels = grid.levels();
  const RowCoder coder(options.rounding, options.seed, kernel::active());
  const MutableRows<Derived, RowAccess::update> rows(w);
  std::vector<Affine> affines(tiling.blocks());
  const auto none = [](Index, const float*, const float*, const kernel::Row&) {};
  fit_rows(Rows<Derived>(w), tiling, levels, grid, granularity.scale, estimate, options, affines, none);
  apply_rows(rows, {tiling, levels, affines}, options,
             [&](Index i, float* row, const float* clean, const kernel::Row& coding) {
               coder.fake_quantize(i, clean, coding, row);
             });
}

template <class Derived, Grid G, Estimator<G> E = MinMax>
void fake_quantize_in_place(Eigen::DenseBase<Derived>&& w, const G& grid, Granularity granularity = per_tensor(),
                            const E& estimate = {},
                            const QuantizeOptions& options = {}) {  // a Map or Block made on the spot
  fake_quantize_in_place(w, grid, granularity, estimate, options);
}

// Gives the result w's shape, and has its rows written by make(i, joined, clean, coding): `joined` holds the row as it
// is in w, its place in the result and the row of a second expression if there is one, `clean` is w's without a NaN,
// and `coding` has the Affines that are fitted on the way.
template <class Result, class Derived, Grid G, Estimator<G> E, class Make, class Second = Derived>
void make_rows(const Rows<Derived>& in, Eigen::PlainObjectBase<Result>& result, const G& grid, Granularity granularity,
               const E& estimate, const Door& door, Make&& make, const Rows<Second>* second = nullptr) {
  give_shape(result, in.memory().rows, in.memory().cols);
  const Tiling tiling(result.rows(), result.cols(), granularity);
  const Levels levels = grid.levels();
  const MutableRows<Result> out(result);
  std::vector<Affine> affines(tiling.blocks());
  const bool streamed = out.memory().is_streamed();
  fit_rows(JoinedRows<Derived, Result, Second>(in, out, second), tiling, levels, grid, granularity.scale, estimate,
           door, affines, [&](Index i, const JoinedRow& row, const float* clean, kernel::Row coding) {
             coding.streamed = streamed;
             make(i, row, clean, coding);
           });
}

// For an algorithm whose messages speak to its own callers.
template <class Derived, class Result, Grid G, Estimator<G> E>
void fake_quantize_for(const Door& door, const Eigen::DenseBase<Derived>& w, Eigen::PlainObjectBase<Result>& result,
                       const G& grid, Granularity granularity, const E& estimate) {
  const RowCoder coder(door.rounding, door.seed, kernel::active());
  make_rows(Rows<Derived>(w), result, grid, granularity, estimate, door,
            [&](Index i, const JoinedRow& row, const float* clean, const kernel::Row& coding) {
              coder.fake_quantize(i, clean, coding, row.out);
            });
}

// The same into a matrix of the caller's, of any type of scalars and storage order, which is resized and may not share
// memory with W: a training loop need not ask for memory in each step. What it holds is undefined after a throw. Throws
// as fake_quantize does, and std::invalid_argument if the result's type is of another fixed size.
template <class Derived, class Result, Grid G, Estimator<G> E = MinMax>
void fake_quantize_into(const Eigen::DenseBase<Derived>& w, Eigen::PlainObjectBase<Result>& result, const G& grid,
                        Granularity granularity = per_tensor(), const E& estimate = {},
                        const QuantizeOptions& options = {}) {
  fake_quantize_for(options, w, result, grid, granularity, estimate);
}

// The quantized weights of W[out, in], in its own type and storage order.
template <class Derived, Grid G, Estimator<G> E = MinMax>
typename Derived::PlainObject fake_quantize(const Eigen::DenseBase<Derived>& w, const G& grid,
                                            Granularity granularity = per_tensor(), const E& estimate = {},
                                            const QuantizeOptions& options = {}) {
  typename Derived::PlainObject result;
  fake_quantize_into(w, result, grid, granularity, estimate, options);
  return result;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
