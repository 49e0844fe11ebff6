#pragma once
// AVX2: registers of weights, how eight of them are scaled and divided, and the three shapes of levels that turn
// them into codes and back. Rule: lane by lane the operations of scalar.hpp, or ones proven equal.

#include <fewbit/config.hpp>
#include <fewbit/kernel/quotient.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_X86_64
#include <cstring>
#include <immintrin.h>
#include <limits>
#include <type_traits>

FEWBIT_AVX2_BEGIN
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

// The row behind the one at hand is usually next: it comes from memory while this one, which its ranges have brought
// near, is coded. A very long row is not near; what is next then lies a page ahead in it.
[[gnu::always_inline]] inline void prefetch(const float* x) {
  _mm_prefetch(reinterpret_cast<const char*>(x), _MM_HINT_T1);
}
inline std::size_t next_row(const Row& r) { return r.n <= std::size_t{1} << 17 ? r.n : 1024; }

inline __m256 round_even(__m256 x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline __m256 clamp(__m256 x, __m256 lo, __m256 hi) { return _mm256_min_ps(_mm256_max_ps(x, lo), hi); }
// All ones in the lanes of numbers in [lo, hi].
inline __m256 within(__m256 x, __m256 lo, __m256 hi) {
  return _mm256_and_ps(_mm256_cmp_ps(x, lo, _CMP_GE_OQ), _mm256_cmp_ps(x, hi, _CMP_LE_OQ));
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
  __m256 inside(__m256 w, const Divide& divide) const { return within(rounded(w, divide), first, last); }
  __m256 nearest_weight(__m256 w, const Divide& divide, __m256& inside) const {
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
  // These two with the quotient clamped to Quotient::outer.
  __m256 inside(__m256 w, const Multiply& divide) const {
    return within(round_even(divide(w)), _mm256_sub_ps(first, divide.zero), _mm256_sub_ps(last, divide.zero));
  }
  __m256 nearest_weight(__m256 w, const Multiply& divide, __m256& inside) const {
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
  __m256 inside(__m256 w, const Divide& divide) const {
    return within(scaled(w, divide), _mm256_set1_ps(this->covered.lo), _mm256_set1_ps(this->covered.hi));
  }
  __m256 nearest_weight(__m256 w, const Divide& divide, __m256& in) const {
    in = inside(w, divide);
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

}  // namespace fewbit::kernel::avx2
FEWBIT_AVX2_END
#endif
