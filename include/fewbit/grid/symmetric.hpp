#pragma once
// Signed integers around a zero that is always exact. Rule: no zero-point, so products need no correction.

#include <fewbit/grid/grid.hpp>

namespace fewbit {

// Symmetric(bits): the levels -(2^(bits-1) - 1) .. 2^(bits-1) - 1, scale = max|w| / (2^(bits-1) - 1).
//
// One bit leaves a single level beside zero, so Symmetric(1) is the signed grid {-1, 0}.
class Symmetric {
 public:
  // Throws std::invalid_argument unless 1 <= bits <= 16.
  explicit constexpr Symmetric(int bits) : Symmetric(bits, bits == 1 ? Reach::signed_scale : Reach::narrow) {}

  // All 2^bits codes, scale = max|w| / ((2^bits - 1) / 2): the ends of the range lie half a step outside the
  // largest weight on one side and inside it on the other.
  constexpr Symmetric full_range() const {
    return Symmetric(levels_.bits(), levels_.bits() == 1 ? reach_ : Reach::full);
  }

  // All 2^bits codes; the element of largest magnitude maps to -2^(bits-1) exactly, so the scale takes the other
  // sign than that element. Between w and -w of one magnitude the negative one counts.
  constexpr Symmetric signed_scale() const { return Symmetric(levels_.bits(), Reach::signed_scale); }

  constexpr const Levels& levels() const { return levels_; }

  constexpr Affine fit(Range r) const {
    const float c = r.lo;
    if (c == r.hi) return c == 0 ? Affine{} : constant(c);
    const float lo = r.lo, hi = r.hi, most = hi > -lo ? hi : -lo;
    switch (reach_) {
      case Reach::narrow: return {float_scale(most, levels_.last()), 0};
      case Reach::full: return {float_scale(most, (static_cast<float>(levels_.count()) - 1) / 2), 0};
      case Reach::signed_scale: break;
    }
    return {float_scale(hi > -lo ? hi : lo, levels_.first()), 0};
  }

 private:
  enum class Reach { narrow, full, signed_scale };

  constexpr Symmetric(int bits, Reach reach) : levels_(make(bits, reach)), reach_(reach) {}

  static constexpr Levels make(int bits, Reach reach) {
    if (bits < 1 || bits > max_bits) fail_argument("bit width ", bits, " is not possible; use 1 to 16");
    const int half = 1 << (bits - 1);
    return reach == Reach::narrow ? Levels::integers(bits, 1 - half, 2 * half - 1)
                                  : Levels::integers(bits, -half, 2 * half);
  }

  constexpr Affine constant(float c) const {
    const float p = exact_divisor(c, reach_ == Reach::signed_scale ? -levels_.first() : levels_.last());
    if (reach_ == Reach::signed_scale) return {c / -p, 0};
    return {(c < 0 ? -c : c) / p, 0};
  }

  Levels levels_;
  Reach reach_;
};

static_assert(Grid<Symmetric>);

}  // namespace fewbit
