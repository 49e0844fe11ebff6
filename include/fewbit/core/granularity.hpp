#pragma once
// Which weights share one Affine, and the type their scale is stored in. Rule: a tile of rows x cols, where 0
// means the whole extent; tiles at the right and lower edge may be short.

#include <cstddef>
#include <cstdint>
#include <limits>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/core/error.hpp>

namespace fewbit {

using Index = std::ptrdiff_t;

enum class ScaleType { f32, f16, bf16 };

constexpr std::size_t scale_bytes(ScaleType t) { return t == ScaleType::f32 ? 4 : 2; }

constexpr const char* name(ScaleType t) { return t == ScaleType::f32 ? "f32" : t == ScaleType::f16 ? "f16" : "bf16"; }

// round_scale where the result is not a normal number of the type.
constexpr float round_odd_scale(double scale, ScaleType t) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const double magnitude = scale < 0 ? -scale : scale;
  if (magnitude != magnitude) return std::numeric_limits<float>::quiet_NaN();
  if (magnitude >= 1) return scale < 0 ? -infinity : infinity;
  const double smallest = t == ScaleType::f16 ? 0x1p-24 : t == ScaleType::bf16 ? 0x1p-133 : 0x1p-149;
  const double steps = magnitude / smallest;  // by a power of two: exact
  const auto whole = static_cast<std::int64_t>(steps);
  const double up = smallest * static_cast<double>(whole + (static_cast<double>(whole) < steps));
  return static_cast<float>(scale < 0 ? -up : up);
}

// A float to nearest even with `dropped` digits less. Past the largest float it comes out infinite, or as a NaN.
template <int dropped>
constexpr float drop_digits(float f) {
  const std::uint32_t u = bit_cast<std::uint32_t>(f), half = (1u << dropped) / 2;
  return bit_cast<float>((u + half - 1 + ((u >> dropped) & 1u)) & ~((1u << dropped) - 1));
}

constexpr float magnitude(float x) { return bit_cast<float>(bit_cast<std::uint32_t>(x) & 0x7fffffffu); }

// The smallest and the largest float that a type holds with all its digits.
constexpr float first_normal(ScaleType t) { return t == ScaleType::f16 ? 0x1p-14f : 0x1p-126f; }
constexpr float last_normal(ScaleType t) {
  return t == ScaleType::f16 ? 65504.f : t == ScaleType::bf16 ? 0x1.fep127f : std::numeric_limits<float>::max();
}

// The stored value of a scale: nearest even, except that a result with fewer than the type's full digits (a
// subnormal) goes away from zero. To nearest it could vanish, or fall so short that the largest weight of the
// block misses the last level by many steps. A magnitude beyond the type comes back infinite.
constexpr float round_scale(float scale, ScaleType t) {
  const float rounded = t == ScaleType::f32   ? scale
                        : t == ScaleType::f16 ? drop_digits<13>(scale)
                                              : drop_digits<16>(scale);
  const float size = magnitude(rounded);
  return size >= first_normal(t) && size <= last_normal(t) ? rounded : round_odd_scale(static_cast<double>(scale), t);
}
constexpr float round_scale(double scale, ScaleType t) {
  constexpr double most = std::numeric_limits<float>::max();
  const bool is_float = scale >= -most && scale <= most;
  const float f = is_float ? static_cast<float>(scale) : 0.f;
  return is_float && magnitude(f) >= first_normal(t) ? round_scale(f, t) : round_odd_scale(scale, t);
}

// Whether round_scale would leave a scale as it is, and it is an ordinary number of its type.
constexpr bool is_stored_scale(float scale, ScaleType t) {
  const std::uint32_t extra = t == ScaleType::f32 ? 0 : t == ScaleType::f16 ? (1u << 13) - 1 : (1u << 16) - 1;
  const float size = magnitude(scale);
  return (bit_cast<std::uint32_t>(scale) & extra) == 0 && size >= first_normal(t) && size <= last_normal(t);
}

