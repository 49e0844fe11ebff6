#pragma once
// AVX2 and FMA. Leans on fused multiply-adds for exact quotients (quotient.hpp), on variable shifts and vpshufb to take
// codes of any width apart, and on byte packs for widths up to 8. Fast where groups are multiples of 8 weights, fastest
// at multiples of 32; other group sizes run with one Affine per lane. Rule: lane by lane the operations of scalar.hpp,
// or ones proven equal; tails are padded, not special.

#include <fewbit/config.hpp>
#include <fewbit/kernel/cpu.hpp>
#include <fewbit/kernel/quotient.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_X86_64
#include <cstring>
#include <immintrin.h>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::avx2 {
inline bool supported() { return cpu::has_avx2(); }
}  // namespace fewbit::kernel::avx2

FEWBIT_TARGET_BEGIN("avx2,fma,f16c")
namespace fewbit::kernel::avx2 {

// A row shorter than a register, or the end of one.
inline __m256 load_some(const float* x, std::size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
}
// Eight floats to memory, past the cache if they are streamed. Halves, because Eigen's memory is sure of 16 bytes only.
template <bool streamed>
inline void store(float* out, __m256 v) {
  if constexpr (streamed)
    _mm_stream_ps(out, _mm256_castps256_ps128(v)), _mm_stream_ps(out + 4, _mm256_extractf128_ps(v, 1));
  else _mm256_storeu_ps(out, v);
}
inline void store_some(float* out, std::size_t n, __m256 v) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(out, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane), v);
}

// The row behind the one at hand is usually next: it comes from memory while this one is worked on. Its ranges bring
// one half of the lines, its codes the other, so that memory is never idle.
[[gnu::always_inline]] inline void prefetch(const float* x) {
  _mm_prefetch(reinterpret_cast<const char*>(x), _MM_HINT_T1);
}

inline __m256 round_even(__m256 x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline __m256 clamp(__m256 x, __m256 lo, __m256 hi) { return _mm256_min_ps(_mm256_max_ps(x, lo), hi); }
inline std::uint8_t within(__m256 x, __m256 lo, __m256 hi) {  // a bit for each lane
  const __m256 both = _mm256_and_ps(_mm256_cmp_ps(x, lo, _CMP_GE_OQ), _mm256_cmp_ps(x, hi, _CMP_LE_OQ));
  return static_cast<std::uint8_t>(_mm256_movemask_ps(both));
}

// ------------------------------------------------------------------------------------------------ ranges and sums

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
inline Range range(const float* x, std::size_t n, std::size_t ahead) {
  __m256 lo = _mm256_loadu_ps(x), hi = lo, lo2 = lo, hi2 = lo, nan = _mm256_cmp_ps(lo, lo, _CMP_UNORD_Q);
  std::size_t k = 8;
  for (; k + 16 <= n; k += 16) {
    const __m256 a = _mm256_loadu_ps(x + k), b = _mm256_loadu_ps(x + k + 8);
    lo = _mm256_min_ps(lo, a), hi = _mm256_max_ps(hi, a);
    lo2 = _mm256_min_ps(lo2, b), hi2 = _mm256_max_ps(hi2, b);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
    if (k % 32 == 8) prefetch(x + k + ahead);
  }
  for (const std::size_t last = n - 8; k < n;
       k += 8) {  // the last register overlaps the one before: a range does not mind
    const __m256 a = _mm256_loadu_ps(x + (k < last ? k : last));
    lo = _mm256_min_ps(lo, a), hi = _mm256_max_ps(hi, a);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  }
  if (_mm256_movemask_ps(nan) != 0)
    return {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::quiet_NaN()};
  return {lowest(_mm256_min_ps(lo, lo2)) + 0.f, highest(_mm256_max_ps(hi, hi2)) + 0.f};
}

inline void ranges(const float* x, std::size_t n, std::size_t group, Range* out) {
  if (group < 8) return scalar::ranges(x, n, group, out);
  for (std::size_t k = 0; k < n; k += group, ++out) {
    const std::size_t some = n - k < group ? n - k : group;
    if (some < 8) return scalar::ranges(x + k, some, some, out);
    *out = range(x + k, some, n);
    if (group >= n) return;  // k + group may not fit a size_t
  }
}

// Lane j of scalar::absolute_sum is lane j % 4 of register j / 4, and halves are added to halves.
inline double absolute_sum(const float* x, std::size_t n) {
  const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256d lane[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
  const auto add = [&](int to, __m256 v) {
    v = _mm256_and_ps(v, no_sign);
    lane[to] = _mm256_add_pd(lane[to], _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
    lane[to + 1] = _mm256_add_pd(lane[to + 1], _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
  };
  std::size_t k = 0;
  for (; k + 16 <= n; k += 16) add(0, _mm256_loadu_ps(x + k)), add(2, _mm256_loadu_ps(x + k + 8));
  if (k < n) add(0, load_some(x + k, n - k < 8 ? n - k : 8));
  if (k + 8 < n) add(2, load_some(x + k + 8, n - k - 8));
  const __m256d four = _mm256_add_pd(_mm256_add_pd(lane[0], lane[2]), _mm256_add_pd(lane[1], lane[3]));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// ------------------------------------------------------------------------------------------------ stored scales

// {v[i], 0} for eight scales.
inline void store_scales(Affine* out, __m256 v) {
  const __m256 low = _mm256_unpacklo_ps(v, _mm256_setzero_ps()), high = _mm256_unpackhi_ps(v, _mm256_setzero_ps());
  _mm256_storeu_ps(&out[0].scale, _mm256_permute2f128_ps(low, high, 0x20));
  _mm256_storeu_ps(&out[4].scale, _mm256_permute2f128_ps(low, high, 0x31));
}

inline void widen_scales(ScaleType type, const std::uint8_t* stored, std::size_t n, Affine* out) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const auto halves = [&] { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(stored + 2 * i)); };
    store_scales(out + i, type == ScaleType::f32 ? _mm256_loadu_ps(reinterpret_cast<const float*>(stored + 4 * i))
                          : type == ScaleType::f16
                              ? _mm256_cvtph_ps(halves())
                              : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves()), 16)));
  }
  scalar::widen_scales(type, stored + i * scale_bytes(type), n - i, out + i);
}

