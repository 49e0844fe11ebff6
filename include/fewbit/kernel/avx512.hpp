#pragma once
// AVX-512 (F, BW, DQ, VL). Leans on masks, so that tails are the same code as bodies; on vpermps, which looks a level
// up among sixteen in one instruction; and on fused multiply-adds for exact quotients (quotient.hpp). Fast where groups
// are multiples of 16 weights, fastest at multiples of 64; other group sizes run with one Affine per lane. Rule: lane
// by lane the operations of scalar.hpp, or ones proven equal.

#include <fewbit/config.hpp>
#include <fewbit/kernel/cpu.hpp>
#include <fewbit/kernel/quotient.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_X86_64
#include <cstring>
#include <immintrin.h>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::avx512 {
inline bool supported() { return cpu::has_avx512(); }
inline bool supported_vnni() { return cpu::has_avx512() && cpu::has_vnni(); }
inline bool supported_vbmi() { return supported_vnni() && cpu::has_vbmi(); }

// Where the first n bytes of each eight lie.
struct ByteOrder {
  std::uint8_t at[64];
};
template <unsigned n>
inline constexpr ByteOrder low_bytes = [] {
  ByteOrder order{};
  for (unsigned i = 0; i < 8 * n; ++i) order.at[i] = static_cast<std::uint8_t>(i / n * 8 + i % n);
  return order;
}();
}  // namespace fewbit::kernel::avx512

// g++ 12 takes the don't-care operands of its own intrinsics for uninitialized variables; at -O0 they are macros whose
// masks change sign.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
FEWBIT_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
namespace fewbit::kernel::avx512 {

inline constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// The first n of sixteen lanes.
inline __mmask16 first_lanes(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1); }

// The row behind the one at hand is usually next: it comes from memory while this one is worked on. Its ranges bring
// one half of the lines, its codes the other, so that memory is never idle.
[[gnu::always_inline]] inline void prefetch(const float* x) {
  _mm_prefetch(reinterpret_cast<const char*>(x), _MM_HINT_T1);
}

inline __m512 clamp(__m512 x, __m512 lo, __m512 hi) { return _mm512_min_ps(_mm512_max_ps(x, lo), hi); }
inline __mmask16 within(__m512 x, __m512 lo, __m512 hi) {
  return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(x, lo, _CMP_GE_OQ), x, hi, _CMP_LE_OQ);
}

// ------------------------------------------------------------------------------------------------ ranges and sums

// n > 0. vminps and vmaxps pass over a NaN, so NaNs are gathered beside them; one compare serves two registers.
inline Range range(const float* x, std::size_t n, std::size_t ahead) {
  constexpr float infinity = std::numeric_limits<float>::infinity(),
                  quiet_nan = std::numeric_limits<float>::quiet_NaN();
  __m512 lo = _mm512_set1_ps(infinity), hi = _mm512_set1_ps(-infinity), lo2 = lo, hi2 = hi;
  __mmask16 nan = 0;
  std::size_t k = 0;
  for (; k + 32 <= n; k += 32) {
    const __m512 a = _mm512_loadu_ps(x + k), b = _mm512_loadu_ps(x + k + 16);
    lo = _mm512_min_ps(lo, a), hi = _mm512_max_ps(hi, a);
    lo2 = _mm512_min_ps(lo2, b), hi2 = _mm512_max_ps(hi2, b);
    nan = static_cast<__mmask16>(nan | _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q));
    prefetch(x + k + ahead);
  }
  for (; k < n; k += 16) {
    const __mmask16 some = n - k < 16 ? first_lanes(n - k) : static_cast<__mmask16>(0xffff);
    const __m512 a = _mm512_maskz_loadu_ps(some, x + k);
    lo = _mm512_mask_min_ps(lo, some, lo, a), hi = _mm512_mask_max_ps(hi, some, hi, a);
    nan = static_cast<__mmask16>(nan | _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q));
  }
  if (nan != 0) return {quiet_nan, quiet_nan};
  return {_mm512_reduce_min_ps(_mm512_min_ps(lo, lo2)) + 0.f, _mm512_reduce_max_ps(_mm512_max_ps(hi, hi2)) + 0.f};
}

inline void ranges(const float* x, std::size_t n, std::size_t group, Range* out) {
  if (group < 8) return scalar::ranges(x, n, group, out);
  for (std::size_t k = 0, end = 0; k < n; k = end, ++out) {
    end = n - k > group ? k + group : n;
    *out = range(x + k, end - k, n);
  }
}

