#pragma once
// Sixteen levels for weights that are normally distributed. Rule: each table says where its values come from,
// and the tests derive them again.

#include <array>

#include <fewbit/grid/codebook.hpp>

namespace fewbit {

// NormalFloat-4, as published with QLoRA (arXiv 2305.14314, appendix E).
inline constexpr std::array<float, 16> nf4_levels{-1.0f,
                                                  -0.6961928009986877f,
                                                  -0.5250730514526367f,
                                                  -0.39491748809814453f,
                                                  -0.28444138169288635f,
                                                  -0.18477343022823334f,
                                                  -0.09105003625154495f,
                                                  0.0f,
                                                  0.07958029955625534f,
                                                  0.16093020141124725f,
                                                  0.24611230194568634f,
                                                  0.33791524171829224f,
                                                  0.44070982933044434f,
                                                  0.5626170039176941f,
                                                  0.7229568362236023f,
                                                  1.0f};
inline constexpr Codebook nf4{nf4_levels};

// The table that the blog post computes under the name NF4: the normal quantiles of (i + 1/2) / 16 without the
// one just above zero, zero itself, all over the largest. Its error is higher than nf4's; its printed figures need it.
inline constexpr std::array<float, 16> nf4_blog_levels{
    -1.0f, -0.70756876f, -0.5422091f, -0.41681886f, -0.31090474f, -0.2159463f, -0.12734099f, -0.042095385f,
    0.0f,  0.12734099f,  0.2159463f,  0.31090474f,  0.41681886f,  0.5422091f,  0.70756876f,  1.0f};
inline constexpr Codebook nf4_blog{nf4_blog_levels};

// AF4 (arXiv 2306.06965): levels that minimise the expected absolute error in blocks of 64.
inline constexpr std::array<float, 16> af4_levels{
    -1.0f,       -0.69441008f, -0.51243739f, -0.3736951f, -0.25607552f, -0.14982478f, -0.04934812f, 0.0f,
    0.04273164f, 0.12934483f,  0.21961274f,  0.31675666f, 0.42563882f,  0.55496234f,  0.72424863f,  1.0f};
inline constexpr Codebook af4{af4_levels};

static_assert(nf4.levels().bits() == 4 && nf4.levels()[7] == 0.0f, "NF4 keeps an exact zero");

}  // namespace fewbit
