#pragma once
// AVX2: products with float activations, of codes and of floats. Rule: a decoder takes a block of codes at a time and
// gives registers of levels; activations are arranged to meet them.

#include <fewbit/kernel/avx2_packing.hpp>
#include <fewbit/kernel/avx2_tiles.hpp>

#if FEWBIT_X86_64
#include <array>
#include <cstring>
#include <immintrin.h>
#include <type_traits>
#include <utility>

FEWBIT_AVX2_BEGIN
namespace fewbit::kernel::avx2 {

// ---------------------------------------------------------------------------- floats: codes as they are multiplied
// A decoder takes `block` codes at a time and gives registers of levels. Activations are arranged to meet them.

// 2 and 4 bits: 16 bytes are doubled, and come down by one code in one half and by the next in the other. Of levels
// whose last 16 bits are zeros, as those of whole numbers up to 256 are, two bytes are looked up and not four.
template <int width>
struct Looked {
  static constexpr std::size_t bits = width, per_byte = 8 / bits, block = 16 * per_byte, registers = 2 * per_byte;
  static constexpr bool may_be_short = true;
  __m256i plane[4];  // byte i of the levels, twice
  bool is_short;
  explicit Looked(const Levels& l) {
    const __m128i by_byte = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    float entry[16];  // a code has its neighbours above it, which make no difference
    for (int i = 0; i < 16; ++i) entry[i] = l[i & ((1 << bits) - 1)];
    __m128i four[4];
    for (std::size_t i = 0; i < 4; ++i)
      four[i] = _mm_shuffle_epi8(_mm_castps_si128(_mm_loadu_ps(entry + 4 * i)), by_byte);
    const __m128i a = _mm_unpacklo_epi32(four[0], four[1]), b = _mm_unpacklo_epi32(four[2], four[3]);
    const __m128i c = _mm_unpackhi_epi32(four[0], four[1]), d = _mm_unpackhi_epi32(four[2], four[3]);
    plane[0] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(a, b));
    plane[1] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(a, b));
    plane[2] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(c, d));
    plane[3] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(c, d));
    is_short = shortened(l);
  }
  static bool shortened(const Levels& l) {
    std::uint32_t rest = 0;
    for (int i = 0; i < 1 << bits; ++i) {
      const float level = l[i];
      std::uint32_t word;
      std::memcpy(&word, &level, sizeof word);
      rest |= word;
    }
    return (rest & 0xffff) == 0;
  }
  static std::size_t safe(std::size_t n) { return n / block * block; }

  template <bool two_bytes, class F>
  [[gnu::always_inline]] void decode(const std::uint8_t* p, F&& f) const {
    const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    unrolled<per_byte / 2>([&](auto i) __attribute__((always_inline)) {
      constexpr int by = 2 * i * width, next = by + width;
      __m256i codes = twice;
      codes = _mm256_srlv_epi32(codes, _mm256_setr_epi32(by, by, by, by, next, next, next, next));
      codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
      const std::integral_constant<std::size_t, 4 * i> r0;
      const std::integral_constant<std::size_t, 4 * i + 1> r1;
      const std::integral_constant<std::size_t, 4 * i + 2> r2;
      const std::integral_constant<std::size_t, 4 * i + 3> r3;
      const __m256i b2 = _mm256_shuffle_epi8(plane[2], codes), b3 = _mm256_shuffle_epi8(plane[3], codes);
      const __m256i upper = _mm256_unpacklo_epi8(b2, b3), upper2 = _mm256_unpackhi_epi8(b2, b3);
      if constexpr (two_bytes) {  // a shift and a mask take less than two shuffles, but bring every other one
        const __m256i mask = _mm256_set1_epi32(-0x10000);
        f(r0, _mm256_castsi256_ps(_mm256_slli_epi32(upper, 16)));
        f(r1, _mm256_castsi256_ps(_mm256_and_si256(upper, mask)));
        f(r2, _mm256_castsi256_ps(_mm256_slli_epi32(upper2, 16)));
        f(r3, _mm256_castsi256_ps(_mm256_and_si256(upper2, mask)));
      } else {
        const __m256i b0 = _mm256_shuffle_epi8(plane[0], codes), b1 = _mm256_shuffle_epi8(plane[1], codes);
        const __m256i lower = _mm256_unpacklo_epi8(b0, b1), lower2 = _mm256_unpackhi_epi8(b0, b1);
        f(r0, _mm256_castsi256_ps(_mm256_unpacklo_epi16(lower, upper)));
        f(r1, _mm256_castsi256_ps(_mm256_unpackhi_epi16(lower, upper)));
        f(r2, _mm256_castsi256_ps(_mm256_unpacklo_epi16(lower2, upper2)));
        f(r3, _mm256_castsi256_ps(_mm256_unpackhi_epi16(lower2, upper2)));
      }
    });
  }
  // Register 4 i + q holds in its half h the codes 2 i + h of four bytes: eight times q / 2 and, short, q % 2 and every
  // second byte from there, or else four times q % 2 and those that follow.
  static void arrange(const Levels& l, const float* x, std::size_t n, float* to) {  // n is a multiple of block
    const bool two_bytes = shortened(l);
    for (std::size_t k = 0; k < n; k += block)
      for (std::size_t j = 0; j < block; ++j) {
        const std::size_t i = j / 32, q = j / 8 % 4, h = j / 4 % 2, d = j % 4;
        const std::size_t byte = q / 2 * 8 + (two_bytes ? q % 2 + 2 * d : q % 2 * 4 + d);
        to[k + j] = x[k + per_byte * byte + 2 * i + h];
      }
  }
};

