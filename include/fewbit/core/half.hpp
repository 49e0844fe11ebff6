#pragma once
// IEEE binary16 and bfloat16, to and from float. Rule: nearest even in both directions, no hardware needed;
// there are 65,536 values of each and the tests try them all.

#include <cstdint>

#include <fewbit/core/bit_cast.hpp>

namespace fewbit {

constexpr float half_to_float(std::uint16_t h) {
  const std::uint32_t sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
  if (exponent == 31) return bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float tiny = static_cast<float>(mantissa) * 0x1p-24f;  // zero or subnormal: exact in a float
  return bit_cast<float>(bit_cast<std::uint32_t>(tiny) | sign);
}

constexpr std::uint16_t float_to_half(float f) {
  const std::uint32_t u = bit_cast<std::uint32_t>(f), a = u & 0x7fffffffu;
  const std::uint32_t sign = (u >> 16) & 0x8000u;
  if (a > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((a >> 13) & 0x1ffu));
  if (a >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // halfway past the largest half
  if (a < 0x38800000u) {  // a subnormal half is a multiple of 2^-24, and so is the last bit of a float near .5
    const float shifted = bit_cast<float>(a) + 0.5f;
    return static_cast<std::uint16_t>(sign | (bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  return static_cast<std::uint16_t>(sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13));
}

constexpr float bfloat16_to_float(std::uint16_t b) { return bit_cast<float>(static_cast<std::uint32_t>(b) << 16); }

constexpr std::uint16_t float_to_bfloat16(float f) {
  const std::uint32_t u = bit_cast<std::uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(u >> 16 | 0x40u);  // NaN stays NaN
  return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

}  // namespace fewbit
