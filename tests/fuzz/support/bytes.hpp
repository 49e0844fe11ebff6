#pragma once
// An input of a fuzz target, taken apart from its front. Rule: every input means something. What is asked for past the
// end is 0, and long rows go on with numbers drawn from a seed that the input holds, so that few bytes make large
// matrices and each of them counts.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <fewbit/core/bit_cast.hpp>

#include <support/numbers.hpp>

namespace fuzz {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : next_(data), left_(size) {}

  std::size_t left() const { return left_; }
  std::uint32_t u8() {
    if (left_ == 0) return 0;
    --left_;
    return *next_++;
  }
  std::uint32_t u16() {
    const std::uint32_t low = u8();
    return low | u8() << 8;
  }
  std::uint32_t u32() {
    const std::uint32_t low = u16();
    return low | u16() << 16;
  }
  float f32() { return fewbit::bit_cast<float>(u32()); }
  bool flag() { return u8() % 2 != 0; }
  // 0 .. n - 1, for n up to 65536.
  std::size_t below(std::size_t n) { return (n <= 256 ? u8() : u16()) % n; }
  // One of first .. last.
  int between(int first, int last) {
    return first + static_cast<int>(below(static_cast<std::size_t>(last - first) + 1));
  }

 private:
  const std::uint8_t* next_;
  std::size_t left_;
};

// Weights for a block that decodes by this Affine on this grid, or one like it: from the input, any float there is, and
// behind its end what support::planted_weight makes, for the most part levels, ties and their neighbours, inside the
// outermost levels.
class Weights {
 public:
  Weights(Bytes& bytes, oracle::Affine a, const oracle::Grid& grid)
      : bytes_(bytes), random_(bytes.u16()), affine_(a), grid_(grid), lo_(at(grid.first())), hi_(at(grid.last())) {
    if (hi_ < lo_) std::swap(lo_, hi_);
  }

  float operator()() {
    last_ = bytes_.left() > 0 ? drawn() : std::clamp(support::planted_weight(random_, affine_, grid_), lo_, hi_);
    return last_;
  }

 private:
  float at(float level) const {
    const double w =
        static_cast<double>(affine_.scale) * (static_cast<double>(level) - static_cast<double>(affine_.zero));
    return oracle::to_float(std::clamp(w, -oracle::f32.most, oracle::f32.most));
  }
  float drawn() {
    constexpr float most = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min(),
                    infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    constexpr float odd[] = {0,     -0.f,      1,          -1,       most,      -most, tiny,
                             -tiny, 0x1p-126f, -0x1p-126f, infinity, -infinity, nan,   -nan};
    const std::uint32_t kind = bytes_.u8();
    switch (kind % 8) {
      case 0:
      case 1: return bytes_.f32();
      case 2: return odd[kind / 8 % std::size(odd)];
      case 3: return at(grid_.level(static_cast<int>(bytes_.below(static_cast<std::size_t>(grid_.count())))));
      case 4: return at(static_cast<float>(bytes_.between(-128, 127)) / 2);
      case 5: return last_;
      case 6: return kind / 8 % 2 != 0 ? support::next_up(last_) : support::next_down(last_);
      default: return -last_;
    }
  }

  Bytes& bytes_;
  support::NumPy random_;
  oracle::Affine affine_;
  const oracle::Grid& grid_;
  float lo_, hi_, last_ = 0;
};

}  // namespace fuzz
