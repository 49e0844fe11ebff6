#pragma once
// AVX-512 (F, BW, DQ, VL). Leans on masks, so that tails are the same code as bodies; on vpermps, which looks a level
// up among sixteen in one instruction; and on fused multiply-adds for exact quotients (quotient.hpp). Fast where groups
// are multiples of 16 weights, fastest at multiples of 64; other group sizes run with one Affine per lane. Rule: lane
// by lane the operations of scalar.hpp, or ones proven equal.

#include <fewbit/kernel/avx512_levels.hpp>
#include <fewbit/kernel/avx512_packing.hpp>
#include <fewbit/kernel/cpu.hpp>

#if FEWBIT_X86_64
#include <immintrin.h>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::avx512 {
inline bool supported() { return cpu::has_avx512(); }
inline bool supported_vnni() { return cpu::has_avx512() && cpu::has_vnni(); }
inline bool supported_vbmi() { return supported_vnni() && cpu::has_vbmi(); }
}  // namespace fewbit::kernel::avx512

FEWBIT_AVX512_BEGIN
namespace fewbit::kernel::avx512 {

// ------------------------------------------------------------------------------------------------ ranges and sums

// n > 0. vminps and vmaxps pass over a NaN, so NaNs are gathered beside them; one compare serves two registers.
inline Range range(const float* x, std::size_t n) {
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
    *out = range(x + k, end - k);
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
inline void widen_coded_scales(const std::uint8_t* codes, Affine second, std::size_t n, Affine* out) {
  const Scale how(second);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i));
    store_scales(out + i, weights(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(some)), how));
  }
  scalar::widen_coded_scales(codes + i, second, n - i, out + i);
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
  FEWBIT_ON_THE_STACK;
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
  FEWBIT_ON_THE_STACK;
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
  const std::size_t next = next_row(r);
  const Packing packing(r.levels->bits());
  each_divided(
      r, shape, Quotient::inner,
      [&](std::size_t k, std::size_t end, const auto& divide) {
        if constexpr (bits == 16) {
          for (; k + 16 <= end; k += 16) {
            prefetch(x + k + next);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed + 2 * k),
                                _mm512_cvtepi32_epi16(shape.code(_mm512_loadu_ps(x + k), divide)));
          }
        } else if constexpr (bits > 0) {
          for (; k + 64 <= end; k += 64) {
            for (std::size_t i = k; i < k + 64; i += 16) prefetch(x + i + next);
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
inline bool is_streamed(const Row& r, const float* out) {
  return r.streamed && reinterpret_cast<std::uintptr_t>(out) % 16 == 0;
}
inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  if (!is_streamed(r, out)) return dequantize_to<false>(packed, r, out);
  dequantize_to<true>(packed, r, out);
  _mm_sfence();  // whoever reads the row next sees it
}

template <bool masked, bool streamed>
inline void fake_quantize_to(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  const std::size_t next = next_row(r);
  with_shape(*r.levels, [&](const auto& shape) {
    const auto nearest = [&](__m512 w, const auto& divide, __mmask16& inside) {
      if constexpr (masked) return shape.nearest_weight(w, divide, inside);
      else return shape.nearest_weight(w, divide);
    };
    each_divided(
        r, shape, masked ? Quotient::outer : Quotient::inner,
        [&](std::size_t k, std::size_t end, const auto& divide) {
          for (; k + 64 <= end; k += 64) {
            if constexpr (!streamed)
              for (std::size_t i = k; i < k + 64; i += 16) prefetch(x + i + next);
            __mmask16 inside[4];
            const __m512 w0 = nearest(_mm512_loadu_ps(x + k), divide, inside[0]),
                         w1 = nearest(_mm512_loadu_ps(x + k + 16), divide, inside[1]);
            const __m512 w2 = nearest(_mm512_loadu_ps(x + k + 32), divide, inside[2]),
                         w3 = nearest(_mm512_loadu_ps(x + k + 48), divide, inside[3]);
            store<streamed>(out + k, w0), store<streamed>(out + k + 16, w1), store<streamed>(out + k + 32, w2),
                store<streamed>(out + k + 48, w3);
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
            const __mmask16 inside = shape.inside(_mm512_loadu_ps(x + k), divide);
            store<streamed>(out + k, _mm512_maskz_loadu_ps(inside, gradient + k));
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const auto& divide) {
          const __mmask16 some = first_lanes(n), inside = shape.inside(load_some(x + k, n), divide);
          _mm512_mask_storeu_ps(out + k, some,
                                _mm512_maskz_loadu_ps(static_cast<__mmask16>(inside & some), gradient + k));
        });
  });
}
inline void straight_through(const float* x, const Row& r, const float* gradient, float* out) {
  if (!is_streamed(r, out)) return straight_through_to<false>(x, r, gradient, out);
  straight_through_to<true>(x, r, gradient, out);
  _mm_sfence();
}

// What all processors with AVX-512 have, and what later ones have besides: VNNI from Cascade Lake on, VBMI too from Ice
// Lake and Zen 4 on.
inline constexpr Table table{"avx512",           supported,       ranges,     absolute_sum,  widen_scales,
                             widen_coded_scales, quantize<false>, dequantize, fake_quantize, straight_through};
inline constexpr Table table_vnni{"avx512vnni",       supported_vnni,  ranges,     absolute_sum,  widen_scales,
                                  widen_coded_scales, quantize<false>, dequantize, fake_quantize, straight_through};
inline constexpr Table table_vbmi{"avx512vbmi",       supported_vbmi, ranges,     absolute_sum,  widen_scales,
                                  widen_coded_scales, quantize<true>, dequantize, fake_quantize, straight_through};

}  // namespace fewbit::kernel::avx512
FEWBIT_AVX512_END
#endif
