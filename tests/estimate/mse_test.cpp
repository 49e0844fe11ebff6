// The search for the least error against one in double that tries every candidate the slow way.

#include <cmath>
#include <stdexcept>
#include <vector>

#include <fewbit/estimate/mse.hpp>

#include <support/blocks.hpp>
#include <support/catch.hpp>

namespace {

using fewbit::Affine;
using fewbit::MseSearch;
using fewbit::ScaleType;
using support::BlockCase;
using support::GridCase;
using support::Tally;

bool mirrored(const oracle::Grid& g) {
  for (int i = 0; i < g.count(); ++i)
    if (g.level(i) != -g.level(g.count() - 1 - i)) return false;
  return true;
}

// Every candidate, in order.
std::vector<Affine> candidates(const std::vector<float>& w, const GridCase& c, ScaleType type, int steps,
                               double shrink) {
  const fewbit::Range r = support::range_of(w);
  const oracle::Grid& g = c.expected;
  const double below = -static_cast<double>(g.first()), above = static_cast<double>(g.last());
  int first = 0;
  if (support::stored_fit(c.grid, r, type).zero == 0 && below > 0 && above > 0)
    first = -static_cast<int>((std::min(1.2, std::max(below / above, above / below)) - 1) * steps);
  std::vector<Affine> result;
  for (int i = first; i <= 0 || i < shrink * steps; ++i) {
    const double p = 1 - static_cast<double>(i) / steps, most = oracle::f32.most;
    const auto cut = [&](float x) { return oracle::to_float(std::clamp(static_cast<double>(x) * p, -most, most)); };
    const float lo = cut(r.lo), hi = cut(r.hi);
    // Of one value: the formulas leave its scale open.
    oracle::Affine a = oracle::fit(lo, hi, g, support::format(type));
    if (lo == hi) {
      const Affine own = support::stored_fit(c.grid, {lo, hi}, type);
      a = {own.scale, own.zero};
      if (std::isinf(oracle::stored_scale(static_cast<double>(a.scale), support::format(type)))) continue;
    }
    if (std::isinf(a.scale)) continue;
    result.push_back({a.scale, a.zero});
    if (!mirrored(g) && a.zero == 0) result.push_back({-a.scale, 0});
  }
  return result;
}

double cost(const std::vector<float>& w, Affine a, const oracle::Grid& g, double exponent,
            const std::vector<float>& importance, std::size_t width) {
  double sum = 0;
  for (std::size_t k = 0; k < w.size(); ++k) {
    const oracle::Affine o{a.scale, a.zero};
    const double e = static_cast<double>(oracle::subtract(w[k], oracle::decode(oracle::code(w[k], o, g), o, g)));
    sum += std::pow(std::fabs(e), exponent) * (importance.empty() ? 1 : static_cast<double>(importance[k % width]));
  }
  return std::isnan(sum) ? std::numeric_limits<double>::infinity() : sum;
}

void judge(Tally& tally, const MseSearch& search, const BlockCase& b, const GridCase& c, ScaleType type,
           std::size_t width) {
  const std::vector<float>& w = b.weights;
  const fewbit::Range r = support::range_of(w);
  const Affine got = support::estimate(search, w, c.grid, type, width);
  const Affine plain = support::stored_fit(c.grid, r, type);
  if (r.lo == r.hi) return tally.check(got == plain, b.name, ", ", c.name, ": not the plain fit");
  double least = std::numeric_limits<double>::infinity(), own = least;
  for (const Affine a : candidates(w, c, type, search.steps, search.shrink)) {
    const double x = cost(w, a, c.expected, search.exponent, search.importance, width);
    least = std::fmin(least, x);
    if (a == got) own = x;
  }
  if (std::isinf(least)) return tally.check(got == plain, b.name, ", ", c.name, ": not the plain fit");
  const double tolerance = search.exponent == 2 ? search.importance.empty() ? 1e-12 : 1e-6 : 3e-4;
  tally.check(own <= least * (1 + tolerance), b.name, ", ", c.name, ", ", fewbit::name(type), ": scale ", got.scale,
              ", zero ", got.zero, " costs ", own, ", the least is ", least);
}

}  // namespace

