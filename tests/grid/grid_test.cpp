// Every grid of the library: its levels, and how it fits a range, against the formulas.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include <fewbit/core/normal.hpp>

#include <support/grids.hpp>
#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Affine;
using fewbit::Asymmetric;
using fewbit::Codebook;
using fewbit::Range;
using fewbit::ScaleType;
using fewbit::Symmetric;
using support::GridCase;

constexpr float huge = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();

// Ranges of every magnitude and position, among them the extreme ones.
std::vector<Range> many_ranges() {
  std::vector<Range> ranges{{-huge, huge},
                            {-huge, 0},
                            {0, huge},
                            {-tiny, tiny},
                            {0, tiny},
                            {-tiny, 0},
                            {-1, 1},
                            {-1, 0.5f},
                            {-0.5f, 1},
                            {-3 * tiny, 100 * tiny},
                            {0x1p-126f, 0x1p-125f},
                            {1, support::next_up(1)},
                            {-0.f, 1},
                            {-1, -0.f},
                            {-huge, -tiny}};
  support::NumPy random(21);
  for (int i = 0; i < 3000; ++i) {
    const double size = std::exp2(276 * random.random_sample() - 149);
    const auto draw = [&] { return oracle::to_float(std::fmin(std::fmax(random.randn() * size, -3.4e38), 3.4e38)); };
    float a = draw(), b = random.below(8) ? draw() : -a;
    if (random.below(4) == 0) a = std::fabs(a), b = std::fabs(b);
    if (a != b) ranges.push_back({std::fmin(a, b), std::fmax(a, b)});
  }
  return ranges;
}

template <ScaleType type>
Affine fit_stored(const support::AnyGrid& grid, Range r) {
  return std::visit([&](const auto& g) { return fewbit::Stored(g, type).fit(r); }, grid);
}

}  // namespace

