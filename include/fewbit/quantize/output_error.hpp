#pragma once
// What errors of weights do to the output, |(Q - W) x|^2 over samples of x. Rule: of errors alone, so that nothing
// cancels; the samples are arranged once.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <fewbit/kernel/product_dispatch.hpp>
#include <fewbit/quantize/hessian.hpp>
#include <fewbit/quantize/input_statistics.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Some rows of errors in columns first .. of W, `stride` apart, with zeros up to the next multiple of 16.
struct ErrorRows {
  Index rows, first, width, stride;
  const float* errors;
};

class OutputError {
 public:
  // Of all samples x[in, samples].
  explicit OutputError(const Eigen::Ref<const Eigen::MatrixXf>& x)
      : inputs_(x.rows()), samples_(x.cols()), stride_((inputs_ + 15) / 16 * 16 + 32), x_(room_for(samples_, stride_)) {
    for (Index c = 0; c < samples_; ++c) {
      std::copy_n(x.col(c).data(), inputs_, column(c));
      std::fill(column(c) + inputs_, column(c) + stride_, 0.f);
    }
    into_range();
  }
  // As if inputs were independent of each other: all that statistics can say. For one sample, on average.
  explicit OutputError(const InputStatistics& s) : inputs_(s.inputs()), mean_square_(s.mean_square()) {}

  // For inputs x / s.
  OutputError divided(const Eigen::VectorXf& s) const {
    OutputError to = *this;
    for (Index c = 0; c < samples_; ++c)
      for (Index j = 0; j < inputs_; ++j) to.column(c)[j] /= s[j];
    if (mean_square_.size() > 0) to.mean_square_.array() /= s.cast<double>().array().square();
    else to.into_range();
    return to;
  }

  // Adds that of each row to loss[row].
  void add(const ErrorRows& e, double* loss) const {
    if (mean_square_.size() > 0) {
      for (Index r = 0; r < e.rows; ++r)
        for (Index j = 0; j < e.width; ++j) {
          const double error = e.errors[r * e.stride + j];
          loss[r] += error * error * mean_square_[e.first + j];
        }
      return;
    }
    constexpr Index tall = 64, wide = 48;
    float most = 0;
    for (Index r = 0; r < e.rows; ++r)
      for (Index j = 0; j < e.width; ++j) most = std::max(most, std::fabs(e.errors[r * e.stride + j]));
    if (most != 0 && (most < 0x1p-40f || most > 0x1p40f)) {
      if (!(most <= std::numeric_limits<float>::max())) {
        std::fill_n(loss, e.rows, std::numeric_limits<double>::infinity());
        return;
      }
      return add_scaled(e, std::ilogb(most), loss);
    }
    const kernel::Products& products = kernel::products_of(kernel::active());
    const auto size = [](Index i) { return static_cast<std::size_t>(i); };
    float y[tall * wide];
    for (Index r = 0; r < e.rows; r += tall)
      for (Index c = 0; c < samples_; c += wide) {
        const Index rows = std::min(tall, e.rows - r), columns = std::min(wide, samples_ - c);
        std::fill_n(y, tall * columns, 0.f);
        products.dense(size((e.width + 15) / 16 * 16), size(rows), e.errors + r * e.stride, size(e.stride),
                       {size(columns), size(stride_), x_.data() + c * stride_ + e.first}, y, size(tall));
        for (Index i = 0; i < rows; ++i)
          for (Index k = 0; k < columns; ++k) {
            const double output = unit_ * static_cast<double>(y[k * tall + i]);
            loss[r + i] += output * output;
          }
      }
  }

 private:
  float* column(Index c) { return x_.data() + c * stride_; }

  // Samples whose products would leave the range of a float are brought back by a power of two.
  void into_range() {
    const float most =
        std::accumulate(x_.begin(), x_.end(), 0.f, [](float a, float b) { return std::max(a, std::fabs(b)); });
    if (most == 0 || !std::isfinite(most) || (most >= 0x1p-40f && most <= 0x1p40f)) return;
    const int e = std::ilogb(most);
    for (float& x : x_) x = std::ldexp(x, -e);
    unit_ *= std::ldexp(1., e);
  }
  void add_scaled(const ErrorRows& e, int exponent, double* loss) const {
    std::vector<float> errors(room_for(e.rows, e.stride));
    for (std::size_t k = 0; k < errors.size() - static_cast<std::size_t>(e.stride - (e.width + 15) / 16 * 16); ++k)
      errors[k] = std::ldexp(e.errors[k], -exponent);
    std::vector<double> scaled(static_cast<std::size_t>(e.rows));
    add({e.rows, e.first, e.width, e.stride, errors.data()}, scaled.data());
    for (Index r = 0; r < e.rows; ++r) loss[r] += std::ldexp(scaled[static_cast<std::size_t>(r)], 2 * exponent);
  }

  Index inputs_, samples_ = 0, stride_ = 0;
  double unit_ = 1;  // of x_
  Buffer<float> x_;
  Eigen::VectorXd mean_square_;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
