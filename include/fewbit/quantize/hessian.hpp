#pragma once
// What calibration learns about a layer's inputs: which weights matter, and which can make up for each other. Rule:
// samples come in batches of any size and type, and the sums are the same however they were cut; nothing is answered
// before the first sample.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include <fewbit/eigen/padded_square.hpp>
#include <fewbit/eigen/rows.hpp>
#include <fewbit/kernel/product_dispatch.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Sums of x y^T over pairs of samples. They are multiplied as floats, a thousand at a time, and added in double.
class SampleProducts {
 public:
  using Samples = Eigen::Ref<const Eigen::MatrixXf>;  // [n, samples]

  // symmetric: x and y are always the same.
  SampleProducts(Index n, bool symmetric) : n_(n), symmetric_(symmetric) {}
  // A sum from elsewhere, symmetric.
  explicit SampleProducts(const Eigen::MatrixXd& sum) : SampleProducts(sum.rows(), true) {
    sum_.emplace(n_);
    for (Index j = 0; j < n_; ++j) std::copy(sum.col(j).data() + j, sum.col(j).data() + n_, sum_->row(j) + j);
  }

  void add(const Samples& x, const Samples& y) {
    waiting_x_.resize(room_for(n_, stride));
    if (!symmetric_) waiting_y_.resize(waiting_x_.size());
    for (Index first = 0, taken = 0; first < x.cols(); first += taken) {
      taken = std::min(x.cols() - first, batch - waiting_);
      collect(x.middleCols(first, taken), waiting_x_);
      if (!symmetric_) collect(y.middleCols(first, taken), waiting_y_);
      if ((waiting_ += taken) == batch) flush();
    }
  }

  void join(const SampleProducts& other) {
    other.with_sum([&](const PaddedSquare<double>& sum) {
      if (!sum_) {
        sum_ = sum;
        return;
      }
      for (Index j = 0; j < n_; ++j)
        for (Index i = symmetric_ ? j : 0; i < n_; ++i) sum_->row(j)[i] += sum.row(j)[i];
    });
  }

  // Calls f with the sum, its columns as rows; of a symmetric one, with what is on and below the diagonal.
  template <class F>
  void with_sum(F&& f) const {
    if (sum_ && waiting_ == 0) return f(*sum_);
    SampleProducts all = *this;
    all.flush();
    f(std::as_const(*all.sum_));
  }

  // The sum, times a factor.
  Eigen::MatrixXd total(double factor) const {
    Eigen::MatrixXd result(n_, n_);
    with_sum([&](const PaddedSquare<double>& sum) {
      for (Index j = 0; j < n_; j += panel)  // squares, so that neither side is walked against its lines for long
        for (Index i = symmetric_ ? j : 0; i < n_; i += panel)
          for (Index c = j; c < std::min(n_, j + panel); ++c)
            for (Index r = symmetric_ ? std::max(i, c) : i; r < std::min(n_, i + panel); ++r) {
              result(r, c) = sum.row(c)[r] * factor;
              if (symmetric_) result(c, r) = result(r, c);
            }
    });
    return result;
  }

 private:
  // Eight lanes of floats hold what this many products add up to within 2^-17 of their size; the line between rows
  // keeps them out of each other's sets of the cache.
  static constexpr Index batch = 1024, stride = batch + 16, wide = 96, panel = 64;

  void collect(const Samples& x, Buffer<float>& to) const {
    for (Index i = 0; i < x.rows(); i += panel)  // few enough rows that their lines stay in L1 until they are filled
      transpose(x.data() + i, x.outerStride(), to.data() + i * stride + waiting_, stride, std::min(panel, x.rows() - i),
                x.cols());
  }

