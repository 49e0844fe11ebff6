// Every estimator through quantize: each block's Affine is what the estimator makes of that block's weights.

#include <cmath>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <vector>

#include <fewbit/estimate/hqq.hpp>
#include <fewbit/estimate/kl_divergence.hpp>
#include <fewbit/estimate/moving_average.hpp>
#include <fewbit/estimate/mse.hpp>
#include <fewbit/estimate/percentile.hpp>
#include <fewbit/ops/dequantize.hpp>

#include <support/any.hpp>
#include <support/blocks.hpp>
#include <support/matrices.hpp>

namespace {

using fewbit::Affine;
using fewbit::Granularity;
using fewbit::ScaleType;
using support::Index;
using support::MatrixXf;
using support::Tally;

std::vector<Granularity> granularities(ScaleType t) {
  return {fewbit::per_tensor(t),   fewbit::per_channel(t),  fewbit::per_column(t),
          fewbit::per_group(8, t), fewbit::per_group(1, t), fewbit::per_block(3, 4, t)};
}

struct Seen {
  std::vector<float> weights;
  Index row, col, width;
  friend bool operator==(const Seen&, const Seen&) = default;
};

std::vector<Seen> blocks_of(const MatrixXf& w, Granularity g) {
  const Index rows = g.rows ? g.rows : w.rows(), cols = g.cols ? g.cols : w.cols();
  std::vector<Seen> blocks;
  for (Index i = 0; i < w.rows(); i += rows)
    for (Index j = 0; j < w.cols(); j += cols) {
      Seen s{{}, i, j, std::min(cols, w.cols() - j)};
      for (Index a = i; a < std::min(i + rows, w.rows()); ++a)
        for (Index b = j; b < j + s.width; ++b) s.weights.push_back(w(a, b));
      blocks.push_back(s);
    }
  return blocks;
}

// Keeps what it is shown, from any thread.
class Recorder {
 public:
  explicit Recorder(std::vector<Seen>& seen) : seen_(&seen) {}
  template <class G>
  Affine operator()(const fewbit::Block& b, const G& grid) const {
    static std::mutex writing;
    const std::lock_guard lock(writing);
    seen_->push_back({{b.weights.begin(), b.weights.end()}, b.row, b.col, b.width});
    return grid.fit({-4, 4});
  }

 private:
  std::vector<Seen>* seen_;
};

template <class E>
void check_through_quantize(Tally& tally, const MatrixXf& w, const E& e) {
  for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16})
    for (const Granularity g : granularities(t))
      for (const support::GridCase& c : {support::integer_grids(4)[0], support::integer_grids(3)[2],
                                         support::integer_grids(2)[3], support::table_grids()[0]}) {
        std::visit(
            [&](const auto& grid) {
              const fewbit::QuantizedMatrix q = fewbit::quantize(w, grid, g, e);
              const MatrixXf back = fewbit::dequantize(q);
              tally.check((fewbit::fake_quantize(w, grid, g, e).array() == back.array()).all(), c.name);
              Index b = 0;
              for (const Seen& s : blocks_of(w, g)) {
                const auto width = static_cast<std::size_t>(s.width);
                const Affine wanted = support::estimate(e, s.weights, c.grid, t, width);
                const Affine got = q.affine(b / q.blocks_across(), b % q.blocks_across());
                tally.check(got == wanted, c.name, ", ", g.rows, " x ", g.cols, ", block ", b, ": ", got.scale, ", ",
                            got.zero, " for ", wanted.scale, ", ", wanted.zero);
                ++b;
              }
            },
            c.grid);
      }
}

}  // namespace

TEST_CASE("every estimator works with every granularity", "[quantize][estimator]") {
  const MatrixXf w = support::normal_matrix(7, 21, 50);
  Tally tally;
  check_through_quantize(tally, w, fewbit::MseSearch{});
  check_through_quantize(tally, w, fewbit::MseSearch{.exponent = 2.4});
  check_through_quantize(tally, w, fewbit::Percentile(90));
  check_through_quantize(tally, w, fewbit::Percentile(90).both_tails());
  check_through_quantize(tally, w, fewbit::KlDivergence{64});
  check_through_quantize(tally, w, fewbit::Hqq{});
  fewbit::MovingAverage ranges;
  ranges.observe(fewbit::Range{-1, 2});
  check_through_quantize(tally, w, ranges);
  tally.require(7 * 3 * 4 * (1 + 7 + 21 + 21 + 147 + 18));
}

TEST_CASE("an estimator that asks is told where its block lies", "[quantize][estimator]") {
  const MatrixXf w = support::normal_matrix(7, 21, 51);
  static_assert(fewbit::PlacedEstimator<Recorder, fewbit::Symmetric>);
  static_assert(!fewbit::UnplacedEstimator<Recorder, fewbit::Symmetric>);
  static_assert(!fewbit::PlacedEstimator<fewbit::MinMax, fewbit::Symmetric>);
  for (const Granularity g : granularities(ScaleType::f32)) {
    std::vector<Seen> seen, expected = blocks_of(w, g);
    const fewbit::QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), g, Recorder(seen));
    const auto before = [](const Seen& a, const Seen& b) { return std::pair(a.row, a.col) < std::pair(b.row, b.col); };
    std::sort(seen.begin(), seen.end(), before);
    INFO("blocks of " << g.rows << " x " << g.cols);
    CHECK((seen == expected));
    CHECK(q.affine(0, 0) == Affine{static_cast<float>(4 / 7.), 0});
  }
}

