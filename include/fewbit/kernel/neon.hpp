#pragma once
// NEON, which every AArch64 processor has: no fence, and no question to the processor. Leans on byte tables (tbl) to
// look up levels and midpoints, on shift-inserts and bit selects to put codes together, and on fused multiply-adds for
// exact quotients (quotient.hpp). Fast where groups are multiples of 16 weights; where they end inside eight weights
// there is one Affine per lane. Rule: lane by lane the operations of scalar.hpp, or ones proven equal, and no product
// before a sum: compilers for this machine fuse the two unasked, also when they are intrinsics.

#include <fewbit/config.hpp>
#include <fewbit/kernel/cpu.hpp>
#include <fewbit/kernel/quotient.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::neon {

inline bool supported() { return true; }
inline bool supported_dot() { return cpu::has_dot_products(); }

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

// ------------------------------------------------------------------------------------------------ ranges and sums

// n >= 8. vminq and vmaxq hand a NaN on, which is what a range wants; vminnmq and vmaxnmq would pass over it.
inline Range range(const float* x, std::size_t n) {
  float32x4x2_t lo = vld1q_f32_x2(x), hi = lo;
  for (std::size_t k = 8; k < n; k += 8) {  // the last eight overlap those before them: a range does not mind
    const float32x4x2_t v = vld1q_f32_x2(x + (n - k < 8 ? n - 8 : k));
    lo = {{vminq_f32(lo.val[0], v.val[0]), vminq_f32(lo.val[1], v.val[1])}};
    hi = {{vmaxq_f32(hi.val[0], v.val[0]), vmaxq_f32(hi.val[1], v.val[1])}};
  }
  const float least = vminvq_f32(vminq_f32(lo.val[0], lo.val[1])), most = vmaxvq_f32(vmaxq_f32(hi.val[0], hi.val[1]));
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  return least == least ? Range{least + 0.f, most + 0.f} : Range{nan, nan};
}

inline void ranges(const float* x, std::size_t n, std::size_t group, Range* out) {
  for (std::size_t k = 0, end = 0; k < n; k = end, ++out) {
    end = n - k > group ? k + group : n;
    if (end - k >= 8) *out = range(x + k, end - k);
    else scalar::ranges(x + k, end - k, end - k, out);
  }
}

