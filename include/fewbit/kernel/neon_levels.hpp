#pragma once
// NEON: registers of weights, how four of them are scaled and divided, and the three shapes of levels that turn
// them into codes and back. Rule: lane by lane the operations of scalar.hpp, or ones proven equal.

#include <fewbit/config.hpp>
#include <fewbit/kernel/quotient.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::neon {

// vreinterpretq, short enough to be read past.
inline uint8x16_t u8(auto v) { return std::bit_cast<uint8x16_t>(v); }
inline uint16x8_t u16(auto v) { return std::bit_cast<uint16x8_t>(v); }
inline uint32x4_t u32(auto v) { return std::bit_cast<uint32x4_t>(v); }
inline uint64x2_t u64(auto v) { return std::bit_cast<uint64x2_t>(v); }
inline int32x4_t s32(auto v) { return std::bit_cast<int32x4_t>(v); }
inline float32x4_t f32(auto v) { return std::bit_cast<float32x4_t>(v); }

// The first n <= 8 of eight weights; the others are 0.
inline float32x4x2_t load_some(const float* x, std::size_t n) {
  float room[8] = {};
  if (n < 8) std::memcpy(room, x, n * sizeof *x), x = room;
  return vld1q_f32_x2(x);
}
inline void store_some(float* out, std::size_t n, float32x4x2_t v) {
  if (n == 8) return vst1q_f32_x2(out, v);
  float room[8];
  vst1q_f32_x2(room, v);
  std::memcpy(out, room, n * sizeof *out);
}

inline float32x4_t clamp(float32x4_t x, float32x4_t lo, float32x4_t hi) { return vminnmq_f32(vmaxnmq_f32(x, lo), hi); }
// All ones in the lanes of numbers in [lo, hi].
inline uint32x4_t within(float32x4_t x, float32x4_t lo, float32x4_t hi) {
  return vandq_u32(vcgeq_f32(x, lo), vcleq_f32(x, hi));
}
// A bit for each of eight lanes.
inline std::uint8_t bits_of(uint32x4_t low, uint32x4_t high) {
  const uint32x4_t bit = {1, 2, 4, 8};
  return static_cast<std::uint8_t>(vaddvq_u32(vandq_u32(low, bit)) | vaddvq_u32(vandq_u32(high, bit)) << 4);
}

// ------------------------------------------------------------------------ how four weights are scaled, and divided

// scale * (level - zero) is taken as |scale| times a difference that gets scale's sign before it is formed: equal
// operands then give +0 under a negative scale too.
inline float32x4_t times_sign_of(float32x4_t scale, float32x4_t x) {
  return f32(veorq_u32(u32(x), vandq_u32(u32(scale), vdupq_n_u32(0x80000000))));
}

// Divides by scale, and decodes: for any Affine.
struct Divide {
  float32x4_t scale, zero, whole, rest;  // zero == whole + rest
  Divide(float32x4_t s, float32x4_t z) : scale(s), zero(z), whole(vrndnq_f32(z)), rest(vsubq_f32(z, whole)) {}
  explicit Divide(Affine a) : Divide(vdupq_n_f32(a.scale), vdupq_n_f32(a.zero)) {}
  float32x4_t operator()(float32x4_t w) const { return vdivq_f32(w, scale); }
  float32x4_t weight(float32x4_t level) const {
    return vmulq_f32(vabsq_f32(scale), vsubq_f32(times_sign_of(scale, level), times_sign_of(scale, zero)));
  }
};

// w / scale by multiplication, the weight clamped: for groups that have a Quotient. Clamps here take a number over a
// NaN: even a weight that the contract rules out gets a code that fits its bits, and leaves its neighbours' alone.
struct Multiply {
  float32x4_t scale, zero, inverse, lo, hi;
  Multiply(Affine a, Quotient q)
      : scale(vdupq_n_f32(a.scale)), zero(vdupq_n_f32(a.zero)), inverse(vdupq_n_f32(q.inverse)), lo(vdupq_n_f32(q.lo)),
        hi(vdupq_n_f32(q.hi)) {}
  float32x4_t operator()(float32x4_t w) const {
    const float32x4_t within = vminnmq_f32(vmaxnmq_f32(w, lo), hi), q0 = vmulq_f32(within, inverse);
    return vfmaq_f32(q0, vfmsq_f32(within, q0, scale), inverse);
  }
};

