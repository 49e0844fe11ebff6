#pragma once
// The bit layout, written once: code k of a row starts at bit k * bits, lowest bit first. Rule: every row starts
// on a byte, and the bits after its last code are zero.

#include <cstddef>
#include <cstdint>

namespace fewbit {

// Bytes of one row of n codes. n is a length of memory, so n * bits / 8 cannot overflow; written to keep the
// product from doing so on the way.
constexpr std::size_t packed_bytes(std::size_t n, int bits) {
  const auto b = static_cast<std::size_t>(bits);
  return n / 8 * b + (n % 8 * b + 7) / 8;
}

constexpr void put_code(std::uint8_t* row, std::size_t k, int bits, unsigned code) {
  for (std::size_t bit = k * static_cast<std::size_t>(bits); bits > 0;) {
    const unsigned offset = bit % 8, room = 8 - offset,
                   take = room < static_cast<unsigned>(bits) ? room : static_cast<unsigned>(bits);
    const unsigned mask = ((1u << take) - 1) << offset;
    std::uint8_t& byte = row[bit / 8];
    byte = static_cast<std::uint8_t>((byte & ~mask) | ((code << offset) & mask));
    code >>= take, bit += take, bits -= static_cast<int>(take);
  }
}

constexpr unsigned get_code(const std::uint8_t* row, std::size_t k, int bits) {
  const std::size_t bit = k * static_cast<std::size_t>(bits);
  const unsigned offset = bit % 8, end = offset + static_cast<unsigned>(bits);  // at most 7 + 16 bits: 3 bytes
  const std::uint8_t* p = row + bit / 8;
  unsigned word = p[0];
  if (end > 8) word |= static_cast<unsigned>(p[1]) << 8;
  if (end > 16) word |= static_cast<unsigned>(p[2]) << 16;
  return (word >> offset) & ((1u << bits) - 1);
}

// The codes of a row, one after the other from its first.
class CodeReader {
 public:
  constexpr CodeReader(const std::uint8_t* row, int bits) : next_(row), bits_(static_cast<unsigned>(bits)) {}
  constexpr unsigned operator()() {
    for (; held_ < bits_; held_ += 8) word_ |= static_cast<std::uint32_t>(*next_++) << held_;
    const unsigned code = word_ & ((1u << bits_) - 1);
    word_ >>= bits_, held_ -= bits_;
    return code;
  }

 private:
  const std::uint8_t* next_;
  unsigned bits_, held_ = 0;  // bits waiting in word_
  std::uint32_t word_ = 0;
};

// Writes them; finish() writes the last byte of a row, padding included.
class CodeWriter {
 public:
  constexpr CodeWriter(std::uint8_t* row, int bits) : next_(row), bits_(static_cast<unsigned>(bits)) {}
  constexpr void operator()(unsigned code) {
    word_ |= code << held_;
    for (held_ += bits_; held_ >= 8; held_ -= 8, word_ >>= 8) *next_++ = static_cast<std::uint8_t>(word_);
  }
  constexpr void finish() {
    if (held_ > 0) *next_ = static_cast<std::uint8_t>(word_);
  }

 private:
  std::uint8_t* next_;
  unsigned bits_, held_ = 0;
  std::uint32_t word_ = 0;
};

}  // namespace fewbit
