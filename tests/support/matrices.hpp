#pragma once
// Matrices of weights, and one matrix as it may lie in memory. Rule: what surrounds a matrix in memory is NaN, so
// that reading beside it does not go unnoticed.

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include <Eigen/Core>

#include <support/numbers.hpp>

namespace support {

using Eigen::Index;
using Eigen::MatrixXf;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::Map<const MatrixXf, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
using Unaligned = Eigen::Map<const RowMajor, Eigen::Unaligned, Eigen::OuterStride<>>;

inline MatrixXf normal_matrix(Index rows, Index cols, std::uint32_t seed, float sigma = 1) {
  NumPy random(seed);
  MatrixXf w(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) w(i, j) = static_cast<float>(random.randn()) * sigma;
  return w;
}

// Normal weights, in which runs of columns are halves of integers times a power of two (ties of every grid whose
// scale is such a power), constant, zero, or of another magnitude, between 2^-spread and 2^spread.
inline MatrixXf planted_matrix(Index rows, Index cols, std::uint32_t seed, int spread) {
  NumPy random(seed);
  MatrixXf w(rows, cols);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < cols;) {
      const Index run = 1 + static_cast<Index>(random.below(40));
      const double size =
          std::ldexp(1., static_cast<int>(random.below(static_cast<std::size_t>(2 * spread + 1))) - spread);
      const double constant = random.below(4) ? random.randn() * size : 0;
      const std::size_t kind = random.below(8);
      for (Index k = 0; k < run && j < cols; ++k, ++j) {
        double x = random.randn();
        if (kind < 2) x = (static_cast<double>(random.below(61)) - 30) / 2 * size;
        if (kind == 2) x = constant;
        if (kind == 3) x *= size;
        if (kind == 4) x = std::fabs(x) * size;
        if (random.below(40) == 0) x = random.below(2) ? 0. : -0.;
        w(i, j) = static_cast<float>(x);
      }
    }
  }
  return w;
}

// Calls f(name, expression) for w in each of the ways it may lie in memory.
template <class F>
void in_every_layout(const MatrixXf& w, F&& f) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Index rows = w.rows(), cols = w.cols();
  f("column-major", w);

  const RowMajor by_row = w;
  f("row-major", by_row);

  std::vector<float> memory(static_cast<std::size_t>(3 * (rows + 2) * (cols + 1)), nan);
  Eigen::Map<MatrixXf, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>(memory.data() + 1, rows, cols,
                                                                                        {3 * (rows + 2), 3}) = w;
  f("strided both ways", Strided(memory.data() + 1, rows, cols, {3 * (rows + 2), 3}));

  std::vector<float> shifted(static_cast<std::size_t>((cols + 5) * rows + 4), nan);
  Eigen::Map<RowMajor, Eigen::Unaligned, Eigen::OuterStride<>>(shifted.data() + 3, rows, cols,
                                                               Eigen::OuterStride<>(cols + 5)) = w;
  f("unaligned rows", Unaligned(shifted.data() + 3, rows, cols, Eigen::OuterStride<>(cols + 5)));

  MatrixXf around = MatrixXf::Constant(rows + 5, cols + 7, nan);
  around.block(2, 3, rows, cols) = w;
  f("block", around.block(2, 3, rows, cols));

  const MatrixXf turned = w.transpose();
  std::vector<float> apart(static_cast<std::size_t>(2 * (cols + 1) * (rows + 1)), nan);
  Eigen::Map<MatrixXf, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>(apart.data(), cols, rows,
                                                                                        {2 * (cols + 1), 2}) = turned;
  f("transposed, strided both ways", Strided(apart.data(), cols, rows, {2 * (cols + 1), 2}).transpose());
}

// The same for w where it may be written to: f(name, expression, memory) is handed all that lies about it as well.
template <class F>
void in_every_writable_layout(const MatrixXf& w, F&& f) {
  using Map = Eigen::Map<MatrixXf, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Index rows = w.rows(), cols = w.cols();
  const auto memory_of = [](auto& m) { return std::span<float>(m.data(), static_cast<std::size_t>(m.size())); };

  MatrixXf by_column = w;
  f("column-major", by_column, memory_of(by_column));

  RowMajor by_row = w;
  f("row-major", by_row, memory_of(by_row));

  std::vector<float> apart(static_cast<std::size_t>(3 * (rows + 2) * (cols + 1)), nan);
  Map strided(apart.data() + 1, rows, cols, {3 * (rows + 2), 3});
  strided = w;
  f("strided both ways", strided, std::span<float>(apart));

  MatrixXf around = MatrixXf::Constant(rows + 5, cols + 7, nan);
  auto block = around.block(2, 3, rows, cols);
  block = w;
  f("block", block, memory_of(around));

  MatrixXf turned = w.transpose();
  auto transposed = turned.transpose();
  f("transposed", transposed, memory_of(turned));
}

}  // namespace support