TEST_CASE("every grid has the levels its formula says", "[grid]") {
  support::Tally tally;
  for (const GridCase& c : support::all_grids()) {
    const fewbit::Levels l = support::levels(c.grid);
    tally.check(l.bits() == c.expected.bits && l.count() == c.expected.count() && l.uniform() == c.expected.uniform(),
                c.name, ": ", l.count(), " levels of ", l.bits(), " bits");
    for (int i = 0; i<l.count(); i += l.count()> 300 ? 97 : 1)
      tally.check(l[i] == c.expected.level(i), c.name, ": level ", i, " is ", l[i], " for ", c.expected.level(i));
    tally.check(l.last() == c.expected.last(), c.name, ": last level");
  }
  tally.require(9'000);
}

TEST_CASE("every grid fits every range as its formula says", "[grid]") {
  support::Tally tally;
  const std::vector<Range> ranges = many_ranges();
  for (const GridCase& c : support::all_grids()) {
    for (const Range r : ranges) {
      const Affine got = support::fit(c.grid, r);
      const oracle::Affine want = oracle::fit(r.lo, r.hi, c.expected, oracle::f32);
      tally.check(got.scale == want.scale && got.zero == want.zero && !(got.zero == 0 && std::signbit(got.zero)),
                  c.name, ", ", r.lo, " .. ", r.hi, ": scale ", got.scale, " zero ", got.zero, " for ", want.scale,
                  " and ", want.zero);
    }
  }
  tally.require(80 * 2000);
}

TEST_CASE("scales are rounded to their stored type before the zero-point is chosen", "[grid]") {
  support::Tally tally;
  int moved = 0;
  for (const GridCase& c : support::all_grids()) {
    for (const Range r : many_ranges()) {
      const Affine half = fit_stored<ScaleType::f16>(c.grid, r), brain = fit_stored<ScaleType::bf16>(c.grid, r);
      const oracle::Affine h = oracle::fit(r.lo, r.hi, c.expected, oracle::f16),
                           b = oracle::fit(r.lo, r.hi, c.expected, oracle::bf16);
      if (std::isfinite(h.scale)) {
        tally.check(half.scale == h.scale && half.zero == h.zero, c.name, " in f16, ", r.lo, " .. ", r.hi, ": ",
                    half.scale, ", ", half.zero, " for ", h.scale, ", ", h.zero);
        moved += h.zero != oracle::fit(r.lo, r.hi, c.expected, oracle::f32).zero;
      }
      if (std::isfinite(b.scale))
        tally.check(brain.scale == b.scale && brain.zero == b.zero, c.name, " in bf16, ", r.lo, " .. ", r.hi, ": ",
                    brain.scale, ", ", brain.zero, " for ", b.scale, ", ", b.zero);
    }
  }
  tally.require(80 * 2000);
  CHECK(moved > 1000);  // so the order is visible in these ranges
}

TEST_CASE("a range of zeros has scale 1 and decodes to zero", "[grid][bad-input][class-5]") {
  support::Tally tally;
  for (const GridCase& c : support::all_grids()) {
    for (const Range r : {Range{0, 0}, Range{-0.f, 0.f}, Range{0.f, -0.f}, Range{-0.f, -0.f}}) {
      const Affine a = support::fit(c.grid, r);
      const oracle::Affine o{a.scale, a.zero};
      const float decoded = oracle::decode(oracle::code(0, o, c.expected), o, c.expected);
      tally.check(a.scale == 1, c.name, ": scale ", a.scale);
      tally.check(decoded == 0 && !std::signbit(decoded), c.name, ": decodes to ", decoded);
    }
  }
  tally.require(80 * 8);
}

TEST_CASE("a range of one value decodes to it exactly", "[grid][bad-input][class-7]") {
  support::Tally tally;
  support::NumPy random(22);
  std::vector<float> values{
      1,     -1, 0.1f, -0.1f, 3, 7, -7, huge, -huge, tiny, -tiny, 3 * tiny, -5 * tiny, 0x1p-126f, -0x1.fffffep-127f,
      1e-40f};
  for (int i = 0; i < 2000; ++i) {
    const double v = random.randn() * std::exp2(270 * random.random_sample() - 149);
    if (const float f = oracle::to_float(std::fmin(std::fmax(v, -3.4e38), 3.4e38)); f != 0) values.push_back(f);
  }
  for (const GridCase& c : support::all_grids()) {
    for (const float v : values) {
      const Affine a = support::fit(c.grid, {v, v});
      const oracle::Affine o{a.scale, a.zero};
      const float decoded = oracle::decode(oracle::code(v, o, c.expected), o, c.expected);
      tally.check(decoded == v, c.name, ": ", v, " decodes to ", decoded, " by scale ", a.scale, ", zero ", a.zero);
    }
  }
  tally.require(80 * 1500);
}

TEST_CASE("a table far from zero still decodes a constant block exactly", "[grid][bad-input][class-7]") {
  support::Tally tally;
  support::NumPy random(23);
  for (int trial = 0; trial < 2000; ++trial) {
    const double size = std::exp2(60 * random.random_sample() - 30), at = random.randn() * size;
    const auto a = static_cast<float>(at), b = static_cast<float>(at + size);
    if (!(a < b)) continue;
    const std::vector<float> table{a, b};
    const Codebook grid(table);
    const oracle::Grid expected{oracle::Kind::table, 1, table};
    for (const float v : {1.f, -1.f, 0.37f, -1e10f, 3e-10f}) {
      const Affine f = grid.fit({v, v});
      const oracle::Affine o{f.scale, f.zero};
      const float decoded = oracle::decode(oracle::code(v, o, expected), o, expected);
      tally.check(decoded == v, "levels ", a, " and ", b, ": ", v, " decodes to ", decoded, " by scale ", f.scale,
                  ", zero ", f.zero);
    }
  }
  tally.require(9000);
}

TEST_CASE("the scale of the largest finite range is finite", "[grid][bad-input][class-4]") {
  support::Tally tally;
  for (const GridCase& c : support::all_grids()) {
    for (const Range r : {Range{-huge, huge}, Range{-huge, 0}, Range{0, huge}, Range{-3.4e38f, 3.4e38f},
                          Range{-huge, -huge}, Range{huge, huge}}) {
      const Affine a = support::fit(c.grid, r);
      tally.check(std::isfinite(a.scale) && a.scale != 0 && std::isfinite(a.zero), c.name, ", ", r.lo, " .. ", r.hi,
                  ": ", a.scale, ", ", a.zero);
    }
  }
  tally.require(80 * 6);
}

TEST_CASE("including_zero keeps zero exact and its zero-point among the codes", "[grid][bad-input][class-8]") {
  support::Tally tally;
  for (int bits = 1; bits <= 16; ++bits) {
    const Asymmetric grid = Asymmetric(bits).including_zero();
    for (const Range r : many_ranges()) {
      for (const Affine a : {grid.fit(r), fit_stored<ScaleType::f16>(grid, r), fit_stored<ScaleType::bf16>(grid, r),
                             grid.fit({r.lo, r.lo})}) {
        if (std::isinf(a.scale)) continue;
        tally.check(a.zero >= 0 && a.zero <= static_cast<float>((1 << bits) - 1) && a.zero == std::nearbyint(a.zero),
                    bits, " bits, ", r.lo, " .. ", r.hi, ": zero-point ", a.zero);
      }
    }
  }
  tally.require(16 * 4000);
}

TEST_CASE("the documents' zero-point is not clamped: a block on one side of zero has it outside the codes",
          "[grid][bad-input][class-8]") {
  CHECK(Asymmetric(4).fit({1, 2}).zero == -15);
  CHECK(Asymmetric(4).fit({-2, -1}).zero == 30);
  CHECK(Asymmetric(4).fit({1, 2}).scale == static_cast<float>(1 / 15.));
}

TEST_CASE("signed_scale: the element of largest magnitude is the lowest level, exactly", "[grid]") {
  support::Tally tally;
  for (int bits = 1; bits <= 16; ++bits) {
    for (const Range r : many_ranges()) {
      const Affine a = Symmetric(bits).signed_scale().fit(r);
      const float most = std::fabs(r.hi) > std::fabs(r.lo) ? r.hi : r.lo;
      if (std::fabs(most) < 0x1p-100f) continue;  // where the scale is subnormal it cannot be exact
      tally.check(a.scale * static_cast<float>(-(1 << (bits - 1))) == most, bits, " bits, ", r.lo, " .. ", r.hi,
                  ": scale ", a.scale);
    }
  }
  tally.require(16 * 1500);
}

TEST_CASE("grids can be constants of the program, of any width from 1 to 16", "[grid][bad-input][class-16]") {
  constexpr Symmetric int4(4);
  static_assert(int4.levels().count() == 15 && int4.full_range().levels().count() == 16);
  constexpr Asymmetric u8(8);
  static_assert(u8.levels().last() == 255);
  static_assert(fewbit::nf4.levels().bits() == 4 && fewbit::fp4.levels().bits() == 4 &&
                fewbit::af4.levels().bits() == 4);
  for (const int bits : {0, 17, -1, -16, 32, 1000, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    INFO(bits << " bits");
    CHECK_THROWS_AS(Symmetric(bits), std::invalid_argument);
    CHECK_THROWS_AS(Asymmetric(bits), std::invalid_argument);
  }
  try {
    Symmetric grid(17);
    FAIL("17 bits were accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    CHECK(what.rfind("fewbit: ", 0) == 0);
    CHECK(what.find("17") != std::string::npos);
    CHECK(what.find("16") != std::string::npos);  // what is possible
  }
}

TEST_CASE("a codebook's reach is a positive number", "[grid]") {
  const std::vector<float> table{-1, 1};
  for (const float reach :
       {0.f, -1.f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    INFO("reach " << reach);
    CHECK_THROWS_AS(Codebook(table, reach), std::invalid_argument);
  }
}

TEST_CASE("zero is a level of every grid that promises one, so zero stays zero", "[grid][laws]") {
  support::Tally tally;
  for (const GridCase& c : support::all_grids()) {
    bool has_zero = c.expected.kind != oracle::Kind::asymmetric;  // its zero-point may lie outside the codes
    if (!c.expected.uniform()) {
      has_zero = false;
      for (const float l : c.expected.table) has_zero = has_zero || l == 0;
    }
    if (!has_zero) continue;
    for (const Range r : many_ranges()) {
      const Affine a = support::fit(c.grid, r);
      const oracle::Affine o{a.scale, a.zero};
      tally.check(oracle::decode(oracle::code(0, o, c.expected), o, c.expected) == 0, c.name, ", ", r.lo, " .. ", r.hi);
    }
  }
  tally.require(60 * 2000);
}

// ------------------------------------------------------------------------------------------------ the tables

TEST_CASE("NF4 is what its formula gives", "[grid][tables]") {
  // Eight positive and seven negative quantiles, evenly spaced in probability from 1/2 to the mean of two offsets.
  const double end = ((1 - 1 / 30.) + (1 - 1 / 32.)) / 2;
  std::vector<double> level;
  for (int i = 0; i < 7; ++i) level.push_back(-fewbit::normal_quantile(end + (0.5 - end) * i / 7));
  level.push_back(0);
  for (int i = 7; i >= 0; --i) level.push_back(fewbit::normal_quantile(end + (0.5 - end) * i / 8));
  const double most = level.back();
  REQUIRE(fewbit::nf4.levels().count() == 16);
  for (int i = 0; i < 16; ++i) {
    INFO("level " << i);
    CHECK(std::fabs(static_cast<double>(fewbit::nf4.levels()[i]) - level[static_cast<std::size_t>(i)] / most) < 2e-7);
  }
}

TEST_CASE("the blog's NF4 is what its listing gives", "[grid][tables]") {
  std::vector<double> level;
  for (int i = 0; i < 8; ++i) level.push_back(fewbit::normal_quantile((i + 0.5) / 16));
  level.push_back(0);
  for (int i = 1; i < 8; ++i) level.push_back(fewbit::normal_quantile(0.5 + (i + 0.5) / 16));
  const double most = -level.front();
  REQUIRE(fewbit::nf4_blog.levels().count() == 16);
  for (int i = 0; i < 16; ++i) {
    INFO("level " << i);
    CHECK(fewbit::nf4_blog.levels()[i] == static_cast<float>(level[static_cast<std::size_t>(i)] / most));
  }
  const double printed[] = {-1, -.7076, -.5422, -.4168, -.3109, -.2159, -.1273, -.0421,
                            0,  .1273,  .2159,  .3109,  .4168,  .5422,  .7076,  1};
  for (int i = 0; i < 16; ++i) CHECK(std::fabs(static_cast<double>(fewbit::nf4_blog.levels()[i]) - printed[i]) < 5e-5);
}

TEST_CASE("AF4 is the published table", "[grid][tables]") {
  const float published[] = {-1,          -.69441008f, -.51243739f, -.3736951f, -.25607552f, -.14982478f,
                             -.04934812f, 0,           .04273164f,  .12934483f, .21961274f,  .31675666f,
                             .42563882f,  .55496234f,  .72424863f,  1};
  REQUIRE(fewbit::af4.levels().count() == 16);
  for (int i = 0; i < 16; ++i) CHECK(fewbit::af4.levels()[i] == published[i]);
}

TEST_CASE("FP4 holds the fifteen values of e2m1, over six", "[grid][tables]") {
  REQUIRE(fewbit::fp4.levels().count() == 15);
  int code = 7;
  for (int exponent = 0; exponent < 4; ++exponent) {
    for (int mantissa = 0; mantissa < 2; ++mantissa, ++code) {
      const double value = exponent == 0 ? mantissa / 2. : std::ldexp(1 + mantissa / 2., exponent - 1);
      INFO("value " << value);
      CHECK(fewbit::fp4.levels()[code] == static_cast<float>(value / 6));
      CHECK(fewbit::fp4.levels()[14 - code] == static_cast<float>(-value / 6));
    }
  }
}

TEST_CASE("a codebook scales so that the largest weight meets the largest level, or the reach it was given", "[grid]") {
  CHECK(fewbit::nf4.fit({-3, 2}) == Affine{3, 0});
  CHECK(fewbit::nf4.fit({-2, 3}) == Affine{3, 0});
  const std::vector<float> table{-2, 0, 4};
  CHECK(Codebook(table).fit({-8, 1}) == Affine{2, 0});
  CHECK(Codebook(table, 16).fit({-8, 1}) == Affine{0.5f, 0});
}
