#pragma once
// NEON: products with activations of 8 bits. Rule: a lane of an integer sum belongs to one group.

#include <fewbit/kernel/neon_levels.hpp>
#include <fewbit/kernel/neon_tiles.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <array>
#include <cstring>
#include <utility>

namespace fewbit::kernel::neon {

// Codes of 4 and 8 bits, as they lie in memory, 16 bytes to a block. An arranged column is a byte for each code, and
// behind them, for each run of codes that is scaled at once, the sums of its lanes: those take the zero-point out of
// the inner loop. Codes of 8 bits are multiplied less 128, as signed bytes, and the lanes make up for that.

struct Int8Layout {
  std::size_t block, blocks, run, runs;
  Int8Layout(std::size_t n, std::size_t group, int bits) : block(block_of(bits)), blocks((n + block - 1) / block) {
    const std::size_t longest = longest_run(bits), whole = blocks * block;
    run = group >= n ? whole : group;
    if (run > longest) run = longest;
    runs = whole == 0 ? 0 : (whole + run - 1) / run;
  }
  static std::size_t block_of(int bits) { return bits == 4 ? 32 : 16; }
  // A lane grows by at most 8 * 15 * 128 or 4 * 255 * 128 with each block: after 2^12 of them it is still an int.
  static std::size_t longest_run(int bits) { return block_of(bits) << 12; }
  static bool takes(std::size_t n, std::size_t group, const Levels& l) {
    if (!l.uniform() || (l.bits() != 4 && l.bits() != 8)) return false;
    const std::size_t longest = longest_run(l.bits());  // a group of more than a run must be cut at runs
    return group >= n || (group % block_of(l.bits()) == 0 && (group <= longest || group % longest == 0));
  }
};

inline std::size_t arranged_int8(std::size_t n, std::size_t group, const Levels& l) {
  if (!Int8Layout::takes(n, group, l)) return 0;
  const Int8Layout at(n, group, l.bits());
  return at.blocks * at.block + at.runs * 4 * sizeof(std::int32_t);
}

template <bool sdot>
inline void arrange_int8(const std::int8_t* x, std::size_t n, std::size_t group, const Levels& l, std::int8_t* to) {
  const Int8Layout at(n, group, l.bits());
  const std::size_t per_byte = at.block / 16;
  std::int8_t* const sums = to + at.blocks * at.block;
  for (std::size_t r = 0, b = 0; r < at.runs; ++r) {
    std::int32_t sum[4] = {};
    for (; b < at.blocks && b * at.block < (r + 1) * at.run; ++b)
      for (std::size_t j = 0; j < at.block; ++j) {
        const std::size_t k = b * at.block + j, byte = j / per_byte;
        const std::int8_t v = k < n ? x[k] : std::int8_t{0};
        sum[sdot ? byte / 4 : byte % 8 / 2] += v;  // the lane in which products of this byte are added
        to[b * at.block + j % per_byte * 16 + byte] = v;
      }
    std::memcpy(sums + r * sizeof sum, sum, sizeof sum);
  }
}

// sum + four products of signed bytes in each lane. As a number, because assemblers, like intrinsics, know it only if a
// flag asked for it; the names of registers are turned into theirs first.
[[gnu::always_inline]] inline int32x4_t add_products(int32x4_t sum, int8x16_t codes, int8x16_t x) {
  asm(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
      ".set .Lfewbit_v\\n, \\n\n\t"
      ".endr\n\t"
      ".inst 0x4e809400 | .Lfewbit_%2 << 16 | .Lfewbit_%1 << 5 | .Lfewbit_%0  // sdot %0.4s, %1.16b, %2.16b"
      : "+w"(sum)
      : "w"(codes), "w"(x));
  return sum;
}

// Adds the products of blocks b .. end - 1 to `part`.
template <int bits, bool sdot, std::size_t rows, std::size_t cols>
[[gnu::always_inline]] inline void add_blocks(const std::uint8_t* const* packed, std::size_t held,
                                              const Columns<std::int8_t>& x, std::size_t b, std::size_t end,
                                              int32x4_t (&part)[rows][cols]) {
  while (b < end) {
    // Of 4 bits, each block adds four products to a lane of 16: sixteen of 15 * 128 at most are 30720.
    int16x8_t words[rows][cols];
    unrolled<rows * cols>([&](auto i) __attribute__((always_inline)) { words[i / cols][i % cols] = vdupq_n_s16(0); });
    for (const std::size_t four = end - b < 4 ? end : b + 4; b < four; ++b)
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        const uint8x16_t bytes = load_bytes(packed[r] + 16 * b, held - 16 * b);
        const auto s8 = [](uint8x16_t v) __attribute__((always_inline)) { return vreinterpretq_s8_u8(v); };
        unrolled<cols>([&](auto c) __attribute__((always_inline)) {
          const std::int8_t* const column = x.x + c * x.stride + (bits == 4 ? 32 : 16) * b;
          const int8x16_t first = vld1q_s8(column);
          int32x4_t& to = part[r][c];
          if constexpr (bits == 4) {
            const int8x16_t even = s8(vandq_u8(bytes, vdupq_n_u8(15))), odd = s8(vshrq_n_u8(bytes, 4));
            const int8x16_t second = vld1q_s8(column + 16);
            if constexpr (sdot) {
              to = add_products(add_products(to, even, first), odd, second);
            } else {
              int16x8_t& sum = words[r][c];
              sum = vmlal_high_s8(vmlal_s8(sum, vget_low_s8(even), vget_low_s8(first)), even, first);
              sum = vmlal_high_s8(vmlal_s8(sum, vget_low_s8(odd), vget_low_s8(second)), odd, second);
            }
          } else {
            const int8x16_t codes = s8(veorq_u8(bytes, vdupq_n_u8(128)));
            if constexpr (sdot) {
              to = add_products(to, codes, first);
            } else {  // two products may be 2^15
              to = vpadalq_s16(to, vmull_s8(vget_low_s8(codes), vget_low_s8(first)));
              to = vpadalq_s16(to, vmull_high_s8(codes, first));
            }
          }
        });
      });
    if constexpr (bits == 4 && !sdot)
      unrolled<rows * cols>([&](auto i) __attribute__((always_inline)) {
        part[i / cols][i % cols] = vpadalq_s16(part[i / cols][i % cols], words[i / cols][i % cols]);
      });
  }
}

