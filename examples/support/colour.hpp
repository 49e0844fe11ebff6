#pragma once
// Colours for matrices. Rule: a colour map takes a number from 0 to 1 (or -1 to 1) and clamps what lies outside.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace example {

struct Rgb {
  std::uint8_t r = 0, g = 0, b = 0;
};

inline Rgb mix(Rgb from, Rgb to, double share) {
  const auto channel = [share](std::uint8_t a, std::uint8_t b) {
    return static_cast<std::uint8_t>(std::lround(a + share * (b - a)));
  };
  return {channel(from.r, to.r), channel(from.g, to.g), channel(from.b, to.b)};
}

// From dark blue through green to pale yellow: brightness rises all the way, so it survives a print in grey.
inline Rgb rising_colour(double x) {
  constexpr Rgb stops[] = {{20, 20, 66}, {58, 70, 152}, {36, 134, 150}, {104, 190, 110}, {250, 236, 130}};
  constexpr int last = 4;
  const double at = std::clamp(x, 0.0, 1.0) * last;
  const int k = std::min(static_cast<int>(at), last - 1);
  return mix(stops[k], stops[k + 1], at - k);
}

// Black at zero, blue below it and orange above. The square root lifts small errors out of the black.
inline Rgb error_colour(double x) {
  const Rgb end = x < 0 ? Rgb{80, 170, 255} : Rgb{255, 150, 50};
  return mix(Rgb{}, end, std::sqrt(std::min(std::abs(x), 1.0)));
}

// How bright a colour looks, 0 to 1.
inline double brightness(Rgb c) { return (0.2126 * c.r + 0.7152 * c.g + 0.0722 * c.b) / 255; }

}  // namespace example
