// Percentiles of weights against NumPy's rule, worked out on sorted weights in double.

#include <cmath>
#include <stdexcept>
#include <vector>

#include <fewbit/estimate/percentile.hpp>

#include <support/blocks.hpp>
#include <support/catch.hpp>

namespace {

using fewbit::Percentile;
using fewbit::Range;
using support::BlockCase;
using support::GridCase;
using support::Tally;

// numpy.percentile(x, q), method 'linear'.
double percentile(std::vector<double> x, double q) {
  std::sort(x.begin(), x.end());
  const double at = static_cast<double>(x.size() - 1) * q / 100;
  const auto below = static_cast<std::size_t>(at);
  const double above = below + 1 < x.size() ? x[below + 1] : x[below];
  return x[below] + (above - x[below]) * (at - static_cast<double>(below));
}

// The range, or what it is when the cut would leave 0 alone.
Range expected(const std::vector<float>& w, double percent, bool both_tails) {
  const Range r = support::range_of(w);
  std::vector<double> x(w.begin(), w.end());
  double lo, hi;
  if (both_tails) {
    lo = percentile(x, (100 - percent) / 2), hi = percentile(x, 100 - (100 - percent) / 2);
  } else {
    for (double& v : x) v = std::fabs(v);
    const double t = percentile(x, percent);
    lo = std::max(static_cast<double>(r.lo), -t), hi = std::min(static_cast<double>(r.hi), t);
  }
  if (static_cast<float>(lo) == 0 && static_cast<float>(hi) == 0) return r;
  return {static_cast<float>(lo), static_cast<float>(hi)};
}

// Where a percentile lies between two weights is known to 2^-28 of the step between them.
bool close(float got, float wanted, double step) {
  const double difference = std::fabs(static_cast<double>(got) - static_cast<double>(wanted));
  return difference <= 0x1p-23 * std::fabs(static_cast<double>(wanted)) + 4e-9 * step + 0x1p-149;
}

}  // namespace

TEST_CASE("ranges are cut at NumPy's percentiles", "[estimate][percentile]") {
  Tally tally;
  int cut = 0;
  for (const BlockCase& b : support::blocks()) {
    const Range r = support::range_of(b.weights);
    const double step = static_cast<double>(r.hi) - static_cast<double>(r.lo);
    for (const double percent : {1e-3, 12.5, 50., 75., 90., 99., 99.9, 99.99, 100.})
      for (const bool both : {false, true}) {
        const Percentile p = both ? Percentile(percent).both_tails() : Percentile(percent);
        const Range got = support::chosen_range(p, b.weights), wanted = expected(b.weights, percent, both);
        tally.check(close(got.lo, wanted.lo, step) && close(got.hi, wanted.hi, step), b.name, ", ", percent,
                    both ? " of both tails: " : ": ", got.lo, " to ", got.hi, " for ", wanted.lo, " to ", wanted.hi);
        tally.check(got.lo >= r.lo && got.hi <= r.hi && got.lo <= got.hi, b.name, ", ", percent, ": ", got.lo, " to ",
                    got.hi, " is wider than the weights");
        cut += got != r;
      }
  }
  tally.require(55 * 9 * 2 * 2);
  CHECK(cut > 400);
}

TEST_CASE("figures that NumPy prints", "[estimate][percentile]") {
  // numpy.percentile([0, 1, 2, 3, 10], [90, 50, 5, 95]) is 7.2, 2, 0.2, 8.6
  const std::vector<float> w{10, 0, 2, 3, 1};
  CHECK(support::chosen_range(Percentile(90), w) == Range{0, 7.2f});
  CHECK(support::chosen_range(Percentile(50), w) == Range{0, 2});
  CHECK(support::chosen_range(Percentile(90).both_tails(), w) == Range{0.2f, 8.6f});
  CHECK(support::chosen_range(Percentile(), {1, 2, 3, -4}) == Range{-3.997f, 3});
}

TEST_CASE("mirrored weights have the mirrored range", "[estimate][percentile]") {
  Tally tally;
  for (const BlockCase& b : support::blocks()) {
    std::vector<float> turned = b.weights;
    for (float& w : turned) w = -w;
    for (const double percent : {33., 90., 99.9}) {
      for (const Percentile& p : {Percentile(percent), Percentile(percent).both_tails()}) {
        const Range a = support::chosen_range(p, b.weights), m = support::chosen_range(p, turned);
        tally.check(a.lo == -m.hi && a.hi == -m.lo, b.name, ", ", percent);
      }
    }
  }
  tally.require(55 * 6);
}

TEST_CASE("a hundred percent is MinMax, and every grid fits the range that was chosen", "[estimate][percentile]") {
  Tally tally;
  for (const BlockCase& b : support::blocks())
    for (const GridCase& c : support::estimator_grids()) {
      const fewbit::Affine plain = support::stored_fit(c.grid, support::range_of(b.weights));
      tally.check(support::estimate(Percentile(100), b.weights, c.grid) == plain, b.name, ", ", c.name);
      tally.check(support::estimate(Percentile(100).both_tails(), b.weights, c.grid) == plain, b.name, ", ", c.name);
      const Range cut = support::chosen_range(Percentile(80), b.weights);
      tally.check(support::estimate(Percentile(80), b.weights, c.grid, fewbit::ScaleType::f16) ==
                      support::stored_fit(c.grid, cut, fewbit::ScaleType::f16),
                  b.name, ", ", c.name, ", 80");
    }
  tally.require(55 * 35 * 3);
}

TEST_CASE("weights that are nearly all zero keep their range", "[estimate][percentile]") {
  std::vector<float> w(100, 0.f);
  w[40] = 3, w[50] = -2;
  CHECK(support::chosen_range(Percentile(90), w) == Range{-2, 3});
  CHECK(support::chosen_range(Percentile(90).both_tails(), w) == Range{-2, 3});
}

TEST_CASE("percentages that make no sense are refused", "[estimate][percentile][bad-input]") {
  for (const double bad :
       {0., -1., 100.0001, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    INFO(bad);
    CHECK_THROWS_AS(Percentile(bad), std::invalid_argument);
  }
}

TEST_CASE("percentiles are the same on every instruction set", "[estimate][percentile]") {
  support::check_every_instruction_set(Percentile(97), 55 * 35);
  support::check_every_instruction_set(Percentile(97).both_tails(), 55 * 35);
  support::check_plain_on_one_value(Percentile(50));
  support::check_plain_on_one_value(Percentile(50).both_tails());
}