// Lane j of scalar::absolute_sum is lane j here, and halves are added to halves.
inline double absolute_sum(const float* x, std::size_t n) {
  const auto add = [](__m512d& low, __m512d& high, __m512 v) {
    low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
    high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
  };
  __m512d low = _mm512_setzero_pd(), high = low;
  for (std::size_t k = 0; k < n; k += 16)
    add(low, high, _mm512_abs_ps(_mm512_maskz_loadu_ps(n - k < 16 ? first_lanes(n - k) : first_lanes(16), x + k)));
  low = _mm512_add_pd(low, high);
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(low), _mm512_extractf64x4_pd(low, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// ------------------------------------------------------------------------------------------------ stored scales

// {v[i], 0} for sixteen scales.
inline void store_scales(Affine* out, __m512 v) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  _mm512_storeu_ps(&out[0].scale, _mm512_permutex2var_ps(v, low, _mm512_setzero_ps()));
  _mm512_storeu_ps(&out[8].scale, _mm512_permutex2var_ps(v, high, _mm512_setzero_ps()));
}

inline void widen_scales(ScaleType type, const std::uint8_t* stored, std::size_t n, Affine* out) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const auto halves = [&] { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(stored + 2 * i)); };
    store_scales(out + i, type == ScaleType::f32 ? _mm512_loadu_ps(stored + 4 * i)
                          : type == ScaleType::f16
                              ? _mm512_cvtph_ps(halves())
                              : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves()), 16)));
  }
  scalar::widen_scales(type, stored + i * scale_bytes(type), n - i, out + i);
}

// ---------------------------------------------------------------------- how sixteen weights are scaled, and divided

struct Scale {
  __m512 scale, zero;
  Scale(__m512 s, __m512 z) : scale(s), zero(z) {}
  explicit Scale(Affine a) : Scale(_mm512_set1_ps(a.scale), _mm512_set1_ps(a.zero)) {}
};

// The Affines of weights k .. k + 15, for groups that end anywhere. Lanes past the row repeat its last group.
inline Scale scales_at(const Row& r, std::size_t k) {
  alignas(64) float scale[16], zero[16];
  std::size_t g = k / r.group, left = r.group - k % r.group;
  for (std::size_t j = 0; j < 16; ++j, --left) {
    if (left == 0) left = r.group, g += k + j < r.n;
    scale[j] = r.affine[g].scale, zero[j] = r.affine[g].zero;
  }
  return {_mm512_load_ps(scale), _mm512_load_ps(zero)};
}

// scale * (level - zero), as |scale| times a difference that takes scale's sign before it is formed: equal
// operands then give +0 under a negative scale too.
inline __m512 weights(__m512 level, const Scale& a) {
  const __m512 sign_bit = _mm512_set1_ps(-0.f), sign = _mm512_and_ps(a.scale, sign_bit);
  const __m512 difference = _mm512_sub_ps(_mm512_xor_ps(level, sign), _mm512_xor_ps(a.zero, sign));
  return _mm512_mul_ps(_mm512_andnot_ps(sign_bit, a.scale), difference);
}

inline void widen_coded_scales(const std::uint8_t* codes, Affine second, std::size_t n, Affine* out) {
  const Scale how(second);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i));
    store_scales(out + i, weights(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(some)), how));
  }
  scalar::widen_coded_scales(codes + i, second, n - i, out + i);
}

// w / scale by division: for any Affine.
struct Divide : Scale {
  __m512 whole, rest;  // zero == whole + rest
  explicit Divide(const Scale& a) : Scale(a), whole(_mm512_roundscale_ps(a.zero, nearest_even)) {
    rest = _mm512_sub_ps(zero, whole);
  }
  __m512 operator()(__m512 w) const { return _mm512_div_ps(w, scale); }
};

// Quotients of sixteen groups at once: one division serves them all.
struct Quotients {
  alignas(64) float scale[16], zero[16], inverse[16], lo[16], hi[16];
  unsigned exist = 0;  // a bit for each group

