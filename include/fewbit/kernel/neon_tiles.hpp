#pragma once
// NEON: what float and integer products share: loops over tiles of rows and columns, and the ends of sums. Rule: a sum
// is added up in one order, whatever tile it falls into.

#include <fewbit/kernel/neon_levels.hpp>
#include <fewbit/kernel/products.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <cstddef>
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

}  // namespace fewbit::kernel::neon
#endif
