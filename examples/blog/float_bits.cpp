// How Floating-Point Numbers Actually Work: sign, exponent and mantissa of three formats, and what they can hold.
#include <fewbit/fewbit.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "../support/figures.hpp"

namespace {

using example::fixed;
using example::joined;
using example::scientific;

// A format is known by how it encodes and decodes; its field widths and its range are found by asking.
struct Format {
  std::string name;
  std::uint32_t (*encode)(float);
  float (*decode)(std::uint32_t);
  int bits;

  std::uint32_t infinity() const { return encode(std::numeric_limits<float>::infinity()); }
  float largest() const { return decode(infinity() - 1); }
  int mantissa_bits() const { return -std::ilogb(decode(encode(1) + 1) - 1); }
  int exponent_bits() const { return bits - 1 - mantissa_bits(); }
};

const Format float32{"float32", [](float x) { return std::bit_cast<std::uint32_t>(x); },
                     [](std::uint32_t u) { return std::bit_cast<float>(u); }, 32};
const Format float16{"float16", [](float x) -> std::uint32_t { return fewbit::float_to_half(x); },
                     [](std::uint32_t u) { return fewbit::half_to_float(static_cast<std::uint16_t>(u)); }, 16};
const Format bfloat16{"bfloat16", [](float x) -> std::uint32_t { return fewbit::float_to_bfloat16(x); },
                      [](std::uint32_t u) { return fewbit::bfloat16_to_float(static_cast<std::uint16_t>(u)); }, 16};

// A pattern peeled apart, and its value put together again from the fields by the rules of IEEE 754.
struct Fields {
  Fields(const Format& format, std::uint32_t pattern) {
    const int m = format.mantissa_bits(), e = format.exponent_bits();
    sign = (pattern >> (m + e)) != 0;
    exponent = (pattern >> m) & ((1u << e) - 1);
    mantissa = pattern & ((1u << m) - 1);
    mantissa_bits = m, exponent_bits = e;
    const int bias = (1 << (e - 1)) - 1;
    subnormal = exponent == 0;
    special = exponent == (1u << e) - 1;
    power = subnormal ? 1 - bias : static_cast<int>(exponent) - bias;
    fraction = (subnormal ? 0 : 1) + std::ldexp(mantissa, -m);
  }

  double value() const {
    const double magnitude = !special        ? std::ldexp(fraction, power)
                             : mantissa == 0 ? std::numeric_limits<double>::infinity()
                                             : std::numeric_limits<double>::quiet_NaN();
    return sign ? -magnitude : magnitude;
  }

