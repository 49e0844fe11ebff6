// Compiled twice, as -DUNIT=first and -DUNIT=second, with flags that give Eigen another alignment, or other threads.
#include "unit.hpp"

#include <fewbit/fewbit.hpp>

namespace {

Eigen::MatrixXf weights(Eigen::Index rows, Eigen::Index cols) {
  Eigen::MatrixXf w(rows, cols);
  for (Eigen::Index i = 0; i < w.size(); ++i) w.data()[i] = static_cast<float>((i * 7919) % 2003 - 1001) / 1024.0f;
  return w;
}

std::vector<float> plain(const Eigen::MatrixXf& w) { return std::vector<float>(w.data(), w.data() + w.size()); }

}  // namespace

namespace UNIT {

// Rows enough to be split over threads.
fewbit::QuantizedMatrix make() {
  return fewbit::quantize(weights(331, 131), fewbit::Asymmetric(4), fewbit::per_group(32, fewbit::ScaleType::f16));
}

std::vector<float> decode(const fewbit::QuantizedMatrix& q) { return plain(fewbit::dequantize(q)); }

std::vector<float> fake(const fewbit::QuantizedMatrix& like) {
  return plain(fewbit::fake_quantize(weights(like.rows(), like.cols()), fewbit::Asymmetric(4), like.granularity()));
}

std::vector<float> multiply(const fewbit::QuantizedMatrix& q) {
  const Eigen::MatrixXf x = weights(q.cols(), 5);
  const Eigen::MatrixXf y = q * x;
  const Eigen::VectorXf column = q * x.col(0);
  if (!column.isApprox(y.col(0), 1e-4f)) return {};
  return plain(y);
}

// Eigen objects made and freed many times at sizes around the alignment's own: a block that one allocator hands out and
// the other takes back is found at once.
std::vector<float> round_trips(const fewbit::QuantizedMatrix& q) {
  Eigen::MatrixXf sum = Eigen::MatrixXf::Zero(q.rows(), q.cols());
  for (int i = 0; i < 64; ++i) {
    const Eigen::MatrixXf w = fewbit::dequantize(q);
    sum +=
        fewbit::dequantize(fewbit::quantize(w.leftCols(1 + 2 * i), fewbit::nf4)).rowwise().sum().replicate(1, q.cols());
  }
  return plain(sum);
}

}  // namespace UNIT
