#pragma once
// AVX2. Leans on vdivps, vroundps and compares (8 floats), on variable shifts and vpshufb to take codes of any
// width apart, and on byte packs for widths 8, 4 and 2. Fast where groups are multiples of 8 weights, fastest at
// multiples of 32; other group sizes run the same arithmetic with one Affine per lane. Rule: the same operations
// in the same order as scalar.hpp, lane by lane, so that the bits cannot differ; tails are padded, not special.

#include <fewbit/config.hpp>
#include <fewbit/kernel/cpu.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_X86_64
#include <cstring>
#include <immintrin.h>
#include <limits>

namespace fewbit::kernel::avx2 {
inline bool supported() { return cpu::has_avx2(); }
}  // namespace fewbit::kernel::avx2

FEWBIT_TARGET_BEGIN("avx2")
namespace fewbit::kernel::avx2 {

// A row shorter than a register, or the end of one.
inline __m256 load_some(const float* x, std::size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
}
inline void store_some(float* out, std::size_t n, __m256 v) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(out, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane), v);
}

// ------------------------------------------------------------------------------------------------ ranges

inline float lowest(__m256 v) {
  __m128 s = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_min_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_min_ss(s, _mm_movehdup_ps(s)));
}
inline float highest(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

// n >= 8. vminps and vmaxps pass over a NaN, so NaNs are gathered beside them; one compare serves two registers.
inline Range range(const float* x, std::size_t n) {
  __m256 lo = _mm256_loadu_ps(x), hi = lo, lo2 = lo, hi2 = lo, nan = _mm256_cmp_ps(lo, lo, _CMP_UNORD_Q);
  std::size_t k = 8;
  for (; k + 16 <= n; k += 16) {
    const __m256 a = _mm256_loadu_ps(x + k), b = _mm256_loadu_ps(x + k + 8);
    lo = _mm256_min_ps(lo, a), hi = _mm256_max_ps(hi, a);
    lo2 = _mm256_min_ps(lo2, b), hi2 = _mm256_max_ps(hi2, b);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
  }
  for (const std::size_t last = n - 8; k < n; k += 8) {  // the last register overlaps the one before: a range does not mind
    const __m256 a = _mm256_loadu_ps(x + (k < last ? k : last));
    lo = _mm256_min_ps(lo, a), hi = _mm256_max_ps(hi, a);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  }
  if (_mm256_movemask_ps(nan) != 0) return {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::quiet_NaN()};
  return {lowest(_mm256_min_ps(lo, lo2)) + 0.f, highest(_mm256_max_ps(hi, hi2)) + 0.f};
}

inline void ranges(const float* x, std::size_t n, std::size_t group, Range* out) {
  if (group < 8) return scalar::ranges(x, n, group, out);
  for (std::size_t k = 0; k < n; k += group, ++out) {
    const std::size_t some = n - k < group ? n - k : group;
    if (some < 8) return scalar::ranges(x + k, some, some, out);
    *out = range(x + k, some);
    if (group >= n) return;  // k + group may not fit a size_t
  }
}

// ------------------------------------------------------------------------------ one Affine for eight weights

struct Lanes {
  __m256 scale, zero, whole, rest;  // zero == whole + rest

  static Lanes of(__m256 scale, __m256 zero) {
    const __m256 whole = _mm256_round_ps(zero, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return {scale, zero, whole, _mm256_sub_ps(zero, whole)};
  }
  static Lanes of(Affine a) { return of(_mm256_set1_ps(a.scale), _mm256_set1_ps(a.zero)); }

  // The Affines of weights k .. k + 7, for groups that end anywhere. Lanes past the row repeat its last group.
  static Lanes at(const Row& r, std::size_t k) {
    alignas(32) float scale[8], zero[8];
    std::size_t g = k / r.group, left = r.group - k % r.group;
    for (std::size_t j = 0; j < 8; ++j, --left) {
      if (left == 0) left = r.group, g += k + j < r.n;
      scale[j] = r.affine[g].scale, zero[j] = r.affine[g].zero;
    }
    return of(_mm256_load_ps(scale), _mm256_load_ps(zero));
  }
};

// scale * (level - zero), as |scale| times a difference that takes scale's sign before it is formed: equal
// operands then give +0 under a negative scale too.
inline __m256 weights(__m256 level, const Lanes& a) {
  const __m256 sign_bit = _mm256_set1_ps(-0.f), sign = _mm256_and_ps(a.scale, sign_bit);
  const __m256 difference = _mm256_sub_ps(_mm256_xor_ps(level, sign), _mm256_xor_ps(a.zero, sign));
  return _mm256_mul_ps(_mm256_andnot_ps(sign_bit, a.scale), difference);
}

// ------------------------------------------------------------------------------------- levels: four shapes
// Each turns weights into codes and codes into levels, eight at a time.

struct Integers {
  __m256 first, last;
  __m256i first_code;
  explicit Integers(const Levels& l)
      : first(_mm256_set1_ps(l.first())), last(_mm256_set1_ps(l.last())), first_code(_mm256_set1_epi32(static_cast<int>(l.first()))) {}

  __m256 nearest(__m256 w, const Lanes& a) const {
    const __m256 u = _mm256_add_ps(_mm256_div_ps(w, a.scale), a.rest);
    const __m256 q = _mm256_add_ps(_mm256_round_ps(u, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), a.whole);
    return _mm256_min_ps(_mm256_max_ps(q, first), last);
  }
  __m256i code(__m256 w, const Lanes& a) const { return _mm256_sub_epi32(_mm256_cvtps_epi32(nearest(w, a)), first_code); }
  __m256 level(__m256i code) const { return _mm256_cvtepi32_ps(_mm256_add_epi32(code, first_code)); }
  __m256 nearest_level(__m256 w, const Lanes& a) const { return nearest(w, a); }
};

// Up to 16 levels: both tables live in registers, and the code is found by binary search.
struct Table16 {
  __m256 low, high;                 // the levels
  __m256 step8, step4, step4_high;  // midpoint 7; 3; 11
  __m256 step2, step1;              // midpoints 1, 5, 9, 13 in each half; 0, 2, .. 14
  explicit Table16(const Levels& l) {
    const float* m = l.midpoints();
    low = _mm256_loadu_ps(l.data()), high = _mm256_loadu_ps(l.data() + 8);
    step8 = _mm256_set1_ps(m[7]), step4 = _mm256_set1_ps(m[3]), step4_high = _mm256_set1_ps(m[11]);
    step2 = _mm256_setr_ps(m[1], m[5], m[9], m[13], m[1], m[5], m[9], m[13]);
    step1 = _mm256_setr_ps(m[0], m[2], m[4], m[6], m[8], m[10], m[12], m[14]);
  }
  __m256i code(__m256 w, const Lanes& a) const {
    const __m256 u = _mm256_add_ps(_mm256_div_ps(w, a.scale), a.zero);
    const __m256 b8 = _mm256_cmp_ps(u, step8, _CMP_GT_OQ);
    const __m256 b4 = _mm256_cmp_ps(u, _mm256_blendv_ps(step4, step4_high, b8), _CMP_GT_OQ);
    // A true compare is -1, so sums of compares are the bits found so far, negated: an index into the next midpoints.
    const __m256i i8 = _mm256_castps_si256(b8), i4 = _mm256_castps_si256(b4);
    __m256i found = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_add_epi32(_mm256_add_epi32(i8, i8), i4));
    const __m256 b2 = _mm256_cmp_ps(u, _mm256_permutevar_ps(step2, found), _CMP_GT_OQ);
    found = _mm256_sub_epi32(_mm256_add_epi32(found, found), _mm256_castps_si256(b2));
    const __m256 b1 = _mm256_cmp_ps(u, _mm256_permutevar8x32_ps(step1, found), _CMP_GT_OQ);
    return _mm256_sub_epi32(_mm256_add_epi32(found, found), _mm256_castps_si256(b1));
  }
  __m256 level(__m256i code) const {
    const __m256 pick_high = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));  // bit 3 becomes the sign
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code), _mm256_permutevar8x32_ps(high, code), pick_high);
  }
  __m256 nearest_level(__m256 w, const Lanes& a) const { return level(code(w, a)); }
};

