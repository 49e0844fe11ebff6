#pragma once
// Back to weights. Rule: whole rows, through the kernel table, into any Eigen matrix there is.

#include <fewbit/eigen/rows.hpp>
#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// The rows of a quantized matrix as their codes lie (see input_map), widened one after the other. Keeps the Affines of
// the last row of blocks.
class DequantizedRows {
 public:
  explicit DequantizedRows(const QuantizedMatrix& q, bool streamed = false)
      : q_(q), table_(kernel::active()), affines_(static_cast<std::size_t>(q.blocks_across())), streamed_(streamed) {
    q.require_complete();
  }

  // Writes cols() floats.
  void operator()(Index i, float* out) {
    if (const Index down = i / q_.block_rows(); down != down_) {
      q_.params().read(static_cast<std::size_t>(down) * affines_.size(), affines_.size(), affines_.data(), table_);
      down_ = down;
    }
    table_.dequantize(q_.codes(i),
                      {static_cast<std::size_t>(q_.cols()), static_cast<std::size_t>(q_.block_cols()), affines_.data(),
                       &q_.levels(), streamed_},
                      out);
  }

 private:
  const QuantizedMatrix& q_;
  const kernel::Table& table_;
  std::vector<Affine> affines_;
  bool streamed_;
  Index down_ = -1;
};

// A row in the order of its inputs, from the order of its codes.
inline void unmap(const InputMap& map, const std::vector<float>& coded, float* row) {
  for (std::size_t k = 0; k < coded.size(); ++k)
    row[map.order.empty() ? k : map.order[k]] = coded[k] * (map.scale.empty() ? 1.f : map.scale[k]);
}

// Throws std::invalid_argument unless `out` has the shape of the weights.
template <class Weights, class Derived>
void require_shape(const Weights& q, const Eigen::DenseBase<Derived>& out) {
  if (out.rows() != q.rows() || out.cols() != q.cols())
    fail_argument("dequantize_into: the output is ", out.rows(), " x ", out.cols(), ", the matrix ", q.rows(), " x ",
                  q.cols(), "; resize it first");
}

inline bool is_streamed(const Strided<void>& out, const InputMap& map) { return map.empty() && out.is_streamed(); }

// Rows first .. last - 1 of the output, from the codes of q, which begins at its row `top`, and a map that need not be
// q's own.
inline void write_rows(const QuantizedMatrix& q, Index top, const InputMap& map, const Strided<void>& out, Index first,
                       Index last) {
  DequantizedRows widen(q, is_streamed(out, map));
  const Rows rows{.out = out};
  if (map.empty()) return rows.each(first, last, [&](Index i, const Row& row) { widen(i - top, row.out); });
  std::vector<float> coded(static_cast<std::size_t>(q.cols()));
  rows.each(first, last, [&](Index i, const Row& row) {
    widen(i - top, coded.data());
    unmap(map, coded, row.out);
  });
}

// What dequantize_into does with memory of q's shape.
inline void dequantize_rows(const QuantizedMatrix& q, const Strided<void>& out) {
  const Index grain = std::max<Index>(64, 16384 / std::max<Index>(1, q.cols()));
  q.require_complete();
  kernel::active();
  for_each_slice(q.rows(), grain, [&](Index first, Index last) { write_rows(q, 0, q.input_map(), out, first, last); });
}

// Fills `out`, any Eigen matrix, Map, Ref or Block of q's shape. Throws std::invalid_argument, before writing, for
// another shape.
template <class Derived>
void dequantize_into(const QuantizedMatrix& q, Eigen::DenseBase<Derived>& out) {
  require_shape(q, out);
  dequantize_rows(q, writable(out));
}
template <class Derived>
void dequantize_into(const QuantizedMatrix& q, Eigen::DenseBase<Derived>&& out) {  // a Map or Block made on the spot
  dequantize_into(q, out);
}

// As dequantize, for any weights that have dequantize_into.
template <class Matrix, class Weights>
Matrix dequantized(const Weights& q) {
  constexpr auto holds = [](Index n, int fixed, int most) {
    return (fixed == Eigen::Dynamic || n == fixed) && (most == Eigen::Dynamic || n <= most);
  };
  if (!holds(q.rows(), Matrix::RowsAtCompileTime, Matrix::MaxRowsAtCompileTime) ||
      !holds(q.cols(), Matrix::ColsAtCompileTime, Matrix::MaxColsAtCompileTime))
    fail_argument("dequantize: the matrix is ", q.rows(), " x ", q.cols(),
                  ", which the type asked for cannot hold; use Eigen::MatrixXf");
  Matrix w(q.rows(), q.cols());
  dequantize_into(q, w);
  return w;
}

// W[out, in] again, as the matrix type asked for. Throws std::invalid_argument if that has another shape.
template <class Matrix = Eigen::MatrixXf>
Matrix dequantize(const QuantizedMatrix& q) {
  return dequantized<Matrix>(q);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