  bool sign = false, subnormal = false, special = false;
  std::uint32_t exponent = 0, mantissa = 0;
  int exponent_bits = 0, mantissa_bits = 0, power = 0;
  double fraction = 0;
};

std::string binary(std::uint32_t value, int bits) {
  std::string text;
  for (int k = bits - 1; k >= 0; --k) text += (value >> k & 1u) != 0 ? '1' : '0';
  return text;
}

// What the page's float_to_bits(value, format) prints, line by line.
std::vector<std::string> float_to_bits(float value, const Format& format) {
  const Fields f(format, format.encode(value));
  const std::string minus = f.sign ? "-" : "", power = joined("2^", f.power), fraction = fixed(f.fraction, 6);
  return {joined("Value:    ", example::general(static_cast<double>(value), 9)),
          joined("Format:   ", format.name),
          joined("Sign:     ", f.sign ? "1 (−)" : "0 (+)"),
          joined("Exponent: ", binary(f.exponent, f.exponent_bits), " (", power, ")"),
          joined("Mantissa: ", binary(f.mantissa, f.mantissa_bits), " (", fraction, ")"),
          joined("Decoded:  ", minus, power, " × ", fraction, " = ", fixed(f.value(), 6))};
}

std::string power_of_ten(double x) { return joined("10^", std::lround(std::log10(x))); }

std::string plus_minus(double x) {
  const int exponent = static_cast<int>(std::floor(std::log10(x)));
  if (exponent >= 6) return joined("±", fixed(x / std::pow(10, exponent), 1), " × 10^", exponent);
  std::string digits = fixed(x, 0);
  for (int k = static_cast<int>(digits.size()) - 3; k > 0; k -= 3) digits.insert(static_cast<std::size_t>(k), 1, ',');
  return joined("±", digits);
}

std::string span(const fewbit::Levels& levels) {
  return joined(fixed(static_cast<double>(levels.first()), 0), " to ", fixed(static_cast<double>(levels.last()), 0));
}

// Patterns, out of `count` spread evenly over the format, whose fields give the very value the format decodes to.
int agreeing_patterns(const Format& format, int count) {
  int agreed = 0;
  const auto step = static_cast<std::uint32_t>((std::uint64_t{1} << format.bits) / static_cast<std::uint64_t>(count));
  for (int k = 0; k < count; ++k) {
    // An odd offset in every step, so that all bits of a 32-bit pattern take both values.
    const std::uint32_t pattern =
        static_cast<std::uint32_t>(k) * step + (step > 1 ? static_cast<std::uint32_t>(k) % step : 0);
    const double built = Fields(format, pattern).value(), decoded = static_cast<double>(format.decode(pattern));
    agreed += (std::isnan(built) && std::isnan(decoded)) ||
              (built == decoded && std::signbit(built) == std::signbit(decoded));
  }
  return agreed;
}

}  // namespace