// The largest stored value whose product with `reach` is not beyond the largest float.
constexpr float largest_scale(double reach, ScaleType t) {
  const double limit = static_cast<double>(std::numeric_limits<float>::max()) / reach;
  auto u = bit_cast<std::uint32_t>(static_cast<float>(limit));
  u -= static_cast<double>(bit_cast<float>(u)) > limit;
  return bit_cast<float>(t == ScaleType::bf16 ? u & 0xffff0000u : t == ScaleType::f16 ? u & 0xffffe000u : u);
}

// How many n times `each` numbers are, to make room for while one works. Where an Index has 32 bits, a matrix may have
// an address for each weight and none for each weight of its rows once they are padded. Throws std::invalid_argument.
constexpr std::size_t room_for(Index n, Index each) {
  constexpr Index most = std::numeric_limits<Index>::max() / 8;  // of 8 bytes
  if (each > 0 && n > most / each)
    fail_argument("room for ", n, " times ", each,
                  " numbers is more than this machine can address; take fewer columns");
  return static_cast<std::size_t>(n * each);
}

struct Granularity {
  Index rows = 0, cols = 0;
  ScaleType scale = ScaleType::f32;
  friend bool operator==(const Granularity&, const Granularity&) = default;
};

// One Affine for all of W[out, in].
constexpr Granularity per_tensor(ScaleType s = ScaleType::f32) { return {0, 0, s}; }
// One for each row: each output channel.
constexpr Granularity per_channel(ScaleType s = ScaleType::f32) { return {1, 0, s}; }
// One for each column: each input.
constexpr Granularity per_column(ScaleType s = ScaleType::f32) { return {0, 1, s}; }
// One for each run of n weights along a row. Throws std::invalid_argument unless n >= 1.
constexpr Granularity per_group(Index n, ScaleType s = ScaleType::f32) {
  if (n < 1) fail_argument("group size ", n, " is not possible; use 1 or more (32, 64 and 128 are usual)");
  return {1, n, s};
}
// One for each tile of r rows and c columns. Throws std::invalid_argument unless both are >= 1.
constexpr Granularity per_block(Index r, Index c, ScaleType s = ScaleType::f32) {
  if (r < 1 || c < 1) fail_argument("a block of ", r, " x ", c, " is not possible; use 1 or more of each");
  return {r, c, s};
}

// A granularity laid over rows x cols weights: how many blocks there are, and how far each goes.
struct Tiling {
  Index rows = 0, cols = 0, block_rows = 1, block_cols = 1;

  Tiling() = default;
  // Throws std::invalid_argument for negative extents, and for more weights than can be addressed.
  constexpr Tiling(Index r, Index c, const Granularity& g) : rows(r), cols(c) {
    if (r < 0 || c < 0) fail_argument("a matrix of ", r, " x ", c, " is not possible; use extents of 0 or more");
    if (g.rows < 0 || g.cols < 0)
      fail_argument("a block of ", g.rows, " x ", g.cols, " is not possible; use extents of 0 (all) or more");
    constexpr Index most = std::numeric_limits<Index>::max() / 8;  // eight bytes for each weight still have a size
    if (c > 0 && r > most / c)
      fail_argument("a matrix of ", r, " x ", c, " is more than this machine can address; split it");
    block_rows = extent(g.rows, r), block_cols = extent(g.cols, c);
  }

  constexpr Index blocks_down() const { return rows / block_rows + (rows % block_rows != 0); }
  constexpr Index blocks_across() const { return cols / block_cols + (cols % block_cols != 0); }
  constexpr std::size_t blocks() const { return static_cast<std::size_t>(blocks_down() * blocks_across()); }
  friend bool operator==(const Tiling&, const Tiling&) = default;

 private:
  static constexpr Index extent(Index wanted, Index whole) {
    const Index n = wanted == 0 || wanted > whole ? whole : wanted;
    return n > 0 ? n : 1;
  }
};

}  // namespace fewbit
