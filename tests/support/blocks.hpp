#pragma once
// Blocks of weights that an estimator may meet, and estimators asked for their opinion on them. Rule: every estimator
// meets every block here, so a block that once hurt one is added for all.

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <fewbit/estimate/estimate.hpp>
#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/kernel/scalar.hpp>

#include <support/grids.hpp>
#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace support {

struct BlockCase {
  std::string name;
  std::vector<float> weights;
};

inline std::vector<BlockCase> blocks() {
  std::vector<BlockCase> result;
  const auto add = [&](const std::string& name, std::size_t n, auto&& weight_of) {
    NumPy random(static_cast<std::uint32_t>(7 * result.size() + n));
    BlockCase b{name + ", " + std::to_string(n), std::vector<float>(n)};
    for (std::size_t i = 0; i < n; ++i) b.weights[i] = static_cast<float>(weight_of(random, i));
    result.push_back(std::move(b));
  };
  const auto normal = [](NumPy& random, std::size_t) { return random.randn(); };
  for (const std::size_t n : {1u, 2u, 3u, 7u, 15u, 16u, 17u, 31u, 32u, 33u, 63u, 64u, 65u, 128u, 129u, 130u})
    add("normal", n, normal);
  for (const std::size_t n : {2u, 40u, 130u}) {
    add("positive", n, [](NumPy& random, std::size_t) { return std::fabs(random.randn()); });
    add("negative", n, [](NumPy& random, std::size_t) { return -std::fabs(random.randn()); });
    add("far from zero", n, [](NumPy& random, std::size_t) { return 100 + random.randn(); });
    add("an outlier", n, [](NumPy& random, std::size_t i) { return random.randn() * (i == 1 ? -300 : 1); });
    add("heavy tails", n, [](NumPy& random, std::size_t) { return std::pow(random.randn(), 3); });
    add("subnormal", n, [](NumPy& random, std::size_t) { return random.randn() * 1e-44; });
    add("small", n, [](NumPy& random, std::size_t) { return random.randn() * 1e-38; });
    add("huge", n, [](NumPy& random, std::size_t) { return std::clamp(random.randn() * 2e38, -3.4e38, 3.4e38); });
    add("both ends of the floats", n,
        [](NumPy& random, std::size_t i) { return random.randn() * (i % 2 ? 1e-42 : 9e37); });
    add("zeros", n, [](NumPy&, std::size_t) { return 0.; });
    add("one value", n, [](NumPy&, std::size_t) { return -0.3; });
    add("zeros and one weight", n, [](NumPy&, std::size_t i) { return i == 1 ? 0.7 : -0.; });
    add("integers", n, [](NumPy& random, std::size_t) { return static_cast<double>(random.below(16)) - 8; });
  }
  return result;
}

inline std::vector<GridCase> estimator_grids() {
  std::vector<GridCase> grids = table_grids();
  for (const int bits : {1, 2, 3, 4, 8})
    for (GridCase& g : integer_grids(bits)) grids.push_back(std::move(g));
  return grids;
}

// What an estimator makes of a block that lies at row 0, column 0 and has `width` weights to a row.
template <class E>
fewbit::Affine estimate(const E& e, const std::vector<float>& w, const AnyGrid& grid,
                        fewbit::ScaleType type = fewbit::ScaleType::f32, std::size_t width = 0) {
  return std::visit(
      [&](const auto& g) {
        using G = std::decay_t<decltype(g)>;
        const fewbit::Stored<G> stored(g, type);
        if constexpr (fewbit::PlacedEstimator<E, G>)
          return e(fewbit::Block{w, 0, 0, static_cast<fewbit::Index>(width == 0 ? w.size() : width)}, stored);
        else return e(std::span<const float>(w), stored);
      },
      grid);
}

// The grid's own fit, with scales as they are stored.
inline fewbit::Affine stored_fit(const AnyGrid& grid, fewbit::Range r,
                                 fewbit::ScaleType type = fewbit::ScaleType::f32) {
  return std::visit([&](const auto& g) { return fewbit::Stored<std::decay_t<decltype(g)>>(g, type).fit(r); }, grid);
}

inline fewbit::Range range_of(const std::vector<float>& w) {
  const auto [lo, hi] = std::minmax_element(w.begin(), w.end());
  return {*lo + 0.f, *hi + 0.f};
}

// A grid that says which range it was asked to fit.
struct RangeProbe {
  int count = 15;
  fewbit::Levels levels() const { return fewbit::Levels::integers(16, 0, count); }
  fewbit::Affine fit(fewbit::Range r) const { return {r.lo, r.hi}; }
};
template <class E>
fewbit::Range chosen_range(const E& e, const std::vector<float>& w, int levels = 15) {
  const fewbit::Affine a = e(std::span<const float>(w), RangeProbe{levels});
  return {a.scale, a.zero};
}

// Every instruction set that can run here comes to the same Affine, on every block and grid: `at_least` of them each.
template <class E>
void check_every_instruction_set(const E& e, std::size_t at_least) {
  Tally tally;
  std::size_t sets = 0;
  for (const fewbit::kernel::Table* t : fewbit::kernel::all()) sets += t->supported();
  for (const BlockCase& b : blocks()) {
    for (const GridCase& c : estimator_grids()) {
      const auto wanted = [&] {
        const fewbit::kernel::Use use(fewbit::kernel::scalar::table);
        return estimate(e, b.weights, c.grid, fewbit::ScaleType::f16);
      }();
      for (const fewbit::kernel::Table* t : fewbit::kernel::all()) {
        if (!t->supported()) continue;
        const fewbit::kernel::Use use(*t);
        tally.check(estimate(e, b.weights, c.grid, fewbit::ScaleType::f16) == wanted, t->name, ", ", b.name, ", ",
                    c.name);
      }
    }
  }
  tally.require(at_least * sets);
}

// A block of one value has the plain fit, whatever is estimated.
template <class E>
void check_plain_on_one_value(const E& e) {
  Tally tally;
  for (const GridCase& c : estimator_grids())
    for (const float value : {0.f, -0.f, 1.f, -0.3f, 1e-44f, -3.4e38f, 7.f})
      for (const std::size_t n : {1u, 16u, 100u}) {
        const std::vector<float> w(n, value);
        tally.check(estimate(e, w, c.grid) == stored_fit(c.grid, range_of(w)), c.name, ", ", n, " times ", value);
      }
  tally.require(500);
}

}  // namespace support
