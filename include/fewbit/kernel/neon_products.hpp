#pragma once
// Dot products on NEON. Leans on tbl, which looks up one byte of the levels of sixteen codes at a time; on products of
// bytes that are added in 16 bits for as long as those suffice, or on sdot, four of them in a lane at once, where the
// processor has it; and on activations arranged so that nothing brings the codes back into their order. Compilers for
// this machine may fuse a product and a sum: a bound allows it.

#include <fewbit/kernel/cpu.hpp>
#include <fewbit/kernel/neon.hpp>
#include <fewbit/kernel/scalar_products.hpp>

#if FEWBIT_ARM64
#include <utility>

namespace fewbit::kernel::neon {

// f(0) .. f(n - 1), each index a constant: arrays of registers stay registers.
template <std::size_t n, class F>
[[gnu::always_inline]] inline void unrolled(F&& f) {
  [&]<std::size_t... i>(std::index_sequence<i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<std::size_t, i>()), ...);
  }
  (std::make_index_sequence<n>());
}

// Calls f(rows, columns, first row, first column), the first two constants: tiles of `height` rows and four columns, or
// of four rows and one. Rows that are left over come one by one: only the end of a matrix has them.
template <std::size_t height, std::size_t width, class F>
[[gnu::always_inline]] inline void down(std::size_t rows, std::size_t c, F&& f) {
  const std::integral_constant<std::size_t, 1> one;
  std::size_t r = 0;
  for (; r + height <= rows; r += height)
    f(std::integral_constant<std::size_t, height>(), std::integral_constant<std::size_t, width>(), r, c);
  for (; r < rows; ++r)
    for (std::size_t i = c; i < c + width; ++i) f(one, one, r, i);
}
template <std::size_t height, class F>
inline void in_tiles(std::size_t rows, std::size_t cols, F&& f) {
  std::size_t c = 0;
  for (; c + 4 <= cols; c += 4) down<height, 4>(rows, c, f);
  for (; c < cols; ++c) down<4, 1>(rows, c, f);
}

// ---------------------------------------------------------------------------- floats: codes as they are multiplied
// A decoder takes `block` codes at a time and gives registers of levels. Activations are arranged to meet them.

// 1, 2 and 4 bits: code j * per_byte + i of a block is in byte j of what is looked up i-th. Of levels whose last 16
// bits are zeros, as those of whole numbers up to 256 are, two bytes are looked up and not four.
template <int width>
struct Looked {
  static constexpr std::size_t bits = width, per_byte = 8 / bits, block = 16 * per_byte, registers = 4 * per_byte;
  static constexpr bool may_be_short = true;
  uint8x16x4_t planes;  // byte i of every level in planes.val[i]
  bool is_short;
  explicit Looked(const Levels& l) {
    float entry[16];  // a code has its neighbours above it, which make no difference
    for (int i = 0; i < 16; ++i) entry[i] = l[i & ((1 << width) - 1)];
    std::uint8_t bytes[64];
    std::memcpy(bytes, entry, sizeof bytes);
    planes = vld4q_u8(bytes);
    is_short = vmaxvq_u8(vorrq_u8(planes.val[0], planes.val[1])) == 0;
  }
  static std::size_t safe(std::size_t n) { return n / block * block; }

  template <bool two_bytes, class F>
  [[gnu::always_inline]] void decode(const std::uint8_t* p, F&& f) const {
    const uint8x16_t bytes = vld1q_u8(p);
    unrolled<per_byte>([&](auto i) __attribute__((always_inline)) {
      constexpr int by = static_cast<int>(bits * i);
      uint8x16_t codes = bytes;
      if constexpr (by > 0) codes = vshrq_n_u8(codes, by);
      if constexpr (by < 4) codes = vandq_u8(codes, vdupq_n_u8(15));
      const uint8x16_t b2 = vqtbl1q_u8(planes.val[2], codes), b3 = vqtbl1q_u8(planes.val[3], codes);
      const uint16x8_t upper = u16(vzip1q_u8(b2, b3)), upper2 = u16(vzip2q_u8(b2, b3));
      uint16x8_t lower = vdupq_n_u16(0), lower2 = lower;
      if constexpr (!two_bytes) {
        const uint8x16_t b0 = vqtbl1q_u8(planes.val[0], codes), b1 = vqtbl1q_u8(planes.val[1], codes);
        lower = u16(vzip1q_u8(b0, b1)), lower2 = u16(vzip2q_u8(b0, b1));
      }
      f(std::integral_constant<std::size_t, 4 * i>(), f32(vzip1q_u16(lower, upper)));
      f(std::integral_constant<std::size_t, 4 * i + 1>(), f32(vzip2q_u16(lower, upper)));
      f(std::integral_constant<std::size_t, 4 * i + 2>(), f32(vzip1q_u16(lower2, upper2)));
      f(std::integral_constant<std::size_t, 4 * i + 3>(), f32(vzip2q_u16(lower2, upper2)));
    });
  }
  static void arrange(const float* x, std::size_t n, float* to) {  // n is a multiple of block
    for (std::size_t k = 0; k < n; k += block)
      for (std::size_t j = 0; j < 16; ++j)
        for (std::size_t i = 0; i < per_byte; ++i) to[k + 16 * i + j] = x[k + per_byte * j + i];
  }
};

