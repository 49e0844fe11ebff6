// The two 16-bit formats, judged by rounding in double. Every value, every midpoint, and both neighbours of each.

#include <cmath>
#include <cstdint>
#include <limits>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/core/half.hpp>

#include <support/oracle.hpp>
#include <support/tally.hpp>

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// What a 16-bit pattern stands for, read off the definition: sign, exponent, fraction.
double value_of(unsigned bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = static_cast<int>(bits) & ((1 << fraction_bits) - 1);
  const double sign = bits & 0x8000u ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return fraction ? std::nan("") : sign * static_cast<double>(infinity);
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

bool same_bits(float a, float b) { return fewbit::bit_cast<std::uint32_t>(a) == fewbit::bit_cast<std::uint32_t>(b); }

// All patterns of a format decode to their definition and encode back to themselves (a NaN: to some NaN).
template <class Decode, class Encode>
void every_pattern(Decode decode, Encode encode, int exponent_bits, int fraction_bits) {
  support::Tally tally;
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const double expected = value_of(bits, exponent_bits, fraction_bits);
    const float decoded = decode(static_cast<std::uint16_t>(bits));
    const std::uint16_t back = encode(decoded);
    if (std::isnan(expected)) {
      tally.check(std::isnan(decoded) && std::isnan(decode(back)), "pattern ", bits, " should stay NaN");
    } else {
      tally.check(same_bits(decoded, static_cast<float>(expected)), "pattern ", bits, " decodes to ", decoded);
      tally.check(back == bits, "pattern ", bits, " comes back as ", back);
    }
  }
  tally.require(120'000);
}

// Around every value and every midpoint between two values, the encoder picks what rounding in double picks.
template <class Decode, class Encode>
void every_neighbourhood(Decode decode, Encode encode, int exponent_bits, int fraction_bits,
                         const oracle::Format& format) {
  support::Tally tally;
  const auto judge = [&](float x) {
    const double expected = oracle::nearest(static_cast<double>(x), format);
    const float got = decode(encode(x));
    tally.check(static_cast<double>(got) == expected && std::signbit(got) == std::signbit(x), x, " became ", got,
                " where ", expected, " is nearest");
  };
  const unsigned infinite = ((1u << exponent_bits) - 1) << fraction_bits;
  for (unsigned bits = 0; bits < infinite; ++bits) {
    const double low = value_of(bits, exponent_bits, fraction_bits);
    double high = value_of(bits + 1, exponent_bits, fraction_bits);
    if (std::isinf(high)) high = low + oracle::unit(low, format);  // where the next value would have been
    for (const double x : {low, (low + high) / 2, low + (high - low) / 4, high - (high - low) / 4}) {
      const auto f = static_cast<float>(x);
      for (const float y : {std::nextafterf(f, -infinity), f, std::nextafterf(f, infinity)}) judge(y), judge(-y);
    }
  }
  judge(std::numeric_limits<float>::max()), judge(infinity), judge(-infinity);
  judge(std::numeric_limits<float>::denorm_min()), judge(0.f), judge(-0.f);
  tally.require(700'000);
}

}  // namespace

TEST_CASE("every half decodes to its definition and encodes back to itself", "[half]") {
  every_pattern(fewbit::half_to_float, fewbit::float_to_half, 5, 10);
}

TEST_CASE("every bfloat16 decodes to its definition and encodes back to itself", "[half]") {
  every_pattern(fewbit::bfloat16_to_float, fewbit::float_to_bfloat16, 8, 7);
}

TEST_CASE("a float goes to the nearest half, a tie to the even one", "[half]") {
  every_neighbourhood(fewbit::half_to_float, fewbit::float_to_half, 5, 10, oracle::f16);
}

TEST_CASE("a float goes to the nearest bfloat16, a tie to the even one", "[half]") {
  every_neighbourhood(fewbit::bfloat16_to_float, fewbit::float_to_bfloat16, 8, 7, oracle::bf16);
}

TEST_CASE("a NaN of any payload stays a NaN in both formats", "[half]") {
  support::Tally tally;
  for (std::uint32_t payload = 1; payload < 0x800000u; payload += payload < 0x4000u ? 1 : 251) {
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const float nan = fewbit::bit_cast<float>(sign | 0x7f800000u | payload);
      tally.check(std::isnan(fewbit::half_to_float(fewbit::float_to_half(nan))), "half, payload ", payload);
      tally.check(std::isnan(fewbit::bfloat16_to_float(fewbit::float_to_bfloat16(nan))), "bfloat16, payload ", payload);
      // Quiet, with its sign and its first digits: what processors that convert make of it.
      tally.check(fewbit::float_to_half(nan) == (sign >> 16 | 0x7e00u | (payload >> 13 & 0x1ffu)), "half, payload ",
                  payload, " becomes ", fewbit::float_to_half(nan));
    }
  }
  tally.require(100'000);
}

TEST_CASE("the conversions are evaluated by the compiler too", "[half]") {
  static_assert(fewbit::float_to_half(1.f) == 0x3c00 && fewbit::half_to_float(0xc000) == -2.f);
  static_assert(fewbit::float_to_bfloat16(1.f) == 0x3f80 && fewbit::bfloat16_to_float(0xc000) == -2.f);
  CHECK(fewbit::float_to_half(65519.996f) == 0x7bff);
  CHECK(fewbit::float_to_half(65520.f) == 0x7c00);
}

// Minutes: run after a change to the conversions.
TEST_CASE("all 2^32 floats go to the nearest half and bfloat16", "[.long][half]") {
  support::Tally tally;
  std::uint32_t u = 0;
  do {
    const float x = fewbit::bit_cast<float>(u);
    if (std::isnan(x)) continue;
    const double exact = x;
    tally.check(
        static_cast<double>(fewbit::half_to_float(fewbit::float_to_half(x))) == oracle::nearest(exact, oracle::f16), x);
    tally.check(static_cast<double>(fewbit::bfloat16_to_float(fewbit::float_to_bfloat16(x))) ==
                    oracle::nearest(exact, oracle::bf16),
                x);
  } while (++u != 0);
  tally.require(8'000'000'000);
}