// ------------------------------------------------------------------------------------- levels: three shapes
// Each turns weights into codes and codes into levels, four at a time. last_width: see with_width.

struct Integers {
  static constexpr int last_width = 0;
  float32x4_t first, last;
  int32x4_t first_code;
  explicit Integers(const Levels& l)
      : first(vdupq_n_f32(l.first())), last(vdupq_n_f32(l.last())), first_code(vcvtnq_s32_f32(first)) {}
  float32x4_t rounded(float32x4_t w, const Divide& divide) const {
    return vaddq_f32(vrndnq_f32(vaddq_f32(divide(w), divide.rest)), divide.whole);
  }
  float32x4_t nearest(float32x4_t w, const Divide& divide) const { return clamp(rounded(w, divide), first, last); }
  [[gnu::always_inline]] uint32x4_t code(float32x4_t w, const Divide& divide) const {
    return u32(vsubq_s32(vcvtnq_s32_f32(nearest(w, divide)), first_code));
  }
  float32x4_t level(uint32x4_t code) const { return vcvtq_f32_s32(vaddq_s32(s32(code), first_code)); }
  float32x4_t nearest_weight(float32x4_t w, const Divide& divide) const { return divide.weight(nearest(w, divide)); }
  uint32x4_t inside(float32x4_t w, const Divide& divide) const { return within(rounded(w, divide), first, last); }
  float32x4_t nearest_weight(float32x4_t w, const Divide& divide, uint32x4_t& inside) const {
    const float32x4_t level = rounded(w, divide);
    inside = within(level, first, last);
    return divide.weight(clamp(level, first, last));
  }

  // The same with a whole zero-point and a clamped quotient: level - zero is the rounded quotient itself.
  [[gnu::always_inline]] uint32x4_t code(float32x4_t w, const Multiply& divide) const {
    const int32x4_t zero_code = vsubq_s32(vcvtnq_s32_f32(divide.zero), first_code);
    return u32(vaddq_s32(vcvtnq_s32_f32(divide(w)), zero_code));
  }
  static float32x4_t scaled(float32x4_t q, const Multiply& divide) {  // + 0 turns a -0 into +0
    return vmulq_f32(vabsq_f32(divide.scale), vaddq_f32(times_sign_of(divide.scale, q), vdupq_n_f32(0)));
  }
  float32x4_t nearest_weight(float32x4_t w, const Multiply& divide) const {
    return scaled(vrndnq_f32(divide(w)), divide);
  }
  // These two with the quotient clamped to Quotient::outer.
  uint32x4_t inside(float32x4_t w, const Multiply& divide) const {
    return within(vrndnq_f32(divide(w)), vsubq_f32(first, divide.zero), vsubq_f32(last, divide.zero));
  }
  float32x4_t nearest_weight(float32x4_t w, const Multiply& divide, uint32x4_t& inside) const {
    const float32x4_t q = vrndnq_f32(divide(w));
    const float32x4_t lo = vsubq_f32(first, divide.zero), hi = vsubq_f32(last, divide.zero);
    inside = within(q, lo, hi);
    return scaled(clamp(q, lo, hi), divide);
  }
};

// Where the bytes of a float stand in a table of floats. An index is given, and held below, in every byte of its lane.
inline uint8x16_t bytes_of(uint8x16_t index) { return vsliq_n_u8(u8(vdupq_n_u32(0x03020100)), index, 2); }

