#pragma once
// A grid is a set of levels and a rule that fits a range of weights to them. Rule: that is the whole interface;
// estimators, algorithms, storage, kernels and files know nothing else about it.

#include <concepts>
#include <type_traits>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/granularity.hpp>
#include <fewbit/core/levels.hpp>

namespace fewbit {

// levels() and fit(Range) -> Affine. A grid whose zero-point depends on the scale may add
// zero(Range, float scale) -> float: it is asked again once the scale has been rounded to its stored type.
template <class G>
concept Grid = std::copy_constructible<G> && requires(const G& g, Range r) {
  { g.levels() } -> std::convertible_to<Levels>;
  { g.fit(r) } -> std::same_as<Affine>;
};

// A grid that fits with scales as they will be stored, so that zero-points, codes and every candidate of a
// search are chosen against the scale that decodes them. This is what an estimator is handed.
template <Grid G>
class Stored {
 public:
  constexpr Stored(const G& grid, ScaleType type) : grid_(&grid), type_(type) {}
  constexpr decltype(auto) levels() const { return grid_->levels(); }
  constexpr ScaleType scale_type() const { return type_; }
  constexpr Affine fit(Range r) const {
    Affine a = grid_->fit(r);
    const float scale = round_scale(a.scale, type_);
    if (scale - scale != 0) return a;  // beyond the type: whoever stores it says so, with its value
    if constexpr (requires {
                    { grid_->zero(r, scale) } -> std::convertible_to<float>;
                  })
      if (scale != a.scale) a.zero = grid_->zero(r, scale);
    a.scale = scale;
    return a;
  }

 private:
  const G* grid_;
  ScaleType type_;
};

// A scale in float from an exact quotient: never 0, never infinite.
constexpr float float_scale(double scale) {
  constexpr float most = std::numeric_limits<float>::max();
  const float f = round_scale(scale, ScaleType::f32);
  return f > most ? most : f < -most ? -most : f;
}

// a / b as a scale: the float quotient where it is an ordinary number.
constexpr float float_scale(float a, float b) {
  if (!std::is_constant_evaluated())
    if (const float q = a / b; is_stored_scale(q, ScaleType::f32)) return q;
  return float_scale(static_cast<double>(a) / static_cast<double>(b));
}

// The largest power of two p <= most for which c / p is exact: a block of one value c is stored as p times c / p.
constexpr float exact_divisor(float c, float most) {
  float p = 1;
  while (2 * p <= most) p *= 2;
  while (p > 1 && (c / p) * p != c) p /= 2;  // only subnormals have fewer digits to spare
  return p;
}

}  // namespace fewbit