  // Makes whole registers of what is waiting. A row whose products could leave the range of a float is brought back by
  // a power of two; the result is what each row is to be multiplied by.
  std::vector<double> prepare(Buffer<float>& rows, Index length) const {
    std::vector<double> units(static_cast<std::size_t>(n_), 1.);
    for (Index i = 0; i < n_; ++i) {
      float* const row = rows.data() + i * stride;
      Range range;
      kernel::active().ranges(row, static_cast<std::size_t>(waiting_), static_cast<std::size_t>(waiting_), &range);
      const float most = std::max(-range.lo, range.hi);
      std::fill(row + waiting_, row + length, 0.f);
      if (most == 0 || (most >= 0x1p-30f && most <= 0x1p30f)) continue;
      const int e = std::ilogb(most);
      for (Index j = 0; j < waiting_; ++j) row[j] = std::ldexp(row[j], -e);
      units[static_cast<std::size_t>(i)] = std::ldexp(1., e);
    }
    return units;
  }

  // sum[r] += unit[r] * by * part[r]. Two at a time by hand: at -O2 compilers leave such a loop as it is.
  static void add_scaled(const float* part, Index n, const double* unit, double by, double* sum) {
    using Float2 = float __attribute__((vector_size(8)));
    using Double2 = double __attribute__((vector_size(16)));
    Index r = 0;
    for (; r + 2 <= n; r += 2) {
      Float2 p;
      Double2 u, s;
      std::memcpy(&p, part + r, sizeof p), std::memcpy(&u, unit + r, sizeof u), std::memcpy(&s, sum + r, sizeof s);
      s += u * by * __builtin_convertvector(p, Double2);
      std::memcpy(sum + r, &s, sizeof s);
    }
    for (; r < n; ++r) sum[r] += unit[r] * by * static_cast<double>(part[r]);
  }

  // sum_ += x y^T of what is waiting, below the diagonal only if that is enough.
  void flush() {
    const bool is_first = !sum_;
    if (is_first) sum_.emplace(n_);
    const StatedArithmetic stated;
    const Index n = n_, length = (waiting_ + 15) / 16 * 16, panels = (n + panel - 1) / panel;
    const std::vector<double> unit_x = prepare(waiting_x_, length),
                              unit_y = symmetric_ ? unit_x : prepare(waiting_y_, length);
    const kernel::Products& products = kernel::products_of(kernel::active());
    const auto size = [](Index i) { return static_cast<std::size_t>(i); };
    const float *const x = waiting_x_.data(), *const y = symmetric_ ? x : waiting_y_.data();
    for_each_slice(panels, 1, [&](Index first, Index last) {
      for (Index p = first; p < last; ++p) {
        const Index i0 = in_turn(p, panels) * panel, i1 = std::min(n, i0 + panel);
        float part[panel * wide];
        for (Index j = 0, end = symmetric_ ? i1 : n; j < end; j += wide) {
          const Index columns = std::min(wide, n - j);
          std::fill_n(part, panel * columns, 0.f);
          products.dense(size(length), size(i1 - i0), x + i0 * stride, size(stride),
                         {size(columns), size(stride), y + j * stride}, part, size(panel));
          for (Index c = 0; c < columns; ++c) {
            double* const sum = sum_->row(j + c) + i0;
            if (is_first) std::fill_n(sum, i1 - i0, 0.);
            add_scaled(part + c * panel, i1 - i0, unit_x.data() + i0, unit_y[size(j + c)], sum);
          }
        }
      }
    });
    waiting_ = 0;
  }

  Index n_;
  bool symmetric_;
  std::optional<PaddedSquare<double>> sum_;  // none: all zeros
  Buffer<float> waiting_x_, waiting_y_;      // by rows, `stride` apart
  Index waiting_ = 0;
};

// A symmetric matrix by what lies on and below its diagonal, factor * sum.row(j)[i] for i >= j.
struct LowerTriangle {
  const PaddedSquare<double>& sum;
  double factor, largest;  // the latter a magnitude; not finite if one element is not

