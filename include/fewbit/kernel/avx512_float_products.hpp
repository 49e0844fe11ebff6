#pragma once
// AVX-512: products with float activations, of codes and of floats. Rule: a decoder takes a block of codes at a time
// and gives registers of levels; activations are arranged to meet them.

#include <fewbit/kernel/avx512_packing.hpp>
#include <fewbit/kernel/avx512_tiles.hpp>

#if FEWBIT_X86_64
#include <array>
#include <cstring>
#include <immintrin.h>
#include <type_traits>
#include <utility>

FEWBIT_AVX512_BEGIN
namespace fewbit::kernel::avx512 {

// ---------------------------------------------------------------------------- floats: codes as they are multiplied
// A decoder takes `block` codes at a time and gives `block` / 16 registers of level - zero. Activations are arranged to
// meet them.

// 2 and 4 bits: 16 bytes to 16 lanes, whose lowest four bits vpermps looks up; then the next code comes down. Code
// j * per_byte + i of a block is in lane j of register i.
template <int bits>
struct Looked {
  static constexpr std::size_t per_byte = 8 / bits, block = 16 * per_byte;
  static constexpr bool exact = true;  // reads the bytes of its codes and no more
  static constexpr std::size_t bits_at_least = bits;
  __m512 table;
  explicit Looked(const Levels& l) {
    float entry[16];
    for (int i = 0; i < 16; ++i) entry[i] = l[i & ((1 << bits) - 1)];
    table = _mm512_loadu_ps(entry);
  }
  struct Of {
    __m512 levels;
    template <class F>
    [[gnu::always_inline]] void registers(__m128i bytes, F&& f) const {
      const __m512i v = _mm512_cvtepu8_epi32(bytes);
      unrolled<per_byte>([&](auto i) __attribute__((always_inline)) {
        f(i, _mm512_permutexvar_ps(i == 0 ? v : _mm512_srli_epi32(v, static_cast<unsigned>(bits * i)), levels));
      });
    }
    template <class F>
    [[gnu::always_inline]] void all(const std::uint8_t* p, F&& f) const {
      registers(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), f);
    }
    template <class F>
    [[gnu::always_inline]] void some(const std::uint8_t* p, std::size_t n, F&& f) const {
      registers(_mm_maskz_loadu_epi8(first_lanes(packed_bytes(n, bits)), p), f);
    }
  };
  Of with(float zero) const { return {_mm512_sub_ps(table, _mm512_set1_ps(zero))}; }
  static void arrange(const Levels&, const float* x, std::size_t n, float* to) {  // n is a multiple of block
    for (std::size_t k = 0; k < n; k += block)
      for (std::size_t j = 0; j < 16; ++j)
        for (std::size_t i = 0; i < per_byte; ++i) to[k + 16 * i + j] = x[k + per_byte * j + i];
  }
};