  void prepare(const Affine* a, std::size_t n, const Levels& l, float outside) {
    const __mmask16 x_lanes = n < 8 ? first_lanes(2 * n) : static_cast<__mmask16>(0xffff);
    const __mmask16 y_lanes = n <= 8   ? static_cast<__mmask16>(0)
                              : n < 16 ? first_lanes(2 * (n - 8))
                                       : static_cast<__mmask16>(0xffff);
    const __m512 x = _mm512_maskz_loadu_ps(x_lanes, &a->scale), y = _mm512_maskz_loadu_ps(y_lanes, &a->scale + 16);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512 s = _mm512_permutex2var_ps(x, even, y),
                 z = _mm512_permutex2var_ps(x, _mm512_add_epi32(even, _mm512_set1_epi32(1)), y);
    // Quotient::exists and Quotient::of, lane by lane.
    const __m512 size = _mm512_abs_ps(s), whole = _mm512_cvtepi32_ps(_mm512_cvttps_epi32(z));
    exist = static_cast<unsigned>(_mm512_cmp_ps_mask(size, _mm512_set1_ps(0x1p-60f), _CMP_GE_OQ)) &
            static_cast<unsigned>(_mm512_cmp_ps_mask(size, _mm512_set1_ps(0x1p60f), _CMP_LE_OQ)) &
            static_cast<unsigned>(_mm512_cmp_ps_mask(_mm512_abs_ps(z), _mm512_set1_ps(0x1p20f), _CMP_LE_OQ)) &
            static_cast<unsigned>(_mm512_cmp_ps_mask(whole, z, _CMP_EQ_OQ));
    const __m512 beyond = _mm512_set1_ps(outside);
    const __m512 first = _mm512_mul_ps(_mm512_sub_ps(_mm512_sub_ps(_mm512_set1_ps(l.first()), z), beyond), s);
    const __m512 last = _mm512_mul_ps(_mm512_add_ps(_mm512_sub_ps(_mm512_set1_ps(l.last()), z), beyond), s);
    _mm512_store_ps(scale, s), _mm512_store_ps(zero, z),
        _mm512_store_ps(inverse, _mm512_div_ps(_mm512_set1_ps(1.f), s));
    _mm512_store_ps(lo, _mm512_min_ps(first, last)), _mm512_store_ps(hi, _mm512_max_ps(first, last));
  }
};

// w / scale by multiplication, the weight clamped: for groups that have a Quotient.
struct Multiply : Scale {
  __m512 inverse, lo, hi;
  Multiply(const Quotients& q, std::size_t g)
      : Scale(_mm512_set1_ps(q.scale[g]), _mm512_set1_ps(q.zero[g])), inverse(_mm512_set1_ps(q.inverse[g])),
        lo(_mm512_set1_ps(q.lo[g])), hi(_mm512_set1_ps(q.hi[g])) {}
  __m512 operator()(__m512 w) const {
    const __m512 within = _mm512_min_ps(_mm512_max_ps(w, lo), hi), q0 = _mm512_mul_ps(within, inverse);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(q0, scale, within), inverse, q0);
  }
};

// ------------------------------------------------------------------------------------- levels: three shapes
// Each turns weights into codes and codes into levels, sixteen at a time.

struct Integers {
  __m512 first, last;
  __m512i first_code;
  explicit Integers(const Levels& l)
      : first(_mm512_set1_ps(l.first())), last(_mm512_set1_ps(l.last())),
        first_code(_mm512_set1_epi32(static_cast<int>(l.first()))) {}

  __m512 rounded(__m512 w, const Divide& divide) const {
    return _mm512_add_ps(_mm512_roundscale_ps(_mm512_add_ps(divide(w), divide.rest), nearest_even), divide.whole);
  }
  __m512 nearest(__m512 w, const Divide& divide) const { return clamp(rounded(w, divide), first, last); }
  __m512i code(__m512 w, const Divide& divide) const {
    return _mm512_sub_epi32(_mm512_cvtps_epi32(nearest(w, divide)), first_code);
  }
  __m512 level(__m512i code) const { return _mm512_cvtepi32_ps(_mm512_add_epi32(code, first_code)); }
  __m512 nearest_weight(__m512 w, const Divide& divide) const { return weights(nearest(w, divide), divide); }
  __m512 nearest_weight(__m512 w, const Divide& divide, __mmask16& inside) const {
    const __m512 level = rounded(w, divide);
    inside = within(level, first, last);
    return weights(clamp(level, first, last), divide);
  }

  // The same with a whole zero-point and a clamped quotient: level - zero is the rounded quotient itself.
  __m512i code(__m512 w, const Multiply& divide) const {
    const __m512i q = _mm512_cvt_roundps_epi32(divide(w), nearest_even);
    return _mm512_add_epi32(q, _mm512_sub_epi32(_mm512_cvtps_epi32(divide.zero), first_code));
  }
  static __m512 scaled(__m512 q, const Multiply& divide) {  // + 0 turns a -0 into +0
    const __m512 sign_bit = _mm512_set1_ps(-0.f), sign = _mm512_and_ps(divide.scale, sign_bit);
    return _mm512_mul_ps(_mm512_andnot_ps(sign_bit, divide.scale),
                         _mm512_add_ps(_mm512_xor_ps(q, sign), _mm512_setzero_ps()));
  }
  __m512 nearest_weight(__m512 w, const Multiply& divide) const {
    return scaled(_mm512_roundscale_ps(divide(w), nearest_even), divide);
  }
  __m512 nearest_weight(__m512 w, const Multiply& divide, __mmask16& inside) const {  // clamped to Quotient::outer
    const __m512 q = _mm512_roundscale_ps(divide(w), nearest_even);
    const __m512 lo = _mm512_sub_ps(first, divide.zero), hi = _mm512_sub_ps(last, divide.zero);
    inside = within(q, lo, hi);
    return scaled(clamp(q, lo, hi), divide);
  }
};

