#pragma once
// Sums of powers of errors, by which a search compares its candidates. Rule: a sum is the same on every instruction
// set, at every -march and however the block is cut into pieces, so that a search finds the same everywhere.
//
// So every term is a float that has been rounded, or the exact product of two floats in double: a compiler that
// contracts it with the sum changes nothing. Terms are added in sixteen lanes, as scalar::absolute_sum adds them.

#include <cstdint>
#include <cstring>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/kernel/scalar.hpp>

namespace fewbit {

// Vectors by hand: g++ 12 leaves these loops scalar at -O2, or half so.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = std::int32_t __attribute__((vector_size(16)));
using Double4 = double __attribute__((vector_size(32)));  // two registers where there are no wider ones

// a^(6/5) within 1e-4 for 0 and for 2^-100 <= a <= 2^100; what is smaller comes out as something about as small.
//
// A fifth of a float's bits, plus four fifths of those of 1, is its fifth root within 4 %. One step of Halley's method
// leaves twice the cube of that. Sums follow divisions, and sums: nothing here can be contracted (r + r is exact).
inline Float4 power_six_fifths(Float4 a) {
  Int4 bits;
  std::memcpy(&bits, &a, sizeof bits);
  const Int4 root = __builtin_convertvector(__builtin_convertvector(bits, Float4) * 0.2f, Int4) + 0x32c8294c;
  Float4 y;
  std::memcpy(&y, &root, sizeof y);
  const Float4 y2 = y * y, r = a / (y2 * y2 * y), twice = r + r;
  return a * (y * ((twice + r + 2.f) / (twice + 3.f)));
}

// Adds up |w - q|^2 or |w - q|^2.4 over a block, piece by piece.
class ErrorSum {
 public:
  // `most` is the largest |w| of the block. Powers other than a plain square are taken in its unit, a power of two:
  // they are rounded to floats, and only errors below 2^-50 of the block's largest weight can be lost in that.
  ErrorSum(bool square, float most) : square_(square), unit_(inverse_unit(most)) {}

  void clear() {
    for (double& sum : lane_) sum = 0;
  }
  // Of n errors, each times its importance unless that is null; every piece but the last has a multiple of 16.
  void add(const float* w, const float* q, const float* importance, std::size_t n) {
    if (square_) importance == nullptr ? add_all<true, false>(w, q, w, n) : add_all<true, true>(w, q, importance, n);
    else importance == nullptr ? add_all<false, false>(w, q, w, n) : add_all<false, true>(w, q, importance, n);
  }
  // Of all pieces since clear(), in the unit's power unless errors are squared and not weighted. No term is negative,
  // so it never falls.
  double total() const {
    double lane[lanes];
    std::memcpy(lane, lane_, sizeof lane);
    return kernel::scalar::sum_of_lanes(lane);
  }

  // A power of two that brings `most` near 1, as far as floats go.
  static float inverse_unit(float most) {
    const int exponent = static_cast<int>(bit_cast<std::uint32_t>(most) >> 23);
    return bit_cast<float>(static_cast<std::uint32_t>(254 - (exponent < 1     ? 1
                                                             : exponent > 253 ? 253
                                                                              : exponent))
                           << 23);
  }

 private:
  static constexpr std::size_t lanes = kernel::scalar::sum_lanes;

  template <bool square, bool weighted>
  void add_all(const float* w, const float* q, const float* importance, std::size_t n) {
    Double4 sum[lanes / 4];  // in registers over the loop
    for (std::size_t j = 0; j < lanes / 4; ++j) std::memcpy(&sum[j], lane_ + 4 * j, sizeof sum[j]);
    const auto four = [&](const float* from, const float* decoded, const float* by, Double4& to) {
      Float4 x, y, i;
      std::memcpy(&x, from, sizeof x), std::memcpy(&y, decoded, sizeof y), std::memcpy(&i, by, sizeof i);
      Float4 e = x - y;
      if constexpr (!square || weighted) e *= unit_;
      if constexpr (!square) e = power_six_fifths(e * e);
      else if constexpr (weighted) e *= e;
      const Double4 wide = __builtin_convertvector(e, Double4);
      if constexpr (weighted) to += wide * __builtin_convertvector(i, Double4);
      else if constexpr (square) to += wide * wide;
      else to += wide;
    };
    const auto sixteen = [&](const float* from, const float* decoded, const float* by) {
      four(from, decoded, by, sum[0]);
      four(from + 4, decoded + 4, by + 4, sum[1]);
      four(from + 8, decoded + 8, by + 8, sum[2]);
      four(from + 12, decoded + 12, by + 12, sum[3]);
    };
    for (; n >= lanes; n -= lanes, w += lanes, q += lanes, importance += lanes) sixteen(w, q, importance);
    if (n > 0) {  // errors of 0 fill it up: they add nothing
      float from[lanes] = {}, decoded[lanes] = {}, by[lanes] = {};
      std::memcpy(from, w, n * sizeof(float)), std::memcpy(decoded, q, n * sizeof(float));
      if (weighted) std::memcpy(by, importance, n * sizeof(float));
      sixteen(from, decoded, by);
    }
    for (std::size_t j = 0; j < lanes / 4; ++j) std::memcpy(lane_ + 4 * j, &sum[j], sizeof sum[j]);
  }

  bool square_;
  float unit_;
  double lane_[lanes] = {};
};

}  // namespace fewbit
