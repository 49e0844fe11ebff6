#pragma once
// Round to nearest, or as asked: estimate every block's Affine, then code every row. Rule: the result is complete or
// there is none; what makes no sense throws before anything is returned.

#include <fewbit/estimate/minmax.hpp>
#include <fewbit/quantize/fit.hpp>
#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// What quantize makes of weights that are in memory, for an algorithm whose messages speak to its own callers.
inline QuantizedMatrix quantize_rows(const Strided<const void>& w, Granularity granularity, const Fitter& fitter,
                                     const Door& door) {
  QuantizedMatrix q(w.rows, w.cols, fitter.levels(), granularity);
  std::vector<Affine> affines(q.tiling().blocks());
  const RowCoder coder(door.rounding, door.seed, kernel::active());
  fit_rows({w}, q.tiling(), fitter, door, affines,
           [&](Index i, const Row&, const float* clean, const kernel::Row& coding) {
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
  const BlockFitter<G, E> fitter(grid, estimate, granularity.scale, options.nonfinite);
  return quantize_rows(Evaluated<Derived>(w), granularity, fitter, options);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
