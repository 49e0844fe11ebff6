// Rounding as an option: ties away from zero against an oracle, chance against what it promises, and both the same
// whichever way a matrix is handed over.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include <fewbit/ops/dequantize.hpp>

#include <support/any.hpp>
#include <support/expected.hpp>

namespace {

using fewbit::Affine;
using fewbit::Chances;
using fewbit::Granularity;
using fewbit::NonFinite;
using fewbit::QuantizedMatrix;
using fewbit::QuantizeOptions;
using fewbit::Rounding;
using support::GridCase;
using support::Index;
using support::MatrixXf;
using support::Tally;

constexpr float infinity = std::numeric_limits<float>::infinity(), huge = std::numeric_limits<float>::max(),
                tiny = std::numeric_limits<float>::denorm_min();
constexpr Rounding away = Rounding::half_away, chance = Rounding::stochastic;

QuantizeOptions by(Rounding rounding, std::uint64_t seed = 0, NonFinite nonfinite = NonFinite::strict) {
  return {.nonfinite = nonfinite, .rounding = rounding, .seed = seed};
}

// The quotient that is rounded: on integers with the fraction of the zero-point, on a table with all of it.
float quotient(float w, Affine a, const oracle::Grid& g) {
  const float whole = static_cast<float>(std::nearbyint(static_cast<double>(a.zero)));
  return oracle::add(oracle::divide(w, a.scale), g.uniform() ? oracle::subtract(a.zero, whole) : a.zero);
}

// The code of an integer that the quotient was rounded to.
int clamped(double integer, Affine a, const oracle::Grid& g) {
  const float whole = static_cast<float>(std::nearbyint(static_cast<double>(a.zero)));
  const double level = static_cast<double>(oracle::add(static_cast<float>(integer), whole));
  const double first = static_cast<double>(g.first()), last = static_cast<double>(g.last());
  return static_cast<int>(std::clamp(level, first, last) - first);
}

int away_code(float w, Affine a, const oracle::Grid& g) {
  const double t = static_cast<double>(quotient(w, a, g));
  if (g.uniform()) {
    const double toward = std::trunc(t), rest = std::fabs(t) - std::fabs(toward);
    return clamped(rest >= 0.5 ? toward + (t < 0 ? -1 : 1) : toward, a, g);
  }
  int best = 0;
  for (int c = 1; c < g.count(); ++c) {
    const int side = oracle::side_of_midpoint(static_cast<float>(t), g.level(c - 1), g.level(c));
    if (side > 0 || (side == 0 && std::fabs(g.level(c)) > std::fabs(g.level(c - 1)))) best = c;
  }
  return best;
}

// The codes on both sides of a weight, and the chance of the upper one.
struct Between {
  int lower, upper;
  double chance;
};
Between between(float w, Affine a, const oracle::Grid& g) {
  const double t = static_cast<double>(quotient(w, a, g));
  if (g.uniform()) {
    if (std::isinf(t)) return {clamped(t, a, g), clamped(t, a, g), 0};
    return {clamped(std::floor(t), a, g), clamped(std::ceil(t), a, g), t - std::floor(t)};
  }
  int upper = 0;
  while (upper < g.count() && static_cast<double>(g.level(upper)) <= t) ++upper;
  if (upper == 0 || upper == g.count()) return {upper == 0 ? 0 : upper - 1, upper == 0 ? 0 : upper - 1, 0};
  const double lo = static_cast<double>(g.level(upper - 1)), hi = static_cast<double>(g.level(upper));
  return {upper - 1, upper, (t - lo) / (hi - lo)};
}

// One weight under one Affine, as the library codes it.
int code_of(float w, Affine a, const fewbit::Levels& levels, const QuantizeOptions& options) {
  const fewbit::RowCoder coder(options.rounding, options.seed, fewbit::kernel::active());
  std::uint8_t packed[2] = {0xff, 0xff};
  coder.quantize(0, &w, {1, 1, &a, &levels}, packed);
  return static_cast<int>(fewbit::get_code(packed, 0, levels.bits()));
}

std::vector<float> decoded(const std::vector<float>& w, Affine a, const fewbit::Levels& levels, Rounding rounding,
                           std::uint64_t seed = 0) {
  std::vector<float> out(w.size());
  fewbit::RowCoder(rounding, seed, fewbit::kernel::active())
      .fake_quantize(0, w.data(), {w.size(), w.size(), &a, &levels}, out.data());
  return out;
}

GridCase table_case(const std::vector<float>& t) {
  return {"table", fewbit::Codebook(t), {oracle::Kind::table, oracle::bits_for(t.size()), t, 0}};
}

std::vector<GridCase> few_grids() {
  std::vector<GridCase> grids = support::table_grids();
  for (const int bits : {1, 2, 3, 4, 8, 16})
    for (GridCase& g : support::integer_grids(bits)) grids.push_back(std::move(g));
  return grids;
}

}  // namespace

