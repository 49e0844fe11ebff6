#pragma once
// A range that follows what is observed, for activations: they come batch after batch, and no batch is the whole. Rule:
// ranges in, one range out; the block that is quantized has no say in it.

#include <cmath>
#include <limits>

#include <fewbit/core/arithmetic.hpp>
#include <fewbit/estimate/estimate.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/kernel/dispatch.hpp>

namespace fewbit {

// The exponential moving average of both ends: end += constant * (observed - end). The first observation is taken
// whole. As an estimator it fits its own range to every block. (Jacob et al., arXiv 1712.05877, section 3.1.)
class MovingAverage {
 public:
  // Throws std::invalid_argument unless 0 < constant <= 1.
  explicit MovingAverage(double constant = 0.01) : constant_(constant) {
    if (!(constant > 0 && constant <= 1))
      fail_argument("a moving average with constant ", constant, " is not possible; use more than 0, 1 at most");
  }

  // Takes in one batch; an empty one is ignored. Throws std::domain_error for a value that is not finite, naming its
  // index, and then nothing was taken in.
  void observe(std::span<const float> batch) {
    if (batch.empty()) return;
    Range r;
    kernel::active().ranges(batch.data(), batch.size(), batch.size(), &r);
    if (!std::isfinite(r.lo) || !std::isfinite(r.hi))
      for (std::size_t i = 0; i < batch.size(); ++i)
        if (!std::isfinite(batch[i])) fail_domain("observed value ", i, " is ", batch[i], "; observe finite numbers");
    observe(r);
  }
  // Takes in the range of a batch. Throws std::domain_error unless its ends are finite and in order.
  void observe(Range r) {
    const StatedArithmetic stated;
    r = {stated(r.lo), stated(r.hi)};
    if (!std::isfinite(r.lo) || !std::isfinite(r.hi) || r.lo > r.hi)
      fail_domain("observed range ", r.lo, " to ", r.hi, " is none; observe finite ends, the smaller one first");
    lo_ = observed_ ? moved(lo_, static_cast<double>(r.lo)) : static_cast<double>(r.lo);
    hi_ = observed_ ? moved(hi_, static_cast<double>(r.hi)) : static_cast<double>(r.hi);
    observed_ = true;
  }

  // Throws std::invalid_argument before the first observation: a range that was never calibrated would go unnoticed.
  Range range() const {
    if (!observed_)
      fail_argument("nothing was observed by this moving average; call observe() before its range is used");
    return {static_cast<float>(lo_) + 0.f, static_cast<float>(hi_) + 0.f};  // + 0 makes -0 a 0
  }

  template <class G>
  Affine operator()(Range, const G& grid) const {
    return grid.fit(range());
  }
  template <class G>
  Affine operator()(std::span<const float>, const G& grid) const {
    return grid.fit(range());
  }

 private:
  // end + constant * (to - end), from the other side: a product could be contracted with the sum, and a constant of 1
  // must give `to` exactly.
  double moved(double end, double to) const { return to + (end - to) / (1 / (1 - constant_)); }

  double constant_, lo_ = 0, hi_ = 0;
  bool observed_ = false;
};

static_assert(RangeEstimator<MovingAverage, Symmetric>);

}  // namespace fewbit
