// NF4 against what is published of it: the mean absolute error on N(0, 1) in blocks of 32, 64 and 128. Weights that go
// through the library come within three standard errors; the levels alone, under an integral, give the printed digits.

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include <fewbit/grid/nf4.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/quantize/quantize.hpp>

#include <support/catch.hpp>
#include <support/matrices.hpp>

namespace {

using support::Index;
using support::RowMajor;

// Rows of the longest block, so that every block is whole.
constexpr Index row_length = 128, weights = Index{1} << 22;

const RowMajor& normal_weights() {
  static const RowMajor w = [] {
    const std::vector<float> values = support::normal_weights(static_cast<std::size_t>(weights), 2305);
    return RowMajor(Eigen::Map<const RowMajor>(values.data(), weights / row_length, row_length));
  }();
  return w;
}

// The mean over blocks, and the standard error of that mean, from how far blocks differ: the weights of one share a
// scale, so their errors are not independent.
struct Estimate {
  double mean, error;
  double distance(double published) const { return std::fabs(mean - published) / error; }
};

Estimate mean_absolute_error(const fewbit::Codebook& grid, Index block) {
  const RowMajor& w = normal_weights();
  const RowMajor back = fewbit::dequantize<RowMajor>(fewbit::quantize(w, grid, fewbit::per_group(block)));
  const Index blocks = weights / block;
  double sum = 0, squares = 0;
  for (Index b = 0; b < blocks; ++b) {
    double error = 0;
    for (Index k = b * block; k < (b + 1) * block; ++k)
      error += std::fabs(static_cast<double>(w.data()[k]) - static_cast<double>(back.data()[k]));
    error /= static_cast<double>(block);
    sum += error, squares += error * error;
  }
  const double n = static_cast<double>(blocks), mean = sum / n;
  return {mean, std::sqrt((squares / n - mean * mean) / (n - 1))};
}

struct Published {
  Index block;
  double error;
};
constexpr Published published[] = {{32, .067746}, {64, .072798}, {128, .076831}};

// The same error as an integral: the block's largest magnitude m has the density of the largest of `block` half-normal
// numbers; it meets the table's end, and the others are normal between -m and m.
double integrated_error(const std::vector<double>& levels, double block) {
  const double reach = std::max(levels.back(), -levels.front()), root = std::sqrt(std::acos(0.) * 4);
  const auto density = [&](double x) { return std::exp(-x * x / 2) / root; };
  const auto below = [](double x) { return std::erfc(-x / std::sqrt(2.)) / 2; };
  const auto missed = [&](double end) {
    double least = 2 * reach;
    for (const double l : levels) least = std::min(least, std::fabs(end - l));
    return least / reach;
  };
  const double end_missed = (missed(reach) + missed(-reach)) / 2;  // in units of m

  constexpr int steps = 1000;
  constexpr double most = 8, step = most / steps;
  double total = 0;
  for (int i = 1; i < steps; ++i) {  // by Simpson's rule; nothing is left at either end
    const double m = i * step, scale = m / reach, inside = 2 * below(m) - 1;
    double others = 0;
    for (std::size_t l = 0; l < levels.size(); ++l) {
      const double c = scale * levels[l];
      const double from = l == 0 ? -m : scale * (levels[l - 1] + levels[l]) / 2;
      const double to = l + 1 == levels.size() ? m : scale * (levels[l] + levels[l + 1]) / 2;
      const auto moment = [&](double a, double b) { return density(a) - density(b) - c * (below(b) - below(a)); };
      const double middle = std::clamp(c, from, to);
      others += moment(middle, to) - moment(from, middle);
    }
    const double of_block = (m * end_missed + (block - 1) * others / inside) / block;
    total += (i % 2 == 1 ? 4 : 2) * block * 2 * density(m) * std::pow(inside, block - 1) * of_block;
  }
  return total * step / 3;
}

}  // namespace

TEST_CASE("NF4's mean absolute error on normal weights is the published one, within three standard errors",
          "[conformance][nf4]") {
  for (const Published& p : published) {
    const Estimate e = mean_absolute_error(fewbit::nf4, p.block);
    INFO("blocks of " << p.block << ": " << e.mean << " +- " << e.error << " for " << p.error);
    CHECK(e.distance(p.error) < 3);
    CHECK(e.error < 5e-5);
  }
  // Four million weights tell the outer levels from ones that are moved by 2 %.
  for (const auto& [level, by] : {std::pair{0u, 1.02f}, {1u, 0.98f}, {14u, 0.98f}, {15u, 1.02f}}) {
    std::array<float, 16> moved = fewbit::nf4_levels;
    moved[level] *= by;
    INFO("level " << level << " times " << by);
    CHECK(mean_absolute_error(fewbit::Codebook(moved), 32).distance(published[0].error) > 4);
  }
}

// The figures were drawn, it seems: they lie on both sides of the integral, by up to 4.5e-6. That is near enough to
// tell every level but 0 from one that is moved.
TEST_CASE("NF4's levels have the published error, and with one of them moved by 2 % they have not",
          "[conformance][nf4]") {
  constexpr double near = 5e-6;
  const auto furthest = [](const std::vector<double>& levels) {
    double off = 0;
    for (const Published& p : published)
      off = std::max(off, std::fabs(integrated_error(levels, static_cast<double>(p.block)) - p.error));
    return off;
  };
  const std::vector<double> nf4(fewbit::nf4_levels.begin(), fewbit::nf4_levels.end());
  CHECK(furthest(nf4) < near);
  for (std::size_t l = 0; l < nf4.size(); ++l) {
    if (l == 7) continue;
    for (const double by : {0.98, 1.02}) {
      std::vector<double> moved = nf4;
      moved[l] *= by;
      INFO("level " << l << " times " << by);
      CHECK(furthest(moved) > near);
    }
  }
}