TEST_CASE("a tie goes away from zero, to even, or to either side", "[rounding]") {
  const fewbit::Levels levels = fewbit::Levels::integers(5, -16, 32);
  const std::vector<float> w{0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.25f, -3.75f, 0, 14.5f, 15.5f, -16.5f};
  const Affine one{1, 0};
  CHECK(decoded(w, one, levels, Rounding::half_even) == std::vector<float>{0, 2, 2, 0, -2, -2, 0, -4, 0, 14, 15, -16});
  CHECK(decoded(w, one, levels, away) == std::vector<float>{1, 2, 3, -1, -2, -3, 0, -4, 0, 15, 15, -16});
  // Under a negative scale the codes are turned round, and the weights are the same.
  const std::vector<float> inner(w.begin(), w.begin() + 9);
  CHECK(decoded(inner, {-1, 0}, levels, away) == decoded(inner, one, levels, away));
  int up = 0;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const float x = decoded({0.5f}, one, levels, chance, seed)[0];
    CHECK((x == 0 || x == 1));
    up += x == 1;
  }
  CHECK(std::abs(up - 500) <= 5 * 16);  // a standard error is 15.8
}

TEST_CASE("the float below a half is no tie, and large quotients are whole", "[rounding]") {
  const fewbit::Levels levels = fewbit::Levels::integers(16, -32768, 65536);
  for (const float sign : {1.f, -1.f}) {
    CHECK(code_of(sign * 0x1.fffffep-2f, {1, 0}, levels, by(away)) == 32768);
    CHECK(code_of(sign * support::next_down(1234.5f), {1, 0}, levels, by(away)) == 32768 + (sign > 0 ? 1234 : -1234));
    CHECK(code_of(sign * 1234.5f, {1, 0}, levels, by(away)) == 32768 + (sign > 0 ? 1235 : -1235));
    for (const Rounding r : {away, chance}) {
      // From 2^23 on all floats are integers, and adding a half would make some of them even.
      CHECK(code_of(sign * 8388609, {1, sign * -8388608}, levels, by(r)) == 32768 + (sign > 0 ? 1 : -1));
      CHECK(code_of(sign * 16777215, {1, sign * -16777214}, levels, by(r)) == 32768 + (sign > 0 ? 1 : -1));
    }
  }
}

TEST_CASE("a tie on a table goes to the level farther from zero, between opposites to the lower", "[rounding]") {
  const GridCase c = table_case({-3, -1, 0, 2, 4});
  const auto level = [&](float w, Rounding r) { return decoded({w}, {1, 0}, support::levels(c.grid), r)[0]; };
  for (const auto& [w, even, far] :
       {std::tuple{-2.f, -3.f, -3.f}, {-0.5f, -1.f, -1.f}, {1.f, 0.f, 2.f}, {3.f, 2.f, 4.f}}) {
    INFO("weight " << w);
    CHECK(level(w, Rounding::half_even) == even);
    CHECK(level(w, away) == far);
    CHECK(level(support::next_down(w), away) ==
          decoded({support::next_down(w)}, {1, 0}, support::levels(c.grid), Rounding::half_even)[0]);
    CHECK(level(support::next_up(w), away) ==
          decoded({support::next_up(w)}, {1, 0}, support::levels(c.grid), Rounding::half_even)[0]);
  }
  CHECK(decoded({0}, {1, 0}, support::levels(table_case({-1, 1}).grid), away)[0] == -1);
  CHECK(level(-1e30f, away) == -3);
  CHECK(level(1e30f, away) == 4);
  // Halfway between 2^-60 and 1 is a little above a half, by less than a double can tell.
  CHECK(decoded({0.5f}, {1, 0}, support::levels(table_case({0x1p-60f, 1}).grid), away)[0] == 0x1p-60f);
  // The midpoint of these two is no float: the floats next to it are not ties.
  const float b = 1 + 0x1p-23f;
  CHECK(decoded({1.f, b}, {1, 0}, support::levels(table_case({1, b}).grid), away) == std::vector<float>{1, b});
}