// Up to 16 levels: levels and midpoints live in a register each, and the code is found by binary search.
struct Table16 {
  __m512 levels, midpoints;
  Range covered;
  explicit Table16(const Levels& l)
      : levels(_mm512_loadu_ps(l.data())), midpoints(_mm512_loadu_ps(l.midpoints())), covered(l.covered()) {}
  __m512i search(__m512 u) const {
    __m512i found = _mm512_setzero_si512();
    for (int step = 8; step > 0; step /= 2) {
      const __m512 midpoint = _mm512_permutexvar_ps(_mm512_add_epi32(found, _mm512_set1_epi32(step - 1)), midpoints);
      found = _mm512_mask_add_epi32(found, _mm512_cmp_ps_mask(u, midpoint, _CMP_GT_OQ), found, _mm512_set1_epi32(step));
    }
    return found;
  }
  __m512 level(__m512i code) const { return _mm512_permutexvar_ps(code, levels); }
};

// 17 to 256 levels: the same search over tables in memory.
struct Table256 {
  const float *levels, *midpoints;
  Range covered;
  explicit Table256(const Levels& l) : levels(l.data()), midpoints(l.midpoints()), covered(l.covered()) {}
  __m512i search(__m512 u) const {
    __m512i found = _mm512_setzero_si512();
    for (int step = 128; step > 0; step /= 2) {
      const __m512 midpoint = _mm512_i32gather_ps(_mm512_add_epi32(found, _mm512_set1_epi32(step - 1)), midpoints, 4);
      found = _mm512_mask_add_epi32(found, _mm512_cmp_ps_mask(u, midpoint, _CMP_GT_OQ), found, _mm512_set1_epi32(step));
    }
    return found;
  }
  __m512 level(__m512i code) const { return _mm512_i32gather_ps(code, levels, 4); }
};

// What both tables make of that.
template <class Searched>
struct Entries : Searched {
  using Searched::Searched;
  static __m512 scaled(__m512 w, const Divide& divide) { return _mm512_add_ps(divide(w), divide.zero); }
  __m512i code(__m512 w, const Divide& divide) const { return this->search(scaled(w, divide)); }
  __m512 nearest_weight(__m512 w, const Divide& divide) const { return weights(this->level(code(w, divide)), divide); }
  __m512 nearest_weight(__m512 w, const Divide& divide, __mmask16& inside) const {
    inside = within(scaled(w, divide), _mm512_set1_ps(this->covered.lo), _mm512_set1_ps(this->covered.hi));
    return nearest_weight(w, divide);
  }
};

// Calls f with the shape these levels have.
template <class F>
inline void with_shape(const Levels& l, F&& f) {
  if (l.uniform()) f(Integers(l));
  else if (l.count() <= 16) f(Entries<Table16>(l));
  else f(Entries<Table256>(l));
}

// ----------------------------------------------------------------------------------------- packing, any width
// Eight codes fill exactly `bits` bytes, so sixteen codes always start and end on a byte, and so does their middle.

// Two halves of 16 bytes, the lower one in lanes 0 and 1, the upper one in 2 and 3.
inline __m512i in_halves(__m128i lower, __m128i upper) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_broadcastsi128_si256(lower)),
                            _mm256_broadcastsi128_si256(upper), 1);
}

struct Packing {
  unsigned bits;
  __m512i bytes, shifts, mask;  // to take apart: for each lane, the four bytes its code lies in, and where in them

  explicit Packing(int width) : bits(static_cast<unsigned>(width)) {
    alignas(64) std::uint8_t at[64];
    alignas(64) std::uint32_t by[16];
    for (unsigned j = 0; j < 16; ++j) {
      const unsigned first = j % 8 * bits / 8;
      by[j] = j * bits % 8;
      for (unsigned i = 0; i < 4; ++i) at[4 * j + i] = static_cast<std::uint8_t>(first + i < 16 ? first + i : 0x80);
    }
    bytes = _mm512_load_si512(at), shifts = _mm512_load_si512(by), mask = _mm512_set1_epi32((1 << bits) - 1);
  }

