#pragma once
// NumPy's legacy random stream, np.random.seed(s) and np.random.randn(...): the documents draw all their weights
// from it. Rule: the same seed gives the same numbers, in the same order, as the listings get.

#include <cmath>
#include <cstdint>
#include <random>

#include <Eigen/Core>

namespace example {

// Filled row by row, as NumPy's arrays are; the library takes either storage order.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed) : engine_(seed) {}

  // np.random.rand(): 53 random bits.
  double uniform() {
    const auto high = static_cast<double>(engine_() >> 5), low = static_cast<double>(engine_() >> 6);
    return (high * 0x1p26 + low) / 0x1p53;
  }

  // np.random.randn(): the polar method makes two values at a time; the second waits for the next call.
  double normal() {
    if (waiting_) {
      waiting_ = false;
      return second_;
    }
    for (;;) {
      const double x1 = 2 * uniform() - 1, x2 = 2 * uniform() - 1;
      // Volatile, because a compiler for a machine with fused multiply-add would otherwise skip the rounding of
      // one square, and then accept or scale a pair differently from NumPy.
      const volatile double square1 = x1 * x1, square2 = x2 * x2;
      const double r = square1 + square2;
      if (r >= 1 || r == 0) continue;
      const double f = std::sqrt(-2 * std::log(r) / r);
      second_ = f * x1;
      waiting_ = true;
      return f * x2;
    }
  }

  // np.random.randn(rows, cols)
  Eigen::MatrixXd doubles(Eigen::Index rows, Eigen::Index cols) {
    Eigen::MatrixXd m(rows, cols);
    for (Eigen::Index i = 0; i < rows; ++i)
      for (Eigen::Index j = 0; j < cols; ++j) m(i, j) = normal();
    return m;
  }

  // np.random.randn(rows, cols).astype(np.float32)
  Matrix normals(Eigen::Index rows, Eigen::Index cols) { return doubles(rows, cols).cast<float>(); }

 private:
  std::mt19937 engine_;
  double second_ = 0;
  bool waiting_ = false;
};

}  // namespace example