TEST_CASE("half_away gives the oracle's codes, ties planted, for every grid and zero-point", "[rounding]") {
  Tally tally;
  support::NumPy random(400);
  for (const GridCase& c : support::all_grids()) {
    const fewbit::Levels levels = support::levels(c.grid);
    for (const Affine a : {Affine{1, 0}, {-0.25f, 3}, {0.37f, -1.75f}, {1e-3f, 0.5f}, {-7.3f, 100.5f}}) {
      for (int k = 0; k < 100; ++k) {
        const float w = support::planted_weight(random, {a.scale, a.zero}, c.expected);
        const int got = code_of(w, a, levels, by(away)), expected = away_code(w, a, c.expected);
        tally.check(got == expected, c.name, ", scale ", a.scale, ", zero ", a.zero, ": weight ", w, " is ", got,
                    " and not ", expected);
      }
    }
  }
  tally.require(90 * 5 * 100);
}

TEST_CASE("a stochastic code is one of the two levels beside the weight, on a level it is that", "[rounding]") {
  Tally tally;
  support::NumPy random(401);
  for (const GridCase& c : support::all_grids()) {
    const fewbit::Levels levels = support::levels(c.grid);
    for (const Affine a : {Affine{1, 0}, {-0.25f, 3}, {0.37f, -1.75f}, {1e-3f, 0.5f}, {-7.3f, 100.5f}}) {
      for (int k = 0; k < 100; ++k) {
        const float w = support::planted_weight(random, {a.scale, a.zero}, c.expected);
        const Between b = between(w, a, c.expected);
        for (std::uint64_t seed = 0; seed < 4; ++seed) {
          const int got = code_of(w, a, levels, by(chance, seed));
          const bool good = b.chance == 0 ? got == b.lower : got == b.lower || got == b.upper;
          tally.check(good, c.name, ", scale ", a.scale, ", zero ", a.zero, ": weight ", w, " is ", got, " and not ",
                      b.lower, " or ", b.upper);
        }
      }
    }
  }
  tally.require(90 * 5 * 100 * 4);
}

