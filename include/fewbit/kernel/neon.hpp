#pragma once
// NEON, which every AArch64 processor has: no fence and no question to the processor. Leans on byte tables (tbl), which
// look levels and midpoints up four at a time and spread packed codes over lanes; on shift-inserts, which collect bits;
// and on fused multiply-adds for exact quotients (quotient.hpp). Fast where groups are multiples of 16 weights; groups
// that end inside eight weights run with one Affine per lane. Rule: lane by lane the operations of scalar.hpp, or ones
// proven equal, and no product before a sum: compilers for this machine fuse the two unasked, intrinsics included.

#include <fewbit/config.hpp>
#include <fewbit/kernel/quotient.hpp>
#include <fewbit/kernel/scalar.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <array>
#include <cstring>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::neon {

inline bool supported() { return true; }

// The first n <= 8 of eight weights; the others are 0.
inline float32x4x2_t load_some(const float* x, std::size_t n) {
  if (n == 8) return {{vld1q_f32(x), vld1q_f32(x + 4)}};
  float room[8] = {};
  std::memcpy(room, x, n * sizeof *x);
  return {{vld1q_f32(room), vld1q_f32(room + 4)}};
}
inline void store_some(float* out, std::size_t n, float32x4_t a, float32x4_t b) {
  float room[8];
  float* to = n == 8 ? out : room;
  vst1q_f32(to, a), vst1q_f32(to + 4, b);
  if (n < 8) std::memcpy(out, room, n * sizeof *out);
}

// ------------------------------------------------------------------------------------------------ ranges

// n >= 4. vminq and vmaxq hand a NaN on, which is what a range wants; vminnmq and vmaxnmq would pass over it.
inline Range range(const float* x, std::size_t n) {
  float32x4_t lo = vld1q_f32(x), hi = lo, lo2 = lo, hi2 = lo;
  std::size_t k = 4;
  for (; k + 8 <= n; k += 8) {
    const float32x4_t a = vld1q_f32(x + k), b = vld1q_f32(x + k + 4);
    lo = vminq_f32(lo, a), hi = vmaxq_f32(hi, a);
    lo2 = vminq_f32(lo2, b), hi2 = vmaxq_f32(hi2, b);
  }
  for (const std::size_t last = n - 4; k < n;
       k += 4) {  // the last register overlaps the one before: a range does not mind
    const float32x4_t a = vld1q_f32(x + (k < last ? k : last));
    lo = vminq_f32(lo, a), hi = vmaxq_f32(hi, a);
  }
  const float least = vminvq_f32(vminq_f32(lo, lo2)), most = vmaxvq_f32(vmaxq_f32(hi, hi2));
  if (least == least) return {least + 0.f, most + 0.f};
  return {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::quiet_NaN()};
}

inline void ranges(const float* x, std::size_t n, std::size_t group, Range* out) {
  for (std::size_t k = 0, end = 0; k < n; k = end, ++out) {
    end = n - k > group ? k + group : n;
    if (end - k >= 4) *out = range(x + k, end - k);
    else scalar::ranges(x + k, end - k, end - k, out);
  }
}

// ------------------------------------------------------------------------ how four weights are scaled, and divided

struct Scale {
  float32x4_t scale, zero;
  Scale(float32x4_t s, float32x4_t z) : scale(s), zero(z) {}
  explicit Scale(Affine a) : Scale(vdupq_n_f32(a.scale), vdupq_n_f32(a.zero)) {}
};

// The Affines of a row's weights, four after four, for groups that end anywhere. Lanes past the row repeat its last
// group.
struct Walk {
  const Row& row;
  const Affine* affine = row.affine;
  std::size_t k = 0, left = row.group;

  explicit Walk(const Row& r) : row(r) {}
  Scale next() {
    float scale[4], zero[4];
    for (int j = 0; j < 4; ++j, ++k, --left) {
      if (left == 0) left = row.group, affine += k < row.n;
      scale[j] = affine->scale, zero[j] = affine->zero;
    }
    return {vld1q_f32(scale), vld1q_f32(zero)};
  }
};

inline float32x4_t flip(float32x4_t x, uint32x4_t sign) {
  return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), sign));
}
inline uint32x4_t sign_of(float32x4_t x) { return vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x80000000)); }