  // Sixteen codes of any width, of which n lie in memory.
  __m512i load(const std::uint8_t* p, std::size_t n) const {
    const auto last = static_cast<unsigned>(packed_bytes(n, static_cast<int>(bits)));  // at most 32
    const unsigned middle = last < bits ? last : bits;
    const __m128i lower = _mm_maskz_loadu_epi8(first_lanes(middle), p);
    const __m128i upper = _mm_maskz_loadu_epi8(first_lanes(last - middle), p + middle);
    return unpack(lower, upper);
  }
  __m512i unpack(__m128i lower, __m128i upper) const {
    return _mm512_and_si512(_mm512_srlv_epi32(_mm512_shuffle_epi8(in_halves(lower, upper), bytes), shifts), mask);
  }

  // n <= 16 codes of any width to memory; those past n are written as zero bits.
  void store(std::uint8_t* p, std::size_t n, __m512i codes) const {
    codes = _mm512_maskz_mov_epi32(first_lanes(n), codes);
    // Each step brings the upper of two fields down onto the lower: 32, then 64 bits apart. Four codes are at most 64
    // bits.
    const __m512i low = _mm512_set1_epi64(0xffffffff);
    const auto by = [](unsigned count) { return _mm_cvtsi32_si128(static_cast<int>(count)); };
    const __m512i pairs =
        _mm512_or_si512(_mm512_and_si512(codes, low), _mm512_srl_epi64(_mm512_andnot_si512(low, codes), by(32 - bits)));
    const __m512i quads = _mm512_or_si512(pairs, _mm512_sll_epi64(_mm512_bsrli_epi128(pairs, 8), by(2 * bits)));
    // Eight codes: the upper four go 4 * bits bits up, which may straddle the middle. A shift by 64 leaves nothing.
    const __m512i even = _mm512_setr_epi64(0, 8, 4, 8, 0, 0, 0, 0), odd = _mm512_setr_epi64(2, 2, 6, 6, 0, 0, 0, 0);
    const __m256i lower = _mm512_castsi512_si256(_mm512_permutex2var_epi64(quads, even, _mm512_setzero_si512()));
    const __m256i upper = _mm512_castsi512_si256(_mm512_permutexvar_epi64(odd, quads));
    const long long up = 4 * static_cast<long long>(bits);
    const __m256i eights =
        _mm256_or_si256(lower, _mm256_or_si256(_mm256_sllv_epi64(upper, _mm256_setr_epi64x(up, 64, up, 64)),
                                               _mm256_srlv_epi64(upper, _mm256_setr_epi64x(64, 64 - up, 64, 64 - up))));
    const auto last = static_cast<unsigned>(packed_bytes(n, static_cast<int>(bits))),
               middle = last < bits ? last : bits;
    _mm_mask_storeu_epi8(p, first_lanes(middle), _mm256_castsi256_si128(eights));
    _mm_mask_storeu_epi8(p + middle, first_lanes(last - middle), _mm256_extracti128_si256(eights, 1));
  }
};

// 64 codes of up to 8 bits, a byte each and in order.
inline __m512i to_bytes(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i v = _mm512_packus_epi16(_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d));
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}

// Bytes in another order. In assembly, because an instruction chosen at run time (VBMI) cannot be had from an intrinsic
// inside a template that does without.
[[gnu::always_inline]] inline __m512i permuted_bytes(__m512i order, __m512i v) {
  __m512i moved;
  asm("vpermb {%2, %1, %0|%0, %1, %2}" : "=v"(moved) : "v"(order), "v"(v));
  return moved;
}