// ------------------------------------------------------------------------ how eight weights are scaled, and divided

struct Scale {
  __m256 scale, zero;
  Scale(__m256 s, __m256 z) : scale(s), zero(z) {}
  explicit Scale(Affine a) : Scale(_mm256_set1_ps(a.scale), _mm256_set1_ps(a.zero)) {}
};

// The Affines of weights k .. k + 7, for groups that end anywhere. Lanes past the row repeat its last group.
inline Scale scales_at(const Row& r, std::size_t k) {
  alignas(32) float scale[8], zero[8];
  std::size_t g = k / r.group, left = r.group - k % r.group;
  for (std::size_t j = 0; j < 8; ++j, --left) {
    if (left == 0) left = r.group, g += k + j < r.n;
    scale[j] = r.affine[g].scale, zero[j] = r.affine[g].zero;
  }
  return {_mm256_load_ps(scale), _mm256_load_ps(zero)};
}

// scale * (level - zero), as |scale| times a difference that takes scale's sign before it is formed: equal
// operands then give +0 under a negative scale too.
inline __m256 weights(__m256 level, const Scale& a) {
  const __m256 sign_bit = _mm256_set1_ps(-0.f), sign = _mm256_and_ps(a.scale, sign_bit);
  const __m256 difference = _mm256_sub_ps(_mm256_xor_ps(level, sign), _mm256_xor_ps(a.zero, sign));
  return _mm256_mul_ps(_mm256_andnot_ps(sign_bit, a.scale), difference);
}

inline void widen_coded_scales(const std::uint8_t* codes, Affine second, std::size_t n, Affine* out) {
  const Scale how(second);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i some = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i));
    store_scales(out + i, weights(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(some)), how));
  }
  scalar::widen_coded_scales(codes + i, second, n - i, out + i);
}

// w / scale by division: for any Affine.
struct Divide : Scale {
  __m256 whole, rest;  // zero == whole + rest
  explicit Divide(const Scale& a) : Scale(a), whole(round_even(a.zero)), rest(_mm256_sub_ps(zero, whole)) {}
  __m256 operator()(__m256 w) const { return _mm256_div_ps(w, scale); }
};

// a0 a1 b0 b1 a2 a3 b2 b3 to a0 .. b3.
inline __m256 in_order(__m256 v) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8)); }

