#pragma once
// A range that leaves out the outermost few of the weights. Rule: never wider than the observed range; percentiles are
// NumPy's, interpolated between the two nearest weights.

#include <algorithm>
#include <cmath>
#include <vector>

#include <fewbit/estimate/estimate.hpp>
#include <fewbit/estimate/minmax.hpp>

namespace fewbit {

// Cuts the range to [-t, t], t being the given percentile of |w|; with both_tails(), instead, cuts (100 - percent) / 2
// percent of the weights off either end. What is cut off is clipped. 100 cuts nothing and is MinMax. A cut that would
// leave a range of nothing but 0 is not made: it would lose the unit of all weights that are not 0. O(n) per block.
class Percentile {
 public:
  // Throws std::invalid_argument unless 0 < percent <= 100.
  constexpr Percentile(double percent = 99.9) : percent_(percent) {
    if (!(percent > 0 && percent <= 100))
      fail_argument("a range of ", percent, " percent of the weights is not possible; use more than 0, 100 at most");
  }

  constexpr Percentile both_tails() const {
    Percentile p = *this;
    p.both_tails_ = true;
    return p;
  }

  template <class G>
  Affine operator()(std::span<const float> block, const G& grid) const {
    Range r;
    kernel::active().ranges(block.data(), block.size(), block.size(), &r);
    const Range cut = both_tails_ ? without_tails(block) : within(block, r);
    return grid.fit(cut.lo == 0 && cut.hi == 0 ? r : cut);
  }

 private:
  Range within(std::span<const float> block, Range r) const {
    std::vector<float> size(block.size());
    std::transform(block.begin(), block.end(), size.begin(), [](float w) { return std::fabs(w); });
    const float t = from_above(size, 100 - percent_);
    return {std::max(r.lo, -t) + 0.f, std::min(r.hi, t)};  // + 0 makes -0 a 0
  }
  // Both ends by the same rule: mirrored weights have a mirrored range.
  Range without_tails(std::span<const float> block) const {
    std::vector<float> w(block.begin(), block.end());
    const double tail = (100 - percent_) / 2;
    const float hi = from_above(w, tail);
    for (float& x : w) x = -x;
    return {-from_above(w, tail) + 0.f, hi + 0.f};
  }

  // The value that `percent` percent of x lie above. Changes the order of x.
  //
  // Between two weights the fraction has 28 digits: times a float that is exact in double, so that the sum of two such
  // products cannot come out otherwise where a compiler contracts it.
  static float from_above(std::vector<float>& x, double percent) {
    const double rank = static_cast<double>(x.size() - 1) * percent / 100, whole = std::floor(rank);
    const double above = std::nearbyint((rank - whole) * 0x1p28) / 0x1p28;
    const auto nth = x.begin() + static_cast<std::ptrdiff_t>(whole);
    std::nth_element(x.begin(), nth, x.end(), std::greater<>());
    if (above == 0) return *nth;
    const float next = *std::max_element(nth + 1, x.end());
    return static_cast<float>(static_cast<double>(*nth) * (1 - above) + static_cast<double>(next) * above);
  }

  double percent_;
  bool both_tails_ = false;
};

static_assert(Estimator<Percentile, Symmetric>);

}  // namespace fewbit
