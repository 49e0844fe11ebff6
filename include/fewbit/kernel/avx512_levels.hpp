#pragma once
// AVX-512: registers of weights, how sixteen of them are scaled and divided, and the three shapes of levels that turn
// them into codes and back. Rule: lane by lane the operations of scalar.hpp, or ones proven equal.

#include <fewbit/config.hpp>
#include <fewbit/kernel/quotient.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_X86_64
#include <cstring>
#include <immintrin.h>
#include <limits>
#include <type_traits>

FEWBIT_AVX512_BEGIN
namespace fewbit::kernel::avx512 {

inline constexpr int nearest_even = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// The first n of sixteen lanes.
inline __mmask16 first_lanes(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1); }

// The row behind the one at hand is usually next: it comes from memory while this one, which its ranges have brought
// near, is coded. A very long row is not near; what is next then lies a page ahead in it.
[[gnu::always_inline]] inline void prefetch(const float* x) {
  _mm_prefetch(reinterpret_cast<const char*>(x), _MM_HINT_T1);
}
inline std::size_t next_row(const Row& r) { return r.n <= std::size_t{1} << 17 ? r.n : 1024; }

inline __m512 clamp(__m512 x, __m512 lo, __m512 hi) { return _mm512_min_ps(_mm512_max_ps(x, lo), hi); }
inline __mmask16 within(__m512 x, __m512 lo, __m512 hi) {
  return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(x, lo, _CMP_GE_OQ), x, hi, _CMP_LE_OQ);
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
  __mmask16 inside(__m512 w, const Divide& divide) const { return within(rounded(w, divide), first, last); }
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
  // These two with the quotient clamped to Quotient::outer.
  __mmask16 inside(__m512 w, const Multiply& divide) const {
    return within(_mm512_roundscale_ps(divide(w), nearest_even), _mm512_sub_ps(first, divide.zero),
                  _mm512_sub_ps(last, divide.zero));
  }
  __m512 nearest_weight(__m512 w, const Multiply& divide, __mmask16& inside) const {
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
  __mmask16 inside(__m512 w, const Divide& divide) const {
    return within(scaled(w, divide), _mm512_set1_ps(this->covered.lo), _mm512_set1_ps(this->covered.hi));
  }
  __m512 nearest_weight(__m512 w, const Divide& divide, __mmask16& in) const {
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

}  // namespace fewbit::kernel::avx512
FEWBIT_AVX512_END
#endif
