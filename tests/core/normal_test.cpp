// The normal distribution, judged by digits computed with a hundred and sixty, and by its own identities.

#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

#include <fewbit/core/normal.hpp>

#include <support/tally.hpp>

TEST_CASE("normal_quantile agrees with exact digits to 1e-14", "[normal]") {
  struct Known {
    double p, x;
  };
  const Known known[] = {
      {1e-40, -13.31092137142517089531},
      {1e-20, -9.262340089798407579572},
      {1e-10, -6.361340902404056199100},
      {1e-05, -4.264890793922824610233},
      {0.001, -3.090232306167813535358},
      {0.01, -2.326347874040841093075},
      {0.02425, -1.972961051311884837602},
      {0.05, -1.644853626951472687952},
      {0.1, -1.281551565544600435334},
      {0.25, -0.674489750196081743202},
      {0.4, -0.253347103135799741324},
      {0.49, -0.025068908258711058032},
      {0.4999999, -2.5066282747031063e-07},
      {0.5, 0},
      {0.51, 0.0250689082587110580326},
      {0.6, 0.2533471031357997413246},
      {0.75, 0.6744897501960817432022},
      {0.9, 1.2815515655446005934874},
      {0.97575, 1.9729610513118849594013},
      {0.99, 2.3263478740408407676371},
      {0.999, 3.0902323061678132777582},
      {0.9999999, 5.1993375822906610936573},
      {0.9999999999999999, 8.2095361516013868556307},
      {0.9677083333333333, 1.8481314207079730237243},
  };
  for (const Known& k : known) {
    INFO("p = " << k.p << ", quantile " << fewbit::normal_quantile(k.p));
    CHECK(std::fabs(fewbit::normal_quantile(k.p) - k.x) <= 1e-14 * std::fmax(1., std::fabs(k.x)));
  }
}

TEST_CASE("normal_quantile undoes normal_probability, is odd about one half, and rises", "[normal]") {
  support::Tally tally;
  double before = -std::numeric_limits<double>::infinity();
  for (int i = 1; i < 4096; ++i) {
    const double p = i / 4096., x = fewbit::normal_quantile(p);
    tally.check(std::fabs(fewbit::normal_probability(x) - p) <= 4e-16, "probability of the quantile of ", p);
    tally.check(std::fabs(fewbit::normal_quantile(1 - p) + x) <= 1e-15, "1 - p mirrors ", p);
    tally.check(x > before, "rises at ", p);
    before = x;
  }
  for (double p = 0.5; p > 0; p /= 16) {
    const double x = fewbit::normal_quantile(p);
    tally.check(std::isfinite(x) && x <= 0, "finite at ", p);
    if (p > 1e-300) tally.check(std::fabs(fewbit::normal_probability(x) / p - 1) <= 1e-12, "tail at ", p);
  }
  tally.require(12'000);
}

TEST_CASE("normal_density is the slope of normal_probability", "[normal]") {
  CHECK(fewbit::normal_density(0) == 1 / std::sqrt(2 * std::numbers::pi));
  CHECK(fewbit::normal_probability(0) == 0.5);
  for (const double x : {-3., -1., -0.1, 0., 0.7, 2.5}) {
    const double h = 1e-4, slope = (fewbit::normal_probability(x + h) - fewbit::normal_probability(x - h)) / (2 * h);
    INFO("x = " << x);
    CHECK(std::fabs(slope - fewbit::normal_density(x)) < 1e-8);
  }
}

TEST_CASE("a quantile that does not exist is refused", "[normal]") {
  for (const double p :
       {0., 1., -0.1, 1.5, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    INFO("p = " << p);
    CHECK_THROWS_AS(fewbit::normal_quantile(p), std::domain_error);
  }
}
