#pragma once
// AVX2 and FMA. Leans on fused multiply-adds for exact quotients (quotient.hpp), on variable shifts and vpshufb to take
// codes of any width apart, and on byte packs for widths up to 8. Fast where groups are multiples of 8 weights, fastest
// at multiples of 32; other group sizes run with one Affine per lane. Rule: lane by lane the operations of scalar.hpp,
// or ones proven equal; tails are padded, not special.

#include <fewbit/kernel/avx2_levels.hpp>
#include <fewbit/kernel/avx2_packing.hpp>
#include <fewbit/kernel/cpu.hpp>

#if FEWBIT_X86_64
#include <immintrin.h>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::avx2 {
inline bool supported() { return cpu::has_avx2(); }
}  // namespace fewbit::kernel::avx2

FEWBIT_AVX2_BEGIN
namespace fewbit::kernel::avx2 {

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
inline Range range(const float* x, std::size_t n) {
  __m256 lo = _mm256_loadu_ps(x), hi = lo, lo2 = lo, hi2 = lo, nan = _mm256_cmp_ps(lo, lo, _CMP_UNORD_Q);
  std::size_t k = 8;
  for (; k + 16 <= n; k += 16) {
    const __m256 a = _mm256_loadu_ps(x + k), b = _mm256_loadu_ps(x + k + 8);
    lo = _mm256_min_ps(lo, a), hi = _mm256_max_ps(hi, a);
    lo2 = _mm256_min_ps(lo2, b), hi2 = _mm256_max_ps(hi2, b);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
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
    *out = range(x + k, some);
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
inline void widen_coded_scales(const std::uint8_t* codes, Affine second, std::size_t n, Affine* out) {
  const Scale how(second);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i some = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i));
    store_scales(out + i, weights(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(some)), how));
  }
  scalar::widen_coded_scales(codes + i, second, n - i, out + i);
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
  FEWBIT_ON_THE_STACK;
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
  FEWBIT_ON_THE_STACK;
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
  const std::size_t next = next_row(r);
  const Packing packing(bits);
  each_divided(
      r, shape, Quotient::inner,
      [&](std::size_t k, std::size_t end, const auto& divide) {
        for (; k + 32 <= end; k += 32) {
          prefetch(x + k + next), prefetch(x + k + 16 + next);
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
  const std::size_t next = next_row(r);
  const Packing packing(r.levels->bits());
  const std::size_t whole = packing.whole_registers(r.n);
  each_divided(
      r, shape, Quotient::inner,
      [&](std::size_t k, std::size_t end, const auto& divide) {
        if constexpr (sixteen) {
          for (; k + 16 <= end; k += 16) {
            prefetch(x + k + next);
            const __m256i c0 = shape.code(_mm256_loadu_ps(x + k), divide),
                          c1 = shape.code(_mm256_loadu_ps(x + k + 8), divide);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed + 2 * k),
                                _mm256_permute4x64_epi64(_mm256_packus_epi32(c0, c1), 0xd8));
          }
        }
        for (end = end < whole ? end : whole; k + 8 <= end; k += 8) {
          prefetch(x + k + next);
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
inline bool is_streamed(const Row& r, const float* out) {
  return r.streamed && reinterpret_cast<std::uintptr_t>(out) % 16 == 0;
}
inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  if (!is_streamed(r, out)) return dequantize_to<false>(packed, r, out);
  dequantize_to<true>(packed, r, out);
  _mm_sfence();  // whoever reads the row next sees it
}

inline std::uint8_t bits_of(__m256 lanes) { return static_cast<std::uint8_t>(_mm256_movemask_ps(lanes)); }

template <bool masked, bool streamed>
inline void fake_quantize_to(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  const std::size_t next = next_row(r);
  with_shape(*r.levels, [&](const auto& shape) {
    const auto nearest = [&](__m256 w, const auto& divide, __m256& inside) {
      if constexpr (masked) return shape.nearest_weight(w, divide, inside);
      else return shape.nearest_weight(w, divide);
    };
    each_divided(
        r, shape, masked ? Quotient::outer : Quotient::inner,
        [&](std::size_t k, std::size_t end, const auto& divide) {
          for (; k + 32 <= end; k += 32) {
            if constexpr (!streamed) prefetch(x + k + next), prefetch(x + k + next + 16);
            __m256 inside[4];
            const __m256 w0 = nearest(_mm256_loadu_ps(x + k), divide, inside[0]),
                         w1 = nearest(_mm256_loadu_ps(x + k + 8), divide, inside[1]);
            const __m256 w2 = nearest(_mm256_loadu_ps(x + k + 16), divide, inside[2]),
                         w3 = nearest(_mm256_loadu_ps(x + k + 24), divide, inside[3]);
            store<streamed>(out + k, w0), store<streamed>(out + k + 8, w1), store<streamed>(out + k + 16, w2),
                store<streamed>(out + k + 24, w3);
            if constexpr (masked)
              for (std::size_t i = 0; i < 4; ++i) mask[k / 8 + i] = bits_of(inside[i]);
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const auto& divide) {
          __m256 inside;
          store_some(out + k, n, nearest(load_some(x + k, n), divide, inside));
          if constexpr (masked) mask[k / 8] = static_cast<std::uint8_t>(bits_of(inside) & ((1u << n) - 1));
        });
  });
}
inline void fake_quantize(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  // A search for levels is too slow to fill lines before they are sent off half empty.
  if (!is_streamed(r, out) || !r.levels->uniform())
    return mask == nullptr ? fake_quantize_to<false, false>(x, r, out, mask)
                           : fake_quantize_to<true, false>(x, r, out, mask);
  if (mask == nullptr) fake_quantize_to<false, true>(x, r, out, mask);
  else fake_quantize_to<true, true>(x, r, out, mask);
  _mm_sfence();
}

template <bool streamed>
inline void straight_through_to(const float* x, const Row& r, const float* gradient, float* out) {
  const std::size_t next = next_row(r);
  with_shape(*r.levels, [&](const auto& shape) {
    each_divided(
        r, shape, Quotient::outer,
        [&](std::size_t k, std::size_t end, const auto& divide) {
          for (; k + 16 <= end; k += 16) {
            if constexpr (!streamed) prefetch(x + k + next), prefetch(gradient + k + next);
            const __m256 a = shape.inside(_mm256_loadu_ps(x + k), divide),
                         b = shape.inside(_mm256_loadu_ps(x + k + 8), divide);
            const __m256 low = _mm256_loadu_ps(gradient + k), high = _mm256_loadu_ps(gradient + k + 8);
            store<streamed>(out + k, _mm256_and_ps(a, low)), store<streamed>(out + k + 8, _mm256_and_ps(b, high));
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const auto& divide) {
          store_some(out + k, n, _mm256_and_ps(shape.inside(load_some(x + k, n), divide), load_some(gradient + k, n)));
        });
  });
}
inline void straight_through(const float* x, const Row& r, const float* gradient, float* out) {
  if (!is_streamed(r, out)) return straight_through_to<false>(x, r, gradient, out);
  straight_through_to<true>(x, r, gradient, out);
  _mm_sfence();
}

inline constexpr Table table{"avx2",   supported,  ranges,        absolute_sum,    widen_scales, widen_coded_scales,
                             quantize, dequantize, fake_quantize, straight_through};

}  // namespace fewbit::kernel::avx2
FEWBIT_AVX2_END
#endif