// scale * (level - zero), as |scale| times a difference that takes scale's sign before it is formed: equal
// operands then give +0 under a negative scale too.
inline float32x4_t weights(float32x4_t level, const Scale& a) {
  const uint32x4_t sign = sign_of(a.scale);
  return vmulq_f32(vabsq_f32(a.scale), vsubq_f32(flip(level, sign), flip(a.zero, sign)));
}

// w / scale by division: for any Affine.
struct Divide : Scale {
  float32x4_t whole, rest;  // zero == whole + rest
  explicit Divide(const Scale& a) : Scale(a), whole(vrndnq_f32(a.zero)), rest(vsubq_f32(a.zero, whole)) {}
  float32x4_t operator()(float32x4_t w) const { return vdivq_f32(w, scale); }
};

// Quotients of four groups at once: one division serves them all.
struct Quotients {
  float scale[4], zero[4], inverse[4], lo[4], hi[4];
  std::uint32_t exist[4];

  void prepare(const Affine* a, std::size_t n, const Levels& l) {
    Affine some[4];
    if (n < 4) {
      for (std::size_t g = 0; g < n; ++g) some[g] = a[g];
      a = some;
    }
    const float32x4x2_t both = vld2q_f32(&a->scale);
    const float32x4_t s = both.val[0], z = both.val[1];
    // Quotient::exists and Quotient::of, lane by lane.
    const uint32x4_t ordinary = vandq_u32(vcageq_f32(s, vdupq_n_f32(0x1p-60f)), vcaleq_f32(s, vdupq_n_f32(0x1p60f)));
    const uint32x4_t whole = vandq_u32(vcaleq_f32(z, vdupq_n_f32(0x1p20f)), vceqq_f32(vrndnq_f32(z), z));
    vst1q_u32(exist, vandq_u32(ordinary, whole));
    const float32x4_t beyond = vdupq_n_f32(Quotient::beyond);
    const float32x4_t first = vmulq_f32(vsubq_f32(vsubq_f32(vdupq_n_f32(l.first()), z), beyond), s);
    const float32x4_t last = vmulq_f32(vaddq_f32(vsubq_f32(vdupq_n_f32(l.last()), z), beyond), s);
    vst1q_f32(scale, s), vst1q_f32(zero, z), vst1q_f32(inverse, vdivq_f32(vdupq_n_f32(1), s));
    vst1q_f32(lo, vminq_f32(first, last)), vst1q_f32(hi, vmaxq_f32(first, last));
  }
};

// w / scale by multiplication, the weight clamped: for groups that have a Quotient. The clamp takes a number over a
// NaN: whatever it is given, the code fits its bits and leaves its neighbours alone.
struct Multiply : Scale {
  float32x4_t inverse, lo, hi;
  Multiply(const Quotients& q, std::size_t g)
      : Scale(Affine{q.scale[g], q.zero[g]}), inverse(vdupq_n_f32(q.inverse[g])), lo(vdupq_n_f32(q.lo[g])),
        hi(vdupq_n_f32(q.hi[g])) {}
  float32x4_t operator()(float32x4_t w) const {
    const float32x4_t within = vminnmq_f32(vmaxnmq_f32(w, lo), hi), q0 = vmulq_f32(within, inverse);
    return vfmaq_f32(q0, vfmsq_f32(within, q0, scale), inverse);
  }
};

// ------------------------------------------------------------------------------------- levels: three shapes
// Each turns weights into codes and codes into levels, four at a time.

struct Integers {
  float32x4_t first, last;
  int32x4_t first_code;
  explicit Integers(const Levels& l)
      : first(vdupq_n_f32(l.first())), last(vdupq_n_f32(l.last())),
        first_code(vdupq_n_s32(static_cast<int>(l.first()))) {}

  float32x4_t nearest(float32x4_t w, const Divide& divide) const {
    const float32x4_t q = vaddq_f32(vrndnq_f32(vaddq_f32(divide(w), divide.rest)), divide.whole);
    return vminnmq_f32(vmaxnmq_f32(q, first), last);
  }
  uint32x4_t code(float32x4_t w, const Divide& divide) const {
    return vreinterpretq_u32_s32(vsubq_s32(vcvtnq_s32_f32(nearest(w, divide)), first_code));
  }
  float32x4_t level(uint32x4_t code) const { return vcvtq_f32_s32(vaddq_s32(vreinterpretq_s32_u32(code), first_code)); }
  float32x4_t nearest_weight(float32x4_t w, const Divide& divide) const { return weights(nearest(w, divide), divide); }