TEST_CASE("stochastic errors are 0 on average, whatever the grid", "[rounding]") {
  const MatrixXf w = support::normal_matrix(200, 300, 402);
  for (const GridCase& c : {support::integer_grids(2)[0], support::integer_grids(4)[0], support::integer_grids(8)[0],
                            support::integer_grids(4)[2], support::integer_grids(2)[3], support::integer_grids(4)[3],
                            support::integer_grids(8)[4], support::table_grids()[0], support::table_grids()[3],
                            table_case({-1, -0.9f, 0.3f, 1})}) {
    for (const Granularity g : {fewbit::per_tensor(), fewbit::per_group(64, fewbit::ScaleType::f16)}) {
      const QuantizedMatrix q = support::quantize(w, c.grid, g, by(chance, 5));
      double error = 0, variance = 0, moved = 0;
      for (Index i = 0; i < w.rows(); ++i)
        for (Index j = 0; j < w.cols(); ++j) {
          const Affine a = q.affine(i / q.block_rows(), j / q.block_cols());
          const Between b = between(w(i, j), a, c.expected);
          if (b.lower == b.upper) continue;  // beyond the levels, where errors all have one sign
          const double lo = static_cast<double>(c.expected.level(b.lower)),
                       hi = static_cast<double>(c.expected.level(b.upper)), scale = static_cast<double>(a.scale);
          const double level = static_cast<double>(c.expected.level(static_cast<int>(q.code(i, j))));
          error += scale * (level - lo - b.chance * (hi - lo));
          variance += scale * (hi - lo) * scale * (hi - lo) * b.chance * (1 - b.chance);
          ++moved;
        }
      INFO(c.name << ", blocks of " << g.rows << " x " << g.cols << ": error " << error << " of " << moved);
      CHECK(std::fabs(error) <= 5 * std::sqrt(variance));
      CHECK(moved > 50'000);
    }
  }
}

TEST_CASE("the chance of a level is the weight's distance from the other", "[rounding]") {
  const int n = 40'000;
  for (const GridCase& c : {support::integer_grids(4)[0], table_case({-1, -0.9f, 0.3f, 1})}) {
    const fewbit::Levels levels = support::levels(c.grid);
    for (const float w : {0.01f, 0.1f, 0.25f, -0.3f, 0.71f, -0.85f, 0.999f}) {
      const Between b = between(w, {1, 0}, c.expected);
      const std::vector<float> got =
          decoded(std::vector<float>(static_cast<std::size_t>(n), w), {1, 0}, levels, chance, 6);
      const auto up = static_cast<double>(std::count(got.begin(), got.end(), c.expected.level(b.upper)));
      INFO(w << " on " << c.name << ": " << up / n << " and not " << b.chance);
      CHECK(std::fabs(up - n * b.chance) <= 5 * std::sqrt(n * b.chance * (1 - b.chance)));
    }
  }
}

TEST_CASE("the numbers of a seed are SplitMix64's, the same everywhere", "[rounding]") {
  // Worked out apart, in integers of any length.
  STATIC_REQUIRE(Chances(0, 0)(0) == 0x1.1c13ade1c7e5cp-3);
  STATIC_REQUIRE(Chances(0, 0)(1) == 0x1.f1344acd6b045p-1);
  STATIC_REQUIRE(Chances(0, 1)(0) == 0x1.7880ff10a4b74p-3);
  STATIC_REQUIRE(Chances(7, 0)(0) == 0x1.38028f22c378bp-1);
  STATIC_REQUIRE(Chances(~std::uint64_t{0}, 4095)(12345) == 0x1.a46f3c407d910p-4);
  STATIC_REQUIRE(fewbit::mix_bits(1234567 + 0x9e3779b97f4a7c15u) == 6457827717110365317u);  // its first for 1234567
}

TEST_CASE("numbers of neighbouring rows, columns and seeds have nothing to do with each other", "[rounding]") {
  const int n = 20'000;
  const double standard_error = 1 / (12 * std::sqrt(static_cast<double>(n)));  // of the mean of a product, less 1/4
  const auto correlated = [&](auto&& first, auto&& second) {
    double sum = 0, mean = 0, least = 1, most = 0;
    for (int k = 0; k < n; ++k) {
      const double a = first(k), b = second(k);
      sum += (a - 0.5) * (b - 0.5), mean += a, least = std::min(least, a), most = std::max(most, a);
    }
    CHECK(least >= 0);
    CHECK(least < 1e-3);
    CHECK(most > 1 - 1e-3);
    CHECK(most < 1);
    CHECK(std::fabs(mean / n - 0.5) <= 5 / std::sqrt(12. * n));
    return std::fabs(sum / n) > 5 * standard_error;
  };
  for (const std::uint64_t seed : {0u, 1u, 12345u}) {
    const auto along = [&](std::uint64_t s, Index row, int shift) {
      return [=](int k) { return Chances(s, row)(static_cast<std::size_t>(k + shift)); };
    };
    const auto down = [&](std::uint64_t s, std::size_t col) { return [=](int k) { return Chances(s, k)(col); }; };
    CHECK_FALSE(correlated(along(seed, 3, 0), along(seed, 4, 0)));
    CHECK_FALSE(correlated(along(seed, 3, 0), along(seed, 4, 1)));
    CHECK_FALSE(correlated(along(seed, 3, 0), along(seed, 3, 1)));
    CHECK_FALSE(correlated(along(seed, 3, 0), along(seed + 1, 3, 0)));
    CHECK_FALSE(correlated(along(seed, 4, 0), along(seed + 1, 3, 0)));
    CHECK_FALSE(correlated(down(seed, 0), down(seed, 1)));
    CHECK_FALSE(correlated(down(seed, 0), down(seed + 1, 0)));
    CHECK(correlated(along(seed, 3, 0), along(seed, 3, 0)));  // the measure can tell
  }
}

TEST_CASE("a weight that is a level's stays, under every rounding and seed", "[rounding]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(6, 60, 403, 5);
  for (const GridCase& c : few_grids()) {
    const auto again = [&](const auto& grid) {
      const Granularity g = fewbit::per_channel();
      const QuantizedMatrix q = fewbit::quantize(w, grid, g);
      const MatrixXf levels = fewbit::dequantize(q);
      for (Index i = 0; i < w.rows(); ++i) {
        const Affine a = q.affine(i, 0);
        const auto same = [&](std::span<const float>, const auto&) { return a; };
        const MatrixXf row = levels.row(i);
        for (const Rounding r : {away, chance})
          for (std::uint64_t seed = 0; seed < 20; ++seed)
            tally.check(fewbit::fake_quantize(row, grid, g, same, by(r, seed)) == row, c.name, ", row ", i);
      }
    };
    std::visit(again, c.grid);
  }
  tally.require(40 * 6 * 2 * 20);
}

TEST_CASE("a block of one value decodes to it under every rounding", "[rounding]") {
  for (const GridCase& c : few_grids())
    for (const float w : {0.f, 1.f, -0.1f, 3e-39f, -tiny, 2.9e38f, huge}) {
      const MatrixXf block = MatrixXf::Constant(1, 40, w);
      for (const Rounding r : {away, chance})
        for (std::uint64_t seed = 0; seed < 5; ++seed) {
          INFO(c.name << ", value " << w);
          CHECK((support::fake_quantize(block, c.grid, fewbit::per_tensor(), by(r, seed)) == block));
        }
    }
}

TEST_CASE("seeds differ, and a seed comes out the same twice", "[rounding]") {
  const MatrixXf w = support::normal_matrix(20, 50, 404);
  const auto code = [&](Rounding r, std::uint64_t seed) {
    return fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel(), fewbit::MinMax{}, by(r, seed));
  };
  CHECK(code(chance, 7) == code(chance, 7));
  CHECK_FALSE(code(chance, 7) == code(chance, 8));
  CHECK_FALSE(code(chance, 0) == code(chance, std::uint64_t{1} << 63));
  CHECK_FALSE(code(chance, 0) == code(Rounding::half_even, 0));
  CHECK(code(away, 7) == code(away, 8));
  CHECK(code(Rounding::half_even, 7) == fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel()));
}

