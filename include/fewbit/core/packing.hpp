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

// A whole row, padding included: packed_bytes(n, bits) bytes.
constexpr void put_codes(const std::uint16_t* codes, std::size_t n, int bits, std::uint8_t* row) {
  std::uint32_t word = 0;
  int held = 0;  // bits waiting in word: below 8 between codes
  for (std::size_t k = 0; k < n; ++k) {
    word |= std::uint32_t{codes[k]} << held;
    for (held += bits; held >= 8; held -= 8, word >>= 8) *row++ = static_cast<std::uint8_t>(word);
  }
  if (held > 0) *row = static_cast<std::uint8_t>(word);
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

}  // namespace fewbit
