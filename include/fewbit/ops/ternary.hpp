#pragma once
// Weights of 1.6 bits at work: decoded, and multiplied. Rule: some rows at a time are unpacked to codes of 2 bits that
// stay in cache, and what is there for those does the rest: results are those of the unpacked matrix, to the last bit.

#include <algorithm>
#include <vector>

#include <fewbit/ops/product.hpp>
#include <fewbit/storage/ternary.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Calls f(first, rows) for all rows of t, some hundred at a time, on any thread: `rows` as TernaryMatrix::unpack_rows
// gives them. Each run of rows begins where a block does, or lies within one.
template <class F>
void each_unpacked(const TernaryMatrix& t, F&& f) {
  const Index row_bytes = static_cast<Index>(packed_bytes(static_cast<std::size_t>(t.cols()), 2)),
              most = std::clamp<Index>(Index{256} * 1024 / std::max<Index>(1, row_bytes), 16, 256),
              height = t.block_rows(), run = height < most ? most / height * height : most;
  std::vector<Index> starts;
  for (Index i = 0; i < t.rows();) {
    starts.push_back(i);
    const Index block_end = height < most ? t.rows() : (i / height + 1) * height;
    i = std::min({i + run, block_end, t.rows()});
  }
  starts.push_back(t.rows());
  kernel::active();  // may throw: do it on this thread
  for_each_slice(static_cast<Index>(starts.size()) - 1, 1, [&](Index from, Index to) {
    for (Index s = from; s < to; ++s) {
      const Index first = starts[static_cast<std::size_t>(s)];
      f(first, t.unpack_rows(first, starts[static_cast<std::size_t>(s) + 1] - first));
    }
  });
}

// As for a QuantizedMatrix, see ops/product.hpp.
inline void multiply_floats(const TernaryMatrix& w, const Inputs& x, Eigen::MatrixXf& y) {
  each_unpacked(w, [&](Index first, const QuantizedMatrix& rows) {
    Eigen::MatrixXf part(rows.rows(), x.cols());
    multiply_floats(rows, x, part);
    y.middleRows(first, rows.rows()) = part;
  });
}
inline bool multiply_integers(const TernaryMatrix& w,
                              const Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic>& x, Eigen::MatrixXf& y) {
  if (integer_length(w) == 0) return false;
  each_unpacked(w, [&](Index first, const QuantizedMatrix& rows) {
    Eigen::MatrixXf part(rows.rows(), x.cols());
    multiply_integers(rows, x, part);
    y.middleRows(first, rows.rows()) = part;
  });
  return true;
}

// y[out] for a vector x[in], Y[out, n] for a matrix X[in, n], of any real numbers: what product(w.unpack(), x,
// activations) gives, without a matrix of 2 bits. Throws as that does.
template <class Derived>
Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> product(
    const TernaryMatrix& w, const Eigen::MatrixBase<Derived>& x, Activations activations = Activations::floats) {
  return checked_product(w, x, activations);
}
template <class Derived>
Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> operator*(const TernaryMatrix& w,
                                                                           const Eigen::MatrixBase<Derived>& x) {
  return product(w, x);
}

// Fills `out`, any Eigen matrix, Map, Ref or Block of t's shape, as for a QuantizedMatrix. Throws
// std::invalid_argument, before writing, for another shape.
template <class Derived>
void dequantize_into(const TernaryMatrix& t, Eigen::DenseBase<Derived>& out) {
  require_shape(t, out);
  const Strided<void> to = writable(out);
  t.require_complete();
  each_unpacked(t, [&](Index first, const QuantizedMatrix& rows) {
    write_rows(rows, first, t.input_map(), to, first, first + rows.rows());
  });
}
template <class Derived>
void dequantize_into(const TernaryMatrix& t, Eigen::DenseBase<Derived>&& out) {  // a Map or Block made on the spot
  dequantize_into(t, out);
}

// W[out, in] again, as the matrix type asked for. Throws std::invalid_argument if that has another shape.
template <class Matrix = Eigen::MatrixXf>
Matrix dequantize(const TernaryMatrix& t) {
  return dequantized<Matrix>(t);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
