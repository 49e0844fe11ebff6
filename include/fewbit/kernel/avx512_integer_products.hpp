#pragma once
// AVX-512: products with activations of 8 bits. Rule: a lane of an integer sum belongs to one group.

#include <fewbit/kernel/avx512_levels.hpp>
#include <fewbit/kernel/avx512_tiles.hpp>

#if FEWBIT_X86_64
#include <array>
#include <cstring>
#include <immintrin.h>
#include <utility>

FEWBIT_AVX512_BEGIN
namespace fewbit::kernel::avx512 {

// Codes of 4 and 8 bits, as they lie in memory, 64 bytes to a block: lane j holds the 64 / bits codes that begin at
// 64 / bits * j, so a group of that many codes or more has lanes of its own. An arranged column is a block of bytes for
// each block of codes, and behind them, for each run of codes that is scaled at once, 16 integers and 16 floats: the
// sums of its lanes times the first level, from which a sum of level * x starts, and the sums themselves, which take
// zero-points out of the inner loop.

struct Int8Layout {
  std::size_t block, blocks, run, runs;  // run: a group, or the block that several groups share
  Int8Layout(std::size_t n, std::size_t group, int bits)
      : block(512 / static_cast<std::size_t>(bits)), blocks((n + block - 1) / block) {
    // A lane grows by at most 8 * 271 * 128 or 4 * 511 * 128 with each block, the start taken in: after 2^12 of them it
    // is still an int.
    const std::size_t longest = block << 12, whole = blocks * block;
    run = group >= n ? whole : group < block ? block : group;
    if (run > longest) run = longest;
    runs = whole == 0 ? 0 : (whole + run - 1) / run;
  }
  static bool takes(std::size_t n, std::size_t group, const Levels& l) {
    if (!l.uniform() || (l.bits() != 4 && l.bits() != 8) || l.first() < -256 || l.first() > 256) return false;
    const std::size_t block = 512 / static_cast<std::size_t>(l.bits());
    // A group of more blocks than a run must be cut at runs, and a block into at most eight groups.
    return group >= n || (group % block == 0 && (group <= block << 12 || group % (block << 12) == 0)) ||
           (group >= block / 8 && block % group == 0);
  }
};

inline std::size_t arranged_int8(std::size_t n, std::size_t group, const Levels& l) {
  if (!Int8Layout::takes(n, group, l)) return 0;
  const Int8Layout at(n, group, l.bits());
  return at.blocks * at.block + at.runs * 2 * 64;
}

// The sums of four bytes of each lane.
inline __m512i lane_sums(__m512i bytes) {
  return _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_set1_epi8(1), bytes), _mm512_set1_epi16(1));
}
// The even or the odd bytes of 128, as they lie in two registers of 16-bit fields.
inline __m512i halves_of(__m512i low, __m512i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(low)), _mm512_cvtepi16_epi8(high), 1);
}

inline void arrange_int8(const std::int8_t* x, std::size_t n, std::size_t group, const Levels& l, std::int8_t* to) {
  const Int8Layout at(n, group, l.bits());
  const __m512i first = _mm512_set1_epi32(static_cast<int>(l.first()));
  std::int8_t* sums = to + at.blocks * at.block;
  for (std::size_t r = 0, b = 0; r < at.runs; ++r, sums += 128) {
    __m512i sum = _mm512_setzero_si512();
    for (const std::size_t end = (r + 1) * at.run; b < end && b < at.blocks * at.block; b += at.block) {
      const auto load = [&](std::size_t k) {
        return k + 64 <= n ? _mm512_loadu_si512(x + k)
               : k < n     ? _mm512_maskz_loadu_epi8((std::uint64_t{1} << (n - k)) - 1, x + k)
                           : _mm512_setzero_si512();
      };
      const __m512i low = load(b);
      if (l.bits() == 8) {
        sum = _mm512_add_epi32(sum, lane_sums(low));
        _mm512_storeu_si512(to + b, low);
      } else {  // even codes are the lower halves of bytes
        const __m512i high = load(b + 64), even = halves_of(low, high),
                      odd = halves_of(_mm512_srli_epi16(low, 8), _mm512_srli_epi16(high, 8));
        sum = _mm512_add_epi32(sum, _mm512_add_epi32(lane_sums(even), lane_sums(odd)));
        _mm512_storeu_si512(to + b, even), _mm512_storeu_si512(to + b + 64, odd);
      }
    }
    _mm512_storeu_si512(sums, _mm512_mullo_epi32(sum, first));
    _mm512_storeu_ps(sums + 64, _mm512_cvtepi32_ps(sum));
  }
}