template <int bits, bool sdot, std::size_t rows, std::size_t cols>
inline void dot_int8_tile(const CodedRows& w, std::size_t first_row, const Columns<std::int8_t>& x, float* y) {
  const Int8Layout at(w.n, w.group, bits);
  const std::size_t held = packed_bytes(w.n, bits);
  const RunsAndGroups in(at.run, at.block, w.group, w.n);
  float32x4_t sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = vdupq_n_f32(0); });
  });
  for (std::size_t i = 0; i < at.runs; ++i) {
    int32x4_t part[rows][cols];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) { part[r][c] = vdupq_n_s32(0); });
    });
    const std::size_t last = (i + 1) * in.blocks, end = last < at.blocks ? last : at.blocks;
    add_blocks<bits, sdot>(w.packed + first_row, held, x, i * in.blocks, end, part);
    const std::size_t g = in.first_group(i);
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      const Affine a = w.affine[first_row + r][g];
      const float32x4_t offset = vdupq_n_f32(a.zero - w.levels->first());
      // A long run's sums have more digits than a float: whole numbers are taken out of them as integers.
      const bool whole = is_small_integer(a.zero, bits) && is_small_integer(w.levels->first(), bits);
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        const std::int8_t* const sums = x.x + c * x.stride + at.blocks * at.block + 16 * i;
        const int32x4_t lanes = vreinterpretq_s32_s8(vld1q_s8(sums));
        const int32x4_t products = bits == 8 ? vmlaq_n_s32(part[r][c], lanes, 128) : part[r][c];
        const float32x4_t product = whole ? vcvtq_f32_s32(vmlsq_s32(products, lanes, vcvtnq_s32_f32(offset)))
                                          : vfmsq_f32(vcvtq_f32_s32(products), offset, vcvtq_f32_s32(lanes));
        sum[r][c] = vfmaq_n_f32(sum[r][c], product, a.scale);
      });
    });
  }
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { y[c * tile_rows + r] = vaddvq_f32(sum[r][c]); });
  });
}

template <bool sdot>
inline void dot_int8(const CodedRows& w, const Columns<std::int8_t>& x, float* y) {
  in_tiles<2>(
      w.rows, x.count,
      [&]<std::size_t rows, std::size_t cols>(std::integral_constant<std::size_t, rows>,
                                              std::integral_constant<std::size_t, cols>, std::size_t r, std::size_t c) {
        const Columns<std::int8_t> some{cols, x.stride, x.x + c * x.stride};
        if (w.levels->bits() == 4) dot_int8_tile<4, sdot, rows, cols>(w, r, some, y + c * tile_rows + r);
        else dot_int8_tile<8, sdot, rows, cols>(w, r, some, y + c * tile_rows + r);
      });
}

}  // namespace fewbit::kernel::neon
#endif