  LowerTriangle(const PaddedSquare<double>& s, double by) : sum(s), factor(by), largest(0) {
    for (Index j = 0; j < sum.n && std::isfinite(largest); ++j) {
      const Eigen::Map<const Eigen::ArrayXd> below(sum.row(j) + j, sum.n - j);
      const double most = below.abs().maxCoeff<Eigen::PropagateNaN>() * factor;
      if (!(most <= largest)) largest = most;
    }
  }
  Index size() const { return sum.n; }
  double diagonal(Index i) const { return sum.row(i)[i] * factor; }
  double at(Index i, Index j) const { return sum.row(std::min(i, j))[std::max(i, j)] * factor; }
};

// H = 2/N sum of x x^T over N calibration inputs x of a layer W[out, in]: the curvature of |W x - Q x|^2, the same for
// every row of W (GPTQ, arXiv 2210.17323).
//
// Samples are floats, multiplied a thousand at a time and added in double: an element is within 2^-17 sqrt(H_ii H_jj)
// of the exact one whatever the samples, within 2^-20 if they vary, and does not depend on how samples were cut into
// batches. Rounded so, H may have eigenvalues a little below 0. Memory: in x in doubles.
class Hessian {
 public:
  // Throws std::invalid_argument for a negative number of inputs.
  explicit Hessian(Index inputs) : products_(checked(inputs), true), inputs_(inputs) {}

  // Of all the samples there are, x[in, samples].
  template <class Derived>
  static Hessian of(const Eigen::MatrixBase<Derived>& x) {
    Hessian h(x.rows());
    h.add(x);
    return h;
  }

  // One that was computed elsewhere, from so many samples. Throws std::invalid_argument unless h is square and samples
  // is above 0, std::domain_error unless h is finite.
  template <class Derived>
  static Hessian from_matrix(const Eigen::MatrixBase<Derived>& h, Index samples = 1) {
    if (h.rows() != h.cols() || samples < 1)
      fail_argument("a Hessian of ", h.rows(), " x ", h.cols(), " from ", samples,
                    " samples is not possible; it must be square, and from at least one");
    const Eigen::MatrixXd d = h.template cast<double>();
    for (Index j = 0; j < d.cols(); ++j)
      for (Index i = 0; i < d.rows(); ++i)
        if (!std::isfinite(d(i, j)))
          fail_domain("the Hessian at row ", i, ", column ", j, " is ", d(i, j), "; it must be finite");
    const double half = static_cast<double>(samples) / 2;
    Eigen::MatrixXd sum = d * (half / 2) + d.transpose() * (half / 2);
    if (!sum.allFinite())
      fail_domain("a Hessian with numbers up to ", d.cwiseAbs().maxCoeff(), " from ", samples,
                  " samples is beyond the range of a double; scale it down");
    Hessian result(0);
    result.products_ = SampleProducts(sum);
    result.inputs_ = h.rows(), result.samples_ = samples;
    return result;
  }

  // A batch of samples x[in, samples]: any Eigen expression of real numbers, taken as floats. Throws
  // std::invalid_argument unless it has inputs() rows, std::domain_error if a number is not finite; nothing is added
  // then.
  template <class Derived>
  void add(const Eigen::MatrixBase<Derived>& x) {
    if (deviations_) fail_argument("calibration has had pairs of samples; add the unquantized model's inputs here too");
    const SampleProducts::Samples floats(x.template cast<float>());
    check(floats);
    products_.add(floats, floats);
    samples_ += x.cols();
  }

  // The same, with what the inputs are in the model before anything is quantized: for GPTAQ, which makes up for the
  // errors of the layers before as well (arXiv 2504.02692). All batches must come as pairs, or none.
  template <class Derived, class Original>
  void add(const Eigen::MatrixBase<Derived>& x, const Eigen::MatrixBase<Original>& original) {
    if (!deviations_ && samples_ > 0)
      fail_argument("calibration has had samples without the unquantized model's inputs; add pairs from the start");
    if (x.rows() != original.rows() || x.cols() != original.cols())
      fail_argument("calibration inputs are ", x.rows(), " x ", x.cols(), ", the unquantized model's ", original.rows(),
                    " x ", original.cols(), "; they must be pairs");
    const SampleProducts::Samples floats(x.template cast<float>()), exact(original.template cast<float>());
    check(floats), check(exact);
    if (x.cols() == 0) return;
    if (!deviations_) deviations_.emplace(inputs_, false);
    products_.add(floats, floats);
    deviations_->add(exact - floats, floats);
    samples_ += x.cols();
  }

