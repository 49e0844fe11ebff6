#pragma once
// Any ascending table of 2 to 256 levels, scaled per block. Rule: the largest |w| of a block maps to `reach`,
// which is the largest |level| unless the table was fitted to data that goes further.

#include <span>

#include <fewbit/grid/grid.hpp>

namespace fewbit {

class Codebook {
 public:
  // Throws std::invalid_argument unless there are 2 to 256 finite levels in ascending order.
  explicit constexpr Codebook(std::span<const float> ascending) : Codebook(Levels::table(ascending)) {}

  // The largest |w| of a block maps to `reach`, in units of the levels. Throws std::invalid_argument unless reach > 0.
  constexpr Codebook(std::span<const float> ascending, float reach) : Codebook(Levels::table(ascending)) {
    if (!(reach > 0 && reach <= std::numeric_limits<float>::max()))
      fail_argument("a codebook's reach of ", reach, " is not possible; use a finite number above 0");
    reach_ = reach;
  }

  constexpr const Levels& levels() const { return levels_; }
  constexpr float reach() const { return reach_; }

  constexpr Affine fit(Range r) const {
    if (r.lo == r.hi) return constant(r.lo);
    const float most = r.hi > -r.lo ? r.hi : -r.lo;
    return {float_scale(most, reach_), 0};
  }

 private:
  explicit constexpr Codebook(const Levels& levels)
      : levels_(levels), reach_(levels.last() > -levels.first() ? levels.last() : -levels.first()) {}

  // A block of one value decodes to it exactly. Most tables hold 0, 1 and -1; one that lacks them gets a zero-point
  // that leaves a power of two p between itself and the level nearest to zero. With p on the level's side, and no more
  // than the level or 1, level - zero comes out as p again. (Where all levels are beyond 1, a weight 2^-126 of the
  // nearest has no such p.)
  constexpr Affine constant(float c) const {
    const float magnitude = c < 0 ? -c : c;
    if (holds(c == 0 ? 0.f : c < 0 ? -1.f : 1.f)) return {c == 0 ? 1.f : magnitude, 0};
    const float level = nearest_zero();
    if (c == 0) return {1, level};
    if (holds(c < 0 ? 1.f : -1.f)) return {-magnitude, 0};
    const float p = level < 0 ? -exact_divisor(c, -level) : exact_divisor(c, level);
    return {c / p, level - p};
  }
  constexpr bool holds(float level) const {
    for (int i = 0; i < levels_.count(); ++i)
      if (levels_[i] == level) return true;
    return false;
  }
  constexpr float nearest_zero() const {
    for (int i = 0; i < levels_.count(); ++i)
      if (levels_[i] >= 0) return i > 0 && -levels_[i - 1] < levels_[i] ? levels_[i - 1] : levels_[i];
    return levels_.last();
  }

  Levels levels_;
  float reach_;
};

static_assert(Grid<Codebook>);

}  // namespace fewbit