TEST_CASE("the search finds the candidate of the least squared error", "[estimate][mse]") {
  Tally tally;
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16})
    for (const BlockCase& b : support::blocks())
      for (const GridCase& c : support::estimator_grids())
        judge(tally, {.steps = type == ScaleType::f32 ? 50 : 15}, b, c, type, b.weights.size());
  tally.require(3 * 55 * 35);
}

TEST_CASE("the search finds the candidate of the least error to the power 2.4", "[estimate][mse]") {
  Tally tally;
  for (const BlockCase& b : support::blocks())
    for (const GridCase& c : support::estimator_grids())
      judge(tally, {.exponent = 2.4, .steps = 15, .shrink = 1}, b, c, ScaleType::f16, b.weights.size());
  tally.require(55 * 35);
}

TEST_CASE("errors are weighted by the importance of their column", "[estimate][mse]") {
  Tally tally;
  std::vector<float> importance = support::normal_weights(130, 21);
  for (float& x : importance) x *= x;
  importance[3] = 0, importance[5] = 1e6f;
  int moved = 0;
  for (const double exponent : {2., 2.4})
    for (const BlockCase& b : support::blocks())
      for (const std::size_t rows : {1u, 2u, 5u}) {
        if (b.weights.size() % rows != 0) continue;
        const std::size_t width = b.weights.size() / rows;
        const std::vector<float> own(importance.begin(), importance.begin() + static_cast<std::ptrdiff_t>(width));
        for (const GridCase& c :
             {support::integer_grids(3)[2], support::integer_grids(4)[3], support::table_grids()[0]}) {
          const MseSearch search{.exponent = exponent, .steps = 50, .importance = own};
          judge(tally, search, b, c, ScaleType::f32, width);
          const MseSearch plain{.exponent = exponent, .steps = 50};
          moved += support::estimate(search, b.weights, c.grid, ScaleType::f32, width) !=
                   support::estimate(plain, b.weights, c.grid);
        }
      }
  tally.require(2 * 55 * 3);
  CHECK(moved > 50);
}

TEST_CASE("importances that are all zero in a block count as if there were none", "[estimate][mse][bad-input]") {
  const std::vector<float> w = support::normal_weights(64, 22);
  const fewbit::Symmetric grid(3);
  const fewbit::Stored<fewbit::Symmetric> stored(grid, ScaleType::f32);
  std::vector<float> importance(128, 0.f);
  for (std::size_t j = 0; j < 64; ++j) importance[j] = static_cast<float>(j * j);
  const Affine none = MseSearch{}(fewbit::Block{w, 0, 64, 64}, stored);
  CHECK(MseSearch{.importance = importance}(fewbit::Block{w, 0, 64, 64}, stored) == none);
  CHECK(MseSearch{.importance = importance}(fewbit::Block{w, 9, 0, 64}, stored) != none);
}

TEST_CASE("a block too large for one piece is searched alike", "[estimate][mse]") {
  Tally tally;
  std::vector<float> importance = support::normal_weights(5000, 23);
  for (float& x : importance) x = std::fabs(x);
  for (const std::size_t n : {1023u, 1024u, 1025u, 2048u, 2049u, 5000u}) {
    const BlockCase b{"large, " + std::to_string(n), support::normal_weights(n, 24)};
    for (const GridCase& c : {support::integer_grids(4)[2], support::integer_grids(4)[3]}) {
      judge(tally, {.steps = 20}, b, c, ScaleType::f16, n);
      judge(tally, {.exponent = 2.4, .steps = 20}, b, c, ScaleType::f16, n);
      for (const std::size_t width : {n, std::size_t{7}, std::size_t{1}}) {
        if (n % width != 0) continue;
        const std::vector<float> own(importance.begin(), importance.begin() + static_cast<std::ptrdiff_t>(width));
        judge(tally, {.steps = 20, .importance = own}, b, c, ScaleType::f32, width);
      }
    }
  }
  tally.require(6 * 2 * 4);
}

