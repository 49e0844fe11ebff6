#pragma once
// Quantize and dequantize at once, staying float. Rule: bit for bit what dequantize(quantize(...)) gives, without
// ever packing a code.

#include <fewbit/quantize/quantize.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Replaces W[out, in], any Eigen matrix, Map, Ref or Block, by its quantized weights. Throws as quantize does. If a
// weight is not finite, rows before it may have been replaced.
template <class Derived, Grid G, Estimator<G> E = MinMax>
void fake_quantize_in_place(Eigen::DenseBase<Derived>& w, const G& grid, Granularity granularity = per_tensor(), const E& estimate = {},
                            const QuantizeOptions& options = {}) {
  const Tiling tiling(w.rows(), w.cols(), granularity);
  const MutableRows<Derived, RowAccess::update> rows(w);
  const Levels levels = grid.levels();
  std::vector<Affine> affines(tiling.blocks());
  const kernel::Table& table = kernel::active();
  fit_rows(rows, tiling, levels, grid, granularity.scale, estimate, options, affines,
           [&](Index, float* row, const float* clean, const kernel::Row& coding) { table.fake_quantize(clean, coding, row); });
}

// The quantized weights of W[out, in], in its own type and storage order.
template <class Derived, Grid G, Estimator<G> E = MinMax>
typename Derived::PlainObject fake_quantize(const Eigen::DenseBase<Derived>& w, const G& grid, Granularity granularity = per_tensor(),
                                            const E& estimate = {}, const QuantizeOptions& options = {}) {
  typename Derived::PlainObject result = w;
  fake_quantize_in_place(result, grid, granularity, estimate, options);
  return result;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
