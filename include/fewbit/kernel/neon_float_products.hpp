#pragma once
// NEON: products with float activations, of codes and of floats. Rule: a decoder takes a block of codes at a time and
// gives registers of levels; activations are arranged to meet them.

#include <fewbit/kernel/neon_packing.hpp>
#include <fewbit/kernel/neon_tiles.hpp>
#include <fewbit/kernel/scalar_products.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

namespace fewbit::kernel::neon {

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
  static void arrange(const Levels&, const float* x, std::size_t n, float* to) {  // n is a multiple of block
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
  static void arrange(const Levels&, const float* x, std::size_t n, float* to) { std::memcpy(to, x, n * sizeof *x); }
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
  return with_decoder(l, [=]<class Decoder>(std::type_identity<Decoder>) { return arranged_by<Decoder>(n, group); });
}
inline void arrange(const float* x, std::size_t n, const Levels& l, float* to) {
  with_decoder(l, [=, &l]<class Decoder>(std::type_identity<Decoder>) { arrange_by<Decoder>(x, n, l, to); });
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
                  float* y, std::size_t y_stride) {
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
                    y[(first + c) * y_stride + first_row + r] += vaddvq_f32(sum[r][c]);
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

}  // namespace fewbit::kernel::neon
#endif
