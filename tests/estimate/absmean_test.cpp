// The mean magnitude as a scale: ternary weights as BitNet has them.

#include <cmath>
#include <stdexcept>
#include <vector>

#include <fewbit/estimate/absmean.hpp>
#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/symmetric.hpp>

#include <support/catch.hpp>
#include <support/numbers.hpp>

namespace {

fewbit::Affine fit(const std::vector<float>& block, fewbit::ScaleType type = fewbit::ScaleType::f32) {
  const fewbit::Symmetric ternary(2);
  return fewbit::AbsMean{}(block, fewbit::Stored<fewbit::Symmetric>(ternary, type));
}

}  // namespace

TEST_CASE("the scale is the mean magnitude, as it is stored", "[estimate][absmean]") {
  CHECK(fit({1, -2, 3, -4}) == fewbit::Affine{2.5f, 0});
  CHECK(fit({0, 0, 0}) == fewbit::Affine{1, 0});
  CHECK(fit({-0.f}) == fewbit::Affine{1, 0});
  CHECK(fit({-7}) == fewbit::Affine{7, 0});
  CHECK(fit({1, 2}, fewbit::ScaleType::bf16) == fewbit::Affine{1.5f, 0});
  CHECK(fit({1.f, 1.0009766f}, fewbit::ScaleType::f16).scale == 1.f);  // 1.00049: half a step of f16, to even
  for (const std::size_t n : {1u, 15u, 16u, 17u, 1000u}) {
    const std::vector<float> w = support::normal_weights(n, 900);
    double sum = 0;
    for (const float x : w) sum += std::fabs(static_cast<double>(x));
    CHECK(std::fabs(static_cast<double>(fit(w).scale) / (sum / static_cast<double>(n)) - 1) < 1e-7);
  }
}

TEST_CASE("sums of the largest and the smallest floats stay finite and positive", "[estimate][absmean][bad-input]") {
  CHECK(fit(std::vector<float>(1000, std::numeric_limits<float>::max())).scale == std::numeric_limits<float>::max());
  const fewbit::Affine tiny = fit({std::numeric_limits<float>::denorm_min(), 0, 0, 0});
  CHECK(tiny.scale == std::numeric_limits<float>::denorm_min());
}

TEST_CASE("a grid on one side of zero is refused", "[estimate][absmean][bad-input]") {
  const std::vector<float> block = {1, -2, 3};
  const fewbit::Asymmetric grid(2);
  CHECK_THROWS_AS(fewbit::AbsMean{}(block, fewbit::Stored<fewbit::Asymmetric>(grid, fewbit::ScaleType::f32)),
                  std::invalid_argument);
}