// Lane j of scalar::absolute_sum is lane j % 2 of register j / 2, and halves are added to halves.
inline double absolute_sum(const float* x, std::size_t n) {
  float64x2_t lane[8] = {};
  const auto add = [&](std::size_t to, float32x4x2_t v) {
    for (std::size_t i = 0; i < 2; ++i) {
      const float32x4_t size = vabsq_f32(v.val[i]);
      lane[to + 2 * i] = vaddq_f64(lane[to + 2 * i], vcvt_f64_f32(vget_low_f32(size)));
      lane[to + 2 * i + 1] = vaddq_f64(lane[to + 2 * i + 1], vcvt_high_f64_f32(size));
    }
  };
  for (std::size_t k = 0; k < n; k += 8) add(k % 16 / 2, load_some(x + k, n - k < 8 ? n - k : 8));
  for (std::size_t half = 4; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lane[i] = vaddq_f64(lane[i], lane[i + half]);
  return vgetq_lane_f64(lane[0], 0) + vgetq_lane_f64(lane[0], 1);
}

// ------------------------------------------------------------------------------------------------ stored scales

// {v[i], 0} for four scales. clang's vst2q_f32 is a macro, which braces would split.
inline void store_scales(Affine* out, float32x4_t v) {
  const float32x4x2_t pairs = {{v, vdupq_n_f32(0)}};
  vst2q_f32(&out->scale, pairs);
}

inline void widen_scales(ScaleType type, const std::uint8_t* stored, std::size_t n, Affine* out) {
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    float32x4_t scale;
    if (type == ScaleType::f32) {
      scale = f32(vld1q_u8(stored + 4 * i));
    } else {
      const uint16x4_t halves = vreinterpret_u16_u8(vld1_u8(stored + 2 * i));
      scale = type == ScaleType::f16 ? vcvt_f32_f16(vreinterpret_f16_u16(halves)) : f32(vshll_n_u16(halves, 16));
    }
    store_scales(out + i, scale);
  }
  scalar::widen_scales(type, stored + i * scale_bytes(type), n - i, out + i);
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

inline void widen_coded_scales(const std::uint8_t* codes, Affine second, std::size_t n, Affine* out) {
  const Divide how(second);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint16x8_t some = vmovl_u8(vld1_u8(codes + i));
    store_scales(out + i, how.weight(vcvtq_f32_u32(vmovl_u16(vget_low_u16(some)))));
    store_scales(out + i + 4, how.weight(vcvtq_f32_u32(vmovl_high_u16(some))));
  }
  scalar::widen_coded_scales(codes + i, second, n - i, out + i);
}

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
  float32x4_t nearest_weight(float32x4_t w, const Multiply& divide, uint32x4_t& inside) const {
    const float32x4_t q = vrndnq_f32(divide(w));  // clamped to Quotient::outer
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
  float32x4_t nearest_weight(float32x4_t w, const Divide& d, uint32x4_t& inside) const {
    inside = within(vaddq_f32(d(w), d.zero), vdupq_n_f32(covered.lo), vdupq_n_f32(covered.hi));
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
  float32x4_t nearest_weight(float32x4_t w, const Divide& d, uint32x4_t& inside) const {
    inside = within(vaddq_f32(d(w), d.zero), vdupq_n_f32(covered.lo), vdupq_n_f32(covered.hi));
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

// ----------------------------------------------------------------------------------------- packing
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

// ------------------------------------------------------------------------------------------------- rows

// A row whose groups end anywhere, by eights: each lane has its own Affine. Lanes past the row repeat its last.
inline void each_ragged(const Row& r, const auto& eight) {
  const Affine* a = r.affine;
  for (std::size_t k = 0, left = r.group; k < r.n; k += 8) {
    float scale[8], zero[8];
    for (std::size_t j = 0; j < 8; ++j, --left) {
      if (left == 0) left = r.group, a += k + j < r.n;
      scale[j] = a->scale, zero[j] = a->zero;
    }
    const Divide how(vld1q_f32(scale), vld1q_f32(zero)), how4(vld1q_f32(scale + 4), vld1q_f32(zero + 4));
    eight(k, r.n - k < 8 ? r.n - k : std::size_t{8}, how, how4);
  }
}

// Takes a row in runs that start at multiples of 8 weights: of 16 under one Affine, sixteen(k, how), `how` being what
// they are divided and scaled by; else of n <= 8, eight(k, n, how, how4), how4 being for those from the fifth on.
template <bool multiply, bool sixteens, class Sixteen, class Eight>
inline void each_run(const Row& r, float outside, Sixteen sixteen, Eight eight) {
  if (r.group % 8 != 0 && r.group < r.n) return each_ragged(r, eight);
  const auto take = [&](std::size_t k, std::size_t end, const auto& how) {
    const Sixteen own = sixteen;  // what it holds may stay in registers: no byte it writes can be part of it
    if constexpr (sixteens)
      for (; k + 16 <= end; k += 16) own(k, how);
    for (; k < end; k += 8) eight(k, end - k < 8 ? end - k : std::size_t{8}, how, how);
  };
  const Affine* a = r.affine;
  for (std::size_t k = 0, end = 0; k < r.n; k = end, ++a) {
    end = r.n - k > r.group ? k + r.group : r.n;
    bool divided = false;
    if constexpr (multiply) {
      divided = Quotient::exists(*a);
      if (divided) take(k, end, Multiply(*a, Quotient::of(*a, *r.levels, outside)));
    }
    if (!divided) take(k, end, Divide(*a));
  }
}

// Calls f with the shape these levels have.
inline void with_shape(const Levels& l, const auto& f) {
  if (l.uniform()) f(Integers(l));
  else if (l.count() <= 16) f(Table16(l));
  else f(Table256(l));
}

// Calls f with the shape and the width as a constant: 1 to 8 or 16; integers have one path, 0, for all other widths.
template <int width = 1, class Shape, class F>
inline void with_width(const Shape& shape, int bits, F&& f) {
  if (width == bits || width == Shape::last_width) f(shape, std::integral_constant<int, width>());
  else if constexpr (width != Shape::last_width) with_width<width == 8 ? 16 : (width + 1) % 17>(shape, bits, f);
}

inline void quantize(const float* x, const Row& r, std::uint8_t* packed) {
  const int bits = r.levels->bits();
  const std::size_t held = packed_bytes(r.n, bits);
  const auto run = [&]<class Shape, int width>(const Shape& shape, std::integral_constant<int, width>) {
    const auto sixteen = [=](std::size_t k, const auto& divide) {
      const uint32x4_t c0 = shape.code(vld1q_f32(x + k), divide), c1 = shape.code(vld1q_f32(x + k + 4), divide);
      const uint32x4_t c2 = shape.code(vld1q_f32(x + k + 8), divide), c3 = shape.code(vld1q_f32(x + k + 12), divide);
      store16<width>(packed + k / 8 * width, c0, c1, c2, c3);
    };
    const auto eight = [=](std::size_t k, std::size_t n, const auto& divide, const auto& divide4) {
      const float32x4x2_t w = load_some(x + k, n);
      const std::size_t at = packed_bytes(k, bits);
      store8(packed + at, n, held - at, bits, shape.code(w.val[0], divide), shape.code(w.val[1], divide4));
    };
    each_run<std::is_same_v<Shape, Integers>, width != 0>(r, Quotient::inner, sixteen, eight);
  };
  with_shape(*r.levels, [&](const auto& shape) { with_width(shape, bits, run); });
}

inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  const int bits = r.levels->bits();
  const std::size_t held = packed_bytes(r.n, bits);
  const auto run = [&]<int width>(const auto& shape, std::integral_constant<int, width>) {
    const auto sixteen = [=](std::size_t k, const auto& a) {
      const std::size_t at = k / 8 * width;
      float32x4x4_t l;
      if constexpr (width == 16) l = levels_of(shape, u16(vld1q_u8(packed + at)), u16(vld1q_u8(packed + at + 16)));
      else l = levels_of(shape, load16<width>(packed + at, held - at));
      vst1q_f32(out + k, a.weight(l.val[0])), vst1q_f32(out + k + 4, a.weight(l.val[1]));
      vst1q_f32(out + k + 8, a.weight(l.val[2])), vst1q_f32(out + k + 12, a.weight(l.val[3]));
    };
    const auto eight = [=](std::size_t k, std::size_t n, const auto& a, const auto& a4) {
      const std::size_t at = packed_bytes(k, bits);
      const uint32x4x2_t code = load8(packed + at, held - at, bits);
      store_some(out + k, n, {{a.weight(shape.level(code.val[0])), a4.weight(shape.level(code.val[1]))}});
    };
    each_run<false, width != 0>(r, Quotient::inner, sixteen, eight);
  };
  with_shape(*r.levels, [&](const auto& shape) { with_width(shape, bits, run); });
}

template <bool masked>
inline void fake_quantize_to(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  with_shape(*r.levels, [&]<class Shape>(const Shape& shape) {
    const auto nearest = [=](float32x4_t w, const auto& divide, uint32x4_t& inside) {
      if constexpr (masked) return shape.nearest_weight(w, divide, inside);
      else return shape.nearest_weight(w, divide);
    };
    const auto sixteen = [=](std::size_t k, const auto& divide) {
      for (std::size_t i = k; i < k + 16; i += 8) {
        uint32x4_t low, high;
        const float32x4x2_t w = vld1q_f32_x2(x + i);
        const float32x4x2_t found = {{nearest(w.val[0], divide, low), nearest(w.val[1], divide, high)}};
        vst1q_f32_x2(out + i, found);
        if constexpr (masked) mask[i / 8] = bits_of(low, high);
      }
    };
    const auto eight = [=](std::size_t k, std::size_t n, const auto& divide, const auto& divide4) {
      uint32x4_t low, high;
      const float32x4x2_t w = load_some(x + k, n);
      store_some(out + k, n, {{nearest(w.val[0], divide, low), nearest(w.val[1], divide4, high)}});
      if constexpr (masked) mask[k / 8] = static_cast<std::uint8_t>(bits_of(low, high) & ((1u << n) - 1));
    };
    each_run<std::is_same_v<Shape, Integers>, true>(r, masked ? Quotient::outer : Quotient::inner, sixteen, eight);
  });
}
inline void fake_quantize(const float* x, const Row& r, float* out, std::uint8_t* mask) {
  return mask == nullptr ? fake_quantize_to<false>(x, r, out, mask) : fake_quantize_to<true>(x, r, out, mask);
}

inline constexpr Table table{"neon",   supported,  ranges,       absolute_sum, widen_scales, widen_coded_scales,
                             quantize, dequantize, fake_quantize};
inline constexpr Table table_dot{"neondot",          supported_dot, ranges,     absolute_sum, widen_scales,
                                 widen_coded_scales, quantize,      dequantize, fake_quantize};

}  // namespace fewbit::kernel::neon
#endif