  // The same with a whole zero-point and a clamped quotient: level - zero is the rounded quotient itself.
  uint32x4_t code(float32x4_t w, const Multiply& divide) const {
    const int32x4_t zero_code = vsubq_s32(vcvtnq_s32_f32(divide.zero), first_code);
    return vreinterpretq_u32_s32(vaddq_s32(vcvtnq_s32_f32(divide(w)), zero_code));
  }
  float32x4_t nearest_weight(float32x4_t w, const Multiply& divide) const {  // + 0 turns a -0 into +0
    const float32x4_t q = flip(vrndnq_f32(divide(w)), sign_of(divide.scale));
    return vmulq_f32(vabsq_f32(divide.scale), vaddq_f32(q, vdupq_n_f32(0)));
  }
};

// In every byte of a lane the index of an entry; out comes where in a table of floats its bytes are.
inline uint8x16_t bytes_of(uint8x16_t entry) {
  return vsliq_n_u8(vreinterpretq_u8_u32(vdupq_n_u32(0x03020100)), entry, 2);
}

// How many of 15 ascending midpoints lie below u, by binary search in registers.
struct Search {
  float32x4_t step8, step4, step4_high;  // midpoint 7; 3; 11
  uint8x16_t step2;                      // midpoints 1, 5, 9, 13
  uint8x16x2_t step1;                    // midpoints 0, 2, .. 14
  explicit Search(const float* midpoints) {
    const float32x4x4_t m = vld4q_f32(midpoints);  // lane j of register i is midpoint 4 j + i
    step8 = vdupq_laneq_f32(m.val[3], 1), step4 = vdupq_laneq_f32(m.val[3], 0),
    step4_high = vdupq_laneq_f32(m.val[3], 2);
    step2 = vreinterpretq_u8_f32(m.val[1]);
    step1.val[0] = vreinterpretq_u8_f32(vzip1q_f32(m.val[0], m.val[2]));
    step1.val[1] = vreinterpretq_u8_f32(vzip2q_f32(m.val[0], m.val[2]));
  }
  // The answer in every byte of its lane. A true compare is all ones: each step shifts one of them in from below.
  uint8x16_t operator()(float32x4_t u) const {
    const uint32x4_t b8 = vcgtq_f32(u, step8), b4 = vcgtq_f32(u, vbslq_f32(b8, step4_high, step4));
    uint8x16_t found = vsliq_n_u8(vreinterpretq_u8_u32(b4), vreinterpretq_u8_u32(b8), 1);
    found = vandq_u8(found, vdupq_n_u8(3));
    const uint32x4_t b2 = vcgtq_f32(u, vreinterpretq_f32_u8(vqtbl1q_u8(step2, bytes_of(found))));
    found = push(found, b2);
    const uint32x4_t b1 = vcgtq_f32(u, vreinterpretq_f32_u8(vqtbl2q_u8(step1, bytes_of(found))));
    return push(found, b1);
  }

 private:
  // vsliq keeps only the lowest bit of what it inserts into: the compare's.
  static uint8x16_t push(uint8x16_t found, uint32x4_t bit) { return vsliq_n_u8(vreinterpretq_u8_u32(bit), found, 1); }
};

// Up to 16 levels: all of it lives in registers.
struct Table16 {
  Search search;
  uint8x16x4_t levels;  // 64 bytes
  uint8x16x4_t planes;  // byte i of every level
  explicit Table16(const Levels& l)
      : search(l.midpoints()), levels(vld1q_u8_x4(reinterpret_cast<const std::uint8_t*>(l.data()))),
        planes(vld4q_u8(reinterpret_cast<const std::uint8_t*>(l.data()))) {}