// Quotients of eight groups at once: one division serves them all.
struct Quotients {
  alignas(32) float scale[8], zero[8], inverse[8], lo[8], hi[8];
  unsigned exist = 0;  // a bit for each group

  void prepare(const Affine* a, std::size_t n, const Levels& l, float outside) {
    alignas(32) Affine some[8];
    if (n < 8) {
      for (std::size_t g = 0; g < 8; ++g) some[g] = a[g < n ? g : 0];
      a = some;
    }
    const __m256 x = _mm256_loadu_ps(&a[0].scale), y = _mm256_loadu_ps(&a[4].scale);
    const __m256 s = in_order(_mm256_shuffle_ps(x, y, 0x88)), z = in_order(_mm256_shuffle_ps(x, y, 0xdd));
    // Quotient::exists and Quotient::of, lane by lane.
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)), size = _mm256_and_ps(s, no_sign);
    __m256 fit = _mm256_and_ps(_mm256_cmp_ps(size, _mm256_set1_ps(0x1p-60f), _CMP_GE_OQ),
                               _mm256_cmp_ps(size, _mm256_set1_ps(0x1p60f), _CMP_LE_OQ));
    const __m256 whole = _mm256_cvtepi32_ps(_mm256_cvttps_epi32(z)),
                 near = _mm256_cmp_ps(_mm256_and_ps(z, no_sign), _mm256_set1_ps(0x1p20f), _CMP_LE_OQ);
    fit = _mm256_and_ps(fit, _mm256_and_ps(near, _mm256_cmp_ps(whole, z, _CMP_EQ_OQ)));
    exist = static_cast<unsigned>(_mm256_movemask_ps(fit));
    const __m256 beyond = _mm256_set1_ps(outside);
    const __m256 first = _mm256_mul_ps(_mm256_sub_ps(_mm256_sub_ps(_mm256_set1_ps(l.first()), z), beyond), s);
    const __m256 last = _mm256_mul_ps(_mm256_add_ps(_mm256_sub_ps(_mm256_set1_ps(l.last()), z), beyond), s);
    _mm256_store_ps(scale, s), _mm256_store_ps(zero, z),
        _mm256_store_ps(inverse, _mm256_div_ps(_mm256_set1_ps(1.f), s));
    _mm256_store_ps(lo, _mm256_min_ps(first, last)), _mm256_store_ps(hi, _mm256_max_ps(first, last));
  }
};

// w / scale by multiplication, the weight clamped: for groups that have a Quotient.
struct Multiply : Scale {
  __m256 inverse, lo, hi;
  Multiply(const Quotients& q, std::size_t g)
      : Scale(_mm256_set1_ps(q.scale[g]), _mm256_set1_ps(q.zero[g])), inverse(_mm256_set1_ps(q.inverse[g])),
        lo(_mm256_set1_ps(q.lo[g])), hi(_mm256_set1_ps(q.hi[g])) {}
  __m256 operator()(__m256 w) const {
    const __m256 within = _mm256_min_ps(_mm256_max_ps(w, lo), hi), q0 = _mm256_mul_ps(within, inverse);
    return _mm256_fmadd_ps(_mm256_fnmadd_ps(q0, scale, within), inverse, q0);
  }
};

// ------------------------------------------------------------------------------------- levels: three shapes
// Each turns weights into codes and codes into levels, eight at a time.

struct Integers {
  __m256 first, last;
  __m256i first_code;
  explicit Integers(const Levels& l)
      : first(_mm256_set1_ps(l.first())), last(_mm256_set1_ps(l.last())),
        first_code(_mm256_set1_epi32(static_cast<int>(l.first()))) {}

  __m256 rounded(__m256 w, const Divide& divide) const {
    return _mm256_add_ps(round_even(_mm256_add_ps(divide(w), divide.rest)), divide.whole);
  }
  __m256 nearest(__m256 w, const Divide& divide) const { return clamp(rounded(w, divide), first, last); }
  __m256i code(__m256 w, const Divide& divide) const {
    return _mm256_sub_epi32(_mm256_cvtps_epi32(nearest(w, divide)), first_code);
  }
  __m256 level(__m256i code) const { return _mm256_cvtepi32_ps(_mm256_add_epi32(code, first_code)); }
  __m256 nearest_weight(__m256 w, const Divide& divide) const { return weights(nearest(w, divide), divide); }
  __m256 nearest_weight(__m256 w, const Divide& divide, std::uint8_t& inside) const {
    const __m256 level = rounded(w, divide);
    inside = within(level, first, last);
    return weights(clamp(level, first, last), divide);
  }

