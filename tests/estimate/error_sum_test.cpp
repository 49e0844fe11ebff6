// Powers of errors against the C library's, over all magnitudes of floats; sums that do not depend on their pieces.

#include <cmath>
#include <cstring>
#include <vector>

#include <fewbit/estimate/error_sum.hpp>

#include <support/catch.hpp>
#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::ErrorSum;

double sum_of(bool square, const std::vector<float>& w, const std::vector<float>& q, const float* importance,
              float most) {
  ErrorSum sum(square, most);
  sum.add(w.data(), q.data(), importance, w.size());
  return sum.total();
}

}  // namespace

TEST_CASE("a power of 6/5 is within 1e-4 of std::pow", "[estimate][error-sum]") {
  support::Tally tally;
  for (int exponent = -100; exponent < 100; ++exponent)
    for (int i = 0; i < 64; ++i) {
      const float a = std::ldexp(1 + static_cast<float>(i) / 64, exponent);
      const fewbit::Float4 got = fewbit::power_six_fifths(fewbit::Float4{0, a, 1, a});
      const double error = static_cast<double>(got[1]) / std::pow(static_cast<double>(a), 1.2) - 1;
      tally.check(std::fabs(error) <= 1e-4 && got[0] == 0 && got[3] == got[1], a, ": ", error);
    }
  tally.require(200 * 64);
}

TEST_CASE("an error to the power 2.4 is right in blocks of every magnitude", "[estimate][error-sum]") {
  support::Tally tally;
  for (int exponent = -149; exponent <= 127; ++exponent) {
    const float most = std::ldexp(1.f, exponent), unit = ErrorSum::inverse_unit(most);
    for (int smaller = 0; smaller <= 40 && exponent - smaller >= -149; ++smaller) {
      const float e = std::ldexp(exponent - smaller < -126 ? 1.f : 1.37f, exponent - smaller);
      const double got = sum_of(false, {e, most}, {0, most}, nullptr, most) / std::pow(static_cast<double>(unit), 2.4);
      const double wanted = std::pow(static_cast<double>(e), 2.4);
      tally.check(std::fabs(got / wanted - 1) <= 1e-4, e, " beside ", most, ": ", got, " for ", wanted);
    }
    const float unit_times_most = unit * most;
    tally.check(unit_times_most <= 2 && (unit_times_most >= 1 || exponent < -126), "unit of ", most, " is ", unit);
  }
  tally.require(277 * 20);
}

TEST_CASE("squares are exact, and importances multiply them", "[estimate][error-sum]") {
  support::Tally tally;
  for (std::size_t n = 1; n <= 130; ++n) {
    const std::vector<float> w = support::normal_weights(n, 11), q = support::normal_weights(n, 12);
    std::vector<float> importance = support::normal_weights(n, 13);
    for (float& x : importance) x = std::fabs(x);
    long double plain = 0, weighted = 0, power = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const long double e = w[i] - q[i];
      plain += e * e, weighted += e * e * static_cast<long double>(importance[i]);
      power += std::pow(std::fabs(e), 2.4L) * static_cast<long double>(importance[i]);
    }
    const auto near = [&](double got, long double wanted, double within) {
      tally.check(std::fabs(got / static_cast<double>(wanted) - 1) <= within, n, " errors: ", got);
    };
    near(sum_of(true, w, q, nullptr, 1), plain, 1e-14);
    near(sum_of(true, w, q, importance.data(), 1), weighted, 1e-6);
    near(sum_of(false, w, q, importance.data(), 1), power, 1e-4);
  }
  tally.require(390);
}

TEST_CASE("the pieces of a block do not matter, to the last bit", "[estimate][error-sum]") {
  const std::vector<float> w = support::normal_weights(777, 14), q = support::normal_weights(777, 15);
  for (const bool square : {true, false}) {
    ErrorSum whole(square, 1), pieces(square, 1);
    whole.add(w.data(), q.data(), w.data(), 0);
    CHECK(whole.total() == 0);
    whole.add(w.data(), q.data(), nullptr, 777);
    double before = 0;
    for (std::size_t k = 0, n = 16; k < 777; k += n, n = std::min<std::size_t>(2 * n, 777 - k)) {
      pieces.add(w.data() + k, q.data() + k, nullptr, n);
      CHECK(pieces.total() >= before);
      before = pieces.total();
    }
    CHECK(whole.total() == pieces.total());
    whole.clear();
    CHECK(whole.total() == 0);
  }
}
