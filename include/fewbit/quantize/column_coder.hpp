#pragma once
// Sixteen weights of a column at once, each under the Affine of its own row. Rule: the codes and weights of
// kernel/scalar.hpp, by registers that every processor has.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/levels.hpp>
#include <fewbit/kernel/scalar.hpp>
#include <fewbit/quantize/feedback.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// The Affines of some rows' groups, and the codes of their columns.
class ColumnCoder {
 public:
  ColumnCoder(const Levels& levels, Index rows, Index groups, Index columns)
      : levels_(levels), stride_((rows + lanes - 1) / lanes * lanes), scales_(room_for(groups, stride_), 1.f),
        zeros_(scales_.size(), 0.f), codes_(room_for(columns, stride_)) {}

  void set(Index row, Index group, Affine a) {
    const auto at = static_cast<std::size_t>(group * stride_ + row);
    scales_[at] = a.scale, zeros_[at] = a.zero;
    direct_ = direct_ && std::fabs(a.zero) <= 0x1p20f;  // sums of integers this large are exact
  }

  // The levels nearest to the targets of a part, into part.chosen, and their codes into column `to`.
  void round(const ColumnPart& part, Index group, Index to) {
    const auto at = static_cast<std::size_t>(group * stride_ + part.first_row);
    const float *const scale = scales_.data() + at, *const zero = zeros_.data() + at;
    std::uint16_t* const codes = codes_.data() + to * stride_ + part.first_row;
    if (levels_.uniform() && direct_) return round_integers(part, scale, zero, codes);
    if (!levels_.uniform() && levels_.count() <= 16) return round_few(part, scale, zero, codes);
    for (Index i = 0; i < part.rows; ++i) {
      const Affine a{scale[i], zero[i]};
      codes[i] = static_cast<std::uint16_t>(kernel::scalar::nearest(part.targets[i], a, levels_));
      part.chosen[i] = weight(levels_[codes[i]], a);
    }
  }

  // Calls f(row, codes), `codes` being those of its columns, for rows 0 .. rows - 1.
  template <class F>
  void each_row(Index rows, F&& f) const {
    const Index columns = static_cast<Index>(codes_.size()) / stride_, apart = columns + 32;  // a line: not one set
    std::vector<std::uint16_t> by_rows(room_for(lanes, apart));
    for (Index top = 0; top < rows; top += lanes) {
      for (Index k = 0; k < columns; ++k)
        for (Index i = 0; i < lanes; ++i)
          by_rows[static_cast<std::size_t>(i * apart + k)] = codes_[static_cast<std::size_t>(k * stride_ + top + i)];
      for (Index i = 0; i < std::min(lanes, rows - top); ++i) f(top + i, by_rows.data() + i * apart);
    }
  }

 private:
  static constexpr Index lanes = ColumnPart::most;
  using Float4 = float __attribute__((vector_size(16)));
  using Int4 = std::int32_t __attribute__((vector_size(16)));
  using Short4 = std::uint16_t __attribute__((vector_size(8)));

  static Float4 load(const float* p) {
    Float4 v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(Float4 level, Float4 scale, Float4 zero, Int4 code, float* chosen, std::uint16_t* codes) {
    const Float4 weight = scale < 0 ? -scale * (zero - level) : scale * (level - zero);
    const Short4 small = __builtin_convertvector(code, Short4);
    std::memcpy(chosen, &weight, sizeof weight), std::memcpy(codes, &small, sizeof small);
  }

  void round_integers(const ColumnPart& part, const float* scale, const float* zero, std::uint16_t* codes) const {
    const float first = levels_.first(), last = levels_.last();
    constexpr float pull = 0x1.8p23f;  // leaves no digits after the point
    for (Index i = 0; i < lanes; i += 4) {
      const Float4 s = load(scale + i), z = load(zero + i), whole = (z + pull) - pull;
      const Float4 u = load(part.targets + i) / s + (z - whole), lo = first - whole, hi = last - whole;
      const Float4 within = u < lo ? lo : u > hi ? hi : u, rounded = (within + pull) - pull;
      store(rounded + whole, s, z, __builtin_convertvector(rounded - lo, Int4), part.chosen + i, codes + i);
    }
  }

  void round_few(const ColumnPart& part, const float* scale, const float* zero, std::uint16_t* codes) const {
    const float* const midpoints = levels_.midpoints();
    for (Index i = 0; i < lanes; i += 4) {
      const Float4 s = load(scale + i), z = load(zero + i), u = load(part.targets + i) / s + z;
      Int4 code{};
      for (int m = 0; m + 1 < levels_.count(); ++m) code -= midpoints[m] < u;
      const Float4 level{levels_[code[0]], levels_[code[1]], levels_[code[2]], levels_[code[3]]};
      store(level, s, z, code, part.chosen + i, codes + i);
    }
  }

  const Levels& levels_;
  Index stride_;
  Buffer<float> scales_, zeros_;  // by groups
  Buffer<std::uint16_t> codes_;   // by columns
  bool direct_ = true;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
