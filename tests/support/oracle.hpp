#pragma once
// What the library must compute, worked out a second time: slowly, in double, from the published formulas. Rule:
// nothing of fewbit is included here, so that no mistake can be made in both places.
//
// Where the contract speaks of float arithmetic, an operation is done in double and rounded once more: for one
// +, -, * or / of floats the second rounding changes nothing, because 53 >= 2 * 24 + 2.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace oracle {

// The binary formats a scale can be stored in: p digits, multiples of 2^lowest, nothing above `most`.
struct Format {
  int digits, lowest;
  double most;
  double smallest_normal() const { return std::ldexp(1., lowest + digits - 1); }
};
inline constexpr Format f32{24, -149, 0x1.fffffep127}, f16{11, -24, 65504.}, bf16{8, -133, 0x1.fep127};

// x as a whole number of units in the last place that it would have in the format, and the size of that unit.
inline double unit(double x, const Format& f) {
  return std::ldexp(1., std::max(x == 0 ? f.lowest : std::ilogb(x) - f.digits + 1, f.lowest));
}

// Nearest, half to even; infinite beyond the format.
inline double nearest(double x, const Format& f) {
  if (!std::isfinite(x)) return x;
  const double u = unit(x, f), r = std::nearbyint(x / u) * u;  // u is a power of two: exact
  return std::fabs(r) > f.most ? std::copysign(std::numeric_limits<double>::infinity(), x) : r;
}

inline float to_float(double x) { return static_cast<float>(nearest(x, f32)); }
inline float add(float a, float b) { return to_float(static_cast<double>(a) + static_cast<double>(b)); }
inline float subtract(float a, float b) { return to_float(static_cast<double>(a) - static_cast<double>(b)); }
inline float multiply(float a, float b) { return to_float(static_cast<double>(a) * static_cast<double>(b)); }
inline float divide(float a, float b) { return to_float(static_cast<double>(a) / static_cast<double>(b)); }

// A scale as it is stored: nearest even, but what would be subnormal goes away from zero.
inline double stored(double x, const Format& f) {
  if (x == 0 || std::fabs(x) >= f.smallest_normal()) return nearest(x, f);
  const double u = std::ldexp(1., f.lowest);
  return std::copysign(std::ceil(std::fabs(x) / u) * u, x);
}

// Infinite where the stored type overflows.
inline float stored_scale(double exact, const Format& f) {
  const double most = f32.most, in_float = std::clamp(stored(exact, f32), -most, most);
  return static_cast<float>(stored(in_float, f));
}

struct Affine {
  float scale = 1, zero = 0;
};

enum class Kind { narrow, full, signed_scale, asymmetric, asymmetric_with_zero, table };

// One of the library's grids, described and not called.
struct Grid {
  Kind kind = Kind::narrow;
  int bits = 4;
  std::vector<float> table{};
  double reach = 0;  // of a table; 0 stands for its largest |level|

  bool uniform() const { return kind != Kind::table; }
  int half() const { return 1 << (bits - 1); }
  int count() const {
    if (!uniform()) return static_cast<int>(table.size());
    return kind == Kind::narrow && bits > 1 ? 2 * half() - 1 : 2 * half();
  }
  float level(int code) const {
    if (!uniform()) return table[static_cast<std::size_t>(code)];
    if (kind == Kind::asymmetric || kind == Kind::asymmetric_with_zero) return static_cast<float>(code);
    return static_cast<float>(code - (kind == Kind::narrow && bits > 1 ? half() - 1 : half()));
  }
  float first() const { return level(0); }
  float last() const { return level(count() - 1); }
};

inline int bits_for(std::size_t levels) {
  int bits = 1;
  while ((std::size_t{1} << bits) < levels) ++bits;
  return bits;
}

// The range of weights lo < hi on a grid, with the scale as it is stored. (One bit of a symmetric grid is the
// signed grid, whatever its flavour.)
inline Affine fit(double lo, double hi, const Grid& g, const Format& f) {
  const double most = std::max(std::fabs(lo), std::fabs(hi));
  switch (g.bits == 1 && (g.kind == Kind::narrow || g.kind == Kind::full) ? Kind::signed_scale : g.kind) {
    case Kind::narrow: return {stored_scale(most / (g.half() - 1), f), 0};
    case Kind::full: return {stored_scale(most / ((2. * g.half() - 1) / 2), f), 0};
    case Kind::signed_scale: return {stored_scale((std::fabs(lo) < std::fabs(hi) ? hi : lo) / -g.half(), f), 0};
    case Kind::table: {
      double reach = g.reach;
      if (reach == 0)
        for (const float l : g.table) reach = std::max(reach, std::fabs(static_cast<double>(l)));
      return {stored_scale(most / reach, f), 0};
    }
    case Kind::asymmetric:
    case Kind::asymmetric_with_zero: break;
  }
  const bool stretched = g.kind == Kind::asymmetric_with_zero;
  if (stretched) lo = std::min(lo, 0.), hi = std::max(hi, 0.);
  const double top = g.count() - 1;
  const float scale = stored_scale((hi - lo) / top, f);
  const double zero = std::nearbyint(static_cast<double>(divide(static_cast<float>(-lo), scale)));
  return {scale, static_cast<float>(stretched ? std::clamp(zero, 0., top) : zero) + 0.f};
}