  // The same with a whole zero-point and a clamped quotient: level - zero is the rounded quotient itself.
  __m256i code(__m256 w, const Multiply& divide) const {
    const __m256 q = round_even(divide(w));
    return _mm256_add_epi32(_mm256_cvtps_epi32(q), _mm256_sub_epi32(_mm256_cvtps_epi32(divide.zero), first_code));
  }
  static __m256 scaled(__m256 q, const Multiply& divide) {  // + 0 turns a -0 into +0
    const __m256 sign_bit = _mm256_set1_ps(-0.f), sign = _mm256_and_ps(divide.scale, sign_bit);
    return _mm256_mul_ps(_mm256_andnot_ps(sign_bit, divide.scale),
                         _mm256_add_ps(_mm256_xor_ps(q, sign), _mm256_setzero_ps()));
  }
  __m256 nearest_weight(__m256 w, const Multiply& divide) const { return scaled(round_even(divide(w)), divide); }
  __m256 nearest_weight(__m256 w, const Multiply& divide, std::uint8_t& inside) const {  // clamped to Quotient::outer
    const __m256 q = round_even(divide(w));
    const __m256 lo = _mm256_sub_ps(first, divide.zero), hi = _mm256_sub_ps(last, divide.zero);
    inside = within(q, lo, hi);
    return scaled(clamp(q, lo, hi), divide);
  }
};

// Up to 16 levels: both tables live in registers, and the code is found by binary search.
struct Table16 {
  __m256 low, high;                 // the levels
  __m256 step8, step4, step4_high;  // midpoint 7; 3; 11
  __m256 step2, step1;              // midpoints 1, 5, 9, 13 in each half; 0, 2, .. 14
  Range covered;
  explicit Table16(const Levels& l) : covered(l.covered()) {
    const float* m = l.midpoints();
    low = _mm256_loadu_ps(l.data()), high = _mm256_loadu_ps(l.data() + 8);
    step8 = _mm256_set1_ps(m[7]), step4 = _mm256_set1_ps(m[3]), step4_high = _mm256_set1_ps(m[11]);
    step2 = _mm256_setr_ps(m[1], m[5], m[9], m[13], m[1], m[5], m[9], m[13]);
    step1 = _mm256_setr_ps(m[0], m[2], m[4], m[6], m[8], m[10], m[12], m[14]);
  }
  __m256i search(__m256 u) const {
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
};

// 17 to 256 levels: the same search over tables in memory.
struct Table256 {
  const float *levels, *midpoints;
  Range covered;
  explicit Table256(const Levels& l) : levels(l.data()), midpoints(l.midpoints()), covered(l.covered()) {}
  __m256i search(__m256 u) const {
    __m256i found = _mm256_setzero_si256();
    for (int step = 128; step > 0; step /= 2) {
      const __m256i to = _mm256_add_epi32(found, _mm256_set1_epi32(step - 1));
      const __m256 above = _mm256_cmp_ps(u, _mm256_i32gather_ps(midpoints, to, 4), _CMP_GT_OQ);
      found = _mm256_add_epi32(found, _mm256_and_si256(_mm256_castps_si256(above), _mm256_set1_epi32(step)));
    }
    return found;
  }
  __m256 level(__m256i code) const { return _mm256_i32gather_ps(levels, code, 4); }
};

// What both tables make of that.
template <class Searched>
struct Entries : Searched {
  using Searched::Searched;
  static __m256 scaled(__m256 w, const Divide& divide) { return _mm256_add_ps(divide(w), divide.zero); }
  __m256i code(__m256 w, const Divide& divide) const { return this->search(scaled(w, divide)); }
  __m256 nearest_weight(__m256 w, const Divide& divide) const { return weights(this->level(code(w, divide)), divide); }
  __m256 nearest_weight(__m256 w, const Divide& divide, std::uint8_t& inside) const {
    inside = within(scaled(w, divide), _mm256_set1_ps(this->covered.lo), _mm256_set1_ps(this->covered.hi));
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
// Eight codes fill exactly `bits` bytes, so eight codes always start and end on a byte.

struct Packing {
  unsigned bits;
  __m256i bytes, shifts, mask;  // to take apart: for each lane, the four bytes its code lies in, and where in them
  __m256i fields;               // where in the first 32 bits, for widths up to 4

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
    fields = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(width));
  }

