#pragma once
// The integers 0 .. 2^bits - 1 and an integer zero-point. Rule: the observed range is covered, end to end.

#include <cmath>

#include <fewbit/grid/grid.hpp>

namespace fewbit {

// scale = (max - min) / (2^bits - 1), zero = round(-min / scale).
//
// The zero-point is not clamped: a block whose weights all lie on one side of zero has it outside the codes. The
// difference is formed in double, where it cannot overflow.
class Asymmetric {
 public:
  // Throws std::invalid_argument unless 1 <= bits <= 16.
  explicit constexpr Asymmetric(int bits)
      : levels_(Levels::integers(bits, 0, bits < 1 || bits > max_bits ? 2 : 1 << bits)) {}

  // The range is stretched to include zero first: zero is exact and the zero-point is one of the codes.
  constexpr Asymmetric including_zero() const {
    Asymmetric g = *this;
    g.including_zero_ = true;
    return g;
  }

  constexpr const Levels& levels() const { return levels_; }

  Affine fit(Range r) const {
    if (r.lo == r.hi) return constant(r.lo);
    const Range s = stretch(r);
    const float scale =
        float_scale((static_cast<double>(s.hi) - static_cast<double>(s.lo)) / static_cast<double>(levels_.last()));
    return {scale, zero(r, scale)};
  }

  // The zero-point of a range under a scale that has been rounded to its stored type.
  float zero(Range r, float scale) const {
    if (r.lo == r.hi) return r.lo < 0 ? exact_divisor(r.lo, levels_.last()) : 0.f;
    const float z = std::nearbyint(-stretch(r).lo / scale) + 0.f;  // + 0 makes -0 a 0
    return including_zero_ ? std::fmin(z, levels_.last()) : z;
  }

 private:
  constexpr Range stretch(Range r) const {
    return including_zero_ ? Range{r.lo < 0 ? r.lo : 0.f, r.hi > 0 ? r.hi : 0.f} : r;
  }
  // c = |c| / p * (p - 0), or |c| / p * (0 - p).
  Affine constant(float c) const {
    if (c == 0) return {};
    const float p = exact_divisor(c, levels_.last());
    return c > 0 ? Affine{c / p, 0} : Affine{-c / p, p};
  }

  Levels levels_;
  bool including_zero_ = false;
};

static_assert(Grid<Asymmetric>);

}  // namespace fewbit