// Other widths: eight codes in their order.
template <int width, class Shape>
struct InOrder {
  static constexpr std::size_t block = 8, registers = 1;
  static constexpr bool may_be_short = false, is_short = false;
  Packing packing;
  Shape shape;
  std::size_t bits;
  explicit InOrder(const Levels& l) : packing(l.bits()), shape(l), bits(packing.bits) {}
  // 16 bytes are read for eight codes, unless the width is known.
  std::size_t safe(std::size_t n) const { return width > 0 ? n / 8 * 8 : packing.whole_registers(n); }
  template <bool, class F>
  [[gnu::always_inline]] void decode(const std::uint8_t* p, F&& f) const {
    f(std::integral_constant<std::size_t, 0>(), shape.level(load8<width>(p, packing)));
  }
  static void arrange(const Levels&, const float* x, std::size_t n, float* to) { std::memcpy(to, x, n * sizeof *x); }
};

template <class F>
inline auto with_decoder(const Levels& l, F&& f) {
  if (l.bits() == 2) return f(std::type_identity<Looked<2>>());
  if (l.bits() == 4) return f(std::type_identity<Looked<4>>());
  if (!l.uniform()) return f(std::type_identity<InOrder<0, Table256>>());
  return l.bits() == 8 ? f(std::type_identity<InOrder<8, Integers>>()) : f(std::type_identity<InOrder<0, Integers>>());
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
  FEWBIT_ON_THE_STACK;
  // One sum for each row and column, added to in one order: how many rows a tile has is a matter of threads.
  constexpr std::size_t block = Decoder::block;
  const std::size_t bits = decoder.bits, safe = decoder.safe(w.n);
  const std::uint8_t* const* const packed = w.packed + first_row;
  const Affine* const* const affine = w.affine + first_row;
  __m256 sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = _mm256_setzero_ps(); });
  });
  for (std::size_t k = 0, g = 0, end = 0; k < w.n; k = end, ++g) {
    end = w.n - k > w.group ? k + w.group : w.n;
    __m256 part[rows][cols], zero[rows];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      zero[r] = _mm256_set1_ps(affine[r][g].zero);
      unrolled<cols>([&](auto c) __attribute__((always_inline)) { part[r][c] = _mm256_setzero_ps(); });
    });
    const auto take = [&]<bool two_bytes>(std::bool_constant<two_bytes>) __attribute__((always_inline)) {
      const auto multiply = [&](auto r, std::size_t at) __attribute__((always_inline)) {
        return [&, r, at ](auto i, __m256 level) __attribute__((always_inline)) {
          level = _mm256_sub_ps(level, zero[r]);
          unrolled<cols>([&](auto c) __attribute__((always_inline)) {
            part[r][c] = _mm256_fmadd_ps(level, _mm256_loadu_ps(x.x + c * x.stride + at + 8 * i), part[r][c]);
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
      const __m256 scale = _mm256_set1_ps(affine[r][g].scale);
      unrolled<cols>([&](auto c)
                         __attribute__((always_inline)) { sum[r][c] = _mm256_fmadd_ps(part[r][c], scale, sum[r][c]); });
    });
  }
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { y[c * tile_rows + r] = total(sum[r][c]); });
  });
}

inline void dot(const CodedRows& w, const Columns<float>& x, float* y) {
  with_decoder(*w.levels, [&]<class Decoder>(std::type_identity<Decoder>) {
    const Decoder decoder(*w.levels);
    in_tiles(w.rows, x.count,
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
  FEWBIT_ON_THE_STACK;
  const auto take = [&]<std::size_t height, std::size_t cols>(std::integral_constant<std::size_t, height>,
                                                              std::integral_constant<std::size_t, cols>,
                                                              std::size_t first_row, std::size_t first) {
    prefetch_columns(x, first + cols, cols, n, first_row, rows);
    __m256 sum[height][cols];
    unrolled<height>([&](auto r) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = _mm256_setzero_ps(); });
    });
    const float* const rows_at = w + first_row * stride;
    const float* const cols_at = x.x + first * x.stride;
    for (std::size_t k = 0; k < n; k += 8) {
      __m256 column[cols];
      unrolled<cols>([&](auto c)
                         __attribute__((always_inline)) { column[c] = _mm256_loadu_ps(cols_at + c * x.stride + k); });
      unrolled<height>([&](auto r) __attribute__((always_inline)) {
        const __m256 row = _mm256_loadu_ps(rows_at + r * stride + k);
        unrolled<cols>([&](auto c)
                           __attribute__((always_inline)) { sum[r][c] = _mm256_fmadd_ps(row, column[c], sum[r][c]); });
      });
    }
    unrolled<height>([&](auto r) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        y[(first + c) * y_stride + first_row + r] += total(sum[r][c]);
      });
    });
  };
  std::size_t c = 0;
  for (; c + 3 <= x.count; c += 3) down<4, 3>(rows, c, take);
  for (; c < x.count; ++c) down<4, 1>(rows, c, take);
}

