#pragma once
// FP4 in the e2m1 format: a sign, two bits of exponent and one of mantissa. Rule: the fifteen distinct values
// +-{0, .5, 1, 1.5, 2, 3, 4, 6} over 6; the second zero of the format would only waste a code of the search.

#include <array>

#include <fewbit/grid/codebook.hpp>

namespace fewbit {

inline constexpr std::array<float, 15> fp4_levels{-6 / 6.f, -4 / 6.f, -3 / 6.f, -2 / 6.f, -1.5f / 6,
                                                  -1 / 6.f, -.5f / 6, 0,        .5f / 6,  1 / 6.f,
                                                  1.5f / 6, 2 / 6.f,  3 / 6.f,  4 / 6.f,  6 / 6.f};
inline constexpr Codebook fp4{fp4_levels};

static_assert(fp4.levels().bits() == 4);

}  // namespace fewbit