// 17 to 256 levels: the same search over tables in memory.
struct Table256 {
  const float *levels, *midpoints;
  explicit Table256(const Levels& l) : levels(l.data()), midpoints(l.midpoints()) {}
  __m256i code(__m256 w, const Lanes& a) const {
    const __m256 u = _mm256_add_ps(_mm256_div_ps(w, a.scale), a.zero);
    __m256i found = _mm256_setzero_si256();
    for (int step = 128; step > 0; step /= 2) {
      const __m256i to = _mm256_add_epi32(found, _mm256_set1_epi32(step - 1));
      const __m256 above = _mm256_cmp_ps(u, _mm256_i32gather_ps(midpoints, to, 4), _CMP_GT_OQ);
      found = _mm256_add_epi32(found, _mm256_and_si256(_mm256_castps_si256(above), _mm256_set1_epi32(step)));
    }
    return found;
  }
  __m256 level(__m256i code) const { return _mm256_i32gather_ps(levels, code, 4); }
  __m256 nearest_level(__m256 w, const Lanes& a) const { return level(code(w, a)); }
};

// Calls f with the shape these levels have.
template <class F>
inline void with_shape(const Levels& l, F&& f) {
  if (l.uniform()) f(Integers(l));
  else if (l.count() <= 16) f(Table16(l));
  else f(Table256(l));
}

