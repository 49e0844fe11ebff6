// Half-quadratic quantization against its formula in double, with std::pow.

#include <cmath>
#include <stdexcept>
#include <vector>

#include <fewbit/estimate/hqq.hpp>

#include <support/blocks.hpp>
#include <support/catch.hpp>

namespace {

using fewbit::Affine;
using fewbit::Hqq;
using fewbit::ScaleType;
using support::BlockCase;
using support::GridCase;
using support::Tally;

double mean_error(const std::vector<float>& w, oracle::Affine a, const oracle::Grid& g) {
  double sum = 0;
  for (const float x : w)
    sum += std::fabs(static_cast<double>(x) - static_cast<double>(oracle::decode(oracle::code(x, a, g), a, g)));
  return sum / static_cast<double>(w.size());
}

// The zero-point that one round asks for.
double next_zero(const std::vector<float>& w, oracle::Affine a, const oracle::Grid& g, double beta, double unit) {
  double sum = 0;
  for (const float x : w) {
    const unsigned code = oracle::code(x, a, g);
    const double d = (static_cast<double>(x) - static_cast<double>(oracle::decode(code, a, g))) / unit;
    const double left = d == 0 ? 0 : std::fabs(d) - std::pow(std::fabs(d), 0.7 - 1) / beta;
    const double e = left > 0 ? std::copysign(left, d) * unit : 0;
    sum += static_cast<double>(g.level(static_cast<int>(code))) -
           (static_cast<double>(x) - e) / static_cast<double>(a.scale);
  }
  return sum / static_cast<double>(w.size());
}

oracle::Affine slow_hqq(const std::vector<float>& w, Affine plain, const oracle::Grid& g, const Hqq& how) {
  oracle::Affine best{plain.scale, plain.zero}, next = best;
  double least = std::numeric_limits<double>::infinity(), beta = 10;
  for (int i = 0; i <= how.iterations; ++i, beta *= 1.01) {
    const double error = mean_error(w, next, g);
    if (!(error < least)) break;
    least = error, best = next;
    const double unit = how.in_scales ? std::fabs(static_cast<double>(plain.scale)) : 1;
    next.zero = oracle::to_float(next_zero(w, next, g, beta, unit)) + 0.f;
    if (!std::isfinite(next.zero)) break;
  }
  return best;
}

std::vector<float> heavy_tailed(std::size_t n, std::uint32_t seed, double size) {
  support::NumPy random(seed);  // Student's t with three degrees of freedom
  std::vector<float> w(n);
  for (float& x : w) {
    double chi = 0;
    for (int k = 0; k < 3; ++k) {
      const double z = random.randn();
      chi += z * z;
    }
    x = static_cast<float>(size * random.randn() / std::sqrt(chi / 3));
  }
  return w;
}

}  // namespace

TEST_CASE("a power of -0.3 is std::pow's over all magnitudes", "[estimate][hqq]") {
  Tally tally;
  for (int exponent = -149; exponent <= 129; ++exponent)
    for (int i = 0; i < 32; ++i) {
      const double d = std::ldexp(1 + i / 32., exponent), got = fewbit::power_minus_three_tenths(d);
      tally.check(std::fabs(got / std::pow(d, -0.3) - 1) <= 2e-14, d, ": ", got, " for ", std::pow(d, -0.3));
    }
  tally.require(279 * 32);
  CHECK(fewbit::power_minus_three_tenths(0) > 1e300);
}

