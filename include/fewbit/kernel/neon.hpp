#pragma once
// NEON, which every AArch64 processor has: no fence, and no question to the processor. Leans on byte tables (tbl) to
// look up levels and midpoints, on shift-inserts and bit selects to put codes together, and on fused multiply-adds for
// exact quotients (quotient.hpp). Fast where groups are multiples of 16 weights; where they end inside eight weights
// there is one Affine per lane. Rule: lane by lane the operations of scalar.hpp, or ones proven equal, and no product
// before a sum: compilers for this machine fuse the two unasked, also when they are intrinsics.

#include <fewbit/kernel/cpu.hpp>
#include <fewbit/kernel/neon_levels.hpp>
#include <fewbit/kernel/neon_packing.hpp>

#if FEWBIT_ARM64
#include <arm_neon.h>
#include <limits>
#include <type_traits>

namespace fewbit::kernel::neon {

inline bool supported() { return true; }
inline bool supported_dot() { return cpu::has_dot_products(); }

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

inline void straight_through(const float* x, const Row& r, const float* gradient, float* out) {
  with_shape(*r.levels, [&]<class Shape>(const Shape& shape) {
    const auto passed = [](uint32x4_t inside, float32x4_t g) { return f32(vandq_u32(inside, u32(g))); };
    const auto eight = [=](std::size_t k, std::size_t n, const auto& divide, const auto& divide4) {
      const float32x4x2_t w = load_some(x + k, n), g = load_some(gradient + k, n);
      store_some(
          out + k, n,
          {{passed(shape.inside(w.val[0], divide), g.val[0]), passed(shape.inside(w.val[1], divide4), g.val[1])}});
    };
    const auto sixteen = [=](std::size_t k, const auto& divide) {
      for (std::size_t i = k; i < k + 16; i += 4)
        vst1q_f32(out + i, passed(shape.inside(vld1q_f32(x + i), divide), vld1q_f32(gradient + i)));
    };
    each_run<std::is_same_v<Shape, Integers>, true>(r, Quotient::outer, sixteen, eight);
  });
}

inline constexpr Table table{"neon",   supported,  ranges,        absolute_sum,    widen_scales, widen_coded_scales,
                             quantize, dequantize, fake_quantize, straight_through};
inline constexpr Table table_dot{"neondot",          supported_dot, ranges,     absolute_sum,  widen_scales,
                                 widen_coded_scales, quantize,      dequantize, fake_quantize, straight_through};

}  // namespace fewbit::kernel::neon
#endif
