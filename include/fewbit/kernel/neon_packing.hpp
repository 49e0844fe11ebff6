#pragma once
// NEON: codes of any width put together and taken apart. Rule: nothing past the bytes of a row is read or written.

#include <fewbit/kernel/neon_levels.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <cstring>

namespace fewbit::kernel::neon {

// Eight codes fill exactly `bits` bytes, so eight codes always start and end on a byte. `left` is how many bytes of the
// row there are from p on: where it is 16 or more, whole registers are read and written.

inline uint8x16_t load_bytes(const std::uint8_t* p, std::size_t left) {
  std::uint8_t room[16] = {};
  if (left < 16) std::memcpy(room, p, left), p = room;
  return vld1q_u8(p);
}

// Eight codes of any width: two halves of 4 * bits bits, which are at most 64.
inline uint32x4x2_t load8(const std::uint8_t* p, std::size_t left, int bits) {
  const uint64x2_t v = u64(load_bytes(p, left));
  const std::uint64_t low = vgetq_lane_u64(v, 0), high = vgetq_lane_u64(v, 1);
  const int64x2_t down = {0, -bits}, down2 = {-2 * bits, -3 * bits};
  const auto apart = [=](std::uint64_t half) {
    const uint64x2_t a = vshlq_u64(vdupq_n_u64(half), down), b = vshlq_u64(vdupq_n_u64(half), down2);
    return vandq_u32(vuzp1q_u32(u32(a), u32(b)), vdupq_n_u32((1u << bits) - 1));
  };
  return {{apart(low), apart(low >> 2 * bits >> 2 * bits | high << (64 - 4 * bits))}};
}
// n <= 8 codes, and zero bits behind them.
inline void store8(std::uint8_t* p, std::size_t n, std::size_t left, int bits, uint32x4_t a, uint32x4_t b) {
  std::uint32_t code[8];
  vst1q_u32(code, a), vst1q_u32(code + 4, b);
  std::uint64_t half[2] = {};
  for (std::size_t j = 0; j < n; ++j) half[j / 4] |= std::uint64_t{code[j]} << static_cast<int>(j % 4) * bits;
  const std::uint64_t words[2] = {half[0] | half[1] << 2 * bits << 2 * bits, half[1] >> (64 - 4 * bits)};
  std::memcpy(p, words, left < 16 ? packed_bytes(n, bits) : 16);
}

// 16 codes of a width known to the compiler, 16 itself or up to 8. From bytes to packed bits and back there are three
// steps, each of which moves the upper of two fields down onto the lower or up again: 8, 16, then 32 bits apart.
template <int bits>
inline void store16(std::uint8_t* p, uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d) {
  const uint16x8_t low = vuzp1q_u16(u16(a), u16(b)), high = vuzp1q_u16(u16(c), u16(d));
  const uint8x16_t codes = vuzp1q_u8(u8(low), u8(high));
  if constexpr (bits == 16) {
    vst1q_u8(p, u8(low)), vst1q_u8(p + 16, u8(high));
  } else if constexpr (bits == 8) {
    vst1q_u8(p, codes);
  } else if constexpr (bits == 4) {
    vst1_u8(p, vmovn_u16(vsraq_n_u16(u16(codes), u16(codes), 4)));
  } else {
    const uint16x8_t one = u16(codes);
    const uint32x4_t two = u32(vbslq_u16(vdupq_n_u16((1 << bits) - 1), one, vshrq_n_u16(one, 8 - bits)));
    const uint64x2_t four = u64(vbslq_u32(vdupq_n_u32((1 << 2 * bits) - 1), two, vshrq_n_u32(two, 16 - 2 * bits)));
    const uint64x2_t eight = vbslq_u64(vdupq_n_u64((1 << 4 * bits) - 1), four, vshrq_n_u64(four, 32 - 4 * bits));
    const std::uint64_t words[2] = {vgetq_lane_u64(eight, 0), vgetq_lane_u64(eight, 1)};
    std::memcpy(p, &words[0], bits), std::memcpy(p + bits, &words[1], bits);
  }
}

template <int bits>
inline uint8x16_t load16(const std::uint8_t* p, std::size_t left) {
  if constexpr (bits == 8) {
    return vld1q_u8(p);
  } else if constexpr (bits == 4) {
    const uint8x8_t pairs = vld1_u8(p), low = vand_u8(pairs, vdup_n_u8(15)), high = vshr_n_u8(pairs, 4);
    return vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
  } else {  // what is left in a field above its codes goes with the last mask
    const uint8x16_t v = load_bytes(p, left);
    const uint64x2_t eight = vzip1q_u64(u64(v), u64(vextq_u8(v, v, bits)));
    const uint32x4_t four = u32(vbslq_u64(vdupq_n_u64((1 << 4 * bits) - 1), eight, vshlq_n_u64(eight, 32 - 4 * bits)));
    const uint16x8_t two = u16(vbslq_u32(vdupq_n_u32((1 << 2 * bits) - 1), four, vshlq_n_u32(four, 16 - 2 * bits)));
    const uint8x16_t one = u8(vbslq_u16(vdupq_n_u16((1 << bits) - 1), two, vshlq_n_u16(two, 8 - bits)));
    return vandq_u8(one, vdupq_n_u8((1 << bits) - 1));
  }
}

}  // namespace fewbit::kernel::neon
#endif