  // How many of a row's n weights, a multiple of 8, can be packed and unpacked with 16 bytes at a time.
  std::size_t whole_registers(std::size_t n) const {
    const std::size_t held = packed_bytes(n, static_cast<int>(bits));
    return held < 16 ? 0 : ((held - 16) / bits + 1) * 8;
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
    const __m256i pairs =
        _mm256_or_si256(low, _mm256_srl_epi64(_mm256_andnot_si256(_mm256_set1_epi64x(0xffffffff), codes), down));
    // In each 128 bits: the upper pair comes down onto the lower one. Four codes are at most 64 bits.
    const __m128i two = _mm_cvtsi32_si128(static_cast<int>(2 * bits)),
                  four = _mm_cvtsi32_si128(static_cast<int>(4 * bits));
    const __m256i quads = _mm256_or_si256(pairs, _mm256_sll_epi64(_mm256_srli_si256(pairs, 8), two));
    // The upper four codes go 4 * bits bits up, which may straddle the middle of the register.
    const __m128i lower = _mm_move_epi64(_mm256_castsi256_si128(quads)),
                  upper = _mm_move_epi64(_mm256_extracti128_si256(quads, 1));
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
  void store_wide(std::uint8_t* p, __m256i codes) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), pack(codes));
  }

  // n <= 8 codes; those past n are written as zero bits.
  void store(std::uint8_t* p, std::size_t n, __m256i codes) const {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
    const __m128i v = pack(_mm256_and_si256(codes, kept));
    std::memcpy(p, &v, packed_bytes(n, static_cast<int>(bits)));
  }
};

// 32 codes of up to 8 bits, a byte each and in order.
inline __m256i to_bytes(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i v = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
  return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// 32 codes of `bits` bits, as bytes, to memory.
template <int bits>
inline void store32(std::uint8_t* p, __m256i codes) {
  if constexpr (bits == 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), codes);
  } else if constexpr (bits == 4 || bits == 2) {  // pairs of codes to 16 bits: even + 16 * odd, or even + 4 * odd
    const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(bits == 4 ? 0x1001 : 0x0401));
    if constexpr (bits == 4) {
      const __m256i v = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
    } else {
      const __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00100001));
      const __m128i v = _mm_packus_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(v, v));
    }
  } else if constexpr (bits == 1) {  // the lowest bit of each byte becomes its sign, and signs become a mask
    const int mask = _mm256_movemask_epi8(_mm256_slli_epi16(codes, 7));
    std::memcpy(p, &mask, sizeof mask);
  } else {  // each step brings the upper of two fields down onto the lower: 8, 16, then 32 bits apart
    const __m256i two = _mm256_or_si256(_mm256_and_si256(codes, _mm256_set1_epi16(0xff)),
                                        _mm256_slli_epi16(_mm256_srli_epi16(codes, 8), bits));
    const __m256i four = _mm256_or_si256(_mm256_and_si256(two, _mm256_set1_epi32(0xffff)),
                                         _mm256_slli_epi32(_mm256_srli_epi32(two, 16), 2 * bits));
    const __m256i eight = _mm256_or_si256(_mm256_and_si256(four, _mm256_set1_epi64x(0xffffffff)),
                                          _mm256_slli_epi64(_mm256_srli_epi64(four, 32), 4 * bits));
    const long long part[4] = {_mm256_extract_epi64(eight, 0), _mm256_extract_epi64(eight, 1),
                               _mm256_extract_epi64(eight, 2), _mm256_extract_epi64(eight, 3)};
    for (std::size_t i = 0; i < 4; ++i) std::memcpy(p + i * bits, &part[i], bits);
  }
}

// ------------------------------------------------------------------------------------------------- rows