// The affine as it is stored: near the end of the floats the scale gives way, to the largest of its type with which
// the outermost levels do not decode beyond the largest float.
inline Affine settled(Affine a, const Grid& g, const Format& f) {
  const auto distance = [&](double level) {
    return std::fabs(static_cast<double>(to_float(level - static_cast<double>(a.zero))));
  };
  const double reach = std::max(distance(static_cast<double>(g.first())), distance(static_cast<double>(g.last())));
  const double limit = f32.most / reach;
  if (!std::isfinite(a.scale) || std::fabs(static_cast<double>(a.scale)) <= limit) return a;
  const double u = unit(limit, f);
  return {static_cast<float>(std::copysign(std::floor(limit / u) * u, static_cast<double>(a.scale))), a.zero};
}

// The sign of u - (a + b) / 2, exactly: a + b is a double and what that double lost.
inline int side_of_midpoint(float u, float a, float b) {
  const double x = a, y = b, sum = x + y, part = sum - x, lost = (x - (sum - part)) + (y - part);
  const double twice = 2 * static_cast<double>(u);
  if (twice != sum) return twice > sum ? 1 : -1;
  return lost < 0 ? 1 : lost > 0 ? -1 : 0;
}

// The integer a weight is rounded to, which may lie beyond the levels.
inline double rounded(float w, Affine a) {
  const double whole = std::nearbyint(static_cast<double>(a.zero));
  const float rest = static_cast<float>(static_cast<double>(a.zero) - whole);
  const auto whole_quotient = static_cast<float>(std::nearbyint(static_cast<double>(add(divide(w, a.scale), rest))));
  return static_cast<double>(add(whole_quotient, static_cast<float>(whole)));
}

inline unsigned code(float w, Affine a, const Grid& g) {
  if (g.uniform()) {
    const double first = static_cast<double>(g.first()), last = static_cast<double>(g.last());
    return static_cast<unsigned>(std::clamp(rounded(w, a), first, last) - first);
  }
  const float u = add(divide(w, a.scale), a.zero);
  unsigned best = 0;
  while (best + 1 < g.table.size() && side_of_midpoint(u, g.table[best], g.table[best + 1]) > 0) ++best;
  return best;
}

// Whether the levels cover w: its code needs no clamp; on a table, half a step beyond the outermost level and no more.
// An infinity is never covered.
inline bool inside(float w, Affine a, const Grid& g) {
  if (g.uniform())
    return rounded(w, a) >= static_cast<double>(g.first()) && rounded(w, a) <= static_cast<double>(g.last());
  const double u = static_cast<double>(add(divide(w, a.scale), a.zero));
  const auto half_step_outside = [&](std::size_t outer, std::size_t inner) {
    const double x = 1.5 * static_cast<double>(g.table[outer]) - 0.5 * static_cast<double>(g.table[inner]);
    return static_cast<double>(to_float(std::clamp(x, -f32.most, f32.most)));
  };
  const std::size_t last = g.table.size() - 1;
  return u >= half_step_outside(0, 1) && u <= half_step_outside(last, last - 1);
}

// scale * (level - zero); a difference of zero gives +0 whatever the sign of the scale.
inline float decode(unsigned c, Affine a, const Grid& g) {
  const float difference = subtract(g.level(static_cast<int>(c)), a.zero);
  return difference == 0 ? 0.f : multiply(a.scale, difference);
}

// Code k at bit k * bits, lowest bit first.
inline std::vector<std::uint8_t> pack(const std::vector<unsigned>& codes, int bits) {
  std::vector<std::uint8_t> bytes((codes.size() * static_cast<std::size_t>(bits) + 7) / 8, 0);
  std::size_t at = 0;
  for (const unsigned c : codes)
    for (int b = 0; b < bits; ++b, ++at)
      if ((c >> b) & 1u) bytes[at / 8] = static_cast<std::uint8_t>(bytes[at / 8] + (1 << (at % 8)));
  return bytes;
}

// How far w / scale may lie from (level - zero) for a weight inside the range: half a step, and the rounding of
// the one division. The library states scale / 2 * (1 + 2^-22), which is this for quotients up to 2; a quotient
// near 100 has a unit of 2^-17, and no float division can tell on which side of a tie it fell.
inline double half_step(double quotient) { return 0.5 + std::fabs(quotient) * 0x1p-24; }

}  // namespace oracle
