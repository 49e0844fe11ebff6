#pragma once
// Dot products on AVX-512. Leans on vpermps, which turns a code of up to four bits into its level in one instruction,
// zero-point included; on vpdpbusd, four byte products in one lane, where the processor has it (VNNI); and on 32
// registers, so that four rows of codes share each activation. Rule: a lane of an integer sum belongs to one group.

#include <fewbit/kernel/avx512.hpp>
#include <fewbit/kernel/products.hpp>

#if FEWBIT_X86_64
#include <array>
#include <utility>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
FEWBIT_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
namespace fewbit::kernel::avx512 {

// f(0) .. f(n - 1), each index a constant: arrays of registers stay registers.
template <std::size_t n, class F>
[[gnu::always_inline]] inline void unrolled(F&& f) {
  [&]<std::size_t... i>(std::index_sequence<i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<std::size_t, i>()), ...);
  }
  (std::make_index_sequence<n>());
}

// Codes are asked for some lines before they are needed: a quarter less time from memory than the hardware's own guess.
[[gnu::always_inline]] inline void prefetch_codes(const std::uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + 1024), _MM_HINT_T0);
}

// Calls f(rows, cols, first row, first column), the first two as constants: four rows and as many columns as the
// widths, widest first, allow; rows that are not four, and columns, one at a time. Each pair is a loop of its own to
// compile.
template <std::size_t... widths, class F>
inline void in_tiles(std::size_t rows, std::size_t cols, F&& f) {
  using One = std::integral_constant<std::size_t, 1>;
  if (rows == tile_rows) {
    std::size_t c = 0;
    const auto take = [&]<std::size_t width>(std::integral_constant<std::size_t, width> w) {
      for (; c + width <= cols; c += width) f(std::integral_constant<std::size_t, tile_rows>(), w, std::size_t{0}, c);
    };
    (take(std::integral_constant<std::size_t, widths>()), ...);
    return;
  }
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) f(One(), One(), r, c);
}

// The rows of a tile from r on.
inline CodedRows from_row(const CodedRows& w, std::size_t r) {
  CodedRows rest = w;
  for (std::size_t i = r; i < w.rows; ++i) rest.packed[i - r] = w.packed[i], rest.affine[i - r] = w.affine[i];
  return rest;
}

// The sums of the lanes of one register or four, at(0) .. at(3), to as many floats: in one order, for how many rows a
// tile has is a matter of threads.
template <std::size_t rows, class At>
[[gnu::always_inline]] inline void store_sums(At&& at, float* to) {
  const __m512 a = at(std::integral_constant<std::size_t, 0>()),
               b = at(std::integral_constant < std::size_t, rows == 1 ? 0 : 1 > ()),
               c = at(std::integral_constant < std::size_t, rows == 1 ? 0 : 2 > ()),
               d = at(std::integral_constant < std::size_t, rows == 1 ? 0 : 3 > ());
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  if constexpr (rows == 1) _mm_store_ss(to, sums);
  else _mm_storeu_ps(to, sums);
}

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
  static void arrange(const float* x, std::size_t n, float* to) {  // n is a multiple of block
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
  static void arrange(const float* x, std::size_t n, float* to) { std::memcpy(to, x, n * sizeof *x); }
};

template <class F>
inline auto with_decoder(const Levels& l, F&& f) {
  if (l.bits() == 2) return f(std::type_identity<Looked<2>>());
  if (l.bits() == 4) return f(std::type_identity<Looked<4>>());
  if (!l.uniform()) return f(std::type_identity<InOrder<0, Table256>>());
  return l.bits() == 8 ? f(std::type_identity<InOrder<8, Integers>>()) : f(std::type_identity<InOrder<0, Integers>>());
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

// A block of every row against a column each.
template <std::size_t rows, std::size_t cols, class Decoder>
inline void dot_tile(const CodedRows& w, const Columns<float>& x, const Decoder& decoder, float* y) {
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
inline void dense_tile(std::size_t n, const float* w, std::size_t stride, const Columns<float>& x, float* y) {
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
    store_sums<rows>([&](auto r) { return sum[r][c]; }, y + c * tile_rows);
  });
}

inline void dense(std::size_t n, std::size_t rows, const float* w, std::size_t stride, const Columns<float>& x,
                  float* y) {
  in_tiles<6, 2, 1>(rows, x.count, [&](auto height, auto cols, std::size_t r, std::size_t c) {
    dense_tile<height, cols>(n, w + r * stride, stride, {cols, x.stride, x.x + c * x.stride}, y + c * tile_rows + r);
  });
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
    for (std::size_t r = 0; r < rows; ++r) {
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
  for (; c + 4 <= x.count; c += 4) across(std::integral_constant<std::size_t, 4>(), c);
  for (; c < x.count; ++c) across(std::integral_constant<std::size_t, 1>(), c);
}

// ------------------------------------------------------------------------------------------------- integers
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
  const Int8Layout at(w.n, w.group, bits);
  const std::size_t held = packed_bytes(w.n, bits), groups = (w.n + w.group - 1) / w.group;
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
    const std::size_t begin = i * at.run / at.block, end = (i + 1) * at.run / at.block;
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
    const std::size_t g = w.group < w.n ? i * at.run / w.group : 0;
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      const Affine* const a = w.affine[r] + g;
      const Scale how = shared ? scales_of_block(a, groups - g, w.group / (at.block / 16)) : Scale(*a);
      // A long run's sums have more digits than a float: zero-points that are codes leave them as integers.
      const bool has_zero = shared || a->zero != 0, is_code = !shared && is_small_integer(a->zero, bits);
      const __m512i zero = _mm512_set1_epi32(is_code ? static_cast<int>(a->zero) : 0);
      unrolled<cols>([&](auto c) __attribute__((always_inline)) {
        if (has_zero && is_code) {
          const __m512i lane = _mm512_cvtps_epi32(_mm512_loadu_ps(lanes + c * x.stride + 64));
          part[r][c] = _mm512_sub_epi32(part[r][c], _mm512_mullo_epi32(zero, lane));
        }
        __m512 product = _mm512_cvtepi32_ps(part[r][c]);
        if (has_zero && !is_code)
          product = _mm512_fnmadd_ps(how.zero, _mm512_loadu_ps(lanes + c * x.stride + 64), product);
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

template <bool vnni>
inline constexpr Products products_with{
    arranged, arrange, dot, dense, transposed<float>, transposed<double>, arranged_int8, arrange_int8, dot_int8<vnni>};
inline constexpr Products products = products_with<false>, products_vnni = products_with<true>;

}  // namespace fewbit::kernel::avx512
FEWBIT_TARGET_END
#pragma GCC diagnostic pop
#endif