// How many of 15 ascending midpoints lie below u, by binary search in registers.
struct Search {
  float32x4_t step8, step4, step4_high;  // midpoint 7; 3; 11
  uint8x16_t step2;                      // midpoints 1, 5, 9, 13
  uint8x16x2_t step1;                    // midpoints 0, 2, .. 14
  // Of 16 * every - 1 midpoints and an infinite one, those at every - 1, 2 * every - 1, ..
  Search(const float* midpoints, std::size_t every) {
    float some[16];
    for (std::size_t i = 0; i < 16; ++i) some[i] = midpoints[(i + 1) * every - 1];
    const float32x4x4_t m = vld4q_f32(some);  // lane j of register i is midpoint 4 j + i
    step4 = vdupq_laneq_f32(m.val[3], 0), step8 = vdupq_laneq_f32(m.val[3], 1);
    step4_high = vdupq_laneq_f32(m.val[3], 2), step2 = u8(m.val[1]);
    step1 = {{u8(vzip1q_f32(m.val[0], m.val[2])), u8(vzip2q_f32(m.val[0], m.val[2]))}};
  }
  [[gnu::always_inline]] uint8x16_t operator()(float32x4_t u) const {
    const uint32x4_t b8 = vcgtq_f32(u, step8), b4 = vcgtq_f32(u, vbslq_f32(b8, step4_high, step4));
    // Each step shifts the bits found so far up and a compare, which is all ones or all zeros, in behind them.
    const uint8x16_t two = vsliq_n_u8(u8(b4), vshrq_n_u8(u8(b8), 7), 1);
    const uint32x4_t b2 = vcgtq_f32(u, f32(vqtbl1q_u8(step2, bytes_of(two))));
    const uint8x16_t three = vsliq_n_u8(u8(b2), two, 1);
    const uint32x4_t b1 = vcgtq_f32(u, f32(vqtbl2q_u8(step1, bytes_of(three))));
    return vsliq_n_u8(u8(b1), three, 1);
  }
};

// Up to 16 levels: all of it lives in registers.
struct Table16 {
  static constexpr int last_width = 4;
  Search search;
  uint8x16x4_t levels, planes;  // their 64 bytes in order, and byte i of every level in planes.val[i]
  Range covered;
  explicit Table16(const Levels& l) : search(l.midpoints(), 1), covered(l.covered()) {
    std::uint8_t bytes[64];
    std::memcpy(bytes, l.data(), sizeof bytes);
    levels = vld1q_u8_x4(bytes), planes = vld4q_u8(bytes);
  }
  uint8x16_t nearest(float32x4_t w, const Divide& divide) const { return search(vaddq_f32(divide(w), divide.zero)); }
  uint32x4_t code(float32x4_t w, const Divide& divide) const { return vshrq_n_u32(u32(nearest(w, divide)), 24); }
  float32x4_t level_at(uint8x16_t index) const { return f32(vqtbl4q_u8(levels, bytes_of(index))); }
  float32x4_t level(uint32x4_t code) const { return level_at(u8(vmulq_n_u32(code, 0x01010101))); }
  float32x4_t nearest_weight(float32x4_t w, const Divide& d) const { return d.weight(level_at(nearest(w, d))); }
  uint32x4_t inside(float32x4_t w, const Divide& d) const {
    return within(vaddq_f32(d(w), d.zero), vdupq_n_f32(covered.lo), vdupq_n_f32(covered.hi));
  }
  float32x4_t nearest_weight(float32x4_t w, const Divide& d, uint32x4_t& in) const {
    in = inside(w, d);
    return nearest_weight(w, d);
  }
};

