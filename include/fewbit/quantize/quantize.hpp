#pragma once
// Round to nearest, or as asked: estimate every block's Affine, then code every row. Rule: the result is complete or
// there is none; what makes no sense throws before anything is returned.

#include <fewbit/estimate/minmax.hpp>
#include <fewbit/quantize/fit.hpp>
#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// For an algorithm whose messages speak to its own callers.
template <class Derived, Grid G, Estimator<G> E>
QuantizedMatrix quantize_for(const Door& door, const Eigen::DenseBase<Derived>& w, const G& grid,
                             Granularity granularity, const E& estimate) {
  QuantizedMatrix q(w.rows(), w.cols(), grid.levels(), granularity);
  const Rows<Derived> rows(w);
  std::vector<Affine> affines(q.tiling().blocks());
  const RowCoder coder(door.rounding, door.seed, kernel::active());
  fit_rows(rows, q.tiling(), q.levels(), grid, granularity.scale, estimate, door, affines,
           [&](Index i, const float*, const float* clean, const kernel::Row& coding) {
             coder.quantize(i, clean, coding, q.codes(i));
           });
  q.set_params(affines);
  return q;
}

// W[out, in] to codes of grid.levels(), blocks as the granularity says, each fitted by the estimator. Takes any Eigen
// expression of float, double, Eigen::half or Eigen::bfloat16; all are floats from here on. The same bytes come out
// for every storage order, instruction set and number of threads, under each rounding and seed.
//
// Throws std::domain_error for a weight that is not finite (unless options say otherwise) and for a scale that its
// stored type cannot hold; std::invalid_argument for impossible shapes and options.
template <class Derived, Grid G, Estimator<G> E = MinMax>
QuantizedMatrix quantize(const Eigen::DenseBase<Derived>& w, const G& grid, Granularity granularity = per_tensor(),
                         const E& estimate = {}, const QuantizeOptions& options = {}) {
  return quantize_for(options, w, grid, granularity, estimate);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
