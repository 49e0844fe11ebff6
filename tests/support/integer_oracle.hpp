#pragma once
// What consecutive integers make of a weight, worked out from bit patterns. Rule: integers only, and nothing of fewbit
// or of oracle.hpp: no floating-point unit, rounding mode or flag of a compiler has a say in it.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

namespace integer_oracle {

// A float taken apart: digits * 2^exponent, or an infinity. NaNs have no meaning here.
struct Number {
  bool negative = false, infinite = false;
  std::uint64_t digits = 0;
  int exponent = 0;

  int width() const { return static_cast<int>(std::bit_width(digits)); }
};

inline Number unpack(std::uint32_t bits) {
  const auto biased = static_cast<int>(bits >> 23 & 0xff);
  const std::uint32_t fraction = bits & 0x7fffff;
  return {bits >> 31 != 0, biased == 255, biased == 0 ? fraction : fraction | 0x800000, std::max(biased, 1) - 150};
}

// digits / 2^drop, half to even.
inline std::uint64_t shifted(std::uint64_t digits, int drop) {
  if (drop <= 0) return digits;
  if (drop > 63) return 0;  // digits have at most 63 bits: less than a half
  const std::uint64_t kept = digits >> drop, rest = digits - (kept << drop), half = std::uint64_t{1} << (drop - 1);
  return kept + (rest > half || (rest == half && kept % 2 == 1));
}

// The nearest float. The last of more than 26 digits may be a 1 that stands for all that was cut off behind it.
inline Number rounded(Number x) {
  const int drop = std::max({x.width() - 24, -149 - x.exponent, 0});
  x.digits = shifted(x.digits, drop), x.exponent += drop;
  x.infinite = x.infinite || (x.digits != 0 && x.width() + x.exponent > 128);
  return x;
}

// The same number with as many digits as asked for, of which there are no more now.
inline Number widened(Number x, int width) {
  const int shift = width - x.width();
  x.digits <<= shift, x.exponent -= shift;
  return x;
}

// A float that has been rounded.
inline std::uint32_t pack(Number x) {
  const std::uint32_t sign = x.negative ? 0x80000000u : 0u;
  if (x.infinite) return sign | 0x7f800000u;
  if (x.digits == 0) return sign;
  if (x.width() > 24) x = {x.negative, false, x.digits / 2, x.exponent + 1};  // rounded up to 2^24
  x = widened(x, std::min(24, x.width() + x.exponent + 149));
  const auto digits = static_cast<std::uint32_t>(x.digits);
  return sign | (x.width() < 24 ? digits : static_cast<std::uint32_t>(x.exponent + 150) << 23 | (digits & 0x7fffff));
}

// b is finite and not 0.
inline Number divide(Number a, Number b) {
  const bool negative = a.negative != b.negative;
  if (a.infinite || a.digits == 0) return {negative, a.infinite, 0, 0};
  a = widened(a, 62), b = widened(b, 24);  // a quotient of 38 digits or more
  const std::uint64_t quotient = a.digits / b.digits, cut_off = a.digits % b.digits != 0;
  return rounded({negative, false, quotient | cut_off, a.exponent - b.exponent});
}

inline Number multiply(Number a, Number b) {
  return rounded({a.negative != b.negative, a.infinite || b.infinite, a.digits * b.digits, a.exponent + b.exponent});
}

// At most one is infinite.
inline Number add(Number a, Number b) {
  if (a.infinite || b.infinite) return a.infinite ? a : b;
  if (a.digits == 0 || b.digits == 0) return a.digits == 0 ? b : a;
  a = widened(a, 62), b = widened(b, 62);
  if (a.exponent < b.exponent) std::swap(a, b);
  const int gap = a.exponent - b.exponent;
  // Where digits are cut off, the two are so far apart that no more than one digit cancels: 60 stay before the last.
  const std::uint64_t near = gap < 62 ? b.digits >> gap : 0, cut_off = gap >= 62 || near << gap != b.digits;
  const std::uint64_t other = near | cut_off;
  if (a.negative == b.negative) return rounded({a.negative, false, a.digits + other, a.exponent});
  if (a.digits == other) return {};
  const bool turned = a.digits < other;
  return rounded({a.negative != turned, false, turned ? other - a.digits : a.digits - other, a.exponent});
}

inline Number negated(Number x) {
  x.negative = !x.negative;
  return x;
}

// The nearest integer, half to even.
inline Number whole(Number x) {
  if (x.infinite || x.exponent >= 0) return x;
  return {x.negative, false, shifted(x.digits, -x.exponent), 0};
}

inline Number integer(std::int64_t i) { return {i < 0, false, static_cast<std::uint64_t>(i < 0 ? -i : i), 0}; }

// The integers first .. first + count - 1 as codes 0 .. count - 1, under a scale and a zero-point given as bits.
struct Integers {
  std::int64_t first, count;
  std::uint32_t scale, zero;

  // clamp(rint(w / scale + frac(zero)) + whole(zero)), each operation rounded to a float.
  unsigned code(std::uint32_t w) const {
    const Number z = unpack(zero), z_whole = whole(z), z_rest = add(z, negated(z_whole));
    const Number level = add(whole(add(divide(unpack(w), unpack(scale)), z_rest)), z_whole);
    if (level.infinite || level.width() + level.exponent > 31)
      return static_cast<unsigned>(level.negative ? 0 : count - 1);
    const std::uint64_t size = level.exponent < 0 ? level.digits >> -level.exponent : level.digits << level.exponent;
    const auto value = static_cast<std::int64_t>(size);
    return static_cast<unsigned>(std::clamp((level.negative ? -value : value) - first, std::int64_t{0}, count - 1));
  }

  // The bits of scale * (level - zero), where a difference of 0 gives +0.
  std::uint32_t weight(unsigned c) const {
    const Number difference = add(integer(first + c), negated(unpack(zero)));
    return difference.digits == 0 ? 0 : pack(multiply(unpack(scale), difference));
  }
};

}  // namespace integer_oracle