// Other widths: sixteen codes in their order.
template <int width, class Shape>
struct InOrder {
  static constexpr std::size_t block = 16;
  static constexpr bool exact = width != 0;
  static constexpr std::size_t bits_at_least = 8;
  Packing packing;
  Shape shape;
  explicit InOrder(const Levels& l) : packing(l.bits()), shape(l) {}
  struct Of {
    const InOrder& self;
    __m512 zero;
    template <class F>
    [[gnu::always_inline]] void all(const std::uint8_t* p, F&& f) const {
      f(std::integral_constant<std::size_t, 0>(),
        _mm512_sub_ps(self.shape.level(load16<width>(p, self.packing)), zero));
    }
    template <class F>
    [[gnu::always_inline]] void some(const std::uint8_t* p, std::size_t n, F&& f) const {
      f(std::integral_constant<std::size_t, 0>(), _mm512_sub_ps(self.shape.level(self.packing.load(p, n)), zero));
    }
  };
  Of with(float zero) const { return {*this, _mm512_set1_ps(zero)}; }
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

// A block of every row against a column each.
template <std::size_t rows, std::size_t cols, class Decoder>
inline void dot_tile(const CodedRows& w, const Columns<float>& x, const Decoder& decoder, float* y) {
  FEWBIT_ON_THE_STACK;
  constexpr std::size_t block = Decoder::block;
  const auto bits = static_cast<std::size_t>(w.levels->bits());
  // Sixteen codes of a width without a path of its own are read as two times 16 bytes, which must end inside the row.
  const std::size_t held = packed_bytes(w.n, w.levels->bits()), reach = bits + 16;
  const std::size_t safe = Decoder::exact ? w.n / block * block
                           : held < reach ? 0
                                          : ((held - reach) / (2 * bits) + 1) * 16;
  __m512 sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = _mm512_setzero_ps(); });
  });
  for (std::size_t k = 0, g = 0, end = 0; k < w.n; ++g) {
    end = w.n - k > w.group ? k + w.group : w.n;
    __m512 part[rows][cols];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) { part[r][c] = _mm512_setzero_ps(); });
    });
    const auto decoders = [&]<std::size_t... r>(std::index_sequence<r...>) {
      return std::array<typename Decoder::Of, rows>{decoder.with(w.affine[r][g].zero)...};
    }
    (std::make_index_sequence<rows>());
    const auto multiply = [&](auto r, std::size_t at) __attribute__((always_inline)) {
      return [&, r, at ](auto i, __m512 level) __attribute__((always_inline)) {
        unrolled<cols>([&](auto c) __attribute__((always_inline)) {
          part[r][c] = _mm512_fmadd_ps(level, _mm512_loadu_ps(x.x + c * x.stride + at + 16 * i), part[r][c]);
        });
      };
    };
    const std::size_t limit = end < safe ? end : safe, whole = limit > k ? k + (limit - k) / block * block : k;
    for (; k < whole; k += block)
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        const std::uint8_t* const from = w.packed[r] + k / 8 * bits;
        if (k % (512 / Decoder::bits_at_least) == 0) prefetch_codes(from);
        decoders[r].all(from, multiply(r, k));
      });
    for (; k < end; k += block)
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        decoders[r].some(w.packed[r] + k / 8 * bits, end - k < block ? end - k : block, multiply(r, k));
      });
    k = end;
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      const __m512 scale = _mm512_set1_ps(w.affine[r][g].scale);
      unrolled<cols>([&](auto c)
                         __attribute__((always_inline)) { sum[r][c] = _mm512_fmadd_ps(part[r][c], scale, sum[r][c]); });
    });
  }
  unrolled<cols>([&](auto c) __attribute__((always_inline)) {
    store_sums<rows>([&](auto r) { return sum[r][c]; }, y + c * tile_rows);
  });
}

inline void dot(const CodedRows& w, const Columns<float>& x, float* y) {
  with_decoder(*w.levels, [&]<class Decoder>(std::type_identity<Decoder>) {
    const Decoder decoder(*w.levels);
    in_tiles<4, 2, 1>(w.rows, x.count, [&](auto rows, auto cols, std::size_t r, std::size_t c) {
      dot_tile<rows, cols>(from_row(w, r), {cols, x.stride, x.x + c * x.stride}, decoder, y + c * tile_rows + r);
    });
  });
}

// ------------------------------------------------------------------------------------------ floats: no codes

template <std::size_t rows, std::size_t cols>
inline void dense_tile(std::size_t n, const float* w, std::size_t stride, const Columns<float>& x, float* y,
                       std::size_t y_stride) {
  __m512 sum[rows][cols];
  unrolled<rows>([&](auto r) __attribute__((always_inline)) {
    unrolled<cols>([&](auto c) __attribute__((always_inline)) { sum[r][c] = _mm512_setzero_ps(); });
  });
  for (std::size_t k = 0; k < n; k += 16) {
    __m512 row[rows];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) { row[r] = _mm512_loadu_ps(w + r * stride + k); });
    unrolled<cols>([&](auto c) __attribute__((always_inline)) {
      const __m512 column = _mm512_loadu_ps(x.x + c * x.stride + k);
      unrolled<rows>([&](auto r)
                         __attribute__((always_inline)) { sum[r][c] = _mm512_fmadd_ps(row[r], column, sum[r][c]); });
    });
  }
  unrolled<cols>([&](auto c) __attribute__((always_inline)) {
    add_sums<rows>([&](auto r) { return sum[r][c]; }, y + c * y_stride);
  });
}

inline void dense(std::size_t n, std::size_t rows, const float* w, std::size_t stride, const Columns<float>& x,
                  float* y, std::size_t y_stride) {
  FEWBIT_ON_THE_STACK;
  const auto take = [&]<std::size_t cols>(std::integral_constant<std::size_t, cols>, std::size_t c) {
    const Columns<float> some{cols, x.stride, x.x + c * x.stride};
    float* const to = y + c * y_stride;
    std::size_t r = 0;
    for (; r + tile_rows <= rows; r += tile_rows) {
      prefetch_columns(x, c + cols, cols, n, r, rows);
      dense_tile<tile_rows, cols>(n, w + r * stride, stride, some, to + r, y_stride);
    }
    for (; r < rows; ++r) dense_tile<1, cols>(n, w + r * stride, stride, some, to + r, y_stride);
  };
  std::size_t c = 0;
  for (; c + 6 <= x.count; c += 6) take(std::integral_constant<std::size_t, 6>(), c);
  for (; c + 2 <= x.count; c += 2) take(std::integral_constant<std::size_t, 2>(), c);
  for (; c < x.count; ++c) take(std::integral_constant<std::size_t, 1>(), c);
}

