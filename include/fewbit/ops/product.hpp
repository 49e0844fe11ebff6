#pragma once
// y = W x and Y = W X for quantized W[out, in]. Rule: a row is widened in cache and used at once; no float copy of W
// is ever made. Each element differs from the exact one by at most (in + 2) 2^-24 sum_j |w_ij x_j|.

#include <fewbit/ops/dequantize.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// y[out] for a vector x[in], Y[out, n] for a matrix X[in, n]; any Eigen expression of real numbers, taken as floats.
// Throws std::invalid_argument unless x has as many rows as W has columns.
template <class Derived>
Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> operator*(const QuantizedMatrix& w,
                                                                           const Eigen::MatrixBase<Derived>& x) {
  static_assert(is_real<typename Derived::Scalar>,
                "fewbit: x must be of float, double, Eigen::half or Eigen::bfloat16");
  if (x.rows() != w.cols())
    fail_argument("product: W is ", w.rows(), " x ", w.cols(), " and x has ", x.rows(), " rows; it needs ", w.cols());
  constexpr int cols = Derived::ColsAtCompileTime;
  // Eigen never splits a product over threads if its result cannot have more than 32 rows, and so blocks it in the
  // same way, and rounds it in the same way, however many threads there are.
  constexpr Index height = 32;
  constexpr int part_cols = cols == 1 ? 1 : Eigen::Dynamic;
  using Part = Eigen::Matrix<float, Eigen::Dynamic, part_cols, Eigen::ColMajor, height, part_cols>;
  const Eigen::Matrix<float, Eigen::Dynamic, cols> xf = x.template cast<float>();
  Eigen::Matrix<float, Eigen::Dynamic, cols> y(w.rows(), x.cols());
  kernel::active();
  for_each_slice(w.rows(), height, [&](Index first, Index last) {
    DequantizedRows widen(w);
    RowMajorMatrixXf panel(std::min(height, last - first), w.cols());
    Part part;
    for (Index i = first; i < last; i += height) {
      const Index n = std::min(height, last - i);
      for (Index k = 0; k < n; ++k) widen(i + k, panel.row(k).data());
      part.noalias() = panel.topRows(n) * xf;
      y.middleRows(i, n) = part;
    }
  });
  return y;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
