#pragma once
// Products in plain C++. Rule: any width and any group; levels are decoded once for all columns, and activations are
// taken as they come.

#include <algorithm>
#include <cstring>
#include <type_traits>

#include <fewbit/kernel/products.hpp>
#include <fewbit/kernel/scalar.hpp>

namespace fewbit::kernel::scalar {

// Numbers that any compiler adds and multiplies at once, in registers that every processor has.
using Float4 = float __attribute__((vector_size(16)));
using Double2 = double __attribute__((vector_size(16)));
inline Float4 load4(const float* x) {
  Float4 v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
inline float sum4(Float4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }

inline std::size_t arranged(std::size_t n, std::size_t, const Levels&) { return n; }
inline void arrange(const float* x, std::size_t n, const Levels&, float* to) { std::copy_n(x, n, to); }

inline constexpr std::size_t piece = 64;  // levels that are decoded and then multiplied

inline float dot4(const float* a, const float* b, std::size_t n) {
  Float4 sum{}, sum2{};
  std::size_t k = 0;
  for (; k + 8 <= n; k += 8) sum += load4(a + k) * load4(b + k), sum2 += load4(a + k + 4) * load4(b + k + 4);
  float rest = 0;
  for (; k < n; ++k) rest += a[k] * b[k];
  return sum4(sum + sum2) + rest;
}

inline void dot(const CodedRows& w, const Columns<float>& x, float* y) {
  const Levels& l = *w.levels;
  for (std::size_t r = 0; r < w.rows; ++r) {
    for (std::size_t c = 0; c < x.count; ++c) y[c * tile_rows + r] = 0;
    CodeReader code(w.packed[r], l.bits());
    each_group({w.n, w.group, w.affine[r], &l}, [&](std::size_t k, std::size_t end, Affine a) {
      float level[piece];
      for (; k < end; k += piece) {
        const std::size_t n = std::min(piece, end - k);
        for (std::size_t j = 0; j < n; ++j) level[j] = l[static_cast<int>(code())] - a.zero;
        for (std::size_t c = 0; c < x.count; ++c)
          y[c * tile_rows + r] += a.scale * dot4(level, x.x + c * x.stride + k, n);
      }
    });
  }
}

inline void dense(std::size_t n, std::size_t rows, const float* w, std::size_t stride, const Columns<float>& x,
                  float* y, std::size_t y_stride) {
  for (std::size_t c = 0; c < x.count; ++c)
    for (std::size_t r = 0; r < rows; ++r) y[c * y_stride + r] += dot4(w + r * stride, x.x + c * x.stride, n);
}

// y += factor * x.
template <class V, class T>
inline void add_multiple(std::size_t n, T factor, const T* x, T* y) {
  constexpr std::size_t lanes = sizeof(V) / sizeof(T);
  std::size_t k = 0;
  for (; k + lanes <= n; k += lanes) {
    V a, b;
    std::memcpy(&a, x + k, sizeof a), std::memcpy(&b, y + k, sizeof b);
    b += a * factor;
    std::memcpy(y + k, &b, sizeof b);
  }
  for (; k < n; ++k) y[k] += x[k] * factor;
}

template <class T>
inline void transposed(std::size_t n, std::size_t rows, const T* w, std::size_t stride, const Columns<T>& x, T* y,
                       std::size_t y_stride) {
  for (std::size_t c = 0; c < x.count; ++c)
    for (std::size_t r = 0; r < rows; ++r)
      add_multiple<std::conditional_t<std::is_same_v<T, double>, Double2, Float4>>(n, x.x[c * x.stride + r],
                                                                                   w + r * stride, y + c * y_stride);
}

inline std::size_t arranged_int8(std::size_t n, std::size_t, const Levels& l) {
  return l.uniform() && (l.bits() == 4 || l.bits() == 8) ? n : 0;
}
inline void arrange_int8(const std::int8_t* x, std::size_t n, std::size_t, const Levels&, std::int8_t* to) {
  std::copy_n(x, n, to);
}

inline void dot_int8(const CodedRows& w, const Columns<std::int8_t>& x, float* y) {
  const Levels& l = *w.levels;
  for (std::size_t r = 0; r < w.rows; ++r) {
    for (std::size_t c = 0; c < x.count; ++c) y[c * tile_rows + r] = 0;
    CodeReader code(w.packed[r], l.bits());
    each_group({w.n, w.group, w.affine[r], &l}, [&](std::size_t k, std::size_t end, Affine a) {
      for (; k < end; k += piece) {
        const std::size_t n = std::min(piece, end - k);
        int codes[piece];
        for (std::size_t j = 0; j < n; ++j) codes[j] = static_cast<int>(code());
        for (std::size_t c = 0; c < x.count; ++c) {
          const std::int8_t* const column = x.x + c * x.stride + k;
          int products = 0, sum = 0;
          for (std::size_t j = 0; j < n; ++j) products += codes[j] * column[j], sum += column[j];
          const float offset = (a.zero - l.first()) * static_cast<float>(sum);
          y[c * tile_rows + r] += a.scale * (static_cast<float>(products) - offset);
        }
      }
    });
  }
}

inline constexpr Products products{arranged,           arrange,       dot,          dense,   transposed<float>,
                                   transposed<double>, arranged_int8, arrange_int8, dot_int8};

}  // namespace fewbit::kernel::scalar
