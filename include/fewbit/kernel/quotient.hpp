#pragma once
// Division by a group's scale at the price of a product: the same quotient, bit for bit. Rule: only where it is
// proven; everything else divides.
//
// Let r = RN(1/s), q0 = RN(w r), e = RN(w - q0 s), q = RN(q0 + e r), all to nearest even in float, the last two each
// one fused operation. Then q == RN(w/s), unless something leaves the range of normal floats:
//
// r is within 2^-24 of 1/s, relatively, so q0 is within 1.5 ulp of w/s. Hence e loses at most one part in 2^24, r
// another, and q0 + e r, before it is rounded, is within 1.5 * 2 * 2^-24 ulp of w/s: q can be wrong only if the
// boundary between two roundings lies in between. Write w and s as integers A and B of 24 bits and the boundary as N /
// 2^c with N odd of 25 bits and c = 24 or 25. It is |A 2^c - N B| / (2 B) ulp away from the quotient, a ratio of
// integers whose numerator K cannot be 0. So K <= 6 * 2^-24 * B < 6. For each B and each such K at most four pairs (A,
// N) solve A 2^c - N B = +-K, and the test tries them all, with K up to 16 for good measure: 93 million divisions, none
// of them wrong.
//
// The exponents: with |s| within 2^+-60 and |w/s| within 2^22, nothing overflows, and e, a multiple of ulp(q0) ulp(s),
// is exact wherever |w/s| > 2^-40; below that every integer code is the same. Tables divide: their search hides the
// division.

#include <cmath>
#include <cstdint>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/bit_cast.hpp>
#include <fewbit/core/levels.hpp>

namespace fewbit::kernel {

// Weights are clamped to [lo, hi] first. That keeps the quotient in range, and replaces the clamp after it: the bounds
// lie where the outermost codes are already reached, and no rounding can come near the next.
struct Quotient {
  float scale, inverse, lo, hi;

  // Whether a group's Affine allows it: an ordinary scale, and a zero-point that moves codes by whole numbers.
  static bool exists(Affine a) {
    const float s = std::fabs(a.scale);
    return s >= 0x1p-60f && s <= 0x1p60f && std::fabs(a.zero) <= 0x1p20f &&
           static_cast<float>(static_cast<int>(a.zero)) == a.zero;
  }
  static Quotient of(Affine a, const Levels& l, float beyond = inner) {
    const float first = (l.first() - a.zero - beyond) * a.scale, last = (l.last() - a.zero + beyond) * a.scale;
    return {a.scale, 1 / a.scale, first < last ? first : last, first < last ? last : first};
  }
  // How far outside the outermost integers: their codes end half a step beyond them. Clamped to `inner`, a quotient
  // rounds to the code it should have; clamped to `outer`, to an integer that is outside where the weight was.
  static constexpr float inner = 0.25f, outer = 0.75f;

  // What vector code does lane by lane.
  float operator()(float w) const {
    const float within = w < lo ? lo : w > hi ? hi : w, q0 = within * inverse;
    return fused(fused(-q0, scale, within), inverse, q0);
  }
  // a * b + c, rounded once; mingw's std::fma rounds twice. The product is exact in double. A sum that is not is taken
  // to its neighbour with an odd last digit, which rounds to the same float as the exact one.
  static float fused(float a, float b, float c) {
    const double product = static_cast<double>(a) * static_cast<double>(b), sum = product + static_cast<double>(c);
    const double part = sum - product, lost = (product - (sum - part)) + (static_cast<double>(c) - part);
    auto bits = bit_cast<std::uint64_t>(sum);
    if ((lost < 0 || lost > 0) && bits % 2 == 0) bits += (lost > 0) == (sum > 0) ? 1u : ~std::uint64_t{0};
    return static_cast<float>(bit_cast<double>(bits));
  }
};

}  // namespace fewbit::kernel
