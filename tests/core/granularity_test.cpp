// Granularity: which weights share a scale, and what cannot be asked for.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include <fewbit/core/granularity.hpp>

#include <support/numbers.hpp>
#include <support/tally.hpp>

using fewbit::Granularity;
using fewbit::ScaleType;

TEST_CASE("a granularity is a tile, 0 standing for the whole extent", "[granularity]") {
  static_assert(fewbit::per_group(128).cols == 128);  // a constant of the program
  CHECK(fewbit::per_tensor() == Granularity{0, 0, ScaleType::f32});
  CHECK(fewbit::per_channel() == Granularity{1, 0, ScaleType::f32});
  CHECK(fewbit::per_column() == Granularity{0, 1, ScaleType::f32});
  CHECK(fewbit::per_group(32) == Granularity{1, 32, ScaleType::f32});
  CHECK(fewbit::per_block(4, 8) == Granularity{4, 8, ScaleType::f32});
}

TEST_CASE("every granularity takes the type its scales are stored in", "[granularity]") {
  for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    CHECK(fewbit::per_tensor(t).scale == t);
    CHECK(fewbit::per_channel(t).scale == t);
    CHECK(fewbit::per_column(t).scale == t);
    CHECK(fewbit::per_group(7, t).scale == t);
    CHECK(fewbit::per_block(7, 3, t).scale == t);
  }
}

TEST_CASE("a scale is rounded to its type, to nearest even, and a subnormal one away from zero", "[granularity]") {
  support::Tally tally;
  support::NumPy random(31);
  constexpr double most = std::numeric_limits<float>::max();
  struct Type {
    ScaleType type;
    oracle::Format format;
    double smallest;
  };
  for (const auto& [t, format, smallest] : {Type{ScaleType::f32, oracle::f32, 0x1p-149},
                                            {ScaleType::f16, oracle::f16, 0x1p-24},
                                            {ScaleType::bf16, oracle::bf16, 0x1p-133}}) {
    CHECK(fewbit::bit_cast<std::uint32_t>(fewbit::round_scale(0., t)) == 0);
    CHECK(fewbit::round_scale(-most, ScaleType::f32) == -std::numeric_limits<float>::max());
    CHECK(fewbit::round_scale(most, ScaleType::f32) == std::numeric_limits<float>::max());
    CHECK(std::isinf(fewbit::round_scale(std::nextafter(-most, -INFINITY) * 1.5, t)));
    for (int trial = 0; trial < 20'000; ++trial) {
      const double x = std::ldexp(random.randn(), static_cast<int>(random.below(300)) - 155);
      const double rounded = fewbit::round_scale(x, t), size = std::fabs(x);
      tally.check(rounded == -static_cast<double>(fewbit::round_scale(-x, t)), name(t), ": ", x, " is not mirrored");
      if (size >= static_cast<double>(fewbit::first_normal(t))) {
        const double nearest = oracle::nearest(x, format);
        tally.check(rounded == nearest, name(t), ": ", x, " is rounded to ", rounded, " for ", nearest);
      } else {
        tally.check(std::fabs(rounded) == smallest * std::ceil(size / smallest), name(t), ": ", x, " is rounded to ",
                    rounded);
      }
    }
  }
  tally.require(3 * 40'000);
}

TEST_CASE("the largest scale whose products stay finite is that, to the last digit", "[granularity]") {
  support::Tally tally;
  support::NumPy random(32);
  const auto is_finite = [](float scale, double reach) {
    return static_cast<double>(scale) * reach <= static_cast<double>(std::numeric_limits<float>::max());
  };
  for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16})
    for (int trial = 0; trial < 5'000; ++trial) {
      const double reach =
          trial < 300 ? trial + 1 : std::ldexp(1 + random.random_sample(), static_cast<int>(random.below(100)));
      const float scale = fewbit::largest_scale(reach, t);
      const std::uint32_t unit = t == ScaleType::f32 ? 1u : t == ScaleType::bf16 ? 1u << 16 : 1u << 13;
      const float next = fewbit::bit_cast<float>(fewbit::bit_cast<std::uint32_t>(scale) + unit);
      tally.check(fewbit::bit_cast<std::uint32_t>(scale) % unit == 0, name(t), ": ", scale, " has too many digits");
      tally.check(is_finite(scale, reach), name(t), ": ", scale, " times ", reach, " is too large");
      tally.check(!is_finite(next, reach), name(t), ": ", next, " times ", reach, " would do");
    }
  tally.require(3 * 15'000);
}

TEST_CASE("a group or block without extent is refused, by name and value", "[granularity][bad-input][class-16]") {
  CHECK_THROWS_AS(fewbit::per_group(0), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::per_group(-1), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::per_block(0, 4), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::per_block(4, 0), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::per_block(-4, 4), std::invalid_argument);
  try {
    fewbit::per_group(-17);
    FAIL("a group of -17 was accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    CHECK(what.rfind("fewbit: ", 0) == 0);
    CHECK(what.find("group") != std::string::npos);
    CHECK(what.find("-17") != std::string::npos);
  }
}

TEST_CASE("room to work in is counted without an overflow, or refused", "[granularity][bad-input][class-23]") {
  using fewbit::Index;
  constexpr int digits = std::numeric_limits<Index>::digits;
  constexpr Index most = std::numeric_limits<Index>::max(), half = Index{1} << digits / 2;
  static_assert(fewbit::room_for(3, 5) == 15 && fewbit::room_for(most, 0) == 0 && fewbit::room_for(0, most) == 0);
  CHECK(fewbit::room_for(most / 8, 1) == static_cast<std::size_t>(most / 8));
  CHECK(fewbit::room_for(half / 4, half / 2) == static_cast<std::size_t>(half / 4 * (half / 2)));
  CHECK_THROWS_AS(fewbit::room_for(most / 8 + 1, 1), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::room_for(1, most), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::room_for(most, most), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::room_for(2 * half, 2 * half), std::invalid_argument);  // 0, if it were only multiplied
  try {
    static_cast<void>(fewbit::room_for(half, 4 * half));
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    CHECK(what.rfind("fewbit: ", 0) == 0);
    CHECK(what.find(std::to_string(half) + " times " + std::to_string(4 * half)) != std::string::npos);
  }
}