TEST_CASE("of candidates that cost the same the earlier one wins", "[estimate][mse]") {
  // A block that is its own mirror image: both signs cost the same at every p, and the fit's is positive.
  for (const float size : {1.f, 0.37f, 1e-20f}) {
    const Affine a =
        support::estimate(MseSearch{}, {-size, size, size / 2, -size / 2}, fewbit::Symmetric(3).signed_scale());
    CHECK(a.scale > 0);
  }
  // Nothing in f16 is fine enough for these: every candidate has the same scale, so p = 1 and all others tie.
  const Affine tiny = support::estimate(MseSearch{}, {1e-30f, -3e-30f}, fewbit::Symmetric(4), ScaleType::f16);
  CHECK(tiny == Affine{0x1p-24f, 0});
  // Weights that are levels: nothing is better than the plain fit, and nothing later is taken.
  CHECK(support::estimate(MseSearch{}, {-7, 3, 7, 0}, fewbit::Symmetric(4)) == Affine{1, 0});
  CHECK(support::estimate(MseSearch{.exponent = 2.4}, {-8, 3, 7, 0}, fewbit::Symmetric(4).signed_scale()) ==
        Affine{1, 0});
}

TEST_CASE("a range whose scale does not fit its type is left out of the search", "[estimate][mse][bad-input]") {
  const std::vector<float> w{-480000, 300000, 100000, 5000};
  const Affine a = support::estimate(MseSearch{}, w, fewbit::Symmetric(4), ScaleType::f16);
  CHECK(std::isinf(fewbit::round_scale(480000 / 7.f, ScaleType::f16)));
  CHECK(std::isfinite(fewbit::round_scale(a.scale, ScaleType::f16)));
  CHECK(a.scale > 60000);
  const Affine none = support::estimate(MseSearch{}, {-3e38f, 1e38f}, fewbit::Symmetric(4), ScaleType::f16);
  CHECK(none == support::stored_fit(fewbit::Symmetric(4), {-3e38f, 1e38f}, ScaleType::f16));
}

TEST_CASE("searches that make no sense are refused, and say why", "[estimate][mse][bad-input]") {
  const std::vector<float> w{1, -2, 3};
  const auto refused = [&](const MseSearch& search, const std::string& because) {
    INFO(because);
    CHECK_THROWS_AS(support::estimate(search, w, fewbit::Symmetric(4)), std::invalid_argument);
    CHECK_THROWS_AS(search.check(1, 3), std::invalid_argument);
    try {
      search.check(1, 3);
    } catch (const std::invalid_argument& e) {
      CHECK(std::string(e.what()).find(because) != std::string::npos);
    }
  };
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const double exponent : {0., 1., 2.3999, 3., -2., static_cast<double>(nan)})
    refused({.exponent = exponent}, "use 2 or 2.4");
  refused({.steps = 0}, "use 1 or more");
  refused({.shrink = 1.01}, "use 0 to 1");
  refused({.shrink = static_cast<double>(nan)}, "use 0 to 1");
  refused({.importance = {1, 2}}, "one for each column");
  for (const float bad : {-1e-9f, nan, infinity}) refused({.importance = {1, bad, 1}}, "the importance of input 1");
  CHECK_THROWS_AS((MseSearch{.importance = {1, 2, 3, 4}}.check(1, 3)), std::invalid_argument);  // too long
  CHECK_NOTHROW(MseSearch{.importance = {1, 0, 3}}.check(1, 3));
  CHECK_NOTHROW(MseSearch{}.check(0, 0));
}

TEST_CASE("the search finds the same on every instruction set", "[estimate][mse]") {
  support::check_every_instruction_set(MseSearch{}, 55 * 35);
  support::check_every_instruction_set(MseSearch{.exponent = 2.4}, 55 * 35);
}

TEST_CASE("a block of one value has the plain fit under a search", "[estimate][mse]") {
  support::check_plain_on_one_value(MseSearch{});
}