// The first 64 or 32 codes of `bits` bits, given as bytes, to memory.
template <int bits, int count, bool vbmi>
inline void store_bytes(std::uint8_t* p, __m512i codes) {
  constexpr bool all = count == 64;
  if constexpr (bits == 8) {
    if constexpr (all) _mm512_storeu_si512(p, codes);
    else _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(codes));
  } else if constexpr (bits == 4) {  // pairs of codes to 16 bits: even + 16 * odd
    const __m256i v = _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x1001)));
    if constexpr (all) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
    else _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
  } else if constexpr (bits == 2) {
    const __m512i quads =
        _mm512_madd_epi16(_mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x0401)), _mm512_set1_epi32(0x00100001));
    const __m128i v = _mm512_cvtepi32_epi8(quads);
    if constexpr (all) _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
    else _mm_storel_epi64(reinterpret_cast<__m128i*>(p), v);
  } else if constexpr (bits == 1) {
    const __mmask64 mask = _mm512_test_epi8_mask(codes, codes);
    std::memcpy(p, &mask, count / 8);
  } else {  // each step brings the upper of two fields down onto the lower: 8, 16, then 32 bits apart
    const __m512i two = _mm512_or_si512(_mm512_and_si512(codes, _mm512_set1_epi16(0xff)),
                                        _mm512_slli_epi16(_mm512_srli_epi16(codes, 8), bits));
    const __m512i four = _mm512_or_si512(_mm512_and_si512(two, _mm512_set1_epi32(0xffff)),
                                         _mm512_slli_epi32(_mm512_srli_epi32(two, 16), 2 * bits));
    const __m512i eight = _mm512_or_si512(_mm512_and_si512(four, _mm512_set1_epi64(0xffffffff)),
                                          _mm512_slli_epi64(_mm512_srli_epi64(four, 32), 4 * bits));
    if constexpr (vbmi) {  // the first `bits` bytes of each eight, one behind the other
      constexpr __mmask64 some = ~std::uint64_t{0} >> (64 - count / 8 * bits);
      _mm512_mask_storeu_epi8(p, some, permuted_bytes(_mm512_loadu_si512(&low_bytes<bits>), eight));
      return;
    }
    alignas(64) std::uint8_t parts[64];
    _mm512_store_si512(parts, eight);
    for (std::size_t i = 0; i < count / 8; ++i) std::memcpy(p + i * bits, parts + 8 * i, bits);
  }
}

// ------------------------------------------------------------------------------------------------- rows

// Both of these take a row in runs of n <= 16 weights, each starting at a multiple of 8, and call f(k, n, how), `how`
// being what the run is scaled or divided by. Of a group, `bulk` first takes what it likes: it is given (k, end, how)
// and says how far it came.
template <class How, class Bulk, class F>
inline void take_group(std::size_t k, std::size_t end, const How& how, Bulk&& bulk, F&& f) {
  k = bulk(k, end, how);
  for (; k + 16 <= end; k += 16) f(k, std::size_t{16}, how);
  if (k < end) f(k, end - k, how);
}
inline bool groups_end_inside(const Row& r) { return r.group % 8 != 0 && r.group < r.n; }

template <class Bulk, class F>
inline void each_scaled(const Row& r, Bulk&& bulk, F&& f) {
  if (groups_end_inside(r)) {
    for (std::size_t k = 0; k < r.n; k += 16) f(k, r.n - k < 16 ? r.n - k : std::size_t{16}, scales_at(r, k));
    return;
  }
  for (std::size_t k = 0, g = 0, end = 0; k < r.n; k = end, ++g) {
    end = r.n - k > r.group ? k + r.group : r.n;
    take_group(k, end, Scale(r.affine[g]), bulk, f);
  }
}

template <class Shape, class Bulk, class F>
inline void each_divided(const Row& r, const Shape&, float outside, Bulk&& bulk, F&& f) {
  if (groups_end_inside(r)) {
    for (std::size_t k = 0; k < r.n; k += 16) f(k, r.n - k < 16 ? r.n - k : std::size_t{16}, Divide(scales_at(r, k)));
    return;
  }
  const std::size_t groups = r.n == 0 ? 0 : (r.n - 1) / r.group + 1;
  Quotients quotients;
  for (std::size_t k = 0, g = 0, end = 0; k < r.n; k = end, ++g) {
    end = r.n - k > r.group ? k + r.group : r.n;
    if constexpr (std::is_same_v<Shape, Integers>) {
      if (g % 16 == 0) quotients.prepare(r.affine + g, groups - g, *r.levels, outside);
      if (quotients.exist >> (g % 16) & 1u) {
        take_group(k, end, Multiply(quotients, g % 16), bulk, f);
        continue;
      }
    }
    take_group(k, end, Divide(Scale(r.affine[g])), bulk, f);
  }
}

inline __m512 load_some(const float* x, std::size_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), x); }

