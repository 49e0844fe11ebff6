// Parts add up: any grid with any granularity, scale type, estimator and instruction set, and a grid or an estimator
// that a user brings is as good as the library's own.

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/quantize/fake_quantize.hpp>
#include <fewbit/quantize/quantize.hpp>

#include <support/expected.hpp>

namespace {

using fewbit::Affine;
using fewbit::Granularity;
using fewbit::Levels;
using fewbit::QuantizedMatrix;
using fewbit::Range;
using fewbit::ScaleType;
using support::Index;
using support::MatrixXf;
using support::Tally;

// A user's grids: two members each.
struct Ternary {
  Levels levels() const { return Levels::integers(2, -1, 3); }
  Affine fit(Range r) const {
    const float most = std::fmax(std::fabs(r.lo), std::fabs(r.hi));
    return {most > 0 ? most / 2 : 1, 0};
  }
};
struct PowersOfTwo {
  std::vector<float> table{-1, -0.5f, -0.25f, -0.125f, 0, 0.125f, 0.25f, 0.5f, 1};
  Levels levels() const { return Levels::table(table); }
  Affine fit(Range r) const {
    const float most = std::fmax(std::fabs(r.lo), std::fabs(r.hi));
    return {most > 0 ? most : 1, 0};
  }
};
struct Unsigned9 {  // an odd first level, and a zero-point between the codes
  Levels levels() const { return Levels::integers(4, 3, 9); }
  Affine fit(Range r) const { return {r.hi > r.lo ? (r.hi - r.lo) / 8 : 1, 5.375f}; }
};
static_assert(fewbit::Grid<Ternary> && fewbit::Grid<PowersOfTwo> && fewbit::Grid<Unsigned9>);

// The codes and weights that these levels and the stored affine give, by arithmetic of our own.
struct Reference {
  std::vector<float> levels;
  bool uniform;