// ----------------------------------------------------------------------------------------- packing, any width
// Eight codes fill exactly `bits` bytes, so eight codes always start and end on a byte.

struct Packing {
  unsigned bits;
  __m256i bytes, shifts, mask;  // to take apart: for each lane, the four bytes its code lies in, and where in them

  explicit Packing(int width) : bits(static_cast<unsigned>(width)) {
    alignas(32) std::uint8_t at[32];
    alignas(32) std::uint32_t by[8];
    for (unsigned j = 0; j < 8; ++j) {
      const unsigned first = j * bits / 8;
      by[j] = j * bits % 8;
      for (unsigned i = 0; i < 4; ++i) at[4 * j + i] = static_cast<std::uint8_t>(first + i < 16 ? first + i : 0x80);
    }
    bytes = _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
    shifts = _mm256_load_si256(reinterpret_cast<const __m256i*>(by));
    mask = _mm256_set1_epi32((1 << bits) - 1);
  }

  __m256i unpack(__m128i eight) const {
    const __m256i spread = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(eight), bytes);
    return _mm256_and_si256(_mm256_srlv_epi32(spread, shifts), mask);
  }

  // The `bits` bytes of eight codes, in the low bytes of the register.
  __m128i pack(__m256i codes) const {
    // In each 64 bits: c1 comes down to lie on top of c0.
    const __m128i down = _mm_cvtsi32_si128(static_cast<int>(32 - bits));
    const __m256i low = _mm256_and_si256(codes, _mm256_set1_epi64x(0xffffffff));
    const __m256i pairs = _mm256_or_si256(low, _mm256_srl_epi64(_mm256_andnot_si256(_mm256_set1_epi64x(0xffffffff), codes), down));
    // In each 128 bits: the upper pair comes down onto the lower one. Four codes are at most 64 bits.
    const __m128i two = _mm_cvtsi32_si128(static_cast<int>(2 * bits)), four = _mm_cvtsi32_si128(static_cast<int>(4 * bits));
    const __m256i quads = _mm256_or_si256(pairs, _mm256_sll_epi64(_mm256_srli_si256(pairs, 8), two));
    // The upper four codes go 4 * bits bits up, which may straddle the middle of the register.
    const __m128i lower = _mm_move_epi64(_mm256_castsi256_si128(quads)), upper = _mm_move_epi64(_mm256_extracti128_si256(quads, 1));
    const __m128i straddle = _mm_srl_epi64(upper, _mm_cvtsi32_si128(static_cast<int>(64 - 4 * bits)));
    return _mm_or_si128(_mm_or_si128(lower, _mm_sll_epi64(upper, four)), _mm_slli_si128(straddle, 8));
  }

  // n <= 8 codes from memory that may end right behind them.
  __m256i load(const std::uint8_t* p, std::size_t n) const {
    __m128i v = _mm_setzero_si128();
    std::memcpy(&v, p, packed_bytes(n, static_cast<int>(bits)));
    return unpack(v);
  }
  // 16 bytes, of which the eight codes fill the first `bits`.
  void store_wide(std::uint8_t* p, __m256i codes) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), pack(codes)); }

  // n <= 8 codes; those past n are written as zero bits.
  void store(std::uint8_t* p, std::size_t n, __m256i codes) const {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
    const __m128i v = pack(_mm256_and_si256(codes, kept));
    std::memcpy(p, &v, packed_bytes(n, static_cast<int>(bits)));
  }
};

// 32 codes of 2, 4 or 8 bits to and from bytes in order: what the byte-wise widths share.
inline __m256i to_bytes(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i v = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
  return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

template <int bits>
inline void store32(std::uint8_t* p, __m256i byte_codes) {
  if constexpr (bits == 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), byte_codes);
  } else {  // pairs of codes to 16 bits: even + 16 * odd, or even + 4 * odd
    const __m256i pairs = _mm256_maddubs_epi16(byte_codes, _mm256_set1_epi16(bits == 4 ? 0x1001 : 0x0401));
    if constexpr (bits == 4) {
      const __m256i v = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
    } else {
      const __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00100001));
      const __m128i v = _mm_packus_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(v, v));
    }
  }
}

// ------------------------------------------------------------------------------------------------- rows

