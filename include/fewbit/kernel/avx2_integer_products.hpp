#pragma once
// AVX2: products with activations of 8 bits. Rule: a lane of an integer sum belongs to one group.

#include <fewbit/kernel/avx2_levels.hpp>
#include <fewbit/kernel/avx2_tiles.hpp>

#if FEWBIT_X86_64
#include <array>
#include <cstring>
#include <immintrin.h>
#include <utility>

FEWBIT_AVX2_BEGIN
namespace fewbit::kernel::avx2 {

// Codes of 4 and 8 bits, as they lie in memory. Of 4 bits, 64 of them are a block, and lane j holds the eight that
// begin at 8 j; of 8 bits 16, and lane j holds two. An arranged column is 64 bytes or 16 words for each block of codes,
// and behind them, for each run of codes that is scaled at once, the sums of its lanes as floats: those take the
// zero-point out of the inner loop.

struct Int8Layout {
  std::size_t block, bytes, blocks, run, runs;  // run: a group, or the block that several groups share
  Int8Layout(std::size_t n, std::size_t group, int bits)
      : block(block_of(bits)), bytes(bits == 4 ? 64 : 32), blocks((n + block - 1) / block) {
    const std::size_t longest = longest_run(bits), whole = blocks * block;
    run = group >= n ? whole : group < block ? block : group;
    if (run > longest) run = longest;
    runs = whole == 0 ? 0 : (whole + run - 1) / run;
  }
  static std::size_t block_of(int bits) { return bits == 4 ? 64 : 16; }
  // A lane grows by at most 8 * 15 * 128 or 2 * 255 * 128 with each block: after 2^12 of them it is still an int.
  static std::size_t longest_run(int bits) { return block_of(bits) << 12; }
  static bool takes(std::size_t n, std::size_t group, const Levels& l) {
    if (!l.uniform() || (l.bits() != 4 && l.bits() != 8)) return false;
    const std::size_t block = block_of(l.bits()), longest = longest_run(l.bits());
    // A group of more blocks than a run must be cut at runs, and a block into at most four groups: one register holds
    // their Affines.
    return group >= n || (group % block == 0 && (group <= longest || group % longest == 0)) ||
           (group >= block / 4 && block % group == 0);
  }
};

inline std::size_t arranged_int8(std::size_t n, std::size_t group, const Levels& l) {
  if (!Int8Layout::takes(n, group, l)) return 0;
  const Int8Layout at(n, group, l.bits());
  return at.blocks * at.bytes + at.runs * 8 * sizeof(float);
}

inline void arrange_int8(const std::int8_t* x, std::size_t n, std::size_t group, const Levels& l, std::int8_t* to) {
  const Int8Layout at(n, group, l.bits());
  std::int8_t* const sums = to + at.blocks * at.bytes;
  for (std::size_t r = 0, b = 0; r < at.runs; ++r) {
    std::int32_t sum[8] = {};
    for (; b < at.blocks && b * at.block < (r + 1) * at.run; ++b)
      for (std::size_t j = 0; j < at.block; ++j) {
        const std::int8_t v = b * at.block + j < n ? x[b * at.block + j] : std::int8_t{0};
        sum[j / (at.block / 8)] += v;
        std::int8_t* const block = to + b * at.bytes;
        if (l.bits() == 4) block[j % 2 * 32 + j / 2] = v;  // even codes are the lower halves of bytes
        else block[2 * j] = v, block[2 * j + 1] = static_cast<std::int8_t>(v < 0 ? -1 : 0);
      }
    float lanes[8];
    for (int j = 0; j < 8; ++j) lanes[j] = static_cast<float>(sum[j]);
    std::memcpy(sums + r * sizeof lanes, lanes, sizeof lanes);
  }
}

inline __m256i first_lanes(std::size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n < 8 ? n : 8)), lane);
}
inline __m256i load32(const std::int8_t* x) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)); }

// For the two or four groups of a block: where in them the scale of each lane is, its zero-point being behind it.
inline __m256i lanes_of_groups(std::size_t groups) {
  return groups == 2 ? _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2) : _mm256_setr_epi32(0, 0, 2, 2, 4, 4, 6, 6);
}

