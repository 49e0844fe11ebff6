#pragma once
// AVX2: what float and integer products share: loops over tiles of rows and columns, and the ends of sums. Rule: a sum
// is added up in one order, whatever tile it falls into.

#include <fewbit/kernel/avx2_levels.hpp>
#include <fewbit/kernel/products.hpp>

#if FEWBIT_X86_64
#include <cstddef>
#include <immintrin.h>
#include <utility>

FEWBIT_AVX2_BEGIN
namespace fewbit::kernel::avx2 {

// f(0) .. f(n - 1), each index a constant: arrays of registers stay registers.
template <std::size_t n, class F>
[[gnu::always_inline]] inline void unrolled(F&& f) {
  [&]<std::size_t... i>(std::index_sequence<i...>) __attribute__((always_inline)) {
    (f(std::integral_constant<std::size_t, i>()), ...);
  }
  (std::make_index_sequence<n>());
}

// Calls f(rows, columns, first row, first column), the first two constants: tiles of two rows and four columns, or of
// four rows and one. Rows that are left over come one by one: only the end of a matrix has them.
template <std::size_t height, std::size_t width, class F>
[[gnu::always_inline]] inline void down(std::size_t rows, std::size_t c, F&& f) {
  const std::integral_constant<std::size_t, 1> one;
  std::size_t r = 0;
  for (; r + height <= rows; r += height)
    f(std::integral_constant<std::size_t, height>(), std::integral_constant<std::size_t, width>(), r, c);
  for (; r < rows; ++r)
    for (std::size_t i = c; i < c + width; ++i) f(one, one, r, i);
}
template <class F>
inline void in_tiles(std::size_t rows, std::size_t cols, F&& f) {
  std::size_t c = 0;
  for (; c + 4 <= cols; c += 4) down<2, 4>(rows, c, f);
  for (; c < cols; ++c) down<4, 1>(rows, c, f);
}

inline float total(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// The 16 or 32 bytes at p, of which only `left` are there.
inline __m128i load_bytes16(const std::uint8_t* p, std::size_t left) {
  alignas(16) std::uint8_t room[16] = {};
  if (left < sizeof room) std::memcpy(room, p, left), p = room;
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m256i load_bytes32(const std::uint8_t* p, std::size_t left) {
  alignas(32) std::uint8_t room[32] = {};
  if (left < sizeof room) std::memcpy(room, p, left), p = room;
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

}  // namespace fewbit::kernel::avx2
FEWBIT_AVX2_END
#endif
