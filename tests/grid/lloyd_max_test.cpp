// Lloyd-Max: levels fitted to a distribution or to data, judged by the error they reach and by being a fixed point.

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include <fewbit/grid/lloyd_max.hpp>

#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Levels;

double mse(const Levels& l, const std::vector<float>& samples) {
  double sum = 0;
  for (const float x : samples) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < l.count(); ++i)
      best = std::fmin(best, std::fabs(static_cast<double>(x) - static_cast<double>(l[i])));
    sum += best * best;
  }
  return sum / static_cast<double>(samples.size());
}

// The mean squared error of levels on N(0,1), by integrating over fine steps.
double mse_on_normal(const Levels& l) {
  double sum = 0;
  constexpr double step = 1e-4;
  for (double x = -8; x < 8; x += step) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < l.count(); ++i) best = std::fmin(best, std::fabs(x - static_cast<double>(l[i])));
    sum += best * best * std::exp(-x * x / 2);
  }
  return sum * step / 2.50662827463100050242;
}

}  // namespace

TEST_CASE("Lloyd-Max levels for the normal distribution reach the least error there is", "[grid][lloyd-max]") {
  struct Known {
    int count;
    double error;  // of the fixed point, iterated in NumPy until no level moved by 1e-13; Max's table of 1960 has 3 of
                   // these digits
  };
  for (const Known k :
       {Known{2, .363380228}, {4, .117481848}, {5, .079941127}, {8, .034547761}, {16, .009501008}, {32, .002504668}}) {
    const fewbit::Codebook grid = fewbit::lloyd_max_normal(k.count);
    INFO(k.count << " levels");
    CHECK(grid.levels().count() == k.count);
    CHECK(std::fabs(mse_on_normal(grid.levels()) / k.error - 1) < 1e-5);
  }
}

TEST_CASE("Lloyd-Max levels for the normal distribution are symmetric and stand at their centroids",
          "[grid][lloyd-max]") {
  support::Tally tally;
  for (int count = 2; count <= 40; ++count) {
    const Levels l = fewbit::lloyd_max_normal(count).levels();
    for (int i = 0; i < count; ++i) {
      tally.check(l[i] == -l[count - 1 - i], count, " levels: level ", i, " is ", l[i], " and its mirror ",
                  l[count - 1 - i]);
      const double infinity = std::numeric_limits<double>::infinity();
      const double low = i == 0 ? -infinity : (static_cast<double>(l[i - 1]) + static_cast<double>(l[i])) / 2;
      const double high = i + 1 == count ? infinity : (static_cast<double>(l[i]) + static_cast<double>(l[i + 1])) / 2;
      const auto density = [](double x) { return std::isinf(x) ? 0 : std::exp(-x * x / 2) / 2.50662827463100050242; };
      const double mass = (std::erf(high / std::sqrt(2.)) - std::erf(low / std::sqrt(2.))) / 2;
      tally.check(std::fabs((density(low) - density(high)) / mass - static_cast<double>(l[i])) < 2e-6, count,
                  " levels: level ", i, " is no centroid");
    }
  }
  tally.require(1500);
}

TEST_CASE("levels fitted to data are a fixed point: each is the mean of the samples nearest to it",
          "[grid][lloyd-max]") {
  const std::vector<float> samples = support::normal_weights(3000, 41);
  for (const int count : {2, 3, 4, 7, 16}) {
    const fewbit::Codebook grid = fewbit::lloyd_max(samples, count);
    const Levels l = grid.levels();
    REQUIRE(l.count() == count);
    std::vector<double> sum(static_cast<std::size_t>(count)), n(sum);
    for (const float x : samples) {
      std::size_t best = 0;
      for (std::size_t i = 1; i < sum.size(); ++i)
        if (std::fabs(x - l[static_cast<int>(i)]) < std::fabs(x - l[static_cast<int>(best)])) best = i;
      sum[best] += static_cast<double>(x), n[best] += 1;
    }
    for (std::size_t i = 0; i < sum.size(); ++i) {
      INFO(count << " levels: level " << i);
      CHECK(std::fabs(sum[i] / n[i] - static_cast<double>(l[static_cast<int>(i)])) < 1e-5);
    }
    CHECK(mse(l, samples) <= mse(fewbit::lloyd_max_normal(count).levels(), samples));
  }
}

TEST_CASE("levels fitted to data are in its units: the largest sample maps to itself", "[grid][lloyd-max]") {
  std::vector<float> samples = support::normal_weights(1000, 42);
  for (float& x : samples) x *= 0.02f;
  const fewbit::Codebook grid = fewbit::lloyd_max(samples, 16);
  float most = 0, lo = 0, hi = 0;
  for (const float x : samples) most = std::fmax(most, std::fabs(x)), lo = std::fmin(lo, x), hi = std::fmax(hi, x);
  CHECK(grid.reach() == most);
  CHECK(grid.fit({lo, hi}) == fewbit::Affine{1, 0});
  CHECK(grid.fit({2 * lo, 2 * hi}) == fewbit::Affine{2, 0});
}

TEST_CASE("data with fewer values than levels is met exactly", "[grid][lloyd-max]") {
  const std::vector<float> three{1, 5, 2, 1, 5, 5, 2, 1, 1};
  for (const int count : {3, 4, 16, 256}) {
    const Levels l = fewbit::lloyd_max(three, count).levels();
    INFO(count << " levels asked for, " << l.count() << " made");
    CHECK(l.count() <= count);
    CHECK(mse(l, three) == 0);
  }
  const Levels two = fewbit::lloyd_max(std::vector<float>{-3, 7}, 2).levels();
  CHECK(two.first() == -3);
  CHECK(two.last() == 7);
  std::vector<float> nearly(1000, 0.5f);
  nearly.push_back(2);
  CHECK(mse(fewbit::lloyd_max(nearly, 4).levels(), nearly) < 1e-3);
}

TEST_CASE("what cannot be fitted is refused", "[grid][lloyd-max]") {
  const std::vector<float> good{1, 2, 3, 4};
  for (const int count : {-1, 0, 1, 257}) {
    INFO(count << " levels");
    CHECK_THROWS_AS(fewbit::lloyd_max(good, count), std::invalid_argument);
    CHECK_THROWS_AS(fewbit::lloyd_max_normal(count), std::invalid_argument);
  }
  CHECK_THROWS_AS(fewbit::lloyd_max(std::vector<float>{}, 4), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::lloyd_max(std::vector<float>{3}, 4), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::lloyd_max(std::vector<float>(9, 3.f), 4), std::invalid_argument);
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(fewbit::lloyd_max(std::vector<float>{1, nan, 3}, 4), std::domain_error);
  CHECK_THROWS_AS(fewbit::lloyd_max(std::vector<float>{1, -infinity, 3}, 4), std::domain_error);
}

TEST_CASE("256 levels for the normal distribution ascend, and converge in reasonable time", "[grid][lloyd-max]") {
  const Levels l = fewbit::lloyd_max_normal(256).levels();
  CHECK(l.count() == 256);
  CHECK(l.bits() == 8);
  // Asymptotically sqrt(3) pi / (2 n^2), Panter and Dite.
  CHECK(mse_on_normal(l) * 256 * 256 < 2.75);
  CHECK(mse_on_normal(l) * 256 * 256 > 2.6);
}