  uint8x16_t nearest(float32x4_t w, const Divide& divide) const { return search(vaddq_f32(divide(w), divide.zero)); }
  uint32x4_t code(float32x4_t w, const Divide& divide) const {
    return vshrq_n_u32(vreinterpretq_u32_u8(nearest(w, divide)), 24);
  }
  float32x4_t level(uint8x16_t code_in_bytes) const {
    return vreinterpretq_f32_u8(vqtbl4q_u8(levels, bytes_of(code_in_bytes)));
  }
  float32x4_t level(uint32x4_t code) const { return level(vreinterpretq_u8_u32(vmulq_n_u32(code, 0x01010101))); }
  float32x4_t nearest_weight(float32x4_t w, const Divide& divide) const {
    return weights(level(nearest(w, divide)), divide);
  }
};

// 17 to 256 levels: every 16th midpoint is searched in registers, the 16 behind the place found are counted in memory.
// The last of these is either the next of the searched ones, which is not below, or the infinite one past all others.
struct Table256 {
  const float *levels, *midpoints;
  Search every_16th;
  explicit Table256(const Levels& l) : levels(l.data()), midpoints(l.midpoints()), every_16th(sixteenth(l).data()) {}

  uint32x4_t code(float32x4_t w, const Divide& divide) const {
    const float32x4_t u = vaddq_f32(divide(w), divide.zero);
    const uint32x4_t from = vshlq_n_u32(vshrq_n_u32(vreinterpretq_u32_u8(every_16th(u)), 24), 4);
    // Sums of compares are counts, negated.
    const uint32x4_t a = vpaddq_u32(below(vdupq_laneq_f32(u, 0), vgetq_lane_u32(from, 0)),
                                    below(vdupq_laneq_f32(u, 1), vgetq_lane_u32(from, 1)));
    const uint32x4_t b = vpaddq_u32(below(vdupq_laneq_f32(u, 2), vgetq_lane_u32(from, 2)),
                                    below(vdupq_laneq_f32(u, 3), vgetq_lane_u32(from, 3)));
    return vsubq_u32(from, vpaddq_u32(a, b));
  }
  float32x4_t level(uint32x4_t code) const {
    float32x4_t v = vld1q_dup_f32(levels + vgetq_lane_u32(code, 0));
    v = vld1q_lane_f32(levels + vgetq_lane_u32(code, 1), v, 1);
    v = vld1q_lane_f32(levels + vgetq_lane_u32(code, 2), v, 2);
    return vld1q_lane_f32(levels + vgetq_lane_u32(code, 3), v, 3);
  }
  float32x4_t nearest_weight(float32x4_t w, const Divide& divide) const {
    return weights(level(code(w, divide)), divide);
  }

 private:
  static std::array<float, 16> sixteenth(const Levels& l) {
    std::array<float, 16> m;
    for (std::size_t i = 0; i < 16; ++i) m[i] = l.midpoints()[16 * i + 15];
    return m;
  }
  uint32x4_t below(float32x4_t u, std::uint32_t from) const {
    const float* m = midpoints + from;
    const uint32x4_t low = vaddq_u32(vcgtq_f32(u, vld1q_f32(m)), vcgtq_f32(u, vld1q_f32(m + 4)));
    return vaddq_u32(low, vaddq_u32(vcgtq_f32(u, vld1q_f32(m + 8)), vcgtq_f32(u, vld1q_f32(m + 12))));
  }
};

// Calls f with the shape these levels have.
template <class F>
inline void with_shape(const Levels& l, F&& f) {
  if (l.uniform()) f(Integers(l));
  else if (l.count() <= 16) f(Table16(l));
  else f(Table256(l));
}

