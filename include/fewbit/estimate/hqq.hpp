#pragma once
// Half-quadratic quantization: the zero-point moves until the weights' mean magnitude of error falls no more. Rule: the
// scale stays as it was fitted; zero-points become real numbers.

#include <cmath>
#include <cstdint>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/estimate/estimate.hpp>
#include <fewbit/estimate/minmax.hpp>
#include <fewbit/kernel/scalar.hpp>

namespace fewbit {

// |d|^-0.3 for d >= 0 (2^(1023) and no infinity for 0), to the last digits of a double: one over the tenth root of d^3,
// by Newton's method. Not std::pow, which is not the same in every C library; sums follow quotients, so that no
// compiler can contract them.
inline double power_minus_three_tenths(double d) {
  if (d == 0) return 0x1p1023;
  const double x = d * d * d;
  const std::uint64_t one = bit_cast<std::uint64_t>(1.);
  double y = bit_cast<double>(bit_cast<std::uint64_t>(x) / 10 + (one - one / 10));  // within 6 %
  for (int i = 0; i < 5; ++i) {
    const double y2 = y * y, y4 = y2 * y2, y9 = y4 * y4 * y;
    y = y + (x / y9 - y) / 10;
  }
  return 1 / y;
}

// Starts from the plain fit. A round quantizes the block, d = w - q(w), takes what a prior for errors with heavy tails
// makes of d, e = sign(d) max(0, |d| - |d|^(p - 1) / beta), and sets the zero-point to the mean of level - (w - e) /
// scale; p = .7, and beta = 10, 1.01 times as much each round. It ends after `iterations` rounds, or when the mean of
// |d| has not fallen; the best Affine seen is the result, so it is never worse than the plain fit. A block of one value
// has the plain fit. (Badri and Shaji, Half-Quadratic Quantization of Large Machine Learning Models, 2023;
// mobiusml/hqq.)
//
// Throws std::invalid_argument for iterations below 0.
struct Hqq {
  int iterations = 20;
  // The reference code takes errors in the weights' own unit, where e is 0 for all below about .17. In units of the
  // scale the prior means the same for weights of any size, and W * 2^k has the codes of W.
  bool in_scales = false;

  template <class G>
  Affine operator()(std::span<const float> block, const G& grid) const {
    if (iterations < 0) fail_argument(iterations, " iterations are not possible; use 0 or more");
    Range r;
    kernel::active().ranges(block.data(), block.size(), block.size(), &r);
    const Affine plain = grid.fit(r);
    if (r.lo == r.hi) return plain;

    const Levels& levels = grid.levels();
    Affine best = plain, next = plain;
    double least = std::numeric_limits<double>::infinity(), beta = 10;
    for (int i = 0; i <= iterations; ++i, beta *= 1.01) {
      const Round now = round(block, next, levels, beta, in_scales ? std::fabs(next.scale) : 1.f);
      if (!(now.error < least)) break;
      least = now.error, best = next;
      next.zero = static_cast<float>(now.zero) + 0.f;
      if (!std::isfinite(next.zero)) break;
    }
    return best;
  }

 private:
  struct Round {
    double error, zero;  // the sum of |d|, and the zero-point it asks for
  };

  static Round round(std::span<const float> block, Affine a, const Levels& levels, double beta, float unit) {
    const auto one = static_cast<double>(unit);
    double error = 0, zero = 0;
    for (const float w : block) {
      const float level = levels[static_cast<int>(kernel::scalar::nearest(w, a, levels))];
      const double d = static_cast<double>(w) - static_cast<double>(weight(level, a));
      const double e = std::copysign(one * shrunk(std::fabs(d) / one, beta), d);
      error += std::fabs(d);
      zero += static_cast<double>(level) - (static_cast<double>(w) - e) / static_cast<double>(a.scale);
    }
    return {error, zero / static_cast<double>(block.size())};
  }
  static double shrunk(double d, double beta) {
    if (d <= 1 && d * beta <= 1) return 0;  // d^-0.3 is 1 at least: most errors end here
    return std::fmax(d - power_minus_three_tenths(d) / beta, 0.);
  }
};

static_assert(Estimator<Hqq, Symmetric>);

}  // namespace fewbit
