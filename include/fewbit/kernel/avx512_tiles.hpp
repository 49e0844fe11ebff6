#pragma once
// AVX-512: what float and integer products share: loops over tiles of rows and columns, and the ends of sums. Rule: a
// sum is added up in one order, whatever tile it falls into.

#include <fewbit/kernel/avx512_levels.hpp>
#include <fewbit/kernel/products.hpp>

#if FEWBIT_X86_64
#include <cstddef>
#include <immintrin.h>
#include <utility>

FEWBIT_AVX512_BEGIN
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

// The sums of the lanes of one register or four, at(0) .. at(3): in one order, for how many rows a tile has is a matter
// of threads.
template <std::size_t rows, class At>
[[gnu::always_inline]] inline __m128 sums_of(At&& at) {
  const auto or_first = [&]<std::size_t i>(std::integral_constant<std::size_t, i>) __attribute__((always_inline)) {
    return at(std::integral_constant < std::size_t, rows == 1 ? 0 : i > ());
  };
  const __m512 a = or_first(std::integral_constant<std::size_t, 0>()),
               b = or_first(std::integral_constant<std::size_t, 1>()),
               c = or_first(std::integral_constant<std::size_t, 2>()),
               d = or_first(std::integral_constant<std::size_t, 3>());
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
template <std::size_t rows, class At>
[[gnu::always_inline]] inline void store_sums(At&& at, float* to) {
  if constexpr (rows == 1) _mm_store_ss(to, sums_of<rows>(at));
  else _mm_storeu_ps(to, sums_of<rows>(at));
}
template <std::size_t rows, class At>
[[gnu::always_inline]] inline void add_sums(At&& at, float* to) {
  if constexpr (rows == 1) _mm_store_ss(to, _mm_add_ss(_mm_load_ss(to), sums_of<rows>(at)));
  else _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sums_of<rows>(at)));
}

}  // namespace fewbit::kernel::avx512
FEWBIT_AVX512_END
#endif