// 17 to 256 levels: every 16th midpoint is searched in registers, the 16 behind the place found are counted in memory.
// The last of these is either the next of the searched ones, which is not below, or the infinite one past all others.
struct Table256 {
  static constexpr int last_width = 8;
  const float *levels, *midpoints;
  Search every_16th;
  Range covered;
  explicit Table256(const Levels& l)
      : levels(l.data()), midpoints(l.midpoints()), every_16th(midpoints, 16), covered(l.covered()) {}
  static uint32x4_t below(float32x4_t u, const float* m) {  // the sum of the lanes is the count, negated
    const uint32x4_t some = vaddq_u32(vcgtq_f32(u, vld1q_f32(m)), vcgtq_f32(u, vld1q_f32(m + 4)));
    return vaddq_u32(some, vaddq_u32(vcgtq_f32(u, vld1q_f32(m + 8)), vcgtq_f32(u, vld1q_f32(m + 12))));
  }
  uint32x4_t code(float32x4_t w, const Divide& divide) const {
    const float32x4_t u = vaddq_f32(divide(w), divide.zero);
    const uint32x4_t from = vshlq_n_u32(vshrq_n_u32(u32(every_16th(u)), 24), 4);
    const uint32x4_t m0 = below(vdupq_laneq_f32(u, 0), midpoints + vgetq_lane_u32(from, 0));
    const uint32x4_t m1 = below(vdupq_laneq_f32(u, 1), midpoints + vgetq_lane_u32(from, 1));
    const uint32x4_t m2 = below(vdupq_laneq_f32(u, 2), midpoints + vgetq_lane_u32(from, 2));
    const uint32x4_t m3 = below(vdupq_laneq_f32(u, 3), midpoints + vgetq_lane_u32(from, 3));
    return vsubq_u32(from, vpaddq_u32(vpaddq_u32(m0, m1), vpaddq_u32(m2, m3)));
  }
  float32x4_t level(uint32x4_t code) const {
    float32x4_t v = vld1q_dup_f32(levels + vgetq_lane_u32(code, 0));
    v = vld1q_lane_f32(levels + vgetq_lane_u32(code, 1), v, 1);
    v = vld1q_lane_f32(levels + vgetq_lane_u32(code, 2), v, 2);
    return vld1q_lane_f32(levels + vgetq_lane_u32(code, 3), v, 3);
  }
  float32x4_t nearest_weight(float32x4_t w, const Divide& d) const { return d.weight(level(code(w, d))); }
  uint32x4_t inside(float32x4_t w, const Divide& d) const {
    return within(vaddq_f32(d(w), d.zero), vdupq_n_f32(covered.lo), vdupq_n_f32(covered.hi));
  }
  float32x4_t nearest_weight(float32x4_t w, const Divide& d, uint32x4_t& in) const {
    in = inside(w, d);
    return nearest_weight(w, d);
  }
};

// The levels of 16 codes.
inline float32x4x4_t levels_of(const auto& shape, uint16x8_t low, uint16x8_t high) {
  return {{shape.level(vmovl_u16(vget_low_u16(low))), shape.level(vmovl_high_u16(low)),
           shape.level(vmovl_u16(vget_low_u16(high))), shape.level(vmovl_high_u16(high))}};
}
inline float32x4x4_t levels_of(const auto& shape, uint8x16_t codes) {
  return levels_of(shape, vmovl_u8(vget_low_u8(codes)), vmovl_high_u8(codes));
}
inline float32x4x4_t levels_of(const Table16& shape, uint8x16_t codes) {
  const uint8x16_t b0 = vqtbl1q_u8(shape.planes.val[0], codes), b1 = vqtbl1q_u8(shape.planes.val[1], codes);
  const uint8x16_t b2 = vqtbl1q_u8(shape.planes.val[2], codes), b3 = vqtbl1q_u8(shape.planes.val[3], codes);
  const uint16x8_t a = u16(vzip1q_u8(b0, b1)), b = u16(vzip2q_u8(b0, b1));
  const uint16x8_t c = u16(vzip1q_u8(b2, b3)), d = u16(vzip2q_u8(b2, b3));
  return {{f32(vzip1q_u16(a, c)), f32(vzip2q_u16(a, c)), f32(vzip1q_u16(b, d)), f32(vzip2q_u16(b, d))}};
}

}  // namespace fewbit::kernel::neon
#endif
