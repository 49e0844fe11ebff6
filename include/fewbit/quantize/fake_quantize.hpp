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

// The quantized weights of W[out, in], in its own type and storage order.
template <class Derived, Grid G, Estimator<G> E = MinMax>
typename Derived::PlainObject fake_quantize(const Eigen::DenseBase<Derived>& w, const G& grid,
                                            Granularity granularity = per_tensor(), const E& estimate = {},
                                            const QuantizeOptions& options = {}) {
  typename Derived::PlainObject result = w;
  const Tiling tiling(w.rows(), w.cols(), granularity);
  const Levels levels = grid.levels();
  const RowCoder coder(options.rounding, options.seed, kernel::active());
  const MutableRows<typename Derived::PlainObject, RowAccess::update> rows(result);  // nobody sees it if this throws
  std::vector<Affine> affines(tiling.blocks());
  fit_rows(rows, tiling, levels, grid, granularity.scale, estimate, options, affines,
           [&](Index i, float* row, const float* clean, const kernel::Row& coding) {
             coder.fake_quantize(i, clean, coding, row);
           });
  return result;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