// Other widths: codes in their order, sixteen of 8 bits or eight of any.
template <int width, class Shape>
struct InOrder {
  static constexpr std::size_t block = width == 8 ? 16 : 8, registers = block / 4;
  static constexpr bool may_be_short = false, is_short = false;
  Shape shape;
  std::size_t bits;
  explicit InOrder(const Levels& l) : shape(l), bits(static_cast<std::size_t>(l.bits())) {}
  // 16 bytes are read for a block, whatever its width.
  std::size_t safe(std::size_t n) const {
    const std::size_t held = packed_bytes(n, static_cast<int>(bits)), step = block / 8 * bits;
    return held < 16 ? 0 : ((held - 16) / step + 1) * block;
  }
  template <bool, class F>
  [[gnu::always_inline]] void decode(const std::uint8_t* p, F&& f) const {
    if constexpr (width == 8) {
      const float32x4x4_t level = levels_of(shape, load16<8>(p, 16));
      unrolled<4>([&](auto i) __attribute__((always_inline)) { f(i, level.val[i]); });
    } else {
      const uint32x4x2_t code = load8(p, 16, static_cast<int>(bits));
      unrolled<2>([&](auto i) __attribute__((always_inline)) { f(i, shape.level(code.val[i])); });
    }
  }
  static void arrange(const float* x, std::size_t n, float* to) { std::memcpy(to, x, n * sizeof *x); }
};

inline auto with_decoder(const Levels& l, const auto& f) {
  switch (l.bits()) {
    case 1: return f(std::type_identity<Looked<1>>());
    case 2: return f(std::type_identity<Looked<2>>());
    case 4: return f(std::type_identity<Looked<4>>());
    default: break;
  }
  if (l.uniform() && l.bits() == 8) return f(std::type_identity<InOrder<8, Integers>>());
  if (l.uniform()) return f(std::type_identity<InOrder<0, Integers>>());
  if (l.count() <= 16) return f(std::type_identity<InOrder<0, Table16>>());
  return f(std::type_identity<InOrder<0, Table256>>());
}

inline std::size_t arranged(std::size_t n, std::size_t group, const Levels& l) {
  return with_decoder(l, [=]<class Decoder>(std::type_identity<Decoder>) -> std::size_t {
    if (group < n && group % Decoder::block != 0) return 0;
    return (n + Decoder::block - 1) / Decoder::block * Decoder::block;
  });
}

inline void arrange(const float* x, std::size_t n, const Levels& l, float* to) {
  with_decoder(l, [=]<class Decoder>(std::type_identity<Decoder>) {
    const std::size_t whole = n / Decoder::block * Decoder::block;
    Decoder::arrange(x, whole, to);
    if (whole == n) return;
    float last[Decoder::block] = {};
    std::memcpy(last, x + whole, (n - whole) * sizeof *x);
    Decoder::arrange(last, Decoder::block, to + whole);
  });
}

