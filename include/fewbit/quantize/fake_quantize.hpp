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

// A matrix of w's shape, in its own type and storage order, whose rows make(i, row, clean, coding, out) writes: `row`
// as it is in w, `clean` without a NaN, `coding` by the Affines that are fitted on the way.
template <class Derived, Grid G, Estimator<G> E, class Make>
typename Derived::PlainObject made_from_rows(const Eigen::DenseBase<Derived>& w, const G& grid, Granularity granularity,
                                             const E& estimate, const QuantizeOptions& options, Make&& make) {
  using Result = typename Derived::PlainObject;
  Result result;
  result.resize(w.rows(), w.cols());
  const Tiling tiling(w.rows(), w.cols(), granularity);
  const Levels levels = grid.levels();
  const Rows<Derived> in(w);
  const MutableRows<Result> out(result);  // nobody sees it if this throws
  std::vector<Affine> affines(tiling.blocks());
  fit_rows(RowPairs<Derived, Result>(in, out), tiling, levels, grid, granularity.scale, estimate, options, affines,
           [&](Index i, const RowPair& row, const float* clean, const kernel::Row& coding) {
             make(i, row.in, clean, coding, row.out);
           });
  return result;
}

// The quantized weights of W[out, in], in its own type and storage order.
template <class Derived, Grid G, Estimator<G> E = MinMax>
typename Derived::PlainObject fake_quantize(const Eigen::DenseBase<Derived>& w, const G& grid,
                                            Granularity granularity = per_tensor(), const E& estimate = {},
                                            const QuantizeOptions& options = {}) {
  const RowCoder coder(options.rounding, options.seed, kernel::active());
  return made_from_rows(w, grid, granularity, estimate, options,
                        [&](Index i, const float*, const float* clean, const kernel::Row& coding, float* out) {
                          coder.fake_quantize(i, clean, coding, out);
                        });
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