// Both of these take a row in runs of n <= 8 weights, each starting at a multiple of 8, and call f(k, n, how), `how`
// being what the run is scaled or divided by. Of a group, `bulk` first takes what it likes: it is given (k, end, how)
// and says how far it came.
template <class How, class Bulk, class F>
inline void take_group(std::size_t k, std::size_t end, const How& how, Bulk&& bulk, F&& f) {
  k = bulk(k, end, how);
  for (; k + 8 <= end; k += 8) f(k, std::size_t{8}, how);
  if (k < end) f(k, end - k, how);
}
inline bool groups_end_inside(const Row& r) { return r.group % 8 != 0 && r.group < r.n; }

template <class Bulk, class F>
inline void each_scaled(const Row& r, Bulk&& bulk, F&& f) {
  if (groups_end_inside(r)) {
    for (std::size_t k = 0; k < r.n; k += 8) f(k, r.n - k < 8 ? r.n - k : std::size_t{8}, scales_at(r, k));
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
    for (std::size_t k = 0; k < r.n; k += 8) f(k, r.n - k < 8 ? r.n - k : std::size_t{8}, Divide(scales_at(r, k)));
    return;
  }
  const std::size_t groups = r.n == 0 ? 0 : (r.n - 1) / r.group + 1;
  Quotients quotients;
  for (std::size_t k = 0, g = 0, end = 0; k < r.n; k = end, ++g) {
    end = r.n - k > r.group ? k + r.group : r.n;
    if constexpr (std::is_same_v<Shape, Integers>) {
      if (g % 8 == 0) quotients.prepare(r.affine + g, groups - g, *r.levels, outside);
      if (quotients.exist >> (g % 8) & 1u) {
        take_group(k, end, Multiply(quotients, g % 8), bulk, f);
        continue;
      }
    }
    take_group(k, end, Divide(Scale(r.affine[g])), bulk, f);
  }
}

template <int bits, class Shape>
inline void quantize_narrow(const float* x, const Row& r, std::uint8_t* packed, const Shape& shape) {
  const Packing packing(bits);
  each_divided(
      r, shape, Quotient::inner,
      [&](std::size_t k, std::size_t end, const auto& divide) {
        for (; k + 32 <= end; k += 32) {
          prefetch(x + k + 16 + r.n);
          const __m256i c0 = shape.code(_mm256_loadu_ps(x + k), divide),
                        c1 = shape.code(_mm256_loadu_ps(x + k + 8), divide);
          const __m256i c2 = shape.code(_mm256_loadu_ps(x + k + 16), divide),
                        c3 = shape.code(_mm256_loadu_ps(x + k + 24), divide);
          store32<bits>(packed + k / 8 * bits, to_bytes(c0, c1, c2, c3));
        }
        return k;
      },
      [&](std::size_t k, std::size_t n, const auto& divide) {
        packing.store(packed + k / 8 * bits, n, shape.code(load_some(x + k, n), divide));
      });
}

template <bool sixteen, class Shape>
inline void quantize_wide(const float* x, const Row& r, std::uint8_t* packed, const Shape& shape) {
  const Packing packing(r.levels->bits());
  const std::size_t whole = packing.whole_registers(r.n);
  each_divided(
      r, shape, Quotient::inner,
      [&](std::size_t k, std::size_t end, const auto& divide) {
        if constexpr (sixteen) {
          for (; k + 16 <= end; k += 16) {
            prefetch(x + k + r.n);
            const __m256i c0 = shape.code(_mm256_loadu_ps(x + k), divide),
                          c1 = shape.code(_mm256_loadu_ps(x + k + 8), divide);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed + 2 * k),
                                _mm256_permute4x64_epi64(_mm256_packus_epi32(c0, c1), 0xd8));
          }
        }
        for (end = end < whole ? end : whole; k + 8 <= end; k += 8) {
          prefetch(x + k + r.n);
          packing.store_wide(packed + k / 8 * packing.bits, shape.code(_mm256_loadu_ps(x + k), divide));
        }
        return k;
      },
      [&](std::size_t k, std::size_t n, const auto& divide) {
        packing.store(packed + k / 8 * packing.bits, n, shape.code(load_some(x + k, n), divide));
      });
}