  // Takes in the samples of another shard. Throws std::invalid_argument if it has other inputs.
  void merge(const Hessian& other) {
    if (other.inputs_ != inputs_)
      fail_argument("a Hessian of ", inputs_, " inputs cannot take in one of ", other.inputs_,
                    "; shards are of one layer");
    if (other.samples_ == 0) return;
    if (samples_ > 0 && deviations_.has_value() != other.deviations_.has_value())
      fail_argument("one shard of calibration has the unquantized model's inputs, the other has not");
    products_.join(other.products_);
    if (other.deviations_ && !deviations_) deviations_.emplace(inputs_, false);
    if (other.deviations_) deviations_->join(*other.deviations_);
    samples_ += other.samples_;
  }

  Index inputs() const { return inputs_; }
  Index samples() const { return samples_; }

  // H[in, in]. Throws std::invalid_argument if no sample was added, std::domain_error if shards from elsewhere add up
  // to more than a double holds: no damping would ever make such a matrix one that can be factored.
  Eigen::MatrixXd matrix() const {
    require_samples();
    Eigen::MatrixXd h = products_.total(2 / static_cast<double>(samples_));
    if (!h.allFinite()) fail_not_finite();
    return h;
  }

  // Calls f(LowerTriangle) with H, without a copy if the samples are all added up. Throws as matrix() does.
  template <class F>
  void with_lower(F&& f) const {
    require_samples();
    products_.with_sum([&](const PaddedSquare<double>& sum) {
      const LowerTriangle h(sum, 2 / static_cast<double>(samples_));
      if (!std::isfinite(h.largest)) fail_not_finite();
      f(h);
    });
  }

  // 2/N sum of (original - x) x^T. Throws std::invalid_argument unless samples were added as pairs.
  Eigen::MatrixXd deviation() const {
    require_samples();
    if (!deviations_) fail_argument("calibration has not had the unquantized model's inputs; add(x, original)");
    return deviations_->total(2 / static_cast<double>(samples_));
  }

  void require_samples() const {
    if (samples_ == 0) fail_argument("calibration never ran: the Hessian has no samples; add() some first");
  }

 private:
  static Index checked(Index inputs) {
    if (inputs < 0) fail_argument("a Hessian of ", inputs, " inputs is not possible; use the number of W's columns");
    return inputs;
  }
  [[noreturn]] static void fail_not_finite() {
    fail_domain("the Hessian's shards add up beyond the range of a double; scale them down");
  }
  void check(const SampleProducts::Samples& x) const {
    if (x.rows() != inputs_)
      fail_argument("a calibration batch is ", x.rows(), " x ", x.cols(), " where the layer has ", inputs_,
                    " inputs; a column is a sample");
    if (inputs_ == 0) return;
    const auto n = static_cast<std::size_t>(inputs_);
    for (Index j = 0; j < x.cols(); ++j) {
      Range range;
      kernel::active().ranges(x.col(j).data(), n, n, &range);
      if (!(std::isfinite(range.lo) && std::isfinite(range.hi)))
        for (Index i = 0; i < x.rows(); ++i)
          if (!std::isfinite(x(i, j)))
            fail_domain("calibration input ", i, " of sample ", j, " in this batch is ", x(i, j), " as a float",
                        "; leave the sample out");
    }
  }

  SampleProducts products_;
  std::optional<SampleProducts> deviations_;
  Index inputs_, samples_ = 0;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
