// MinMax covers the range as it is; anything with the same call operator is an estimator too.

#include <vector>

#include <fewbit/estimate/minmax.hpp>

#include <support/grids.hpp>
#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

struct ReturnsNoAffine {
  float operator()(std::span<const float>, const auto&) const { return 1; }
};

}  // namespace

TEST_CASE("MinMax fits the smallest and the largest weight, wherever they stand", "[estimate]") {
  support::Tally tally;
  for (std::size_t n = 1; n <= 70; ++n) {
    const std::vector<float> w = support::normal_weights(n, static_cast<std::uint32_t>(n));
    float lo = w[0], hi = w[0];
    for (const float x : w) lo = std::fmin(lo, x), hi = std::fmax(hi, x);
    for (const support::GridCase& c : support::integer_grids(4)) {
      const fewbit::Affine got = std::visit([&](const auto& g) { return fewbit::MinMax{}(std::span(w), g); }, c.grid);
      tally.check(got == support::fit(c.grid, {lo, hi}), c.name, ", ", n, " weights: scale ", got.scale, ", zero ",
                  got.zero);
    }
  }
  tally.require(350);
}

TEST_CASE("an estimator is anything that turns a block and a grid into an affine", "[estimate]") {
  const auto lambda = [](std::span<const float>, const auto& grid) { return grid.fit({-1, 1}); };
  static_assert(fewbit::Estimator<decltype(lambda), fewbit::Symmetric>);
  static_assert(fewbit::Estimator<fewbit::MinMax, fewbit::Codebook>);
  static_assert(!fewbit::Estimator<ReturnsNoAffine, fewbit::Symmetric> && !fewbit::Estimator<int, fewbit::Symmetric>);
  static_assert(!fewbit::Grid<int> && fewbit::Grid<fewbit::Asymmetric>);
  CHECK(lambda(std::span<const float>(), fewbit::Symmetric(4)).scale == static_cast<float>(1 / 7.));
}
