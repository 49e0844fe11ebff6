#pragma once
// The standard normal distribution, as far as codebooks for normally distributed weights need it. Rule: double
// precision to the last digits but two, and no dependency.

#include <cmath>
#include <limits>
#include <numbers>

#include <fewbit/core/error.hpp>

namespace fewbit {

inline double normal_density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }

// P(X <= x).
inline double normal_probability(double x) { return std::erfc(-x / std::numbers::sqrt2) / 2; }

// The x with P(X <= x) = p. Throws std::domain_error unless 0 < p < 1.
//
// A start good to three digits (a rational function of sqrt(-2 ln p), after Hastings as given in Abramowitz and
// Stegun 26.2.23) and Halley's iteration on the tail probability, which triples the digits each time. The lower
// tail is solved and mirrored: near 1 a double has no digits left to tell tails apart.
inline double normal_quantile(double p) {
  if (!(p > 0 && p < 1)) fail_domain("a normal quantile of ", p, " does not exist; use a probability between 0 and 1");
  if (p > 0.5) return -normal_quantile(1 - p);
  const double t = std::sqrt(-2 * std::log(p));
  double x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
  for (int i = 0; i < 3; ++i) {
    const double step = (normal_probability(x) - p) / normal_density(x);
    x -= step / (1 + x * step / 2);
  }
  return x;
}

}  // namespace fewbit
