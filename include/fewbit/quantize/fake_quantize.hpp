#pragma once
// Quantize and dequantize at once, staying float. Rule: bit for bit what dequantize(quantize(...)) gives, without
// ever packing a code.

#include <fewbit/quantize/quantize.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// What is made of rows, row by row, with Affines that are fitted on the way, into rows.out or elsewhere.
inline void make_rows(const Rows& rows, Granularity granularity, const Fitter& fitter, const Door& door, Apply make) {
  const Tiling tiling(rows.in.rows, rows.in.cols, granularity);
  std::vector<Affine> affines(tiling.blocks());
  const bool streamed = rows.out.is_streamed();
  fit_rows(rows, tiling, fitter, door, affines, [&](Index i, const Row& row, const float* clean, kernel::Row coding) {
    coding.streamed = streamed;
    make(i, row, clean, coding);
  });
}

// What fake_quantize makes of weights that are in memory, for an algorithm whose messages speak to its own callers.
inline void fake_quantize_rows(const Rows& rows, Granularity granularity, const Fitter& fitter, const Door& door) {
  const RowCoder coder(door.rounding, door.seed, kernel::active());
  make_rows(rows, granularity, fitter, door,
            [&](Index i, const Row& row, const float* clean, const kernel::Row& coding) {
              coder.fake_quantize(i, clean, coding, row.out);
            });
}

// The same in place: every block is fitted before the first weight changes.
inline void fake_quantize_memory(const Strided<void>& w, Granularity granularity, const Fitter& fitter,
                                 const Door& door) {
  const Tiling tiling(w.rows, w.cols, granularity);
  const RowCoder coder(door.rounding, door.seed, kernel::active());
  std::vector<Affine> affines(tiling.blocks());
  const Rows rows{.in = w.as<const void>(), .out = w};
  fit_rows({rows.in}, tiling, fitter, door, affines, [](Index, const Row&, const float*, const kernel::Row&) {});
  apply_rows(rows, {tiling, fitter.levels(), affines}, door,
             [&](Index i, const Row& row, const float* clean, const kernel::Row& coding) {
               coder.fake_quantize(i, clean, coding, row.out);
             });
}

// Replaces W[out, in], any Eigen matrix, Map, Ref or Block, by its quantized weights. Throws as quantize does, and then
// W is as it was.
template <class Derived, Grid G, Estimator<G> E = MinMax>
void fake_quantize_in_place(Eigen::DenseBase<Derived>& w, const G& grid, Granularity granularity = per_tensor(),
                            const E& estimate = {}, const QuantizeOptions& options = {}) {
  const BlockFitter<G, E> fitter(grid, estimate, granularity.scale, options.nonfinite);
  fake_quantize_memory(writable(w), granularity, fitter, options);
}

template <class Derived, Grid G, Estimator<G> E = MinMax>
void fake_quantize_in_place(Eigen::DenseBase<Derived>&& w, const G& grid, Granularity granularity = per_tensor(),
                            const E& estimate = {},
                            const QuantizeOptions& options = {}) {  // a Map or Block made on the spot
  fake_quantize_in_place(w, grid, granularity, estimate, options);
}

// The same into a matrix of the caller's, of any type of scalars and storage order, which is resized and may not share
// memory with W: a training loop need not ask for memory in each step. What it holds is undefined after a throw. Throws
// as fake_quantize does, and std::invalid_argument if the result's type is of another fixed size.
template <class Derived, class Result, Grid G, Estimator<G> E = MinMax>
void fake_quantize_into(const Eigen::DenseBase<Derived>& w, Eigen::PlainObjectBase<Result>& result, const G& grid,
                        Granularity granularity = per_tensor(), const E& estimate = {},
                        const QuantizeOptions& options = {}) {
  const BlockFitter<G, E> fitter(grid, estimate, granularity.scale, options.nonfinite);
  const Evaluated<Derived> weights(w);
  give_shape(result, w.rows(), w.cols());
  fake_quantize_rows({.in = weights, .out = writable(result)}, granularity, fitter, options);
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
