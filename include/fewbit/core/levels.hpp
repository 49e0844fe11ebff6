#pragma once
// The values a code can stand for, before a block's Affine is applied: the consecutive integers first,
// first + 1, ... or an ascending table of 2 to 256 floats. Rule: a value type the compiler can evaluate, so a
// bad grid written as a constant does not compile.

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/bit_cast.hpp>
#include <fewbit/core/error.hpp>

namespace fewbit {

inline constexpr int max_bits = 16;

class Levels {
 public:
  static constexpr int max_table = 256;

  // The integers first .. first + count - 1 as codes of `bits` bits. Throws std::invalid_argument.
  static constexpr Levels integers(int bits, int first, int count) {
    if (bits < 1 || bits > max_bits) fail_argument("bit width ", bits, " is not possible; use 1 to 16");
    if (count < 2 || count > (1 << bits))
      fail_argument(count, " integer levels do not fit ", bits, " bits; use 2 to ", 1 << bits);
    if (first < -(1 << max_bits) || first > (1 << max_bits))
      fail_argument("first level ", first, " is out of range; use -65536 to 65536");
    Levels l;
    l.bits_ = bits, l.count_ = count, l.first_ = static_cast<float>(first), l.uniform_ = true;
    return l;
  }

  // 2 to 256 finite floats in ascending order. Throws std::invalid_argument.
  static constexpr Levels table(std::span<const float> ascending) {
    if (ascending.size() < 2 || ascending.size() > max_table)
      fail_argument("a codebook of ", ascending.size(), " levels is not possible; use 2 to 256");
    Levels l;
    l.count_ = static_cast<int>(ascending.size()), l.uniform_ = false;
    while ((1 << l.bits_) < l.count_) ++l.bits_;
    for (std::size_t i = 0; i < ascending.size(); ++i) {
      const float level = ascending[i];
      if (!(level - level == 0)) fail_argument("codebook level ", i, " is ", level, "; levels must be finite");
      if (i > 0 && !(ascending[i - 1] < level))
        fail_argument("codebook level ", i, " is ", level, " after ", ascending[i - 1],
                      "; levels must ascend: sort them and remove duplicates");
      l.table_[i] = level + 0.f;  // a level of -0 would give weights of -0
      if (i > 0) l.midpoints_[i - 1] = floor_midpoint(ascending[i - 1], level);
    }
    for (std::size_t i = ascending.size() - 1; i < max_table; ++i)
      l.midpoints_[i] = std::numeric_limits<float>::infinity();
    l.covered_ = {half_step_outside(ascending[0], ascending[1]),
                  half_step_outside(ascending.back(), ascending[ascending.size() - 2])};
    return l;
  }

  constexpr int bits() const { return bits_; }
  constexpr int count() const { return count_; }
  constexpr bool uniform() const { return uniform_; }
  constexpr float first() const { return uniform_ ? first_ : table_[0]; }
  constexpr float last() const { return (*this)[count_ - 1]; }
  constexpr float operator[](int code) const {
    return uniform_ ? first_ + static_cast<float>(code) : table_[static_cast<std::size_t>(code)];
  }

  // For tables only. Entries past the last level are 0, so that a kernel may load whole registers.
  constexpr const float* data() const { return table_.data(); }

  // For tables only: the code of u is the number of midpoints below u, which is the nearest level, a tie going
  // to the lower one. Entries past the last are infinite, and so never counted.
  constexpr const float* midpoints() const { return midpoints_.data(); }
  constexpr float midpoint(int i) const { return midpoints_[static_cast<std::size_t>(i)]; }

  // For tables only: what they cover, half a step beyond the outermost levels.
  constexpr Range covered() const { return covered_; }

  friend constexpr bool operator==(const Levels& a, const Levels& b) {
    if (a.bits_ != b.bits_ || a.count_ != b.count_ || a.uniform_ != b.uniform_) return false;
    return a.uniform_ ? a.first_ == b.first_ : a.table_ == b.table_;
  }

 private:
  // The largest float that is not above the exact midpoint m of a < b. For a float u, u > m exactly when u is
  // above this float, so comparing floats finds the truly nearest level; a midpoint rounded to nearest would
  // send a u that lies between m and its rounding to the wrong side.
  static constexpr float floor_midpoint(float a, float b) {
    const double x = a, y = b, sum = x + y, y_part = sum - x;
    const double lost = (x - (sum - y_part)) + (y - y_part);  // a + b == sum + lost, exactly
    const auto nearest = static_cast<float>(sum / 2);
    const double twice = 2 * static_cast<double>(nearest);
    return twice > sum || (twice == sum && lost < 0) ? below(nearest) : nearest;
  }
  static constexpr float half_step_outside(float level, float inner) {
    constexpr double most = std::numeric_limits<float>::max();
    const double x = 1.5 * static_cast<double>(level) - 0.5 * static_cast<double>(inner);
    return static_cast<float>(x > most ? most : x < -most ? -most : x);
  }
  static constexpr float below(float x) {
    const auto u = bit_cast<std::uint32_t>(x);
    if (x == 0) return -std::numeric_limits<float>::denorm_min();
    return bit_cast<float>(x > 0 ? u - 1 : u + 1);
  }

  int bits_ = 1, count_ = 2;
  float first_ = 0;
  bool uniform_ = true;
  Range covered_{};
  std::array<float, max_table> table_{}, midpoints_{};
};

}  // namespace fewbit
