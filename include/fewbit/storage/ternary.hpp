#pragma once
// Weights of -1, 0 and 1, five to a byte: 3^5 = 243 of its 256 values, 1.6 bits a weight where codes take 2. Rule: it
// holds what its QuantizedMatrix held, and gives the same one back.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {

// A row of n codes c = level + 1 takes ceil(n / 5) bytes, each c0 + 3 c1 + 9 c2 + 27 c3 + 81 c4, the first weight
// lowest. Past the end of a row codes are 0, as bits past the end of a packed row are.
inline constexpr std::size_t trits_in_byte = 5;

// The codes of a byte, 2 bits each, lowest first. No packing makes a byte above 242; it is read as five weights of 0.
constexpr std::uint16_t codes_of_trits(unsigned byte) {
  if (byte > 242) return 0b01'01'01'01'01;
  unsigned codes = 0;
  for (unsigned k = 0; k < trits_in_byte; ++k, byte /= 3) codes |= byte % 3 << 2 * k;
  return static_cast<std::uint16_t>(codes);
}

inline constexpr auto trit_codes = [] {
  std::array<std::uint16_t, 256> table{};
  for (unsigned byte = 0; byte < table.size(); ++byte) table[byte] = codes_of_trits(byte);
  return table;
}();

// The levels of Symmetric(2).
inline constexpr Levels ternary_levels = Levels::integers(2, -1, 3);

// W[out, in] of the levels -1, 0 and 1: everything of a QuantizedMatrix, its codes packed closer. Made by pack_ternary.
class TernaryMatrix {
 public:
  TernaryMatrix() = default;

  Index rows() const { return tiling_.rows; }
  Index cols() const { return tiling_.cols; }
  Index size() const { return rows() * cols(); }
  const Levels& levels() const { return ternary_levels; }
  ScaleType scale_type() const { return scale_; }

  const Tiling& tiling() const { return tiling_; }
  Index block_rows() const { return tiling_.block_rows; }
  Index block_cols() const { return tiling_.block_cols; }
  Index blocks_across() const { return tiling_.blocks_across(); }
  Granularity granularity() const { return {block_rows(), block_cols(), scale_}; }

  // What is held, and 8 * bytes() / size(), as a QuantizedMatrix has them: 1.6 and the scales' share where 5 divides
  // cols().
  std::size_t bytes() const { return codes_.size() + params_.bytes() + input_map_.bytes(); }
  double bits_per_weight() const {
    return size() == 0 ? 0 : 8 * static_cast<double>(bytes()) / static_cast<double>(size());
  }

  // row_bytes() bytes: one row, five weights each.
  const std::uint8_t* codes(Index row) const { return codes_.data() + static_cast<std::size_t>(row) * row_bytes_; }
  std::size_t row_bytes() const { return row_bytes_; }
  const Params& params() const { return params_; }
  const InputMap& input_map() const { return input_map_; }

  // Throws std::invalid_argument if the matrix was moved from.
  void require_complete() const {
    if (params_.size() != tiling_.blocks() || codes_.size() != static_cast<std::size_t>(rows()) * row_bytes_)
      fail_argument("a ternary matrix of ", rows(), " x ", cols(), " holds no weights; it was moved from");
  }

  // The matrix that was packed.
  QuantizedMatrix unpack() const {
    require_complete();
    QuantizedMatrix q(rows(), cols(), ternary_levels, granularity());
    for (Index i = 0; i < rows(); ++i) unpack_row(i, q.codes(i));
    q.set_params(params_);
    q.set_input_map(input_map_);
    return q;
  }

  // Rows first .. first + n - 1 as a matrix of their own, as their codes lie: without the input map, and with scales in
  // f32, which holds them all. Throws std::invalid_argument for rows that there are not, and unless they start where a
  // block does or lie within one: blocks are counted from the first row.
  QuantizedMatrix unpack_rows(Index first, Index n) const {
    require_complete();
    if (first < 0 || n < 0 || first > rows() || n > rows() - first)
      fail_argument(n, " rows from row ", first, " of a ternary matrix of ", rows(), " x ", cols(),
                    "; it has not so many");
    const Index height = block_rows(), top = first / height, down = n == 0 ? 0 : (first + n - 1) / height + 1 - top;
    if (first % height != 0 && down > 1)
      fail_argument(n, " rows from row ", first, " begin within a block of ", height,
                    " rows and end in another; begin where a block does");
    QuantizedMatrix q(n, cols(), ternary_levels, {height, block_cols(), ScaleType::f32});
    for (Index i = 0; i < n; ++i) unpack_row(first + i, q.codes(i));
    std::vector<Affine> affines(static_cast<std::size_t>(down * blocks_across()));
    params_.read(static_cast<std::size_t>(top * blocks_across()), affines.size(), affines.data(), kernel::active());
    q.set_params(affines);
    return q;
  }

