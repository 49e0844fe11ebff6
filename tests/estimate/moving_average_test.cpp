// A range that follows its observations, against the recurrence in double.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/estimate/moving_average.hpp>

#include <support/blocks.hpp>
#include <support/catch.hpp>

namespace {

using fewbit::MovingAverage;
using fewbit::Range;
using support::Tally;

}  // namespace

TEST_CASE("the first observation is taken whole, later ones by the constant", "[estimate][moving-average]") {
  MovingAverage ranges(0.25);
  ranges.observe(std::vector<float>{1, -3, 2});
  CHECK(ranges.range() == Range{-3, 2});
  ranges.observe(Range{1, 4});
  CHECK(ranges.range() == Range{-2, 2.5f});
  ranges.observe(std::vector<float>{});
  CHECK(ranges.range() == Range{-2, 2.5f});
  ranges.observe(Range{-2, -2});
  CHECK(ranges.range() == Range{-2, 1.375f});
}

TEST_CASE("the average is the recurrence's after any number of batches", "[estimate][moving-average]") {
  Tally tally;
  for (const double constant : {1e-6, 0.01, 0.1, 0.5, 0.9, 1.}) {
    MovingAverage ranges(constant);
    double lo = 0, hi = 0;
    for (std::uint32_t k = 0; k < 500; ++k) {
      const std::vector<float> batch = support::normal_weights(1 + k % 130, k);
      ranges.observe(batch);
      const Range r = support::range_of(batch);
      lo = k == 0 ? static_cast<double>(r.lo) : lo + constant * (static_cast<double>(r.lo) - lo);
      hi = k == 0 ? static_cast<double>(r.hi) : hi + constant * (static_cast<double>(r.hi) - hi);
      const Range got = ranges.range();
      tally.check(std::fabs(static_cast<double>(got.lo) - lo) <= 1e-7 * std::fabs(lo) + 1e-9 &&
                      std::fabs(static_cast<double>(got.hi) - hi) <= 1e-7 * std::fabs(hi) + 1e-9,
                  constant, ", batch ", k, ": ", got.lo, " to ", got.hi, " for ", lo, " to ", hi);
      if (constant == 1) tally.check(got == r, "a constant of 1 forgets all but the last batch");
    }
  }
  tally.require(6 * 500);
}

TEST_CASE("ranges at the end of the floats stay finite", "[estimate][moving-average][bad-input]") {
  constexpr float most = std::numeric_limits<float>::max();
  MovingAverage ranges(1);
  ranges.observe(Range{-most, most});
  ranges.observe(Range{-1e-45f, 1e-45f});
  CHECK(ranges.range() == Range{-1e-45f, 1e-45f});
  ranges = MovingAverage(0.5);
  ranges.observe(Range{-most, most});
  ranges.observe(Range{most, most});
  CHECK(ranges.range() == Range{0, most});
  CHECK_FALSE(std::signbit(ranges.range().lo));
}

TEST_CASE("as an estimator it fits its own range to every block", "[estimate][moving-average]") {
  MovingAverage ranges;
  ranges.observe(Range{-1.5f, 4});
  Tally tally;
  for (const support::GridCase& c : support::estimator_grids()) {
    const fewbit::Affine wanted = support::stored_fit(c.grid, {-1.5f, 4}, fewbit::ScaleType::f16);
    for (const support::BlockCase& b : support::blocks())
      tally.check(support::estimate(ranges, b.weights, c.grid, fewbit::ScaleType::f16) == wanted, c.name, ", ", b.name);
    std::visit([&](const auto& g) { tally.check(ranges(Range{-9, 9}, g) == g.fit({-1.5f, 4}), c.name); }, c.grid);
  }
  tally.require(55 * 35);
}

TEST_CASE("nothing observed, nothing to observe, and constants that make no sense",
          "[estimate][moving-average][bad-input]") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const double bad : {0., -0.5, 1.5, static_cast<double>(nan), static_cast<double>(infinity)}) {
    INFO(bad);
    CHECK_THROWS_AS(MovingAverage(bad), std::invalid_argument);
  }
  MovingAverage ranges(0.1);
  const auto says = [](auto&& f) {
    try {
      f();
    } catch (const std::exception& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK_THROWS_AS(ranges.range(), std::invalid_argument);
  CHECK_THROWS_AS(ranges(Range{-1, 1}, fewbit::Symmetric(4)), std::invalid_argument);
  CHECK(says([&] { (void)ranges.range(); }).find("nothing was observed") != std::string::npos);
  ranges.observe(std::vector<float>{});
  CHECK_THROWS_AS(ranges.range(), std::invalid_argument);

  ranges.observe(Range{-1, 1});
  for (const float bad : {nan, infinity, -infinity}) {
    std::vector<float> batch = support::normal_weights(100, 33);
    batch[71] = bad;
    CHECK_THROWS_AS(ranges.observe(batch), std::domain_error);
    CHECK(says([&] { ranges.observe(batch); }).find("observed value 71 is") != std::string::npos);
    CHECK_THROWS_AS(ranges.observe(Range{-1, bad}), std::domain_error);
    CHECK_THROWS_AS(ranges.observe(Range{bad, 1}), std::domain_error);
  }
  CHECK_THROWS_AS(ranges.observe(Range{1, -1}), std::domain_error);
  CHECK(ranges.range() == Range{-1, 1});  // as it was
}