// y[c * tile_rows + r] for `rows` rows from w.packed[first_row] on and all columns.
template <std::size_t rows, std::size_t cols, class Decoder>
inline void dot_tile(const CodedRows& w, std::size_t first_row, const Columns<float>& x, const Decoder& decoder,
                     float* y) {
  // One sum for each row and column, added to in one order: how many rows a tile has is a matter of threads.
  constexpr std::size_t block = Decoder::block;
  const std::size_t bits = decoder.bits, safe = decoder.safe(w.n);
  const std::uint8_t* const* const packed = w.packed + first_row;
  const Affine* const* const affine = w.affine + first_row;
  float32x4_t sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = vdupq_n_f32(0); });
  });
  for (std::size_t k = 0, g = 0, end = 0; k < w.n; k = end, ++g) {
    end = w.n - k > w.group ? k + w.group : w.n;
    float32x4_t part[rows][cols], zero[rows];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      zero[r] = vdupq_n_f32(affine[r][g].zero);
      unrolled<cols>([&](auto c) __attribute__((always_inline)) { part[r][c] = vdupq_n_f32(0); });
    });
    const auto take = [&]<bool two_bytes>(std::bool_constant<two_bytes>) __attribute__((always_inline)) {
      const auto multiply = [&](auto r, std::size_t at) __attribute__((always_inline)) {
        return [&, r, at ](auto i, float32x4_t level) __attribute__((always_inline)) {
          level = vsubq_f32(level, zero[r]);
          unrolled<cols>([&](auto c) __attribute__((always_inline)) {
            part[r][c] = vfmaq_f32(part[r][c], level, vld1q_f32(x.x + c * x.stride + at + 4 * i));
          });
        };
      };
      // What is left behind the last block that can be read where it lies is read from a copy, by the same loop.
      const std::uint8_t* from[rows];
      std::uint8_t room[rows][32];
      unrolled<rows>([&](auto r) __attribute__((always_inline)) { from[r] = packed[r] + k / 8 * bits; });
      for (std::size_t i = k, stop = end <= safe ? end : k < safe ? safe : k;; stop = end) {
        for (std::size_t at = 0; i < stop; i += block, at += block / 8 * bits)
          unrolled<rows>([&](auto r) __attribute__((always_inline)) {
            decoder.template decode<two_bytes>(from[r] + at, multiply(r, i));
          });
        if (i >= end) break;
        unrolled<rows>([&](auto r) __attribute__((always_inline)) {
          std::memset(room[r], 0, sizeof room[r]);
          std::memcpy(room[r], packed[r] + i / 8 * bits, packed_bytes(end - i, static_cast<int>(bits)));
          from[r] = room[r];
        });
      }
    };
    bool is_short = false;
    if constexpr (Decoder::may_be_short) {
      is_short = decoder.is_short;
      if (is_short) take(std::true_type());
    }
    if (!is_short) take(std::false_type());
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        sum[r][c] = vfmaq_n_f32(sum[r][c], part[r][c], affine[r][g].scale);
      });
    });
  }
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { y[c * tile_rows + r] = vaddvq_f32(sum[r][c]); });
  });
}

inline void dot(const CodedRows& w, const Columns<float>& x, float* y) {
  with_decoder(*w.levels, [&]<class Decoder>(std::type_identity<Decoder>) {
    const Decoder decoder(*w.levels);
    in_tiles<2>(w.rows, x.count,
                [&]<std::size_t rows, std::size_t cols>(std::integral_constant<std::size_t, rows>,
                                                        std::integral_constant<std::size_t, cols>, std::size_t r,
                                                        std::size_t c) {
                  dot_tile<rows, cols>(w, r, {cols, x.stride, x.x + c * x.stride}, decoder, y + c * tile_rows + r);
                });
  });
}

// ------------------------------------------------------------------------------------------ floats: no codes

inline void dense(std::size_t n, std::size_t rows, const float* w, std::size_t stride, const Columns<float>& x,
                  float* y) {
  in_tiles<4>(rows, x.count,
              [&]<std::size_t height, std::size_t cols>(std::integral_constant<std::size_t, height>,
                                                        std::integral_constant<std::size_t, cols>,
                                                        std::size_t first_row, std::size_t first) {
                float32x4_t sum[height][cols];
                unrolled<height>([&](auto r) __attribute__((always_inline)) {
                  unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = vdupq_n_f32(0); });
                });
                const float* const rows_at = w + first_row * stride;
                const float* const cols_at = x.x + first * x.stride;
                for (std::size_t k = 0; k < n; k += 4) {
                  float32x4_t column[cols];
                  unrolled<cols>([&](auto c) __attribute__((always_inline)) {
                    column[c] = vld1q_f32(cols_at + c * x.stride + k);
                  });
                  unrolled<height>([&](auto r) __attribute__((always_inline)) {
                    const float32x4_t row = vld1q_f32(rows_at + r * stride + k);
                    unrolled<cols>([&](auto c) __attribute__((always_inline)) {
                      sum[r][c] = vfmaq_f32(sum[r][c], row, column[c]);
                    });
                  });
                }
                unrolled<height>([&](auto r) __attribute__((always_inline)) {
                  unrolled<cols>([&](auto c) __attribute__((always_inline)) {
                    y[(first + c) * tile_rows + first_row + r] = vaddvq_f32(sum[r][c]);
                  });
                });
              });
}