// A register of floats or of doubles, the last one of a row perhaps in part.
template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  static constexpr std::size_t count = 16;
  using Mask = __mmask16;
  static __m512 load(Mask some, const float* p) { return _mm512_maskz_loadu_ps(some, p); }
  static void store(float* p, Mask some, __m512 v) { _mm512_mask_storeu_ps(p, some, v); }
  static __m512 all(float x) { return _mm512_set1_ps(x); }
  static __m512 add_product(__m512 a, __m512 b, __m512 sum) { return _mm512_fmadd_ps(a, b, sum); }
};
template <>
struct Lanes<double> {
  static constexpr std::size_t count = 8;
  using Mask = __mmask8;
  static __m512d load(Mask some, const double* p) { return _mm512_maskz_loadu_pd(some, p); }
  static void store(double* p, Mask some, __m512d v) { _mm512_mask_storeu_pd(p, some, v); }
  static __m512d all(double x) { return _mm512_set1_pd(x); }
  static __m512d add_product(__m512d a, __m512d b, __m512d sum) { return _mm512_fmadd_pd(a, b, sum); }
};

template <class T>
inline void transposed(std::size_t n, std::size_t rows, const T* w, std::size_t stride, const Columns<T>& x, T* y,
                       std::size_t y_stride) {
  FEWBIT_ON_THE_STACK;
  using L = Lanes<T>;
  using V = decltype(L::all(0));
  constexpr auto every = static_cast<typename L::Mask>(-1);
  // `wide` registers of columns of W, the last one perhaps in part.
  const auto take = [&]<std::size_t wide, std::size_t cols>(std::integral_constant<std::size_t, wide>,
                                                            std::integral_constant<std::size_t, cols>, std::size_t k,
                                                            std::size_t first) {
    const auto some = wide > 1 || n - k >= L::count ? every : static_cast<typename L::Mask>(first_lanes(n - k));
    const T* const from = x.x + first * x.stride;
    T* const to = y + first * y_stride + k;
    V sum[wide][cols];
    unrolled<wide>([&](auto i) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        sum[i][c] = L::load(wide > 1 ? every : some, to + c * y_stride + L::count * i);
      });
    });
    // Where the next columns' sums go may lie far off, each in a page of its own.
    const bool has_next = first + 2 * cols <= x.count;
    if (has_next)
      for (std::size_t c = cols; c < 2 * cols; ++c)
        for (std::size_t i = 0; i < wide; ++i) __builtin_prefetch(to + c * y_stride + L::count * i, 1, 2);
    // So may the next columns themselves: they are asked for a line at a time.
    for (std::size_t top = 0; top < rows; top += L::count) {
      if (has_next)
        for (std::size_t c = cols; c < 2 * cols; ++c) __builtin_prefetch(from + c * x.stride + top);
      for (std::size_t r = top, end = rows - top < L::count ? rows : top + L::count; r < end; ++r) {
        V row[wide];
        unrolled<wide>([&](auto i) __attribute__((always_inline)) {
          row[i] = L::load(wide > 1 ? every : some, w + r * stride + k + L::count * i);
        });
        unrolled<cols>([&](auto c) __attribute__((always_inline)) {
          const V factor = L::all(from[c * x.stride + r]);
          unrolled<wide>([&](auto i)
                             __attribute__((always_inline)) { sum[i][c] = L::add_product(row[i], factor, sum[i][c]); });
        });
      }
    }
    unrolled<wide>([&](auto i) __attribute__((always_inline)) {
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        L::store(to + c * y_stride + L::count * i, wide > 1 ? every : some, sum[i][c]);
      });
    });
  };
  const auto across = [&](auto cols, std::size_t first) {
    std::size_t k = 0;
    for (; k + 4 * L::count <= n; k += 4 * L::count) take(std::integral_constant<std::size_t, 4>(), cols, k, first);
    for (; k < n; k += L::count) take(std::integral_constant<std::size_t, 1>(), cols, k, first);
  };
  std::size_t c = 0;
  for (; c + 6 <= x.count; c += 6) across(std::integral_constant<std::size_t, 6>(), c);
  for (; c + 2 <= x.count; c += 2) across(std::integral_constant<std::size_t, 2>(), c);
  for (; c < x.count; ++c) across(std::integral_constant<std::size_t, 1>(), c);
}

}  // namespace fewbit::kernel::avx512
FEWBIT_AVX512_END
#endif
