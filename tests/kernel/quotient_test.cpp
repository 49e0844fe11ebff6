// The proof in kernel/quotient.hpp, carried out: every pair of weight and scale whose quotient lies so near to the
// boundary between two roundings that the corrected product could fall on the wrong side.

#include <fewbit/kernel/quotient.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include <support/catch.hpp>

namespace {

using fewbit::kernel::Quotient;

// The inverse of an odd number modulo 2^32, by Newton's iteration.
std::uint32_t inverse_of(std::uint32_t odd) {
  std::uint32_t x = odd;
  for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
  return x;
}

Quotient unclamped(float scale) { return {scale, 1 / scale, -0x1p100f, 0x1p100f}; }

}  // namespace

TEST_CASE("a corrected product is the quotient, wherever the quotient is near a rounding boundary") {
  // A 2^c - N B = +-K, with A and B of 24 bits and N odd of 25: A / B is K / (2 B) ulp from the boundary N / 2^c.
  std::uint64_t tried = 0, wrong = 0, uncorrected = 0;
  for (std::uint32_t b = 1u << 23; b < 1u << 24; ++b) {
    const int zeros = std::countr_zero(b);
    if (zeros > 2) continue;  // then K is a multiple of 8
    const Quotient quotient = unclamped(static_cast<float>(b));
    const std::uint32_t odd_inverse = inverse_of(b >> zeros);
    for (std::uint32_t k = 1u << zeros; k <= 6; k += 2u << zeros)
      for (int c = 24; c <= 25; ++c)
        for (const bool above : {false, true}) {
          const int free_bits = c - zeros;  // N is determined modulo 2^free_bits
          const std::uint32_t modulus_mask = (1u << free_bits) - 1, step = (k >> zeros) * odd_inverse;
          for (std::uint64_t n = (above ? 0u - step : step) & modulus_mask; n < 1u << 25; n += 1u << free_bits) {
            if (n < 1u << 24 || n % 2 == 0) continue;
            const std::uint64_t a = (above ? n * b + k : n * b - k) >> c;
            if (a < 1u << 23 || a >= 1u << 24 || (c == 24) != (a >= b)) continue;
            const float w = static_cast<float>(a);
            ++tried;
            wrong += quotient(w) != w / quotient.scale;
            uncorrected += w * quotient.inverse != w / quotient.scale;
          }
        }
  }
  INFO(tried << " pairs");
  CHECK(tried > 20'000'000);
  CHECK(uncorrected > tried / 4);  // the pairs are as hard as they should be
  CHECK(wrong == 0);
}

TEST_CASE("a corrected product is the quotient at every scale and size that it is used for") {
  std::mt19937 random(7);
  int wrong = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    const float mantissa = 1 + static_cast<float>(random() >> 9) * 0x1p-23f;
    const float scale = std::ldexp(random() % 2 ? mantissa : -mantissa, static_cast<int>(random() % 120) - 60);
    const float target = static_cast<float>(static_cast<int>(random() % 131072) - 65536) * 0.5f;
    const float w = std::nextafter(target * scale, random() % 2 ? 1e38f : -1e38f);
    const Quotient quotient = unclamped(scale);
    if (std::fabs(w / scale) < 0x1p-40f) continue;
    wrong += quotient(w) != w / scale;
  }
  CHECK(wrong == 0);
}
