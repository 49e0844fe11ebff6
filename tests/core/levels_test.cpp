// Levels: what a code can stand for. Tables and their midpoints are judged by exact arithmetic.

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/core/levels.hpp>

#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Levels;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float huge = std::numeric_limits<float>::max();
constexpr float tiny = std::numeric_limits<float>::denorm_min();

// midpoint(i) is the largest float that is not above the exact midpoint.
void check_midpoints(support::Tally& tally, const std::vector<float>& table) {
  const Levels levels = Levels::table(table);
  for (int i = 0; i + 1 < levels.count(); ++i) {
    const float m = levels.midpoint(i), a = levels[i], b = levels[i + 1];
    tally.check(oracle::side_of_midpoint(m, a, b) <= 0, m, " is above the midpoint of ", a, " and ", b);
    tally.check(oracle::side_of_midpoint(support::next_up(m), a, b) > 0, "a float above ", m,
                " is still not above the midpoint of ", a, " and ", b);
    tally.check(a <= m && m < b, "the midpoint of ", a, " and ", b, " came out as ", m);
  }
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("integer levels are consecutive from the first one", "[levels]") {
  support::Tally tally;
  for (int bits = 1; bits <= 16; ++bits) {
    for (const int first : {-(1 << (bits - 1)), 1 - (1 << (bits - 1)), 0, 5, -40000}) {
      for (const int count : {2, (1 << bits) - 1, 1 << bits}) {
        if (count < 2) continue;
        const Levels l = Levels::integers(bits, first, count);
        tally.check(l.uniform() && l.bits() == bits && l.count() == count, bits, " bits from ", first, ": shape");
        tally.check(l.first() == static_cast<float>(first), bits, " bits from ", first, ": first is ", l.first());
        tally.check(l.last() == static_cast<float>(first + count - 1), bits, " bits from ", first, ": last is ",
                    l.last());
        tally.check(l[count / 2] == static_cast<float>(first + count / 2), bits, " bits from ", first, ": middle");
      }
    }
  }
  tally.require(16 * 5 * 2 * 4);
}

TEST_CASE("a table of n levels takes the fewest bits that can tell them apart", "[levels]") {
  support::Tally tally;
  for (std::size_t n = 2; n <= 256; ++n) {
    std::vector<float> table(n);
    for (std::size_t i = 0; i < n; ++i) table[i] = static_cast<float>(i) * 0.37f - 11;
    const Levels l = Levels::table(table);
    tally.check(!l.uniform() && l.count() == static_cast<int>(n) && l.bits() == oracle::bits_for(n), n,
                " levels: ", l.bits(), " bits");
    for (std::size_t i = 0; i < n; ++i) tally.check(l[static_cast<int>(i)] == table[i], n, " levels: level ", i);
    tally.check(l.first() == table.front() && l.last() == table.back(), n, " levels: ends");
    check_midpoints(tally, table);
  }
  tally.require(30'000);
}

TEST_CASE("a midpoint is the largest float not above the exact one", "[levels]") {
  support::Tally tally;
  check_midpoints(tally, {-huge, huge});
  check_midpoints(tally, {-huge, -tiny, tiny, huge});
  check_midpoints(tally, {0, tiny, 2 * tiny, 3 * tiny, 1});
  check_midpoints(tally, {-3 * tiny, -2 * tiny, -tiny, 0});
  check_midpoints(tally, {1, support::next_up(1), support::next_up(support::next_up(1))});
  check_midpoints(tally, {support::next_down(-1), -1, support::next_up(-1)});
  check_midpoints(tally, {support::next_down(huge), huge});
  check_midpoints(tally, {-1, 1e-30f, 1});
  check_midpoints(tally, {-1, -1e-30f, 1});
  support::NumPy random(7);
  for (int trial = 0; trial < 20'000; ++trial) {
    const auto wide = [&] {
      return static_cast<float>(random.randn() * std::exp2(250 * random.random_sample() - 126));
    };
    const float a = wide(), b = random.below(2) ? wide() : support::next_up(a);
    if (a != b) check_midpoints(tally, {std::min(a, b), std::max(a, b)});
  }
  tally.require(50'000);
}

TEST_CASE("levels that make no sense are refused at the door", "[levels]") {
  CHECK_THROWS_AS(Levels::integers(0, 0, 2), std::invalid_argument);
  CHECK_THROWS_AS(Levels::integers(17, 0, 2), std::invalid_argument);
  CHECK_THROWS_AS(Levels::integers(-1, 0, 2), std::invalid_argument);
  CHECK_THROWS_AS(Levels::integers(4, 0, 17), std::invalid_argument);
  CHECK_THROWS_AS(Levels::integers(4, 0, 1), std::invalid_argument);
  CHECK_THROWS_AS(Levels::integers(4, 0, -3), std::invalid_argument);
  const auto table = [](std::vector<float> t) { return Levels::table(t); };
  CHECK_THROWS_AS(table({}), std::invalid_argument);
  CHECK_THROWS_AS(table({1}), std::invalid_argument);
  CHECK_THROWS_AS(table(std::vector<float>(257)), std::invalid_argument);
  CHECK_THROWS_AS(table({0, 0}), std::invalid_argument);
  CHECK_THROWS_AS(table({-0.f, 0.f}), std::invalid_argument);
  CHECK_THROWS_AS(table({1, 0}), std::invalid_argument);
  CHECK_THROWS_AS(table({0, std::numeric_limits<float>::quiet_NaN(), 1}), std::invalid_argument);
  CHECK_THROWS_AS(table({std::numeric_limits<float>::quiet_NaN(), 1}), std::invalid_argument);
  CHECK_THROWS_AS(table({-infinity, 0}), std::invalid_argument);
  CHECK_THROWS_AS(table({0, infinity}), std::invalid_argument);

  const std::string wide = message_of([] { Levels::integers(17, 0, 2); });
  CHECK(wide.rfind("fewbit: ", 0) == 0);
  CHECK(wide.find("17") != std::string::npos);
  const std::string order = message_of([&] { table({0, 2, 1}); });
  CHECK(order.rfind("fewbit: ", 0) == 0);
  CHECK(order.find("2") != std::string::npos);
}

TEST_CASE("levels are equal when they decode alike", "[levels]") {
  const std::vector<float> a{-1, 0, 1}, b{-1, 0, 2};
  CHECK(Levels::table(a) == Levels::table(a));
  CHECK_FALSE(Levels::table(a) == Levels::table(b));
  CHECK(Levels::integers(2, -1, 3) == Levels::integers(2, -1, 3));
  CHECK_FALSE(Levels::integers(2, -1, 3) == Levels::integers(2, -1, 4));
  CHECK_FALSE(Levels::integers(2, -1, 3) == Levels::integers(2, 0, 3));
  CHECK_FALSE(Levels::integers(2, -1, 3) == Levels::table(a));
}

TEST_CASE("levels can be constants of the program", "[levels]") {
  static constexpr float ends[] = {-1, 0.25f, 1};
  constexpr Levels table = Levels::table(ends);
  static_assert(table.bits() == 2 && table.midpoint(0) == -0.375f && table.last() == 1);
  constexpr Levels integers = Levels::integers(3, -4, 8);
  static_assert(integers.last() == 3 && integers[4] == 0);
  CHECK(table.midpoint(1) == 0.625f);
}