  friend bool operator==(const TernaryMatrix& a, const TernaryMatrix& b) {
    return a.tiling_ == b.tiling_ && a.codes_ == b.codes_ && a.params_ == b.params_ && a.input_map_ == b.input_map_;
  }

  friend TernaryMatrix pack_ternary(const QuantizedMatrix& q);

 private:
  // Writes the codes of a row, 2 bits each. Four bytes make five of them; written out, for at -O2 g++ keeps loops.
  void unpack_row(Index i, std::uint8_t* to) const {
    constexpr std::size_t step = 4 * trits_in_byte;
    const std::uint8_t* from = codes(i);
    const auto n = static_cast<std::size_t>(cols());
    const auto word = [](const std::uint8_t* b) {
      return std::uint64_t{trit_codes[b[0]]} | std::uint64_t{trit_codes[b[1]]} << 10 |
             std::uint64_t{trit_codes[b[2]]} << 20 | std::uint64_t{trit_codes[b[3]]} << 30;
    };
    std::size_t k = 0;
    for (; n - k >= 2 * step; k += step, from += 4, to += 5) {
      const std::uint64_t codes = word(from);
      std::memcpy(to, &codes, 8);  // the last three are written again by the next
    }
    for (std::size_t left = n - k; left > 0; left = n - k, from += 4, to += 5) {
      const std::size_t some = std::min(left, step);
      std::uint8_t bytes[4] = {};
      std::memcpy(bytes, from, (some + trits_in_byte - 1) / trits_in_byte);
      const std::uint64_t codes = word(bytes);
      std::memcpy(to, &codes, packed_bytes(some, 2));
      k += some;
    }
  }

  Tiling tiling_;
  ScaleType scale_ = ScaleType::f32;
  std::size_t row_bytes_ = 0;
  Bytes codes_;
  Params params_;
  InputMap input_map_;
};

// q closer packed. Throws std::invalid_argument unless q's levels are the integers -1, 0 and 1, and all codes are
// theirs. Takes some nanoseconds for each weight.
inline TernaryMatrix pack_ternary(const QuantizedMatrix& q) {
  if (q.levels() != ternary_levels)
    fail_argument("pack_ternary: the matrix has ", q.levels().count(), " levels",
                  q.levels().uniform() ? " from " : " of a table, from ", q.levels().first(), " to ", q.levels().last(),
                  "; it takes the integers -1, 0 and 1: quantize with Symmetric(2)");
  q.require_complete();
  TernaryMatrix t;
  t.tiling_ = q.tiling(), t.scale_ = q.scale_type(), t.params_ = q.params(), t.input_map_ = q.input_map();
  const auto n = static_cast<std::size_t>(q.cols());
  t.row_bytes_ = n / trits_in_byte + (n % trits_in_byte != 0);
  t.codes_.resize(static_cast<std::size_t>(q.rows()) * t.row_bytes_);
  std::uint8_t* to = t.codes_.data();
  for (Index i = 0; i < q.rows(); ++i)
    for (std::size_t k = 0; k < n; k += trits_in_byte) {
      unsigned byte = 0;
      for (std::size_t j = std::min(n, k + trits_in_byte); j-- > k;) {
        const unsigned code = get_code(q.codes(i), j, 2);
        if (code > 2)
          fail_argument("pack_ternary: the code at row ", i, ", column ", j,
                        " is 3, which stands for none of the levels -1, 0 and 1; quantize with Symmetric(2)");
        byte = byte * 3 + code;
      }
      *to++ = static_cast<std::uint8_t>(byte);
    }
  return t;
}

}  // namespace fewbit