// The levels of 16 codes.
template <class Shape>
inline float32x4x4_t levels_of(const Shape& shape, uint8x16_t codes) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(codes)), high = vmovl_high_u8(codes);
  return {{shape.level(vmovl_u16(vget_low_u16(low))), shape.level(vmovl_high_u16(low)),
           shape.level(vmovl_u16(vget_low_u16(high))), shape.level(vmovl_high_u16(high))}};
}
inline float32x4x4_t levels_of(const Table16& shape, uint8x16_t codes) {
  const uint8x16_t b0 = vqtbl1q_u8(shape.planes.val[0], codes), b1 = vqtbl1q_u8(shape.planes.val[1], codes);
  const uint8x16_t b2 = vqtbl1q_u8(shape.planes.val[2], codes), b3 = vqtbl1q_u8(shape.planes.val[3], codes);
  const uint16x8_t a = vreinterpretq_u16_u8(vzip1q_u8(b0, b1)), b = vreinterpretq_u16_u8(vzip2q_u8(b0, b1));
  const uint16x8_t c = vreinterpretq_u16_u8(vzip1q_u8(b2, b3)), d = vreinterpretq_u16_u8(vzip2q_u8(b2, b3));
  return {{vreinterpretq_f32_u16(vzip1q_u16(a, c)), vreinterpretq_f32_u16(vzip2q_u16(a, c)),
           vreinterpretq_f32_u16(vzip1q_u16(b, d)), vreinterpretq_f32_u16(vzip2q_u16(b, d))}};
}

// ----------------------------------------------------------------------------------------- packing, any width
// Eight codes fill exactly `bits` bytes, so eight codes always start and end on a byte. `left` is how many bytes of the
// row there are from p on: where it is 16 or more, whole registers are read and written.

struct Packing {
  unsigned bits;
  uint8x16_t bytes[2];  // to take apart: for each of eight lanes, the four bytes its code lies in,
  int32x4_t shifts[2];  // and where in them

  explicit Packing(int width) : bits(static_cast<unsigned>(width)) {
    std::uint8_t at[32];
    std::int32_t by[8];
    for (unsigned j = 0; j < 8; ++j) {
      by[j] = -static_cast<std::int32_t>(j * bits % 8);
      for (unsigned i = 0; i < 4; ++i)
        at[4 * j + i] = static_cast<std::uint8_t>(j * bits / 8 + i);  // 16 and above read as 0
    }
    for (int i = 0; i < 2; ++i) bytes[i] = vld1q_u8(at + 16 * i), shifts[i] = vld1q_s32(by + 4 * i);
  }

  uint32x4x2_t load(const std::uint8_t* p, std::size_t left) const {
    std::uint8_t room[16] = {};
    if (left < 16) std::memcpy(room, p, left), p = room;
    const uint8x16_t v = vld1q_u8(p);
    const uint32x4_t mask = vdupq_n_u32((1u << bits) - 1);
    return {{vandq_u32(vshlq_u32(vreinterpretq_u32_u8(vqtbl1q_u8(v, bytes[0])), shifts[0]), mask),
             vandq_u32(vshlq_u32(vreinterpretq_u32_u8(vqtbl1q_u8(v, bytes[1])), shifts[1]), mask)}};
  }

  // n <= 8 codes, and zero bits behind them.
  void store(std::uint8_t* p, std::size_t n, std::size_t left, uint32x4_t a, uint32x4_t b) const {
    uint16x8_t codes = vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
    if (n < 8) {
      const uint16x8_t lane = {0, 1, 2, 3, 4, 5, 6, 7};
      codes = vandq_u16(codes, vcltq_u16(lane, vdupq_n_u16(static_cast<std::uint16_t>(n))));
    }
    // Each step brings the upper of two fields down onto the lower: 16, then 32 bits apart.
    const int width = static_cast<int>(bits);
    const uint32x4_t one = vreinterpretq_u32_u16(codes), down = vshlq_u32(one, vdupq_n_s32(width - 16));
    const uint64x2_t two = vreinterpretq_u64_u32(vbslq_u32(vdupq_n_u32((1u << bits) - 1), one, down));
    const uint64x2_t four =
        vbslq_u64(vdupq_n_u64((std::uint64_t{1} << 2 * bits) - 1), two, vshlq_u64(two, vdupq_n_s64(2 * width - 32)));
    const std::uint64_t low = vgetq_lane_u64(four, 0),
                        high = vgetq_lane_u64(four, 1);  // 4 * bits bits each, at most 64
    const std::uint64_t words[2] = {low | high << 2 * bits << 2 * bits, high >> (64 - 4 * bits)};
    std::memcpy(p, words, left < 16 ? packed_bytes(n, width) : 16);
  }
};

// 16 codes of up to 8 bits, a byte each and in order.
inline uint8x16_t to_bytes(uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d) {
  const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
  const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(c), vreinterpretq_u16_u32(d));
  return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

