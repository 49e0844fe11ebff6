#pragma once
// QLoRA's linear layer (arXiv 2305.14314, section 3): quantized weights that stay as they are, and two thin matrices
// beside them that learn. Rule: no float copy of the weights is made but by merge(), which is asked for one.

#include <cmath>
#include <cstdint>
#include <utility>

#include <fewbit/core/normal.hpp>
#include <fewbit/ops/product.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Gradients of a loss, always floats: small ones vanish in 16 bits.
struct LoraGradients {
  Eigen::MatrixXf a, b, x;  // of A[r, in], of B[out, r] and of X[in, n]
};

// y = W x + (alpha / r) B (A x), W[out, in] frozen, A[r, in] and B[out, r] stored as Scalar: float, or Eigen::half or
// Eigen::bfloat16 for half the room. Sums are floats either way.
template <class Scalar = float>
class LoraLinear {
 public:
  static_assert(std::is_same_v<Scalar, float> || sizeof(Scalar) == 2,
                "fewbit: adapters are of float, Eigen::half or Eigen::bfloat16");
  static_assert(is_real<Scalar>, "fewbit: adapters are of float, Eigen::half or Eigen::bfloat16");
  using Adapter = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;

  // B is 0, so that the layer starts as W alone; A is drawn from N(0, 1 / in), Kaiming's variance for a linear map in
  // the normal distribution of LoRA (arXiv 2106.09685, section 4.1): A x has entries of the size of x's, however many
  // there are. The same seed gives the same A. Throws std::invalid_argument for a rank below 1, an alpha
  // that is not finite, and a base that holds no weights.
  LoraLinear(QuantizedMatrix base, Index rank, float alpha, std::uint64_t seed = 0)
      : base_(std::move(base)), alpha_(alpha) {
    base_.require_complete();
    if (rank < 1) fail_argument("LoraLinear: rank ", rank, " is not possible; use 1 or more");
    if (!std::isfinite(alpha)) fail_argument("LoraLinear: alpha is ", alpha, "; it must be finite");
    a_.resize(rank, in());
    b_ = Adapter::Zero(out(), rank);
    const double sigma = 1 / std::sqrt(static_cast<double>(in()));
    for (Index i = 0; i < rank; ++i)
      for (Index j = 0; j < in(); ++j) {
        // splitmix64: a counter and a mixing function, of which every seed is a good one.
        std::uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        const double uniform = (static_cast<double>(z >> 12) + 0.5) * 0x1p-52;  // never 0 or 1
        a_(i, j) = static_cast<Scalar>(static_cast<float>(sigma * normal_quantile(uniform)));
      }
  }

  Index in() const { return base_.cols(); }
  Index out() const { return base_.rows(); }
  Index rank() const { return a_.rows(); }
  float scaling() const { return alpha_ / static_cast<float>(rank()); }
  const QuantizedMatrix& base() const { return base_; }

  // To be trained: an optimizer writes here, and must leave the shapes alone.
  Adapter& a() { return a_; }
  Adapter& b() { return b_; }
  const Adapter& a() const { return a_; }
  const Adapter& b() const { return b_; }

  // Numbers that learn: r (in + out).
  Index parameters() const { return a_.size() + b_.size(); }
  // What is held: the base's bytes and the adapters in their type.
  std::size_t bytes() const { return base_.bytes() + static_cast<std::size_t>(parameters()) * sizeof(Scalar); }

  // y[out] for x[in], Y[out, n] for X[in, n], any Eigen expression of real numbers. Throws std::invalid_argument unless
  // x has in() rows.
  template <class Derived>
  Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> forward(const Eigen::MatrixBase<Derived>& x) const {
    check_inputs(x.rows());
    const Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> inputs = x.template cast<float>();
    auto y = product(base_, inputs);
    y += scaling() * (floats(b_) * (floats(a_) * inputs)).eval();
    return y;
  }

  // The gradients of A, B and X, where the loss has the gradient dY[out, n] at forward(X). W has none. Throws
  // std::invalid_argument unless X is [in, n] and dY is [out, n].
  template <class DerivedX, class DerivedY>
  LoraGradients backward(const Eigen::MatrixBase<DerivedX>& x, const Eigen::MatrixBase<DerivedY>& dy) const {
    check_inputs(x.rows());
    if (dy.rows() != out() || dy.cols() != x.cols())
      fail_argument("LoraLinear: the gradient is ", dy.rows(), " x ", dy.cols(), "; for these inputs it is ", out(),
                    " x ", x.cols());
    const Eigen::MatrixXf inputs = x.template cast<float>(), gradient = dy.template cast<float>(), a = floats(a_);
    const Eigen::MatrixXf scaled = scaling() * gradient, through = floats(b_).transpose() * scaled;  // [r, n]
    LoraGradients to;
    to.a = through * inputs.transpose();
    to.b = scaled * (a * inputs).transpose();
    to.x = base_.transpose() * gradient;
    to.x += a.transpose() * through;
    return to;
  }

  // W + (alpha / r) B A in floats, to be used or quantized anew.
  Eigen::MatrixXf merge() const {
    Eigen::MatrixXf w = dequantize(base_);
    w += scaling() * (floats(b_) * floats(a_));
    return w;
  }

 private:
  static Eigen::MatrixXf floats(const Adapter& m) { return m.template cast<float>(); }

  void check_inputs(Index rows) const {
    if (rows != in())
      fail_argument("LoraLinear: W is ", out(), " x ", in(), " and x has ", rows, " rows; it needs ", in());
  }

  QuantizedMatrix base_;
  float alpha_;
  Adapter a_, b_;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