TEST_CASE("codes do not depend on where weights lie, on their type or on the instruction set", "[rounding]") {
  const MatrixXf w = support::planted_matrix(70, 45, 405, 3);
  for (const GridCase& c : {support::integer_grids(4)[0], support::integer_grids(3)[3], support::table_grids()[0]})
    for (const Granularity g :
         {fewbit::per_tensor(), fewbit::per_group(16, fewbit::ScaleType::bf16), fewbit::per_block(3, 7)})
      for (const QuantizeOptions& options : {by(away), by(chance, 11)}) {
        const QuantizedMatrix expected = support::quantize(w, c.grid, g, options);
        support::in_every_layout(w, [&](const char* layout, const auto& x) {
          INFO(c.name << ", " << layout);
          CHECK(support::quantize(x, c.grid, g, options) == expected);
        });
        CHECK(support::quantize(w.cast<double>(), c.grid, g, options) == expected);
        CHECK(support::quantize(w.array() + 0, c.grid, g, options) == expected);
        for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
          if (!table->supported()) continue;
          const fewbit::kernel::Use use(*table);
          INFO(c.name << ", " << table->name);
          CHECK(support::quantize(w, c.grid, g, options) == expected);
          CHECK((support::fake_quantize(w, c.grid, g, options) == fewbit::dequantize(expected)));
        }
      }
}

TEST_CASE("fake_quantize is dequantize(quantize) under every rounding and seed, saturating or not",
          "[rounding][fake]") {
  MatrixXf odd = support::planted_matrix(9, 45, 406, 5);
  odd(0, 0) = odd(3, 17) = odd(8, 44) = std::numeric_limits<float>::quiet_NaN();
  odd(1, 1) = odd(5, 30) = infinity, odd(1, 2) = odd(7, 3) = -infinity;
  const MatrixXf plain = support::planted_matrix(9, 45, 407, 5);
  Tally tally;
  for (const GridCase& c : few_grids())
    for (const Granularity g : {fewbit::per_tensor(), fewbit::per_channel(), fewbit::per_group(5),
                                fewbit::per_group(16), fewbit::per_block(2, 8)})
      for (const NonFinite nonfinite : {NonFinite::strict, NonFinite::saturating})
        for (const QuantizeOptions& options :
             {by(away, 0, nonfinite), by(chance, 0, nonfinite), by(chance, 9, nonfinite)}) {
          const MatrixXf& w = nonfinite == NonFinite::strict ? plain : odd;
          const QuantizedMatrix q = support::quantize(w, c.grid, g, options);
          const MatrixXf expected = fewbit::dequantize(q);
          MatrixXf in_place = w;
          std::visit(
              [&](const auto& grid) { fewbit::fake_quantize_in_place(in_place, grid, g, fewbit::MinMax{}, options); },
              c.grid);
          const MatrixXf fake = support::fake_quantize(w, c.grid, g, options);
          for (Index i = 0; i < w.rows(); ++i)
            for (Index j = 0; j < w.cols(); ++j) {
              tally.check(support::same_bits(fake(i, j), expected(i, j)), c.name, ": ", i, ", ", j);
              tally.check(support::same_bits(in_place(i, j), expected(i, j)), c.name, ", in place: ", i, ", ", j);
              if (std::isnan(w(i, j))) continue;
              const Affine a = q.affine(i / q.block_rows(), j / q.block_cols());
              if (std::isinf(w(i, j)))
                tally.check(q.code(i, j) ==
                                ((w(i, j) > 0) == (a.scale > 0) ? static_cast<unsigned>(c.expected.count() - 1) : 0u),
                            c.name, ": an infinity at ", i, ", ", j);
            }
        }
  tally.require(40 * 5 * 2 * 3 * 9 * 45 * 2);
}