  int code(float w, Affine a) const {
    int best = 0;
    if (uniform) {
      const double whole = std::nearbyint(static_cast<double>(a.zero));
      const float rest = static_cast<float>(static_cast<double>(a.zero) - whole),
                  quotient = oracle::add(oracle::divide(w, a.scale), rest);
      const double level = std::nearbyint(static_cast<double>(quotient)) + whole;
      return static_cast<int>(
          std::clamp(level, static_cast<double>(levels.front()), static_cast<double>(levels.back())) -
          static_cast<double>(levels.front()));
    }
    const float u = oracle::add(oracle::divide(w, a.scale), a.zero);
    for (std::size_t i = 1; i < levels.size(); ++i)
      if (oracle::side_of_midpoint(u, levels[i - 1], levels[i]) > 0) best = static_cast<int>(i);
    return best;
  }
  float decode(int c, Affine a) const {
    const float d = oracle::subtract(levels[static_cast<std::size_t>(c)], a.zero);
    return d == 0 ? 0 : oracle::multiply(a.scale, d);
  }
};

Reference reference(const Levels& l) {
  Reference r{{}, l.uniform()};
  for (int i = 0; i < l.count(); ++i) r.levels.push_back(l[i]);
  return r;
}

// Estimators that a user might write.
const auto half_range = [](std::span<const float> block, const auto& grid) {
  Range r{block[0], block[0]};
  for (const float w : block) r.lo = std::fmin(r.lo, w), r.hi = std::fmax(r.hi, w);
  return grid.fit({r.lo / 2, r.hi / 2});
};
const auto mean_magnitude = [](std::span<const float> block, const auto& grid) {
  double sum = 0;
  for (const float w : block) sum += std::fabs(static_cast<double>(w));
  const auto mean = static_cast<float>(sum / static_cast<double>(block.size()));
  return mean > 0 ? Affine{mean, 0} : grid.fit({0, 0});
};
const auto shifted = [](std::span<const float> block, const auto& grid) {
  Affine a = grid.fit({-3, 3});
  a.zero += static_cast<float>(block.size() % 5) * 0.3f;
  a.scale = -a.scale;
  return a;
};

// One grid and one estimator with every granularity, scale type and instruction set.
template <class G, class E>
void every_combination(Tally& tally, const std::string& name, const G& grid, const E& estimate) {
  const MatrixXf w = support::planted_matrix(7, 70, 121, 3);
  const Reference ref = reference(grid.levels());
  const Eigen::VectorXf x = support::normal_matrix(70, 1, 122);
  for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    for (const Granularity g :
         {fewbit::per_tensor(t), fewbit::per_channel(t), fewbit::per_column(t), fewbit::per_group(32, t),
          fewbit::per_group(9, t), fewbit::per_block(3, 16, t), fewbit::per_block(1, 1, t)}) {
      for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
        if (!table->supported()) continue;
        const fewbit::kernel::Use use(*table);
        const std::string place = name + ", " + std::to_string(g.rows) + " x " + std::to_string(g.cols) + ", " +
                                  fewbit::name(t) + ", " + table->name + ": ";
        const QuantizedMatrix q = fewbit::quantize(w, grid, g, estimate);
        for (Index i = 0; i < w.rows(); ++i)
          for (Index j = 0; j < w.cols(); ++j) {
            const Affine a = q.affine(i / q.block_rows(), j / q.block_cols());
            const int code = ref.code(w(i, j), a);
            tally.check(static_cast<int>(q.code(i, j)) == code, place, "weight ", i, ", ", j, ": code ", q.code(i, j),
                        " for ", code);
            tally.check(support::same_bits(q(i, j), ref.decode(code, a)), place, "weight ", i, ", ", j, ": ", q(i, j),
                        " for ", ref.decode(code, a));
          }
        support::judge_decoded(tally, place + "dequantize, ", q, fewbit::dequantize(q));
        support::judge_decoded(tally, place + "fake_quantize, ", q, fewbit::fake_quantize(w, grid, g, estimate));
        const Eigen::VectorXf y = q * x;
        const Eigen::MatrixXd wd = fewbit::dequantize(q).cast<double>();
        const Eigen::VectorXd exact = wd * x.cast<double>(), size = wd.cwiseAbs() * x.cast<double>().cwiseAbs();
        for (Index i = 0; i < y.size(); ++i)
          tally.check(std::fabs(static_cast<double>(y[i]) - exact[i]) <= 72 * 0x1p-24 * size[i], place, "product, row ",
                      i);
      }
    }
  }
}

template <class G>
void every_estimator(const std::string& name, const G& grid) {
  Tally tally;
  every_combination(tally, name + ", MinMax", grid, fewbit::MinMax{});
  every_combination(tally, name + ", half the range", grid, half_range);
  every_combination(tally, name + ", mean magnitude", grid, mean_magnitude);
  every_combination(tally, name + ", shifted and mirrored", grid, shifted);
  tally.require(4 * 3 * 7 * 7 * 70 * 4);
}

}  // namespace

TEST_CASE("a user's ternary grid composes with everything", "[compose]") { every_estimator("Ternary", Ternary{}); }

TEST_CASE("a user's table of powers of two composes with everything", "[compose]") {
  every_estimator("PowersOfTwo", PowersOfTwo{});
}

TEST_CASE("a user's integers with a fractional zero-point compose with everything", "[compose]") {
  every_estimator("Unsigned9", Unsigned9{});
}

TEST_CASE("the library's grids compose with a user's estimators", "[compose]") {
  for (const int bits : {1, 3, 4, 8, 11}) {
    every_estimator("Symmetric(" + std::to_string(bits) + ")", fewbit::Symmetric(bits));
    every_estimator("Asymmetric(" + std::to_string(bits) + ")", fewbit::Asymmetric(bits));
  }
}

TEST_CASE("the library's tables compose with a user's estimators", "[compose]") {
  every_estimator("nf4", fewbit::nf4);
  every_estimator("fp4", fewbit::fp4);
}