// 16 codes of `bits` bits, as bytes, to memory.
template <int bits>
inline void store16(std::uint8_t* p, uint8x16_t codes) {
  if constexpr (bits == 8) {
    vst1q_u8(p, codes);
  } else if constexpr (bits == 4 || bits == 2) {  // the upper of two bytes comes down onto the lower
    const uint16x8_t apart = vreinterpretq_u16_u8(codes);
    const uint8x8_t pairs = vmovn_u16(vsraq_n_u16(apart, apart, 8 - bits));
    if constexpr (bits == 4) {
      vst1_u8(p, pairs);
    } else {
      const uint16x4_t two = vreinterpret_u16_u8(pairs), four = vsra_n_u16(two, two, 4);
      const std::uint32_t word = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(four, four))), 0);
      std::memcpy(p, &word, sizeof word);
    }
  } else if constexpr (bits == 1) {  // each code to the place of its bit; bits apart add up as they would be or-ed
    const int8x16_t place = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
    uint8x16_t sum = vshlq_u8(codes, place);
    for (int i = 0; i < 3; ++i) sum = vpaddq_u8(sum, sum);
    const std::uint16_t word = vgetq_lane_u16(vreinterpretq_u16_u8(sum), 0);
    std::memcpy(p, &word, sizeof word);
  } else {  // as Packing::store does it, from 8 bits apart on
    const uint16x8_t one = vreinterpretq_u16_u8(codes);
    const uint32x4_t two =
        vreinterpretq_u32_u16(vbslq_u16(vdupq_n_u16((1 << bits) - 1), one, vshrq_n_u16(one, 8 - bits)));
    const uint64x2_t four =
        vreinterpretq_u64_u32(vbslq_u32(vdupq_n_u32((1 << 2 * bits) - 1), two, vshrq_n_u32(two, 16 - 2 * bits)));
    const uint64x2_t eight = vbslq_u64(vdupq_n_u64((1 << 4 * bits) - 1), four, vshrq_n_u64(four, 32 - 4 * bits));
    const std::uint64_t low = vgetq_lane_u64(eight, 0), high = vgetq_lane_u64(eight, 1);
    std::memcpy(p, &low, bits), std::memcpy(p + bits, &high, bits);
  }
}

// For each of 16 codes of `bits` bits: the byte it begins in, that one and the next, and how far to shift it down.
template <int bits>
struct Places {
  std::uint8_t byte[16]{}, both[32]{};
  std::int8_t shift[16]{};
  std::int16_t shift_both[8]{};
  constexpr Places() {
    for (int j = 0; j < 16; ++j) {
      byte[j] = both[2 * j] = static_cast<std::uint8_t>(j * bits / 8),
      both[2 * j + 1] = static_cast<std::uint8_t>(byte[j] + 1);
      shift[j] = static_cast<std::int8_t>(-(j * bits % 8)), shift_both[j % 8] = shift[j];
    }
  }
};
template <int bits>
inline constexpr Places<bits> places;

// How much load16 reads, of which 16 codes fill 2 * bits bytes: those that may lie across two bytes are read with what
// follows.
template <int bits>
inline constexpr std::size_t load16_reads = 8 % bits == 0 ? 2 * bits : 16;

template <int bits>
inline uint8x16_t load16(const std::uint8_t* p) {
  const Places<bits>& at = places<bits>;
  const uint8x16_t mask = vdupq_n_u8((1 << bits) - 1);
  if constexpr (bits == 8) {
    return vld1q_u8(p);
  } else if constexpr (8 % bits == 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, load16_reads<bits>);
    const uint8x16_t spread = vqtbl1q_u8(vreinterpretq_u8_u64(vdupq_n_u64(word)), vld1q_u8(at.byte));
    return vandq_u8(vshlq_u8(spread, vld1q_s8(at.shift)), mask);
  } else {
    const uint8x16_t v = vld1q_u8(p);
    const int16x8_t shift = vld1q_s16(at.shift_both);
    const uint16x8_t low = vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(v, vld1q_u8(at.both))), shift);
    const uint16x8_t high = vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(v, vld1q_u8(at.both + 16))), shift);
    return vandq_u8(vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high)), mask);
  }
}