TEST_CASE("a NaN is coded as a weight of 0 under every rounding", "[rounding]") {
  MatrixXf w = support::normal_matrix(4, 40, 408), zero = w;
  w(2, 5) = w(0, 39) = std::numeric_limits<float>::quiet_NaN();
  zero(2, 5) = zero(0, 39) = 0;
  for (const GridCase& c : few_grids())
    for (const Rounding r : {away, chance}) {
      const Granularity g = fewbit::per_tensor();
      INFO(c.name);
      CHECK(support::quantize(w, c.grid, g, by(r, 3, NonFinite::saturating)) ==
            support::quantize(zero, c.grid, g, by(r, 3)));
    }
}

TEST_CASE("what is finite under half_even is so under every rounding, at both ends of the floats",
          "[rounding][bad-input]") {
  std::vector<MatrixXf> extremes;
  for (const float most : {huge, 0x1.fep127f, 3.381e38f, 2.51e38f, 3e-39f, tiny}) {
    extremes.push_back(support::normal_matrix(3, 16, 409).cwiseMin(1).cwiseMax(-1) * most);
    extremes.push_back(MatrixXf::Constant(2, 8, most));
    extremes.push_back(MatrixXf::Constant(2, 8, -most));
  }
  std::vector<GridCase> grids = few_grids();
  grids.push_back(table_case({-1, 0, 1, 3}));
  Tally tally;
  for (const MatrixXf& w : extremes)
    for (const GridCase& c : grids)
      for (const fewbit::ScaleType t : {fewbit::ScaleType::f32, fewbit::ScaleType::bf16})
        for (std::uint64_t seed = 0; seed < 8; ++seed) {
          try {
            const Granularity g = fewbit::per_tensor(t);
            const bool finite = fewbit::dequantize(support::quantize(w, c.grid, g)).allFinite();
            const QuantizedMatrix q = support::quantize(w, c.grid, g, by(seed % 2 ? away : chance, seed));
            tally.check(!finite || fewbit::dequantize(q).allFinite(), c.name, ": weights up to ", w.maxCoeff(),
                        ", scale ", q.affine(0, 0).scale);
          } catch (const std::domain_error&) {
            CHECK(t == fewbit::ScaleType::bf16);  // whose largest number is less than the scale
          }
        }
  tally.require(15 * 41 * 2 * 8);
}

TEST_CASE("a rounding there is not is refused, and nothing is written", "[rounding][bad-input]") {
  MatrixXf w = support::normal_matrix(3, 5, 410);
  const MatrixXf before = w;
  const QuantizeOptions options = by(static_cast<Rounding>(3));
  const auto g = fewbit::per_tensor();
  CHECK_THROWS_AS(fewbit::quantize(w, fewbit::Symmetric(4), g, fewbit::MinMax{}, options), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::fake_quantize(w, fewbit::Symmetric(4), g, fewbit::MinMax{}, options), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::fake_quantize_in_place(w, fewbit::Symmetric(4), g, fewbit::MinMax{}, options),
                  std::invalid_argument);
  CHECK((w == before));
  try {
    fewbit::quantize(w, fewbit::Symmetric(4), g, fewbit::MinMax{}, by(static_cast<Rounding>(-1)));
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    INFO(what);
    CHECK(what.rfind("fewbit: rounding -1", 0) == 0);
    CHECK(what.find("half_away") != std::string::npos);
  }
}

TEST_CASE("empty matrices round to empty ones", "[rounding][bad-input]") {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 7}, {7, 0}, {0, 0}})
    for (const Rounding r : {away, chance}) {
      const MatrixXf w(rows, cols);
      CHECK(support::quantize(w, fewbit::nf4, fewbit::per_group(4), by(r)).size() == 0);
      CHECK(support::fake_quantize(w, fewbit::nf4, fewbit::per_group(4), by(r)).cols() == cols);
    }
}