// bits 0: any width, known at run time only.
template <int bits, bool vbmi, class Shape>
inline void quantize_rows(const float* x, const Row& r, std::uint8_t* packed, const Shape& shape) {
  const Packing packing(r.levels->bits());
  each_divided(
      r, shape, Quotient::inner,
      [&](std::size_t k, std::size_t end, const auto& divide) {
        if constexpr (bits == 16) {
          for (; k + 16 <= end; k += 16) {
            prefetch(x + k + r.n);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed + 2 * k),
                                _mm512_cvtepi32_epi16(shape.code(_mm512_loadu_ps(x + k), divide)));
          }
        } else if constexpr (bits > 0) {
          for (; k + 64 <= end; k += 64) {
            prefetch(x + k + 16 + r.n), prefetch(x + k + 48 + r.n);
            const __m512i c0 = shape.code(_mm512_loadu_ps(x + k), divide),
                          c1 = shape.code(_mm512_loadu_ps(x + k + 16), divide);
            const __m512i c2 = shape.code(_mm512_loadu_ps(x + k + 32), divide),
                          c3 = shape.code(_mm512_loadu_ps(x + k + 48), divide);
            store_bytes<bits, 64, vbmi>(packed + k / 8 * bits, to_bytes(c0, c1, c2, c3));
          }
          for (; k + 32 <= end; k += 32) {  // groups of 32 come here
            const __m512i c0 = shape.code(_mm512_loadu_ps(x + k), divide),
                          c1 = shape.code(_mm512_loadu_ps(x + k + 16), divide);
            store_bytes<bits, 32, vbmi>(packed + k / 8 * bits, to_bytes(c0, c1, c1, c1));
          }
        }
        return k;
      },
      [&](std::size_t k, std::size_t n, const auto& divide) {
        packing.store(packed + k / 8 * packing.bits, n, shape.code(load_some(x + k, n), divide));
      });
}

template <bool vbmi>
inline void quantize(const float* x, const Row& r, std::uint8_t* packed) {
  with_shape(*r.levels, [&](const auto& shape) {
    switch (r.levels->bits()) {
      case 1: return quantize_rows<1, false>(x, r, packed, shape);
      case 2: return quantize_rows<2, false>(x, r, packed, shape);
      case 3: return quantize_rows<3, vbmi>(x, r, packed, shape);
      case 4: return quantize_rows<4, false>(x, r, packed, shape);
      case 5: return quantize_rows<5, vbmi>(x, r, packed, shape);
      case 6: return quantize_rows<6, vbmi>(x, r, packed, shape);
      case 7: return quantize_rows<7, vbmi>(x, r, packed, shape);
      case 8: return quantize_rows<8, false>(x, r, packed, shape);
      case 16: return quantize_rows<16, false>(x, r, packed, shape);
      default: return quantize_rows<0, false>(x, r, packed, shape);
    }
  });
}

// Sixteen codes of a width known to the compiler; 0 is any other width.
template <int bits>
inline __m512i load16(const std::uint8_t* p, const Packing& packing) {
  if constexpr (bits == 8) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (bits == 16) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  } else if constexpr (bits == 4) {
    std::uint64_t word;
    std::memcpy(&word, p, sizeof word);  // bytes to lanes of 64 bits, their nibbles to the two halves
    const __m512i pairs = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(static_cast<long long>(word)));
    return _mm512_and_si512(_mm512_or_si512(pairs, _mm512_slli_epi64(pairs, 28)), packing.mask);
  } else if constexpr (bits == 2) {
    std::uint32_t word;
    std::memcpy(&word, p, sizeof word);
    const __m512i by = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int>(word)), by), packing.mask);
  } else {
    return packing.unpack(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)),
                          _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + packing.bits)));
  }
}

// Sixteen floats to memory, past the cache if they are streamed. Quarters, because Eigen's memory is sure of 16 bytes
// only.
template <bool streamed>
inline void store(float* out, __m512 v) {
  if constexpr (streamed) {
    _mm_stream_ps(out, _mm512_castps512_ps128(v)), _mm_stream_ps(out + 4, _mm512_extractf32x4_ps(v, 1));
    _mm_stream_ps(out + 8, _mm512_extractf32x4_ps(v, 2)), _mm_stream_ps(out + 12, _mm512_extractf32x4_ps(v, 3));
  } else {
    _mm512_storeu_ps(out, v);
  }
}