// ------------------------------------------------------------------------------------------------- rows

// Both of these take a row in runs of n <= 8 weights, each starting at a multiple of 8, and call f(k, n, how, how4),
// `how` being what the first four are scaled or divided by, and how4 the others. Of a group, `bulk` first takes what it
// likes: it is given (k, end, how) and says how far it came.
template <class How, class Bulk, class F>
inline void take_group(std::size_t k, std::size_t end, const How& how, Bulk&& bulk, F&& f) {
  for (k = bulk(k, end, how); k < end; k += 8) f(k, end - k < 8 ? end - k : std::size_t{8}, how, how);
}
inline bool groups_end_inside(const Row& r) { return r.group % 8 != 0 && r.group < r.n; }

template <class How, class F>
inline void take_lanes(const Row& r, F&& f) {
  Walk walk(r);
  for (std::size_t k = 0; k < r.n; k += 8) {
    const How how(walk.next()), how4(walk.next());
    f(k, r.n - k < 8 ? r.n - k : std::size_t{8}, how, how4);
  }
}

template <class Bulk, class F>
inline void each_scaled(const Row& r, Bulk&& bulk, F&& f) {
  if (groups_end_inside(r)) return take_lanes<Scale>(r, f);
  for (std::size_t k = 0, g = 0, end = 0; k < r.n; k = end, ++g) {
    end = r.n - k > r.group ? k + r.group : r.n;
    take_group(k, end, Scale(r.affine[g]), bulk, f);
  }
}

template <class Shape, class Bulk, class F>
inline void each_divided(const Row& r, const Shape&, Bulk&& bulk, F&& f) {
  if (groups_end_inside(r)) return take_lanes<Divide>(r, f);
  const std::size_t groups = r.n == 0 ? 0 : (r.n - 1) / r.group + 1;
  Quotients quotients;
  for (std::size_t k = 0, g = 0, end = 0; k < r.n; k = end, ++g) {
    end = r.n - k > r.group ? k + r.group : r.n;
    if constexpr (std::is_same_v<Shape, Integers>) {
      if (g % 4 == 0) quotients.prepare(r.affine + g, groups - g, *r.levels);
      if (quotients.exist[g % 4] != 0) {
        take_group(k, end, Multiply(quotients, g % 4), bulk, f);
        continue;
      }
    }
    take_group(k, end, Divide(Scale(r.affine[g])), bulk, f);
  }
}

// bits 0: any width, known at run time only.
template <int bits, class Shape>
inline void quantize_rows(const float* x, const Row& r, std::uint8_t* packed, const Shape& shape) {
  const Packing packing(r.levels->bits());
  const std::size_t held = packed_bytes(r.n, r.levels->bits());
  each_divided(
      r, shape,
      [&](std::size_t k, std::size_t end, const auto& divide) {
        if constexpr (bits == 16) {
          for (; k + 8 <= end; k += 8) {
            const uint32x4_t c0 = shape.code(vld1q_f32(x + k), divide), c1 = shape.code(vld1q_f32(x + k + 4), divide);
            vst1q_u8(packed + 2 * k,
                     vreinterpretq_u8_u16(vuzp1q_u16(vreinterpretq_u16_u32(c0), vreinterpretq_u16_u32(c1))));
          }
        } else if constexpr (bits > 0) {
          for (; k + 16 <= end; k += 16) {
            const uint32x4_t c0 = shape.code(vld1q_f32(x + k), divide), c1 = shape.code(vld1q_f32(x + k + 4), divide);
            const uint32x4_t c2 = shape.code(vld1q_f32(x + k + 8), divide),
                             c3 = shape.code(vld1q_f32(x + k + 12), divide);
            store16<bits>(packed + k / 8 * bits, to_bytes(c0, c1, c2, c3));
          }
        }
        return k;
      },
      [&](std::size_t k, std::size_t n, const auto& divide, const auto& divide4) {
        const float32x4x2_t w = load_some(x + k, n);
        const std::size_t at = k / 8 * packing.bits;
        packing.store(packed + at, n, held - at, shape.code(w.val[0], divide), shape.code(w.val[1], divide4));
      });
}

