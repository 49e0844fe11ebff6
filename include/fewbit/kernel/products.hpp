#pragma once
// What products ask of an instruction set. Rule: activations are prepared once for each product, weights never; dot
// products add in an order of their own on every instruction set, and agree to a stated bound.
//
//   floats   |y - W x| <= (n + 2) 2^-24 sum over k of |w_k x_k|, w_k as dequantize gives it, whatever the table
//   int8     the integers are exact; they are scaled and added, group by group, in float

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/levels.hpp>

namespace fewbit::kernel {

// Rows that are multiplied together, so that each activation is loaded once for all of them. They lie far apart in
// memory: four streams are read faster than one.
inline constexpr std::size_t tile_rows = 4;

// `rows` rows of n codes each, 1 to tile_rows of them.
struct CodedRows {
  std::size_t n, group, rows;
  const Levels* levels;
  const std::uint8_t* packed[tile_rows];
  const Affine* affine[tile_rows];
};

// The columns of X: column c starts at x + c * stride.
template <class T>
struct Columns {
  std::size_t count, stride;
  const T* x;
};

// Whether a zero-point or first level is a whole number that sums of products of bytes can take in. A lane takes up to
// 8 products of 4-bit codes or 4 of 8-bit codes from a block, and 2^12 blocks: 8 * (15 + 256 + 128) * 128 * 2^12 and 4
// * (255 + 256) * 128 * 2^12 are below 2^31.
inline bool is_small_integer(float x, int bits) {
  const float most = bits == 8 ? 256.f : 128.f;
  return x >= -most && x <= most && static_cast<float>(static_cast<int>(x)) == x;
}

struct Products {
  // How many floats an arranged column of n activations takes, for `dot` with codes in groups of this size; 0 if `dot`
  // does not take them.
  std::size_t (*arranged)(std::size_t n, std::size_t group, const Levels&);
  // One column in the order in which `dot` meets its weights, and zeros to the end.
  void (*arrange)(const float* x, std::size_t n, const Levels&, float* to);
  // y[c * tile_rows + r] = sum over k of w[r][k] * x[c][k].
  void (*dot)(const CodedRows&, const Columns<float>& x, float* y);

  // y[c * y_stride + r] += sum over k of w[r][k] * x[c][k], for rows of floats, `stride` apart. All are n long, a
  // multiple of 16; fastest where six columns of x fit the nearest cache and all of w the next.
  void (*dense)(std::size_t n, std::size_t rows, const float* w, std::size_t stride, const Columns<float>& x, float* y,
                std::size_t y_stride);

  // y[c * y_stride + k] += sum over r of w[r][k] * x[c][r], for `rows` rows of n floats or doubles, `stride` apart, in
  // the order of the rows.
  void (*transposed)(std::size_t n, std::size_t rows, const float* w, std::size_t stride, const Columns<float>& x,
                     float* y, std::size_t y_stride);
  void (*transposed_double)(std::size_t n, std::size_t rows, const double* w, std::size_t stride,
                            const Columns<double>& x, double* y, std::size_t y_stride);

  // As arranged and arrange, for activations of 8 bits.
  std::size_t (*arranged_int8)(std::size_t n, std::size_t group, const Levels&);
  void (*arrange_int8)(const std::int8_t* x, std::size_t n, std::size_t group, const Levels&, std::int8_t* to);
  // y[c * tile_rows + r] = sum over k of w[r][k] * x[c][k].
  void (*dot_int8)(const CodedRows&, const Columns<std::int8_t>& x, float* y);
};

// The runs of blocks over which integers are summed, and the groups that begin in them. A division takes as long as a
// block: here are all of them, made once.
struct RunsAndGroups {
  std::size_t blocks, groups, runs;  // blocks in a run; groups in a run, or if one is longer, runs in a group

  RunsAndGroups(std::size_t run, std::size_t block, std::size_t group, std::size_t n)
      : blocks(run / block), groups(group < n ? run / group : 0), runs(group < n && groups == 0 ? group / run : 0) {}
  std::size_t first_group(std::size_t i) const { return groups != 0 ? i * groups : runs != 0 ? i / runs : 0; }
};

// While rows r .. r + tile_rows - 1 of a matrix of `rows` meet some columns of x, they ask for their share of the
// `count` columns from c on, which may lie far off. So few rows are past before that helps that they do without.
[[gnu::always_inline]] inline void prefetch_columns(const Columns<float>& x, std::size_t c, std::size_t count,
                                                    std::size_t n, std::size_t r, std::size_t rows) {
  if (rows < 8 * tile_rows) return;
  if (count > x.count - c) count = x.count - c;
  const std::size_t lines = n / 16;
  for (std::size_t l = r * lines / rows; l < (r + tile_rows) * lines / rows; ++l)
    for (std::size_t j = c; j < c + count; ++j) __builtin_prefetch(x.x + j * x.stride + 16 * l, 0, 2);
}

// `arranged` and `arrange` of a table that takes codes apart with a Decoder, Decoder::block of them at a time.
template <class Decoder>
std::size_t arranged_by(std::size_t n, std::size_t group) {
  if (group < n && group % Decoder::block != 0) return 0;
  return (n + Decoder::block - 1) / Decoder::block * Decoder::block;
}
template <class Decoder>
void arrange_by(const float* x, std::size_t n, const Levels& l, float* to) {
  const std::size_t whole = n / Decoder::block * Decoder::block;
  Decoder::arrange(l, x, whole, to);
  if (whole == n) return;
  float last[Decoder::block] = {};
  std::memcpy(last, x + whole, (n - whole) * sizeof *x);
  Decoder::arrange(l, last, Decoder::block, to + whole);
}

}  // namespace fewbit::kernel