template <int bits, std::size_t rows, std::size_t cols>
inline void dot_int8_tile(const CodedRows& w, std::size_t first_row, const Columns<std::int8_t>& x, float* y) {
  FEWBIT_ON_THE_STACK;
  const Int8Layout at(w.n, w.group, bits);
  const __m256 first = _mm256_set1_ps(w.levels->first());
  const std::size_t held = packed_bytes(w.n, bits), groups = w.n == 0 ? 0 : (w.n - 1) / w.group + 1;
  const RunsAndGroups in(at.run, at.block, w.group, w.n);
  const std::uint8_t* const* const packed = w.packed + first_row;
  const bool shared = w.group < at.block && w.group < w.n;
  const __m256i of_scale = lanes_of_groups(shared ? at.block / w.group : 2),
                of_zero = _mm256_add_epi32(of_scale, _mm256_set1_epi32(1));
  __m256 sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = _mm256_setzero_ps(); });
  });
  for (std::size_t i = 0; i < at.runs; ++i) {
    __m256i part[rows][cols];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) { part[r][c] = _mm256_setzero_si256(); });
    });
    const std::size_t last = (i + 1) * in.blocks, end = last < at.blocks ? last : at.blocks;
    for (std::size_t b = i * in.blocks; b < end;) {
      if constexpr (bits == 4) {
        // Each block adds four products to a lane of 16 bits: sixteen of 15 * 128 at most are 30720.
        __m256i words[rows][cols];
        unrolled<rows>([&](auto r) __attribute__((always_inline)) {
          unrolled<cols>([&](auto c) __attribute__((always_inline)) { words[r][c] = _mm256_setzero_si256(); });
        });
        for (const std::size_t four = end - b < 4 ? end : b + 4; b < four; ++b)
          unrolled<rows>([&](auto r) __attribute__((always_inline)) {
            const __m256i low = _mm256_set1_epi8(15), codes = load_bytes32(packed[r] + 32 * b, held - 32 * b);
            const __m256i even = _mm256_and_si256(codes, low), odd = _mm256_and_si256(_mm256_srli_epi16(codes, 4), low);
            unrolled<cols>([&](auto c) __attribute__((always_inline)) {
              const std::int8_t* const column = x.x + c * x.stride + 64 * b;
              const __m256i two = _mm256_add_epi16(_mm256_maddubs_epi16(even, load32(column)),
                                                   _mm256_maddubs_epi16(odd, load32(column + 32)));
              words[r][c] = _mm256_add_epi16(words[r][c], two);
            });
          });
        unrolled<rows>([&](auto r) __attribute__((always_inline)) {
          unrolled<cols>([&](auto c) __attribute__((always_inline)) {
            part[r][c] = _mm256_add_epi32(part[r][c], _mm256_madd_epi16(words[r][c], _mm256_set1_epi16(1)));
          });
        });
      } else {  // words times words: two products of 255 * 128 need 17 bits, and have 32
        unrolled<rows>([&](auto r) __attribute__((always_inline)) {
          const __m256i codes = _mm256_cvtepu8_epi16(load_bytes16(packed[r] + 16 * b, held - 16 * b));
          unrolled<cols>([&](auto c) __attribute__((always_inline)) {
            const __m256i two = _mm256_madd_epi16(codes, load32(x.x + c * x.stride + 32 * b));
            part[r][c] = _mm256_add_epi32(part[r][c], two);
          });
        });
        ++b;
      }
    }
    const std::size_t g = in.first_group(i);
    const __m256i there = first_lanes(shared ? 2 * (groups - g) : 2);
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      const Affine* const a = w.affine[first_row + r] + g;
      const Scale how = [&]() __attribute__((always_inline)) {
        if (!shared) return Scale(*a);
        const __m256 pairs = _mm256_maskload_ps(&a->scale, there);
        return Scale(_mm256_permutevar8x32_ps(pairs, of_scale), _mm256_permutevar8x32_ps(pairs, of_zero));
      }
      ();
      const __m256 offset = _mm256_sub_ps(how.zero, first);
      // A long run's sums have more digits than a float: whole numbers are taken out of them as integers.
      const bool whole = !shared && is_small_integer(a->zero, bits) && is_small_integer(w.levels->first(), bits);
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        const __m256 lanes = _mm256_castsi256_ps(load32(x.x + c * x.stride + at.blocks * at.bytes + i * 32));
        __m256 product;
        if (whole) {
          const __m256i out = _mm256_mullo_epi32(_mm256_cvtps_epi32(offset), _mm256_cvtps_epi32(lanes));
          product = _mm256_cvtepi32_ps(_mm256_sub_epi32(part[r][c], out));
        } else {
          product = _mm256_fnmadd_ps(offset, lanes, _mm256_cvtepi32_ps(part[r][c]));
        }
        sum[r][c] = _mm256_fmadd_ps(product, how.scale, sum[r][c]);
      });
    });
  }
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { y[c * tile_rows + r] = total(sum[r][c]); });
  });
}

inline void dot_int8(const CodedRows& w, const Columns<std::int8_t>& x, float* y) {
  in_tiles(
      w.rows, x.count,
      [&]<std::size_t rows, std::size_t cols>(std::integral_constant<std::size_t, rows>,
                                              std::integral_constant<std::size_t, cols>, std::size_t r, std::size_t c) {
        const Columns<std::int8_t> some{cols, x.stride, x.x + c * x.stride};
        if (w.levels->bits() == 4) dot_int8_tile<4, rows, cols>(w, r, some, y + c * tile_rows + r);
        else dot_int8_tile<8, rows, cols>(w, r, some, y + c * tile_rows + r);
      });
}

}  // namespace fewbit::kernel::avx2
FEWBIT_AVX2_END
#endif