template <int width, bool streamed, class Shape>
inline void dequantize_rows(const std::uint8_t* packed, const Row& r, float* out, const Shape& shape) {
  const Packing packing(r.levels->bits());
  const std::size_t bits = packing.bits, held = packed_bytes(r.n, r.levels->bits());
  // Sixteen codes are read as two times 16 bytes, the second `bits` behind the first: the weights for which these lie
  // in the row.
  const std::size_t whole = held < bits + 16 ? 0 : ((held - bits - 16) / (2 * bits) + 1) * 16;
  each_scaled(
      r,
      [&](std::size_t k, std::size_t end, const Scale& a) {
        end = end < whole ? end : whole;
        const std::uint8_t* p = packed + k / 8 * bits;
        for (; k + 64 <= end; k += 64, p += 8 * bits) {
          const __m512 w0 = weights(shape.level(load16<width>(p, packing)), a),
                       w1 = weights(shape.level(load16<width>(p + 2 * bits, packing)), a);
          const __m512 w2 = weights(shape.level(load16<width>(p + 4 * bits, packing)), a),
                       w3 = weights(shape.level(load16<width>(p + 6 * bits, packing)), a);
          store<streamed>(out + k, w0), store<streamed>(out + k + 16, w1), store<streamed>(out + k + 32, w2),
              store<streamed>(out + k + 48, w3);
        }
        for (; k + 16 <= end; k += 16, p += 2 * bits)
          store<streamed>(out + k, weights(shape.level(load16<width>(p, packing)), a));
        return k;
      },
      [&](std::size_t k, std::size_t n, const Scale& a) {
        _mm512_mask_storeu_ps(out + k, first_lanes(n), weights(shape.level(packing.load(packed + k / 8 * bits, n)), a));
      });
}

template <bool streamed>
inline void dequantize_to(const std::uint8_t* packed, const Row& r, float* out) {
  with_shape(*r.levels, [&](const auto& shape) {
    switch (r.levels->bits()) {
      case 2: return dequantize_rows<2, streamed>(packed, r, out, shape);
      case 4: return dequantize_rows<4, streamed>(packed, r, out, shape);
      case 8: return dequantize_rows<8, streamed>(packed, r, out, shape);
      case 16: return dequantize_rows<16, streamed>(packed, r, out, shape);
      default: return dequantize_rows<0, streamed>(packed, r, out, shape);
    }
  });
}
inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  if (!r.streamed || reinterpret_cast<std::uintptr_t>(out) % 16 != 0) return dequantize_to<false>(packed, r, out);
  dequantize_to<true>(packed, r, out);
  _mm_sfence();  // whoever reads the row next sees it
}

template <bool masked>
inline void fake_quantize_to(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  with_shape(*r.levels, [&](const auto& shape) {
    const auto nearest = [&](__m512 w, const auto& divide, __mmask16& inside) {
      if constexpr (masked) return shape.nearest_weight(w, divide, inside);
      else return shape.nearest_weight(w, divide);
    };
    each_divided(
        r, shape, masked ? Quotient::outer : Quotient::inner,
        [&](std::size_t k, std::size_t end, const auto& divide) {
          for (; k + 64 <= end; k += 64) {
            for (std::size_t i = k; i < k + 64; i += 16) prefetch(x + i + r.n);
            __mmask16 inside[4];
            const __m512 w0 = nearest(_mm512_loadu_ps(x + k), divide, inside[0]),
                         w1 = nearest(_mm512_loadu_ps(x + k + 16), divide, inside[1]);
            const __m512 w2 = nearest(_mm512_loadu_ps(x + k + 32), divide, inside[2]),
                         w3 = nearest(_mm512_loadu_ps(x + k + 48), divide, inside[3]);
            _mm512_storeu_ps(out + k, w0), _mm512_storeu_ps(out + k + 16, w1), _mm512_storeu_ps(out + k + 32, w2),
                _mm512_storeu_ps(out + k + 48, w3);
            if constexpr (masked) std::memcpy(mask + k / 8, inside, sizeof inside);
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const auto& divide) {
          __mmask16 inside = 0;
          _mm512_mask_storeu_ps(out + k, first_lanes(n), nearest(load_some(x + k, n), divide, inside));
          inside = static_cast<__mmask16>(inside & first_lanes(n));
          if constexpr (masked) std::memcpy(mask + k / 8, &inside, (n + 7) / 8);
        });
  });
}
inline void fake_quantize(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  return mask == nullptr ? fake_quantize_to<false>(x, r, out, mask) : fake_quantize_to<true>(x, r, out, mask);
}

// What all processors with AVX-512 have, and what later ones have besides: VNNI from Cascade Lake on, VBMI too from Ice
// Lake and Zen 4 on.
inline constexpr Table table{"avx512",           supported,       ranges,     absolute_sum, widen_scales,
                             widen_coded_scales, quantize<false>, dequantize, fake_quantize};
inline constexpr Table table_vnni{"avx512vnni",       supported_vnni,  ranges,     absolute_sum, widen_scales,
                                  widen_coded_scales, quantize<false>, dequantize, fake_quantize};
inline constexpr Table table_vbmi{"avx512vbmi",       supported_vbmi, ranges,     absolute_sum, widen_scales,
                                  widen_coded_scales, quantize<true>, dequantize, fake_quantize};

}  // namespace fewbit::kernel::avx512
FEWBIT_TARGET_END
#pragma GCC diagnostic pop
#endif