// A register of floats or of doubles, and the first lanes of one.
template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  static constexpr std::size_t count = 8;
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
  static __m256 load_some(const float* p, std::size_t n) { return avx2::load_some(p, n); }
  static void store(float* p, __m256 v) { _mm256_storeu_ps(p, v); }
  static void store_some(float* p, std::size_t n, __m256 v) { avx2::store_some(p, n, v); }
  static __m256 all(float x) { return _mm256_set1_ps(x); }
  static __m256 add_product(__m256 a, __m256 b, __m256 sum) { return _mm256_fmadd_ps(a, b, sum); }
};
template <>
struct Lanes<double> {
  static constexpr std::size_t count = 4;
  static __m256i first(std::size_t n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(static_cast<long long>(n)), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static __m256d load(const double* p) { return _mm256_loadu_pd(p); }
  static __m256d load_some(const double* p, std::size_t n) { return _mm256_maskload_pd(p, first(n)); }
  static void store(double* p, __m256d v) { _mm256_storeu_pd(p, v); }
  static void store_some(double* p, std::size_t n, __m256d v) { _mm256_maskstore_pd(p, first(n), v); }
  static __m256d all(double x) { return _mm256_set1_pd(x); }
  static __m256d add_product(__m256d a, __m256d b, __m256d sum) { return _mm256_fmadd_pd(a, b, sum); }
};

template <class T>
inline void transposed(std::size_t n, std::size_t rows, const T* w, std::size_t stride, const Columns<T>& x, T* y,
                       std::size_t y_stride) {
  FEWBIT_ON_THE_STACK;
  using L = Lanes<T>;
  using V = decltype(L::all(0));
  // `wide` registers of columns of W; a single one perhaps in part.
  const auto take = [&]<std::size_t wide, std::size_t cols>(std::integral_constant<std::size_t, wide>,
                                                            std::integral_constant<std::size_t, cols>, std::size_t k,
                                                            std::size_t first) {
    const std::size_t some = wide > 1 || n - k > L::count ? L::count : n - k;
    const auto load = [&](const T* p) __attribute__((always_inline)) {
      if constexpr (wide > 1) return L::load(p);
      else return L::load_some(p, some);
    };
    const T* const from = x.x + first * x.stride;
    T* const to = y + first * y_stride + k;
    V sum[wide][cols];
    unrolled<wide>([&](auto i) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c)
                         __attribute__((always_inline)) { sum[i][c] = load(to + c * y_stride + L::count * i); });
    });
    for (std::size_t r = 0; r < rows; ++r) {
      V row[wide];
      unrolled<wide>([&](auto i) __attribute__((always_inline)) { row[i] = load(w + r * stride + k + L::count * i); });
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        const V factor = L::all(from[c * x.stride + r]);
        unrolled<wide>([&](auto i)
                           __attribute__((always_inline)) { sum[i][c] = L::add_product(row[i], factor, sum[i][c]); });
      });
    }
    unrolled<wide>([&](auto i) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        if constexpr (wide > 1) L::store(to + c * y_stride + L::count * i, sum[i][c]);
        else L::store_some(to + c * y_stride + L::count * i, some, sum[i][c]);
      });
    });
  };
  const auto across = [&]<std::size_t wide>(std::integral_constant<std::size_t, wide> most, auto cols,
                                            std::size_t first) {
    std::size_t k = 0;
    for (; k + L::count * wide <= n; k += L::count * wide) take(most, cols, k, first);
    for (; k < n; k += L::count) take(std::integral_constant<std::size_t, 1>(), cols, k, first);
  };
  std::size_t c = 0;
  for (; c + 4 <= x.count; c += 4)
    across(std::integral_constant<std::size_t, 2>(), std::integral_constant<std::size_t, 4>(), c);
  for (; c < x.count; ++c)
    across(std::integral_constant<std::size_t, 8>(), std::integral_constant<std::size_t, 1>(), c);
}

}  // namespace fewbit::kernel::avx2
FEWBIT_AVX2_END
#endif