int main() {
  example::Figures figures("Blog, \"How Floating-Point Numbers Actually Work\"");

  const std::vector<std::string> printed{"Value:    13.5",
                                         "Format:   float32",
                                         "Sign:     0 (+)",
                                         "Exponent: 10000010 (2^3)",
                                         "Mantissa: 10110000000000000000000 (1.687500)",
                                         "Decoded:  2^3 × 1.687500 = 13.500000"};
  const auto lines = float_to_bits(13.5f, float32);
  for (std::size_t k = 0; k < printed.size(); ++k)
    figures.published(joined("float_to_bits(13.5), line ", k + 1), printed[k], lines[k]);

  const struct {
    const char* name;
    const Format& format;
    const char *bits, *exponent, *mantissa, *range;
  } floats[] = {{"FP32", float32, "32", "8", "23", "±3.4 × 10^38"},
                {"FP16", float16, "16", "5", "10", "±65,504"},
                {"BF16", bfloat16, "16", "8", "7", "±3.4 × 10^38"}};
  for (const auto& row : floats) {
    const std::string name = row.name;
    figures.published(name + " bits", row.bits, std::to_string(row.format.bits));
    figures.published(name + " exponent", row.exponent, std::to_string(row.format.exponent_bits()));
    figures.published(name + " mantissa", row.mantissa, std::to_string(row.format.mantissa_bits()));
    figures.published(name + " range", row.range, plus_minus(static_cast<double>(row.format.largest())));
  }
  const fewbit::Levels int8 = fewbit::Symmetric(8).full_range().levels(),
                       int4 = fewbit::Symmetric(4).full_range().levels();
  figures.published("INT8 bits", "8", std::to_string(int8.bits()));
  figures.published("INT8 range", "-128 to 127", span(int8));
  figures.published("INT8 possible values", "256", std::to_string(int8.count()));
  figures.published("INT4 bits", "4", std::to_string(int4.bits()));
  figures.published("INT4 range", "-8 to 7", span(int4));
  figures.published("INT4 possible values", "16", std::to_string(int4.count()));

  const auto gap_above = [](float x) {
    return static_cast<double>(std::nextafter(x, 2 * x + 1)) - static_cast<double>(x);
  };
  figures.published("float32 spacing near 0", "10^-45", power_of_ten(gap_above(0)));
  figures.published("float32 spacing near 1000", "10^-4", power_of_ten(gap_above(1000)));

  const auto lines_of = [](const std::string& format, const std::string& exponent, const std::string& mantissa) {
    return std::vector<std::string>{"Value:    13.5",
                                    joined("Format:   ", format),
                                    "Sign:     0 (+)",
                                    joined("Exponent: ", exponent, " (2^3)"),
                                    joined("Mantissa: ", mantissa, " (1.687500)"),
                                    "Decoded:  2^3 × 1.687500 = 13.500000"};
  };
  const auto half = lines_of("float16", "10010", "1011000000"), half_lines = float_to_bits(13.5f, float16);
  const auto brain = lines_of("bfloat16", "10000010", "1011000"), brain_lines = float_to_bits(13.5f, bfloat16);
  for (std::size_t k = 0; k < half.size(); ++k)
    figures.listing(joined("float_to_bits(13.5, \"float16\"), line ", k + 1), half[k], half_lines[k]);
  for (std::size_t k = 0; k < brain.size(); ++k)
    figures.corrected(joined("float_to_bits(13.5, \"bfloat16\"), line ", k + 1), "an error", brain[k], brain_lines[k],
                      k + 1 == brain.size() ? "The listing knows float32 and float16 only." : "");

  figures.corrected("float32 spacing near 0", "10^-45", "1.401298e-45", scientific(gap_above(0), 6));
  figures.corrected("float32 spacing near 1000", "10^-4", "6.103516e-05", scientific(gap_above(1000), 6),
                    "The page gives orders of magnitude; these are the gaps.");
  // The document's column is what its formula (-1)^sign * 2^(exponent - bias) * (1 + mantissa) gives for the pattern.
  const struct {
    const Format& format;
    const char *zero, *smallest[2], *largest[2], *infinity, *nan;
  } special[] = {{float32,
                  "5.87747175e-39",
                  {"5.87747245e-39", "1.40129846e-45"},
                  {"1.17549428e-38", "1.17549421e-38"},
                  "3.40282367e+38",
                  "5.10423550e+38"},
                 {float16,
                  "3.05175781e-05",
                  {"3.05473804e-05", "5.96046448e-08"},
                  {"6.10053539e-05", "6.09755516e-05"},
                  "6.55360000e+04",
                  "9.83040000e+04"},
                 {bfloat16,
                  "5.87747175e-39",
                  {"5.92338950e-39", "9.18354962e-41"},
                  {"1.17090258e-38", "1.16631080e-38"},
                  "3.40282367e+38",
                  "5.10423550e+38"}};
  for (const auto& s : special) {
    const auto value = [&](std::uint32_t pattern) { return scientific(Fields(s.format, pattern).value(), 8); };
    const std::uint32_t one = 1, infinity = s.format.infinity(), sign = one << (s.format.bits - 1),
                        quiet = one << (s.format.mantissa_bits() - 1);
    figures.corrected(s.format.name + " zero", s.zero, "0.00000000e+00", value(s.format.encode(0)));
    figures.corrected(s.format.name + " smallest subnormal", s.smallest[0], s.smallest[1], value(1));
    figures.corrected(s.format.name + " largest subnormal", s.largest[0], s.largest[1],
                      value((one << s.format.mantissa_bits()) - 1));
    figures.corrected(s.format.name + " infinity", s.infinity, "inf", value(infinity));
    figures.corrected(s.format.name + " minus infinity", joined("-", s.infinity), "-inf", value(infinity | sign));
    figures.corrected(s.format.name + " NaN", s.nan, "nan", value(infinity | quiet));
    figures.corrected(s.format.name + " patterns that decode right", "", "65536 of 65536",
                      joined(agreeing_patterns(s.format, 65536), " of 65536"));
  }
  figures.corrected(
      "exponent fields that are special", "none", "2",
      std::to_string(int{Fields(float32, 0).subnormal} + int{Fields(float32, float32.infinity()).special}),
      "The listing puts an implicit 1 before every mantissa and a power of two behind every exponent.");
  return figures.close();
}
