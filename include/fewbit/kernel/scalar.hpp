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
#include <cstring>
#include <limits>

#include <fewbit/core/half.hpp>
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

// The number of midpoints below u, by a search without branches: midpoints past the last are infinite.
inline unsigned nearest_entry(float u, const Levels& l) {
  const float* m = l.midpoints();
  unsigned found = 0;
  for (unsigned step = (1u << l.bits()) / 2; step > 0; step /= 2) found += m[found + step - 1] < u ? step : 0;
  return found;
}

inline unsigned nearest(float w, Affine a, const Levels& l) {
  if (!l.uniform()) return nearest_entry(w / a.scale + a.zero, l);
  return static_cast<unsigned>(nearest_integer(w, a, l.first(), l.last()) - l.first());
}

// Whether w lies in the range that the levels cover: on integers, whether its code is one before it is clamped; on a
// table, up to half a step outside the outermost levels.
inline bool inside(float w, Affine a, const Levels& l) {
  if (l.uniform()) {
    const float whole = round_even(a.zero), level = round_even(w / a.scale + (a.zero - whole)) + whole;
    return level >= l.first() && level <= l.last();
  }
  const float u = w / a.scale + a.zero;
  return u >= l.covered().lo && u <= l.covered().hi;
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

// The sum of |x| in double: sixteen lanes that take weights in turn, then halves added to halves. Every table adds in
// this order, so the last bit is the same.
inline constexpr std::size_t sum_lanes = 16;
inline double sum_of_lanes(double (&lane)[sum_lanes]) {
  for (std::size_t half = sum_lanes / 2; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j) lane[j] += lane[j + half];
  return lane[0];
}
inline double absolute_sum(const float* x, std::size_t n) {
  double lane[sum_lanes] = {};
  for (std::size_t k = 0; k < n; ++k) lane[k % sum_lanes] += static_cast<double>(std::fabs(x[k]));
  return sum_of_lanes(lane);
}

inline float scale_at(ScaleType type, const std::uint8_t* stored, std::size_t i) {
  if (type == ScaleType::f32) {
    float s;
    std::memcpy(&s, stored + 4 * i, sizeof s);
    return s;
  }
  std::uint16_t h;
  std::memcpy(&h, stored + 2 * i, sizeof h);
  return type == ScaleType::f16 ? half_to_float(h) : bfloat16_to_float(h);
}
inline void widen_scales(ScaleType type, const std::uint8_t* stored, std::size_t n, Affine* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = {scale_at(type, stored, i), 0};
}

inline void widen_coded_scales(const std::uint8_t* codes, Affine second, std::size_t n, Affine* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = {weight(static_cast<float>(codes[i]), second), 0};
}

// Calls f(k, end, affine) for every group of the row, in order: weights k .. end - 1.
template <class F>
inline void each_group(const Row& r, F&& f) {
  for (std::size_t k = 0, g = 0, end = 0; k < r.n; k = end, ++g) {
    end = r.n - k > r.group ? k + r.group : r.n;
    f(k, end, r.affine[g]);
  }
}

// The weights of a group to codes, with what all of them share done once. An infinity meets its clamp before anything
// is added to it.
struct Coder {
  float scale, add, lo, hi;  // on integers: the clamped w / scale + add is rounded, and its code is `shift` more
  int shift;
  bool direct;  // whether sums of integers this large are exact
  Affine affine;
  const Levels* levels;

  Coder(Affine a, const Levels& l) : scale(a.scale), affine(a), levels(&l) {
    const float whole = round_even(a.zero);
    direct = l.uniform() && std::fabs(whole) <= 0x1p20f;
    add = a.zero - whole, lo = l.first() - whole, hi = l.last() - whole;
    shift = direct ? static_cast<int>(whole - l.first()) : 0;
  }
  unsigned operator()(float w) const {
    if (!direct) return nearest(w, affine, *levels);
    // Integers may be clamped before they are rounded. 1.5 * 2^23 leaves no digits after the point.
    const float pull = 0x1.8p23f, within = clamp(w / scale + add, lo, hi), rounded = (within + pull) - pull;
    return static_cast<unsigned>(static_cast<int>(rounded) + shift);
  }
};

// Codes that fill bytes: 8 / bits of them in each. Groups end where bytes do.
template <unsigned bits>
inline void quantize_bytes(const float* x, const Row& r, std::uint8_t* packed) {
  constexpr std::size_t codes = 8 / bits;
  each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
    const Coder code(a, *r.levels);
    for (; k + codes <= end; k += codes) {
      unsigned byte = 0;
      for (std::size_t i = 0; i < codes; ++i) byte |= code(x[k + i]) << (i * bits);
      packed[k / codes] = static_cast<std::uint8_t>(byte);
    }
    if (k == end) return;
    unsigned byte = 0;
    for (std::size_t i = 0; k + i < end; ++i) byte |= code(x[k + i]) << (i * bits);
    packed[k / codes] = static_cast<std::uint8_t>(byte);
  });
}