TEST_CASE("zero-points move as the formula says", "[estimate][hqq]") {
  Tally tally;
  int moved = 0, same = 0, all = 0;
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16})
    for (const bool in_scales : {false, true})
      for (const BlockCase& b : support::blocks())
        for (const GridCase& c : support::estimator_grids()) {
          const Hqq hqq{.iterations = 20, .in_scales = in_scales};
          const fewbit::Range r = support::range_of(b.weights);
          const Affine plain = support::stored_fit(c.grid, r, type);
          if (r.lo == r.hi || std::isinf(fewbit::round_scale(plain.scale, type))) continue;
          const Affine got = support::estimate(hqq, b.weights, c.grid, type);
          const oracle::Affine wanted = slow_hqq(b.weights, plain, c.expected, hqq);
          const double own = mean_error(b.weights, {got.scale, got.zero}, c.expected),
                       least = mean_error(b.weights, wanted, c.expected),
                       before = mean_error(b.weights, {plain.scale, plain.zero}, c.expected);
          // A zero-point that rounds otherwise by a digit may send a tie elsewhere, and the rounds after it.
          const bool near = std::fabs(static_cast<double>(got.zero) - static_cast<double>(wanted.zero)) <=
                            1e-6 * (1 + std::fabs(static_cast<double>(wanted.zero)));
          ++all, same += near, moved += got.zero != plain.zero;
          tally.check(got.scale == plain.scale && (own <= before || std::isinf(before)), b.name, ", ", c.name,
                      ": worse than the plain fit");
          tally.check(near || std::fabs(own / least - 1) < 0.2, b.name, ", ", c.name, ", ", fewbit::name(type),
                      ": zero ", got.zero, " for ", wanted.zero, ", error ", own, " for ", least, ", scale ",
                      got.scale);
        }
  tally.require(2 * 5 * 50 * 35);
  INFO(same << " of " << all << " as the formula, " << moved << " moved");
  CHECK(same > all * 0.99);
  CHECK(moved > all / 4);
}

TEST_CASE("the mean magnitude of error falls in groups of 64 with heavy tails", "[estimate][hqq]") {
  for (const bool in_scales : {false, true})
    for (const double size : {0.02, 1.})
      for (const int bits : {2, 3, 4}) {
        const fewbit::Asymmetric grid(bits);
        const oracle::Grid g{oracle::Kind::asymmetric, bits};
        double plain = 0, hqq = 0;
        for (std::uint32_t k = 0; k < 100; ++k) {
          const std::vector<float> w = heavy_tailed(64, 1000 + k, size);
          const Affine before = support::stored_fit(grid, support::range_of(w));
          const Affine after = support::estimate(Hqq{.in_scales = in_scales}, w, grid);
          plain += mean_error(w, {before.scale, before.zero}, g), hqq += mean_error(w, {after.scale, after.zero}, g);
        }
        INFO(bits << " bits, " << size << ": " << hqq / plain);
        CHECK(hqq < 0.985 * plain);
      }
}

TEST_CASE("in units of the scale, weights of any size have the same codes", "[estimate][hqq]") {
  const std::vector<float> w = heavy_tailed(64, 40, 1);
  const Affine a = support::estimate(Hqq{.in_scales = true}, w, fewbit::Asymmetric(3));
  CHECK(a.zero != std::nearbyint(a.zero));
  for (const int k : {-100, -7, 3, 90}) {
    std::vector<float> scaled = w;
    for (float& x : scaled) x = std::ldexp(x, k);
    const Affine b = support::estimate(Hqq{.in_scales = true}, scaled, fewbit::Asymmetric(3));
    CHECK(b == Affine{std::ldexp(a.scale, k), a.zero});
  }
}

TEST_CASE("no rounds are the plain fit, and less than none are refused", "[estimate][hqq][bad-input]") {
  const std::vector<float> w = heavy_tailed(64, 41, 1);
  CHECK(support::estimate(Hqq{0}, w, fewbit::Asymmetric(2)) ==
        support::stored_fit(fewbit::Asymmetric(2), support::range_of(w)));
  CHECK(support::estimate(Hqq{1}, w, fewbit::Asymmetric(2)) != support::estimate(Hqq{0}, w, fewbit::Asymmetric(2)));
  CHECK_THROWS_AS(support::estimate(Hqq{-1}, w, fewbit::Asymmetric(2)), std::invalid_argument);
  support::check_plain_on_one_value(Hqq{});
}

TEST_CASE("zero-points move alike on every instruction set", "[estimate][hqq]") {
  support::check_every_instruction_set(Hqq{}, 55 * 35);
}