// Four registers of floats or of doubles.
template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  static constexpr std::size_t count = 4;
  static float32x4x4_t load4(const float* p) { return vld1q_f32_x4(p); }
  static float32x4_t load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, float32x4_t v) { vst1q_f32(p, v); }
  static float32x4_t add_product(float32x4_t a, float b, float32x4_t sum) { return vfmaq_n_f32(sum, a, b); }
};
template <>
struct Lanes<double> {
  static constexpr std::size_t count = 2;
  static float64x2x4_t load4(const double* p) { return vld1q_f64_x4(p); }
  static float64x2_t load(const double* p) { return vld1q_f64(p); }
  static void store(double* p, float64x2_t v) { vst1q_f64(p, v); }
  static float64x2_t add_product(float64x2_t a, double b, float64x2_t sum) { return vfmaq_n_f64(sum, a, b); }
};

template <class T>
inline void transposed(std::size_t n, std::size_t rows, const T* w, std::size_t stride, const Columns<T>& x, T* y,
                       std::size_t y_stride) {
  using L = Lanes<T>;
  constexpr std::size_t wide = 4 * L::count;  // four registers of columns of W
  const std::size_t whole = n / wide * wide;
  const auto take = [&]<std::size_t cols>(std::integral_constant<std::size_t, cols>, std::size_t first) {
    const T* const from = x.x + first * x.stride;
    for (std::size_t k = 0; k < whole; k += wide) {
      T* const to = y + first * y_stride + k;
      decltype(L::load(to)) sum[4][cols];
      unrolled<4 * cols>([&](auto i) __attribute__((always_inline)) {
        sum[i % 4][i / 4] = L::load(to + i / 4 * y_stride + L::count * (i % 4));
      });
      for (std::size_t r = 0; r < rows; ++r) {
        const auto row = L::load4(w + r * stride + k);
        unrolled<cols>([&](auto c) __attribute__((always_inline)) {
          const T factor = from[c * x.stride + r];
          unrolled<4>([&](auto i) __attribute__((always_inline)) {
            sum[i][c] = L::add_product(row.val[i], factor, sum[i][c]);
          });
        });
      }
      unrolled<4 * cols>([&](auto i) __attribute__((always_inline)) {
        L::store(to + i / 4 * y_stride + L::count * (i % 4), sum[i % 4][i / 4]);
      });
    }
  };
  std::size_t c = 0;
  for (; c + 4 <= x.count; c += 4) take(std::integral_constant<std::size_t, 4>(), c);
  for (; c < x.count; ++c) take(std::integral_constant<std::size_t, 1>(), c);
  if (whole < n) scalar::transposed(n - whole, rows, w + whole, stride, x, y + whole, y_stride);
}

// ------------------------------------------------------------------------------------------------- integers
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
  float32x4_t sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = vdupq_n_f32(0); });
  });
  for (std::size_t i = 0; i < at.runs; ++i) {
    int32x4_t part[rows][cols];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) { part[r][c] = vdupq_n_s32(0); });
    });
    const std::size_t last = (i + 1) * at.run / at.block, end = last < at.blocks ? last : at.blocks;
    add_blocks<bits, sdot>(w.packed + first_row, held, x, i * at.run / at.block, end, part);
    const std::size_t g = w.group < w.n ? i * at.run / w.group : 0;
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

template <bool has_dot>
inline constexpr Products products_with{
    arranged,         arrange, dot, dense, transposed<float>, transposed<double>, arranged_int8, arrange_int8<has_dot>,
    dot_int8<has_dot>};
inline constexpr Products products = products_with<false>, products_dot = products_with<true>;

}  // namespace fewbit::kernel::neon
#endif