// Codes of any width, which may lie across bytes.
inline void quantize_bits(const float* x, const Row& r, std::uint8_t* packed) {
  CodeWriter write(packed, r.levels->bits());
  each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
    const Coder code(a, *r.levels);
    for (; k < end; ++k) write(code(x[k]));
  });
  write.finish();
}

// Whether no byte holds codes of two groups.
inline bool groups_fill_bytes(const Row& r) {
  const int bits = r.levels->bits();
  if (bits != 2 && bits != 4 && bits != 8) return false;
  return r.group >= r.n || r.group % (8 / static_cast<std::size_t>(bits)) == 0;
}

inline void quantize(const float* x, const Row& r, std::uint8_t* packed) {
  if (!groups_fill_bytes(r)) return quantize_bits(x, r, packed);
  switch (r.levels->bits()) {
    case 2: return quantize_bytes<2>(x, r, packed);
    case 4: return quantize_bytes<4>(x, r, packed);
    default: return quantize_bytes<8>(x, r, packed);
  }
}

// A group's weights are looked up: 2 and 4 bits make few of them.
template <unsigned bits>
inline void dequantize_bytes(const std::uint8_t* packed, const Row& r, float* out) {
  constexpr std::size_t codes = 8 / bits;
  const Levels& l = *r.levels;
  each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
    float weights[1 << bits];
    for (int c = 0; c < 1 << bits; ++c) weights[c] = weight(l[c], a);
    constexpr unsigned mask = (1u << bits) - 1;
    for (; k + codes <= end; k += codes) {
      const unsigned byte = packed[k / codes];
      for (std::size_t i = 0; i < codes; ++i) out[k + i] = weights[byte >> (i * bits) & mask];
    }
    for (std::size_t i = 0; k + i < end; ++i) out[k + i] = weights[packed[k / codes] >> (i * bits) & mask];
  });
}

inline void dequantize_bits(const std::uint8_t* packed, const Row& r, float* out) {
  const Levels& l = *r.levels;
  CodeReader code(packed, l.bits());
  each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
    for (; k < end; ++k) out[k] = weight(l[static_cast<int>(code())], a);
  });
}

inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  const bool worth_a_table = r.group >= 32 && groups_fill_bytes(r);
  if (worth_a_table && r.levels->bits() == 2) return dequantize_bytes<2>(packed, r, out);
  if (worth_a_table && r.levels->bits() == 4) return dequantize_bytes<4>(packed, r, out);
  if (r.levels->bits() != 8) return dequantize_bits(packed, r, out);
  each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
    for (; k < end; ++k) out[k] = weight((*r.levels)[packed[k]], a);
  });
}

inline void fake_quantize(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  const Levels& l = *r.levels;
  each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
    const Coder code(a, l);
    for (; k < end; ++k) {
      const float w = x[k];
      out[k] = weight(l[static_cast<int>(code(w))], a);
      if (mask == nullptr) continue;
      if (k % 8 == 0) mask[k / 8] = 0;
      mask[k / 8] = static_cast<std::uint8_t>(mask[k / 8] | unsigned{inside(w, a, l)} << k % 8);
    }
  });
}

inline void straight_through(const float* x, const Row& r, const float* gradient, float* out) {
  each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
    for (; k < end; ++k) out[k] = inside(x[k], a, *r.levels) ? gradient[k] : 0.f;
  });
}

inline constexpr Table table{"scalar",           supported, ranges,     absolute_sum,  widen_scales,
                             widen_coded_scales, quantize,  dequantize, fake_quantize, straight_through};

}  // namespace fewbit::kernel::scalar