template <int bits, class Shape>
inline void dequantize_rows(const std::uint8_t* packed, const Row& r, float* out, const Shape& shape) {
  const Packing packing(r.levels->bits());
  const std::size_t held = packed_bytes(r.n, r.levels->bits());
  each_scaled(
      r,
      [&](std::size_t k, std::size_t end, const Scale& a) {
        if constexpr (bits == 16) {
          for (; k + 8 <= end; k += 8) {
            const uint16x8_t codes = vreinterpretq_u16_u8(vld1q_u8(packed + 2 * k));
            vst1q_f32(out + k, weights(shape.level(vmovl_u16(vget_low_u16(codes))), a));
            vst1q_f32(out + k + 4, weights(shape.level(vmovl_high_u16(codes)), a));
          }
        } else if constexpr (bits > 0) {
          for (; k + 16 <= end && k / 8 * bits + load16_reads<bits> <= held; k += 16) {
            const float32x4x4_t level = levels_of(shape, load16<bits>(packed + k / 8 * bits));
            vst1q_f32(out + k, weights(level.val[0], a)), vst1q_f32(out + k + 4, weights(level.val[1], a));
            vst1q_f32(out + k + 8, weights(level.val[2], a)), vst1q_f32(out + k + 12, weights(level.val[3], a));
          }
        }
        return k;
      },
      [&](std::size_t k, std::size_t n, const Scale& a, const Scale& a4) {
        const std::size_t at = k / 8 * packing.bits;
        const uint32x4x2_t code = packing.load(packed + at, held - at);
        store_some(out + k, n, weights(shape.level(code.val[0]), a), weights(shape.level(code.val[1]), a4));
      });
}

// Calls f with the width as a constant, or with 0 for a width that has no path of its own.
template <class F>
inline void with_width(int bits, F&& f) {
  switch (bits) {
    case 1: return f(std::integral_constant<int, 1>());
    case 2: return f(std::integral_constant<int, 2>());
    case 3: return f(std::integral_constant<int, 3>());
    case 4: return f(std::integral_constant<int, 4>());
    case 5: return f(std::integral_constant<int, 5>());
    case 6: return f(std::integral_constant<int, 6>());
    case 7: return f(std::integral_constant<int, 7>());
    case 8: return f(std::integral_constant<int, 8>());
    case 16: return f(std::integral_constant<int, 16>());
    default: return f(std::integral_constant<int, 0>());
  }
}

inline void quantize(const float* x, const Row& r, std::uint8_t* packed) {
  with_shape(*r.levels, [&](const auto& shape) {
    with_width(r.levels->bits(), [&](auto bits) { quantize_rows<bits>(x, r, packed, shape); });
  });
}

inline void dequantize(const std::uint8_t* packed, const Row& r, float* out) {
  with_shape(*r.levels, [&](const auto& shape) {
    with_width(r.levels->bits(), [&](auto bits) { dequantize_rows<bits>(packed, r, out, shape); });
  });
}

inline void fake_quantize(const float* x, const Row& r, float* out) {
  with_shape(*r.levels, [&](const auto& shape) {
    each_divided(
        r, shape,
        [&](std::size_t k, std::size_t end, const auto& divide) {
          for (; k + 16 <= end; k += 16) {
            const float32x4_t w0 = shape.nearest_weight(vld1q_f32(x + k), divide),
                              w1 = shape.nearest_weight(vld1q_f32(x + k + 4), divide);
            const float32x4_t w2 = shape.nearest_weight(vld1q_f32(x + k + 8), divide),
                              w3 = shape.nearest_weight(vld1q_f32(x + k + 12), divide);
            vst1q_f32(out + k, w0), vst1q_f32(out + k + 4, w1), vst1q_f32(out + k + 8, w2), vst1q_f32(out + k + 12, w3);
          }
          return k;
        },
        [&](std::size_t k, std::size_t n, const auto& divide, const auto& divide4) {
          const float32x4x2_t w = load_some(x + k, n);
          store_some(out + k, n, shape.nearest_weight(w.val[0], divide), shape.nearest_weight(w.val[1], divide4));
        });
  });
}

inline constexpr Table table{"neon", supported, ranges, quantize, dequantize, fake_quantize};

}  // namespace fewbit::kernel::neon
#endif
