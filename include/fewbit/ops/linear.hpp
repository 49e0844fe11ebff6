#pragma once
// A linear layer with quantized weights, and the integer sums beneath one. Rule: shapes are refused before anything is
// computed; nothing is kept of the floats that the weights came from.

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include <fewbit/ops/product.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// y = W x + b for quantized W[out, in] and b[out], which may be missing. Columns are samples: where a listing computes
// x W^T + b with a sample to a row, hand over x.transpose().
class QuantizedLinear {
 public:
  // An empty bias is none. Throws std::invalid_argument if the bias is not of as many numbers as W has rows, and if W
  // holds no weights.
  explicit QuantizedLinear(QuantizedMatrix weights) : weights_(std::move(weights)) { weights_.require_complete(); }
  template <class Bias>
  QuantizedLinear(QuantizedMatrix weights, const Eigen::MatrixBase<Bias>& bias) : QuantizedLinear(std::move(weights)) {
    set_bias(bias, weights_.rows());
  }

  // Quantizes W[out, in], and throws as quantize does; a bias of the wrong size is refused before. The defaults are the
  // plain recipe: integers of 8 bits under one scale.
  template <class Derived, class Bias, Grid G = Symmetric, Estimator<G> E = MinMax>
  QuantizedLinear(const Eigen::DenseBase<Derived>& w, const Eigen::MatrixBase<Bias>& bias, const G& grid = G(8),
                  Granularity granularity = per_tensor(), const E& estimate = {}) {
    set_bias(bias, w.rows());
    weights_ = quantize(w, grid, granularity, estimate);
  }
  template <class Derived, Grid G = Symmetric, Estimator<G> E = MinMax>
  explicit QuantizedLinear(const Eigen::DenseBase<Derived>& w, const G& grid = G(8),
                           Granularity granularity = per_tensor(), const E& estimate = {})
      : weights_(quantize(w, grid, granularity, estimate)) {}

  Index in() const { return weights_.cols(); }
  Index out() const { return weights_.rows(); }
  const QuantizedMatrix& weights() const { return weights_; }
  const Eigen::VectorXf& bias() const { return bias_; }  // empty if there is none

  // What is held: the weights' bytes and the bias in floats.
  std::size_t bytes() const { return weights_.bytes() + static_cast<std::size_t>(bias_.size()) * sizeof(float); }

  // y[out] for x[in], Y[out, n] for X[in, n], any Eigen expression of real numbers. Throws as product does.
  template <class Derived>
  Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> operator()(
      const Eigen::MatrixBase<Derived>& x, Activations activations = Activations::floats) const {
    auto y = product(weights_, x, activations);
    if (bias_.size() != 0) y.colwise() += bias_;
    return y;
  }

 private:
  template <class Bias>
  void set_bias(const Eigen::MatrixBase<Bias>& bias, Index out) {
    static_assert(is_real<typename Bias::Scalar>,
                  "fewbit: the bias must be of float, double, Eigen::half or Eigen::bfloat16");
    if (bias.size() == 0) return;
    if (bias.size() != out || (bias.rows() != 1 && bias.cols() != 1))
      fail_argument("QuantizedLinear: the bias is ", bias.rows(), " x ", bias.cols(), " and W has ", out,
                    " rows; give one number for each, or none");
    const Eigen::MatrixXf values = bias.template cast<float>();
    bias_ = values.reshaped();
  }

  QuantizedMatrix weights_;
  Eigen::VectorXf bias_;
};

// Sums of one row of levels with columns of integers, all of them padded with zeros to a multiple of `run`.
inline constexpr Index integer_run = 64;
inline std::int32_t integer_dot(const std::int16_t* levels, const std::int16_t* x, Index padded) {
  std::int32_t sum = 0;
  for (Index k = 0; k < padded; k += integer_run) {
    std::int32_t part = 0;  // of a length that is known, without which -O2 leaves vector instructions alone
    for (Index j = 0; j < integer_run; ++j) part += levels[k + j] * x[k + j];
    sum += part;
  }
  return sum;
}

// sum over j of level(q, i, j) x_j, exactly: the accumulators of an integer product, for those who scale and shift them
// by themselves. A level is first + code: neither scale nor zero-point has touched it. y[out] for x[in], Y[out, n] for
// X[in, n], any Eigen expression of std::int8_t, -128 included.
//
// q is of integers of at most 8 bits, no row of it under more than one scale. Throws std::invalid_argument if it is
// not, if its inputs are scaled, if the shapes do not fit, and if sums could pass a 32-bit integer: in * 128 *
// max|level| must be below 2^31, so that 131071 inputs are always allowed at 8 bits around zero.
template <class Derived>
Eigen::Matrix<std::int32_t, Eigen::Dynamic, Derived::ColsAtCompileTime> integer_product(
    const QuantizedMatrix& q, const Eigen::MatrixBase<Derived>& x) {
  static_assert(std::is_same_v<typename Derived::Scalar, std::int8_t>, "fewbit: x must be of std::int8_t");
  const Levels& levels = q.levels();
  if (!levels.uniform()) fail_argument("integer_product: the levels of W are a table; it needs integers");
  if (levels.bits() > 8) fail_argument("integer_product: W has codes of ", levels.bits(), " bits; it takes at most 8");
  if (q.blocks_across() > 1)
    fail_argument("integer_product: a row of W has ", q.blocks_across(),
                  " scales, which its sum would mix; quantize per channel or per tensor");
  if (!q.input_map().scale.empty())
    fail_argument("integer_product: the inputs of W are scaled, and are integers no longer");
  if (x.rows() != q.cols())
    fail_argument("integer_product: W is ", q.rows(), " x ", q.cols(), " and x has ", x.rows(), " rows; it needs ",
                  q.cols());
  q.require_complete();
  const int first = static_cast<int>(levels.first());
  const std::int64_t most = std::max(std::abs(first), std::abs(first + (1 << levels.bits()) - 1));
  constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
  if (most > std::numeric_limits<std::int16_t>::max() || (q.cols() > 0 && most * 128 > limit / q.cols()))
    fail_argument("integer_product: ", q.cols(), " products of levels up to ", most,
                  " with 8-bit integers can pass 2^31; split the columns");

  const Index n = q.cols(), padded = (n + integer_run - 1) / integer_run * integer_run;
  const std::vector<std::uint32_t>& order = q.input_map().order;
  const auto& inputs = x.derived().eval();  // a plain matrix is not copied
  std::vector<std::int16_t> columns(room_for(x.cols(), padded), 0);
  for (Index c = 0; c < x.cols(); ++c)
    for (Index k = 0; k < n; ++k)
      columns[static_cast<std::size_t>(c * padded + k)] =
          inputs.coeff(order.empty() ? k : static_cast<Index>(order[static_cast<std::size_t>(k)]), c);

  Eigen::Matrix<std::int32_t, Eigen::Dynamic, Derived::ColsAtCompileTime> y(q.rows(), x.cols());
  for_each_slice(q.rows(), 64, [&](Index from, Index to) {
    std::vector<std::int16_t> row(static_cast<std::size_t>(padded), 0);
    for (Index i = from; i < to; ++i) {
      CodeReader code(q.codes(i), levels.bits());
      for (Index k = 0; k < n; ++k)
        row[static_cast<std::size_t>(k)] = static_cast<std::int16_t>(first + static_cast<int>(code()));
      for (Index c = 0; c < x.cols(); ++c) y(i, c) = integer_dot(row.data(), columns.data() + c * padded, padded);
    }
  });
  return y;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