// Calls f(k, n, lanes) for the row in runs of n <= 8 weights, each starting at a multiple of 8; `bulk` first takes
// what it likes of a group of whole registers: it is given (k, end, lanes) and says how far it came.
template <class Bulk, class F>
inline void each(const Row& r, Bulk&& bulk, F&& f) {
  if (r.group % 8 != 0 && r.group < r.n) {  // groups end inside registers
    for (std::size_t k = 0; k < r.n; k += 8) f(k, r.n - k < 8 ? r.n - k : std::size_t{8}, Lanes::at(r, k));
    return;
  }
  for (std::size_t k = 0, g = 0; k < r.n; ++g) {
    const std::size_t end = r.n - k > r.group ? k + r.group : r.n;
    const Lanes a = Lanes::of(r.affine[g]);
    k = bulk(k, end, a);
    for (; k + 8 <= end; k += 8) f(k, std::size_t{8}, a);
    if (k < end) f(k, end - k, a), k = end;
  }
}

template <int bits, class Shape>
inline void quantize_bytewise(const float* x, const Row& r, std::uint8_t* packed, const Shape& shape, const Packing& packing) {
  each(
      r,
      [&](std::size_t k, std::size_t end, const Lanes& a) {
        for (; k + 32 <= end; k += 32) {
          // The row behind this one is usually next: it comes from memory while this one is divided.
          _mm_prefetch(reinterpret_cast<const char*>(x + k + r.n), _MM_HINT_T1);
          _mm_prefetch(reinterpret_cast<const char*>(x + k + r.n + 16), _MM_HINT_T1);
          const __m256i c0 = shape.code(_mm256_loadu_ps(x + k), a), c1 = shape.code(_mm256_loadu_ps(x + k + 8), a);
          const __m256i c2 = shape.code(_mm256_loadu_ps(x + k + 16), a), c3 = shape.code(_mm256_loadu_ps(x + k + 24), a);
          store32<bits>(packed + k / 8 * bits, to_bytes(c0, c1, c2, c3));
        }
        return k;
      },
      [&](std::size_t k, std::size_t n, const Lanes& a) { packing.store(packed + k / 8 * bits, n, shape.code(load_some(x + k, n), a)); });
}

inline void quantize(const float* x, const Row& r, std::uint8_t* packed) {
  const Packing packing(r.levels->bits());
  with_shape(*r.levels, [&](const auto& shape) {
    switch (packing.bits) {
      case 2: return quantize_bytewise<2>(x, r, packed, shape, packing);
      case 4: return quantize_bytewise<4>(x, r, packed, shape, packing);
      case 8: return quantize_bytewise<8>(x, r, packed, shape, packing);
      default: break;
    }
    const std::size_t bytes = packed_bytes(r.n, r.levels->bits());
    each(
        r,
        [&](std::size_t k, std::size_t end, const Lanes& a) {
          for (; k + 8 <= end; k += 8) {
            const std::size_t at = k / 8 * packing.bits;
            if (at + 16 > bytes) break;  // a whole register would write past the row
            packing.store_wide(packed + at, shape.code(_mm256_loadu_ps(x + k), a));
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const Lanes& a) {
          packing.store(packed + k / 8 * packing.bits, n, shape.code(load_some(x + k, n), a));
        });
  });
}

inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  const Packing packing(r.levels->bits());
  const std::size_t bytes = packed_bytes(r.n, r.levels->bits());
  with_shape(*r.levels, [&](const auto& shape) {
    each(
        r,
        [&](std::size_t k, std::size_t end, const Lanes& a) {
          for (; k + 8 <= end; k += 8) {
            const std::size_t at = k / 8 * packing.bits;
            if (at + 16 > bytes) break;  // a whole register would read past the row
            const __m256i codes = packing.unpack(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + at)));
            _mm256_storeu_ps(out + k, weights(shape.level(codes), a));
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const Lanes& a) {
          store_some(out + k, n, weights(shape.level(packing.load(packed + k / 8 * packing.bits, n)), a));
        });
  });
}

inline void fake_quantize(const float* x, const Row& r, float* out) {
  with_shape(*r.levels, [&](const auto& shape) {
    each(
        r,
        [&](std::size_t k, std::size_t end, const Lanes& a) {
          for (; k + 8 <= end; k += 8) _mm256_storeu_ps(out + k, weights(shape.nearest_level(_mm256_loadu_ps(x + k), a), a));
          return k;
        },
        [&](std::size_t k, std::size_t n, const Lanes& a) {
          store_some(out + k, n, weights(shape.nearest_level(load_some(x + k, n), a), a));
        });
  });
}

inline constexpr Table table{"avx2", supported, ranges, quantize, dequantize, fake_quantize};

}  // namespace fewbit::kernel::avx2
FEWBIT_TARGET_END
#endif
