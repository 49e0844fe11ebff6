// The cut of least divergence against the definition: P and Q written out bin by bin, for every cut.

#include <cmath>
#include <stdexcept>
#include <vector>

#include <fewbit/estimate/kl_divergence.hpp>

#include <support/blocks.hpp>
#include <support/catch.hpp>

namespace {

using fewbit::KlDivergence;
using fewbit::Range;
using support::BlockCase;
using support::GridCase;
using support::Tally;

std::vector<double> histogram(const std::vector<float>& w, std::size_t bins) {
  std::vector<double> h(bins, 0);
  double most = 0;
  for (const float x : w) most = std::max(most, std::fabs(static_cast<double>(x)));
  for (const float x : w) {
    const double at = std::fabs(static_cast<double>(x)) * static_cast<double>(bins) / most;
    h[std::min(static_cast<std::size_t>(at), bins - 1)] += 1;
  }
  return h;
}

// KL(P || Q) with the first i bins kept.
double divergence(const std::vector<double>& h, std::size_t i, std::size_t levels) {
  std::vector<double> p(h.begin(), h.begin() + static_cast<std::ptrdiff_t>(i)), q(i, 0);
  for (std::size_t b = i; b < h.size(); ++b) p[i - 1] += h[b];
  std::vector<double> merged(levels, 0), filled(levels, 0);
  for (std::size_t b = 0; b < i; ++b) merged[b * levels / i] += h[b], filled[b * levels / i] += h[b] > 0;
  for (std::size_t b = 0; b < i; ++b)
    if (h[b] > 0) q[b] = merged[b * levels / i] / filled[b * levels / i];
  double p_sum = 0, q_sum = 0, sum = 0;
  for (std::size_t b = 0; b < i; ++b) p_sum += p[b], q_sum += q[b];
  for (std::size_t b = 0; b < i; ++b) {
    if (p[b] == 0) continue;
    if (q[b] == 0) return std::numeric_limits<double>::infinity();
    sum += p[b] / p_sum * std::log(p[b] / p_sum / (q[b] / q_sum));
  }
  return sum;
}

void judge(Tally& tally, const BlockCase& b, int bins, int count) {
  const Range r = support::range_of(b.weights), got = support::chosen_range(KlDivergence{bins}, b.weights, count);
  const int levels = r.lo < 0 && r.hi > 0 ? (count + 1) / 2 : count;
  if (r.lo == r.hi || bins <= levels) return tally.check(got == r, b.name, ": not the whole range");
  const auto n = static_cast<std::size_t>(bins);
  const std::vector<double> h = histogram(b.weights, n);
  double least = std::numeric_limits<double>::infinity();
  std::vector<double> of(n + 1, least);
  for (std::size_t i = static_cast<std::size_t>(levels); i <= n; ++i) {
    const auto filled =
        std::count_if(h.begin(), h.begin() + static_cast<std::ptrdiff_t>(i), [](double x) { return x > 0; });
    if (filled >= levels) of[i] = divergence(h, i, static_cast<std::size_t>(levels));
    least = std::fmin(least, of[i]);
  }
  if (std::isinf(least)) return tally.check(got == r, b.name, ": not the whole range");
  std::size_t widest = 0, found = 0;
  const double most = std::max(-static_cast<double>(r.lo), static_cast<double>(r.hi));
  for (std::size_t i = 1; i <= n; ++i) {
    if (of[i] <= least + 1e-11) widest = i;
    const auto t = static_cast<float>(std::min(most * (static_cast<double>(i) + 0.5) / bins, oracle::f32.most));
    if (of[i] <= least + 1e-9 && got == Range{std::max(r.lo, -t), std::min(r.hi, t)}) found = i;
  }
  tally.check(found > 0, b.name, ", ", bins, " bins, ", levels, " levels: ", got.lo, " to ", got.hi,
              " is not the cut behind bin ", widest);
  // Where nothing else is as good, to rounding, it is the very cut.
  tally.check(found == widest || of[found] <= least + 2e-12 || got == Range{r.lo, r.hi}, b.name, ": bin ", found,
              " for ", widest);
}

std::vector<float> laplace(std::size_t n) {
  support::NumPy random(31);
  std::vector<float> w(n);
  for (float& x : w) x = static_cast<float>(-std::log(1 - random.random_sample()) * (random.below(2) ? 1 : -1));
  return w;
}

}  // namespace

TEST_CASE("the cut has the least divergence there is", "[estimate][kl]") {
  Tally tally;
  for (const BlockCase& b : support::blocks())
    for (const int bins : {64, 100, 301})
      for (const int count : {3, 4, 15, 16, 255}) judge(tally, b, bins, count);
  for (const std::size_t n : {1000u, 20000u}) {
    judge(tally, {"laplace", laplace(n)}, 512, 255);
    judge(tally, {"laplace", laplace(n)}, 512, 15);
    judge(tally, {"normal", support::normal_weights(n, 32)}, 512, 16);
    std::vector<float> positive = laplace(n);
    for (float& x : positive) x = std::fabs(x);
    judge(tally, {"positive", positive}, 512, 64);
  }
  judge(tally, {"laplace", laplace(20000)}, 2048, 255);
  tally.require(55 * 3 * 5);
}

TEST_CASE("an outlier is cut off, and a histogram without a tail is not", "[estimate][kl]") {
  std::vector<float> w = laplace(20000);
  w[17] = 30;
  const Range cut = support::chosen_range(KlDivergence{}, w, 255);
  CHECK(cut.hi < 15);
  CHECK(cut.lo >= -cut.hi);
  std::vector<float> even(4096);
  for (std::size_t i = 0; i < even.size(); ++i) even[i] = static_cast<float>(i) - 2047.5f;
  CHECK(support::chosen_range(KlDivergence{}, even, 255) == Range{-2047.5f, 2047.5f});
}

TEST_CASE("every grid fits the range of least divergence", "[estimate][kl]") {
  Tally tally;
  for (const BlockCase& b : support::blocks())
    for (const GridCase& c : support::estimator_grids()) {
      const Range r = support::chosen_range(KlDivergence{80}, b.weights, c.expected.count());
      tally.check(support::estimate(KlDivergence{80}, b.weights, c.grid, fewbit::ScaleType::bf16) ==
                      support::stored_fit(c.grid, r, fewbit::ScaleType::bf16),
                  b.name, ", ", c.name);
    }
  tally.require(55 * 35);
}

TEST_CASE("histograms that make no sense are refused; too few bins give the plain fit", "[estimate][kl][bad-input]") {
  const std::vector<float> w = laplace(500);
  for (const int bad : {0, -1, (1 << 20) + 1}) {
    INFO(bad);
    CHECK_THROWS_AS(support::chosen_range(KlDivergence{bad}, w), std::invalid_argument);
  }
  CHECK(support::chosen_range(KlDivergence{128}, w, 255) == support::range_of(w));
  CHECK(support::estimate(KlDivergence{}, w, fewbit::Symmetric(16)) ==
        support::stored_fit(fewbit::Symmetric(16), support::range_of(w)));
  support::check_plain_on_one_value(KlDivergence{});
}

TEST_CASE("divergences are the same on every instruction set", "[estimate][kl]") {
  support::check_every_instruction_set(KlDivergence{128}, 55 * 35);
}