// sum + four products of bytes in each lane, the first ones unsigned. In assembly, because an instruction chosen at run
// time cannot be had from an intrinsic inside a template that does without.
[[gnu::always_inline]] inline __m512i add_products(__m512i sum, __m512i codes, __m512i x) {
  asm("vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(codes), "v"(x));
  return sum;
}

template <int bits, bool vnni>
struct Bytes64 {
  static constexpr std::size_t parts = bits == 8 && vnni ? 1 : 2;
  __m512i part[parts];
  explicit Bytes64(__m512i v) {
    if constexpr (parts == 1) {
      part[0] = v;
    } else {
      const __m512i low = _mm512_set1_epi8(15);
      part[0] = _mm512_and_si512(v, low), part[1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    }
  }
  // x: the activations of the even codes and of the odd ones, or of all in order, twice the same.
  [[gnu::always_inline]] __m512i times(__m512i first, __m512i second, __m512i sum) const {
    const __m512i ones = _mm512_set1_epi16(1);
    if constexpr (bits == 4 && vnni) {
      return add_products(add_products(sum, part[0], first), part[1], second);
    } else if constexpr (bits == 4) {  // four products of 15 * 128 at most: far from what 16 bits hold
      const __m512i four =
          _mm512_add_epi16(_mm512_maddubs_epi16(part[0], first), _mm512_maddubs_epi16(part[1], second));
      return _mm512_add_epi32(sum, _mm512_madd_epi16(four, ones));
    } else if constexpr (vnni) {
      return add_products(sum, part[0], first);
    } else {  // the halves of a code apart, as 255 * 128 * 2 does not fit 16 bits
      sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(part[0], first), ones));
      const __m512i high = _mm512_maddubs_epi16(part[1], first);
      return _mm512_add_epi32(sum, _mm512_madd_epi16(high, _mm512_set1_epi16(16)));
    }
  }
};

// The Affines of the groups of a block, one for each lane. `apart`: lanes from one group to the next.
inline Scale scales_of_block(const Affine* a, std::size_t groups, std::size_t apart) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i at = _mm512_slli_epi32(_mm512_srl_epi32(lane, _mm_cvtsi32_si128(apart == 2   ? 1
                                                                                : apart == 4 ? 2
                                                                                : apart == 8 ? 3
                                                                                             : 4)),
                                       1);
  const __m512 pairs = _mm512_maskz_loadu_ps(first_lanes(groups < 8 ? 2 * groups : 16), &a->scale);
  return {_mm512_permutexvar_ps(at, pairs), _mm512_permutexvar_ps(_mm512_add_epi32(at, _mm512_set1_epi32(1)), pairs)};
}