TEST_CASE("where weights keep their places, finite ones of the block's range stand in for others",
          "[quantize][estimator][bad-input]") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  MatrixXf w(4, 6);
  w << 1, nan, -2, 3, -infinity, 0.5f,       //
      infinity, 7, 9, nan, 8, -infinity,     //
      -7, -9, nan, -8, infinity, -infinity,  //
      nan, infinity, nan, -infinity, nan, nan;
  MatrixXf expected(4, 6);
  expected << 1, 0, -2, 3, -2, 0.5f,  //
      9, 7, 9, 7, 8, 7,               //
      -7, -9, -7, -8, -7, -9,         //
      0, 0, 0, 0, 0, 0;
  std::vector<Seen> seen;
  fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel(), Recorder(seen), support::saturating);
  CHECK((seen == blocks_of(expected, fewbit::per_channel())));
  seen.clear();
  CHECK_THROWS_AS(fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel(), Recorder(seen)), std::domain_error);
  CHECK(seen.empty());

  // What is not finite changes no estimator's mind where it cannot count, and breaks none where it does.
  MatrixXf holes = support::normal_matrix(8, 40, 52);
  const MatrixXf whole = holes;
  for (Index i = 0; i < 8; ++i) holes(i, 5 * i) = i % 3 == 0 ? nan : i % 3 == 1 ? infinity : -infinity;
  const auto survives = [&](const auto& e) {
    for (const Granularity g : granularities(ScaleType::f16)) {
      const auto q = fewbit::quantize(holes, fewbit::Asymmetric(3), g, e, support::saturating);
      CHECK(fewbit::dequantize(q).allFinite());
    }
  };
  survives(fewbit::MseSearch{});
  survives(fewbit::MseSearch{.exponent = 2.4, .importance = std::vector<float>(40, 2)});
  survives(fewbit::Percentile());
  survives(fewbit::KlDivergence{});
  survives(fewbit::Hqq{});
  // Importance 0 where the holes are: they take part in the range's ends only, which others reach as well.
  MatrixXf flat = whole;
  flat.col(0).setConstant(-5), flat.col(1).setConstant(5), flat.col(7).setConstant(1.25f);
  MatrixXf holed = flat;
  holed(0, 7) = nan, holed(1, 7) = infinity, holed(2, 7) = -infinity;
  fewbit::MseSearch search{.importance = std::vector<float>(40, 1)};
  search.importance[7] = 0;
  const auto a = fewbit::quantize(holed, fewbit::Symmetric(3), fewbit::per_channel(), search, support::saturating);
  const auto b = fewbit::quantize(flat, fewbit::Symmetric(3), fewbit::per_channel(), search, support::saturating);
  for (Index i = 0; i < 8; ++i) CHECK(a.affine(i, 0) == b.affine(i, 0));
}

TEST_CASE("importances belong to the columns of W", "[quantize][estimator][mse]") {
  const MatrixXf w = support::normal_matrix(5, 48, 53);
  std::vector<float> importance = support::normal_weights(48, 54);
  for (float& x : importance) x *= x;
  const fewbit::MseSearch search{.importance = importance};
  for (const Granularity g : {fewbit::per_group(16), fewbit::per_block(2, 12), fewbit::per_column()}) {
    const fewbit::QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(3), g, search);
    Index b = 0;
    for (const Seen& s : blocks_of(w, g)) {
      const fewbit::MseSearch own{.importance = {importance.begin() + s.col, importance.begin() + s.col + s.width}};
      CHECK(q.affine(b / q.blocks_across(), b % q.blocks_across()) ==
            support::estimate(own, s.weights, fewbit::Symmetric(3), ScaleType::f32, static_cast<std::size_t>(s.width)));
      ++b;
    }
  }
}

TEST_CASE("importances that do not fit the matrix are refused before a weight changes",
          "[quantize][estimator][mse][bad-input]") {
  const MatrixXf w = support::normal_matrix(5, 48, 55);
  for (const std::size_t n : {1u, 47u, 49u}) {
    const fewbit::MseSearch search{.importance = std::vector<float>(n, 1)};
    MatrixXf in_place = w;
    CHECK_THROWS_AS(fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(16), search), std::invalid_argument);
    CHECK_THROWS_AS(fewbit::fake_quantize_in_place(in_place, fewbit::Symmetric(4), fewbit::per_group(16), search),
                    std::invalid_argument);
    CHECK(in_place == w);
  }
  const MatrixXf none(0, 48);
  CHECK_THROWS_AS(fewbit::quantize(none, fewbit::Symmetric(4), fewbit::per_tensor(), fewbit::MseSearch{.exponent = 3}),
                  std::invalid_argument);
  CHECK(fewbit::quantize(none, fewbit::Symmetric(4), fewbit::per_tensor(), fewbit::MseSearch{}).size() == 0);
}