inline void quantize(const float* x, const Row& r, std::uint8_t* packed) {
  with_shape(*r.levels, [&](const auto& shape) {
    switch (r.levels->bits()) {
      case 1: return quantize_narrow<1>(x, r, packed, shape);
      case 2: return quantize_narrow<2>(x, r, packed, shape);
      case 3: return quantize_narrow<3>(x, r, packed, shape);
      case 4: return quantize_narrow<4>(x, r, packed, shape);
      case 5: return quantize_narrow<5>(x, r, packed, shape);
      case 6: return quantize_narrow<6>(x, r, packed, shape);
      case 7: return quantize_narrow<7>(x, r, packed, shape);
      case 8: return quantize_narrow<8>(x, r, packed, shape);
      case 16: return quantize_wide<true>(x, r, packed, shape);
      default: return quantize_wide<false>(x, r, packed, shape);
    }
  });
}

// Eight codes of a width known to the compiler.
template <int bits>
inline __m256i load8(const std::uint8_t* p, const Packing& packing) {
  if constexpr (bits == 8) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (bits == 16) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (bits == 4 || bits == 2) {
    std::uint32_t word = 0;
    std::memcpy(&word, p, bits);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), packing.fields), packing.mask);
  } else {
    return packing.unpack(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
}

template <int width, bool streamed, class Shape>
inline void dequantize_rows(const std::uint8_t* packed, const Row& r, float* out, const Shape& shape) {
  const Packing packing(r.levels->bits());
  const std::size_t bits = width > 0 ? width : packing.bits, whole = packing.whole_registers(r.n);
  each_scaled(
      r,
      [&](std::size_t k, std::size_t end, const Scale& a) {
        end = end < whole ? end : whole;
        const std::uint8_t* p = packed + k / 8 * bits;
        for (; k + 32 <= end; k += 32, p += 4 * bits) {
          const __m256 w0 = weights(shape.level(load8<width>(p, packing)), a),
                       w1 = weights(shape.level(load8<width>(p + bits, packing)), a);
          const __m256 w2 = weights(shape.level(load8<width>(p + 2 * bits, packing)), a),
                       w3 = weights(shape.level(load8<width>(p + 3 * bits, packing)), a);
          store<streamed>(out + k, w0), store<streamed>(out + k + 8, w1), store<streamed>(out + k + 16, w2),
              store<streamed>(out + k + 24, w3);
        }
        for (; k + 8 <= end; k += 8, p += bits)
          store<streamed>(out + k, weights(shape.level(load8<width>(p, packing)), a));
        return k;
      },
      [&](std::size_t k, std::size_t n, const Scale& a) {
        store_some(out + k, n, weights(shape.level(packing.load(packed + k / 8 * bits, n)), a));
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
    const auto nearest = [&](__m256 w, const auto& divide, std::uint8_t& inside) {
      if constexpr (masked) return shape.nearest_weight(w, divide, inside);
      else return shape.nearest_weight(w, divide);
    };
    each_divided(
        r, shape, masked ? Quotient::outer : Quotient::inner,
        [&](std::size_t k, std::size_t end, const auto& divide) {
          for (; k + 32 <= end; k += 32) {
            prefetch(x + k + r.n), prefetch(x + k + r.n + 16);
            std::uint8_t inside[4];
            const __m256 w0 = nearest(_mm256_loadu_ps(x + k), divide, inside[0]),
                         w1 = nearest(_mm256_loadu_ps(x + k + 8), divide, inside[1]);
            const __m256 w2 = nearest(_mm256_loadu_ps(x + k + 16), divide, inside[2]),
                         w3 = nearest(_mm256_loadu_ps(x + k + 24), divide, inside[3]);
            _mm256_storeu_ps(out + k, w0), _mm256_storeu_ps(out + k + 8, w1), _mm256_storeu_ps(out + k + 16, w2),
                _mm256_storeu_ps(out + k + 24, w3);
            if constexpr (masked) std::memcpy(mask + k / 8, inside, sizeof inside);
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const auto& divide) {
          std::uint8_t inside = 0;
          store_some(out + k, n, nearest(load_some(x + k, n), divide, inside));
          if constexpr (masked) mask[k / 8] = static_cast<std::uint8_t>(inside & ((1u << n) - 1));
        });
  });
}
inline void fake_quantize(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  return mask == nullptr ? fake_quantize_to<false>(x, r, out, mask) : fake_quantize_to<true>(x, r, out, mask);
}

inline constexpr Table table{"avx2",   supported,  ranges,       absolute_sum, widen_scales, widen_coded_scales,
                             quantize, dequantize, fake_quantize};

}  // namespace fewbit::kernel::avx2
FEWBIT_TARGET_END
#endif
