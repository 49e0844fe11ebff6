#pragma once
// The reference: every other table must give the same bits. Rule: plain C++, one weight at a time, the contract
// as it is stated here.
//
//   code   = clamp(rint(w / scale + frac(zero)) + whole(zero)), on consecutive integers
//            zero = whole + frac, whole = rint(zero); IEEE float division, half to even; clamped as a float, so that
//            no weight is too large to convert
//   code   = the number of midpoints below w / scale + zero, on a table: the nearest level, ties to the lower
//   weight = scale * (level - zero)
//
// It divides because a product with 1 / scale gives other codes near ties, and because no compiler may contract a
// quotient and a sum into one rounding. A product is never followed by a sum, for the same reason.

#include <cmath>
#include <limits>

#include <fewbit/core/packing.hpp>
#include <fewbit/kernel/table.hpp>

namespace fewbit::kernel::scalar {

inline bool supported() { return true; }

// Round half to even. std::nearbyint is a call into the C library on a processor without SSE4.1; adding and
// removing 2^23 leaves no digits after the point, and rounds as the adder does.
inline float round_even(float x) {
  const float pull = std::copysign(0x1p23f, x), rounded = (x + pull) - pull;
  return std::fabs(x) < 0x1p23f ? rounded : x;
}

inline float clamp(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

// The code of w on consecutive integers, still as its level.
inline float nearest_integer(float w, Affine a, float first, float last) {
  const float whole = round_even(a.zero), rest = a.zero - whole;
  return clamp(round_even(w / a.scale + rest) + whole, first, last);
}

// The number of midpoints below u.
inline unsigned nearest_entry(float u, const Levels& l) {
  unsigned low = 0, n = static_cast<unsigned>(l.count()) - 1;
  const float* m = l.midpoints();
  while (n > 0) {
    const unsigned half = n / 2;
    if (m[low + half] < u) low += half + 1, n -= half + 1;
    else n = half;
  }
  return low;
}

inline unsigned nearest(float w, Affine a, const Levels& l) {
  if (!l.uniform()) return nearest_entry(w / a.scale + a.zero, l);
  return static_cast<unsigned>(nearest_integer(w, a, l.first(), l.last()) - l.first());
}

inline void ranges(const float* x, std::size_t n, std::size_t group, Range* out) {
  for (std::size_t k = 0; k < n; ++out) {
    const std::size_t end = n - k > group ? k + group : n;
    float lo = x[k], hi = x[k];
    bool all_numbers = true;
    for (; k < end; ++k) {
      lo = x[k] < lo ? x[k] : lo, hi = x[k] > hi ? x[k] : hi;
      all_numbers &= x[k] == x[k];  // every comparison with a NaN is false: min and max would pass over it
    }
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    *out = all_numbers ? Range{lo + 0.f, hi + 0.f} : Range{nan, nan};
  }
}

// Calls f(k, affine) for every weight of the row, in order.
template <class F>
inline void each(const Row& r, F&& f) {
  for (std::size_t k = 0, g = 0; k < r.n; ++g) {
    const Affine a = r.affine[g];
    for (const std::size_t end = r.n - k > r.group ? k + r.group : r.n; k < end; ++k) f(k, a);
  }
}

inline void quantize(const float* x, const Row& r, std::uint8_t* packed) {
  const Levels& l = *r.levels;
  const auto bits = static_cast<unsigned>(l.bits());
  std::uint32_t word = 0;
  unsigned held = 0;  // bits waiting in word: below 8 between weights
  each(r, [&](std::size_t k, Affine a) {
    word |= nearest(x[k], a, l) << held;
    for (held += bits; held >= 8; held -= 8, word >>= 8) *packed++ = static_cast<std::uint8_t>(word);
  });
  if (held > 0) *packed = static_cast<std::uint8_t>(word);
}

inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  const Levels& l = *r.levels;
  const auto bits = static_cast<unsigned>(l.bits());
  std::uint32_t word = 0;
  unsigned held = 0;
  each(r, [&](std::size_t k, Affine a) {
    for (; held < bits; held += 8) word |= static_cast<std::uint32_t>(*packed++) << held;
    const auto code = static_cast<int>(word & ((1u << bits) - 1));
    word >>= bits, held -= bits;
    out[k] = weight(l[code], a);
  });
}

inline void fake_quantize(const float* x, const Row& r, float* out) {
  const Levels& l = *r.levels;
  each(r, [&](std::size_t k, Affine a) { out[k] = weight(l[static_cast<int>(nearest(x[k], a, l))], a); });
}

inline constexpr Table table{"scalar", supported, ranges, quantize, dequantize, fake_quantize};

}  // namespace fewbit::kernel::scalar