template <int bits, bool vnni, std::size_t rows, std::size_t cols>
inline void dot_int8_tile(const CodedRows& w, const Columns<std::int8_t>& x, float* y) {
  FEWBIT_ON_THE_STACK;
  const Int8Layout at(w.n, w.group, bits);
  const std::size_t held = packed_bytes(w.n, bits), groups = (w.n + w.group - 1) / w.group;
  const RunsAndGroups in(at.run, at.block, w.group, w.n);
  const bool shared = w.group < at.block && w.group < w.n;  // a block holds several groups
  __m512 sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = _mm512_setzero_ps(); });
  });
  for (std::size_t i = 0; i < at.runs; ++i) {
    const std::int8_t* const lanes = x.x + at.blocks * at.block + i * 128;
    __m512i part[rows][cols];
    unrolled<cols>([&](auto c) __attribute__((always_inline)) {
      part[0][c] = _mm512_loadu_si512(lanes + c * x.stride);
      unrolled<rows - 1>([&](auto r) __attribute__((always_inline)) { part[r + 1][c] = part[0][c]; });
    });
    const std::size_t begin = i * in.blocks, end = begin + in.blocks;
    for (std::size_t b = begin; b < (end < at.blocks ? end : at.blocks); ++b) {
      const std::size_t left = held - 64 * b;
      const __mmask64 some = left < 64 ? (std::uint64_t{1} << left) - 1 : ~std::uint64_t{0};
      const auto codes = [&]<std::size_t... r>(std::index_sequence<r...>) __attribute__((always_inline)) {
        (prefetch_codes(w.packed[r] + 64 * b), ...);
        return std::array{Bytes64<bits, vnni>(_mm512_maskz_loadu_epi8(some, w.packed[r] + 64 * b))...};
      }
      (std::make_index_sequence<rows>());
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        const std::int8_t* const from = x.x + c * x.stride + b * at.block;
        const __m512i first = _mm512_loadu_si512(from), second = bits == 4 ? _mm512_loadu_si512(from + 64) : first;
        unrolled<rows>([&](auto r)
                           __attribute__((always_inline)) { part[r][c] = codes[r].times(first, second, part[r][c]); });
      });
    }
    const std::size_t g = in.first_group(i);
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      const Affine* const a = w.affine[r] + g;
      if (!shared && a->zero == 0) {
        const __m512 scale = _mm512_set1_ps(a->scale);
        unrolled<cols>([&](auto c) __attribute__((always_inline)) {
          sum[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(part[r][c]), scale, sum[r][c]);
        });
        return;
      }
      const Scale how = shared ? scales_of_block(a, groups - g, w.group / (at.block / 16)) : Scale(*a);
      // A long run's sums have more digits than a float: zero-points that are codes leave them as integers.
      const bool is_code = !shared && is_small_integer(a->zero, bits);
      const __m512i zero = _mm512_set1_epi32(is_code ? static_cast<int>(a->zero) : 0);
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        if (is_code) {
          const __m512i lane = _mm512_cvtps_epi32(_mm512_loadu_ps(lanes + c * x.stride + 64));
          part[r][c] = _mm512_sub_epi32(part[r][c], _mm512_mullo_epi32(zero, lane));
        }
        __m512 product = _mm512_cvtepi32_ps(part[r][c]);
        if (!is_code) product = _mm512_fnmadd_ps(how.zero, _mm512_loadu_ps(lanes + c * x.stride + 64), product);
        sum[r][c] = _mm512_fmadd_ps(product, how.scale, sum[r][c]);
      });
    });
  }
  unrolled<cols>([&](auto c) __attribute__((always_inline)) {
    store_sums<rows>([&](auto r) { return sum[r][c]; }, y + c * tile_rows);
  });
}

template <bool vnni>
inline void dot_int8(const CodedRows& w, const Columns<std::int8_t>& x, float* y) {
  in_tiles<4, 1>(w.rows, x.count, [&](auto rows, auto cols, std::size_t r, std::size_t c) {
    const Columns<std::int8_t> some{cols, x.stride, x.x + c * x.stride};
    if (w.levels->bits() == 4) dot_int8_tile<4, vnni, rows, cols>(from_row(w, r), some, y + c * tile_rows + r);
    else dot_int8_tile<8, vnni, rows, cols>(from_row(w, r), some, y + c * tile_rows + r);
  });
}

}  // namespace fewbit::kernel::avx512
FEWBIT_AVX512_END
#endif
