// Quantization in the training loop: what the forward pass sees is what is exported, and gradients are those that the
// formulas state, at the edges of a range as well.

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include <fewbit/estimate/absmean.hpp>
#include <fewbit/estimate/percentile.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/quantize/fake_quantizer.hpp>
#include <fewbit/quantize/lsq.hpp>

#include <support/any.hpp>
#include <support/catch.hpp>
#include <support/matrices.hpp>
#include <support/tally.hpp>

namespace {

using Catch::Matchers::Contains;
using Eigen::MatrixXd;
using fewbit::Asymmetric;
using fewbit::FakeQuantizer;
using fewbit::Granularity;
using fewbit::Lsq;
using fewbit::Pact;
using fewbit::Percentile;
using fewbit::QuantizedMatrix;
using fewbit::StraightThrough;
using fewbit::Symmetric;
using support::Index;
using support::MatrixXf;
using support::RowMajor;

std::vector<Granularity> granularities() {
  return {fewbit::per_tensor(), fewbit::per_channel(fewbit::ScaleType::f16),    fewbit::per_column(),
          fewbit::per_group(8), fewbit::per_group(37, fewbit::ScaleType::bf16), fewbit::per_block(3, 10)};
}

// Calls f(table) with each instruction set in use.
template <class F>
void on_every_table(F&& f) {
  for (const fewbit::kernel::Table* table : fewbit::kernel::all())
    if (table->supported()) {
      const fewbit::kernel::Use use(*table);
      f(table->name);
    }
}

// Whether w, under this Affine, is rounded to one of the levels without being pushed there.
bool is_inside(float w, fewbit::Affine a, const fewbit::Levels& l) {
  const float u = w / a.scale;
  if (l.uniform()) {
    const double level =
        std::nearbyint(static_cast<double>(u + (a.zero - std::nearbyint(a.zero)))) + std::nearbyint(a.zero);
    return level >= static_cast<double>(l.first()) && level <= static_cast<double>(l.last());
  }
  const double first = l[0], second = l[1], last = l[l.count() - 1], before = l[l.count() - 2];
  const double at = static_cast<double>(u + a.zero);
  return at >= first - (second - first) / 2 && at <= last + (last - before) / 2;
}

}  // namespace

TEST_CASE("forward is what the exported matrix decodes to", "[training][law]") {
  support::Tally tally;
  const MatrixXf w = support::planted_matrix(11, 61, 301, 3);
  std::vector<support::GridCase> grids = support::table_grids();
  for (const int bits : {1, 2, 3, 4, 8, 16})
    for (support::GridCase& g : support::integer_grids(bits)) grids.push_back(std::move(g));
  on_every_table([&](const char* table) {
    for (const support::GridCase& c : grids)
      for (const Granularity& g : granularities())
        std::visit(
            [&](const auto& grid) {
              FakeQuantizer fq(grid, g);
              const MatrixXf seen = fq.forward(w);
              tally.check(seen == fewbit::dequantize(fq.quantize(w)), table, ", ", c.name, ": forward");
              fq.freeze(w);
              tally.check(fq.forward(w) == seen, table, ", ", c.name, ": frozen to the same");
              const MatrixXf other = 1.5f * w;
              tally.check(fq.forward(other) == fewbit::dequantize(fq.quantize(other)), table, ", ", c.name, ": frozen");
              for (Index i = 0; i < w.rows(); i += g.rows ? g.rows : w.rows())
                for (Index j = 0; j < w.cols(); j += g.cols ? g.cols : w.cols()) {
                  const Index down = g.rows ? i / g.rows : 0, across = g.cols ? j / g.cols : 0;
                  tally.check(fq.quantize(other).affine(down, across) == fq.quantize(w).affine(down, across), c.name,
                              ": a frozen range moved");
                }
            },
            c.grid);
  });
  tally.require(5000);
}

TEST_CASE("forward takes any storage order and type", "[training]") {
  const MatrixXf w = support::normal_matrix(70, 33, 302);
  const FakeQuantizer fq(Symmetric(4), fewbit::per_group(16));
  const MatrixXf expected = fq.forward(w);
  support::in_every_layout(w, [&](const char*, const auto& m) { CHECK((MatrixXf(fq.forward(m)) == expected)); });
  CHECK((fq.forward(w.cast<double>()) == expected.cast<double>()));
  CHECK((fq.forward(w * 2 - w).eval() == fq.forward(MatrixXf(w * 2 - w))));
  CHECK((fq.forward(RowMajor(w)) == RowMajor(expected)));
  CHECK((fq.forward(w.array()).matrix() == expected));
  CHECK((fq.forward(Eigen::Matrix2f(Eigen::Matrix2f::Identity())) == Eigen::Matrix2f::Identity()));
  CHECK(fq.forward(MatrixXf(0, 5)).rows() == 0);
  CHECK(fq.forward(MatrixXf(5, 0)).cols() == 0);
}

TEST_CASE("both passes write into matrices of the caller's", "[training]") {
  const MatrixXf w = support::normal_matrix(70, 33, 303), gradient = support::normal_matrix(70, 33, 304);
  for (const StraightThrough how : {StraightThrough::identity, StraightThrough::clipped}) {
    const FakeQuantizer fq(Symmetric(4), fewbit::per_group(16), how, Percentile(90));
    const MatrixXf seen = fq.forward(w), by_weights = fq.backward(gradient, w);
    MatrixXf same(3, 200);
    RowMajor rows;
    MatrixXd wide(70, 33);
    Eigen::Matrix<float, 70, 33> fixed;
    const auto judge = [&](auto& out) {
      fq.forward(w, out);
      CHECK((out.template cast<float>() == seen));
      const auto* const memory = out.data();
      fq.backward(gradient, w, out);
      CHECK((out.template cast<float>() == by_weights));
      CHECK(out.data() == memory);
    };
    judge(same), judge(rows), judge(wide), judge(fixed);
    Eigen::Matrix<float, 70, 34> other;
    CHECK_THROWS_WITH(fq.forward(w, other), Contains("the output is 70 x 34 by its type") && Contains("70 x 33"));
    CHECK_THROWS_AS(fq.backward(gradient, w, other), std::invalid_argument);
    fewbit::fake_quantize_into(w.transpose(), rows, Symmetric(3), fewbit::per_channel());
    CHECK((rows == RowMajor(fewbit::fake_quantize(MatrixXf(w.transpose()), Symmetric(3), fewbit::per_channel()))));
  }
}

TEST_CASE("gradients pass straight through", "[training]") {
  const MatrixXf w = support::normal_matrix(9, 20, 303), gradient = support::normal_matrix(9, 20, 304);
  const FakeQuantizer fq(Symmetric(2));
  CHECK((fq.backward(gradient) == gradient));
  CHECK((fq.backward(gradient, w) == gradient));
  CHECK((fq.backward(gradient * 2).eval() == gradient * 2));
}

TEST_CASE("clipped gradients pass where the unclamped code is a code", "[training][law]") {
  support::Tally tally;
  const MatrixXf w = support::normal_matrix(13, 61, 305), gradient = support::normal_matrix(13, 61, 306);
  std::size_t kept = 0, dropped = 0;
  on_every_table([&](const char* table) {
    for (const Granularity& g : granularities()) {
      const auto check = [&](const auto& grid, const auto& estimate) {
        const FakeQuantizer fq(grid, g, StraightThrough::clipped, estimate);
        const QuantizedMatrix q = fq.quantize(w);
        const MatrixXf got = fq.backward(gradient, w);
        for (Index i = 0; i < 13; ++i)
          for (Index j = 0; j < 61; ++j) {
            const bool inside = is_inside(w(i, j), q.affine(i / q.block_rows(), j / q.block_cols()), q.levels());
            ++(inside ? kept : dropped);
            tally.check(got(i, j) == (inside ? gradient(i, j) : 0.f), table, ": row ", i, ", column ", j, " has ",
                        got(i, j), " of ", gradient(i, j));
          }
      };
      check(Symmetric(2), fewbit::AbsMean{});
      check(Symmetric(4), Percentile(80));
      check(Symmetric(3).signed_scale(), Percentile(70));
      check(Asymmetric(3), Percentile(75).both_tails());
      check(fewbit::nf4, Percentile(70));
      check(Asymmetric(4), fewbit::MinMax{});
    }
  });
  CHECK(kept > 10'000);
  CHECK(dropped > 2'000);
  tally.require(10'000);
}

TEST_CASE("class 32: codes at the very ends keep their gradient", "[training][bad-input][class-32]") {
  // Scale 1: codes -7 .. 7. 7.5 is a tie that goes to 8, beyond the last code; what lies below is rounded to 7.
  const float edges[] = {-7.50001f, -7.5f, -7.49999f, -7, 0, 7, 7.49999f, 7.5f, 7.50001f, 100, -100, 6.5f};
  const bool kept[] = {false, false, true, true, true, true, true, false, false, false, false, true};
  on_every_table([&](const char* table) {
    INFO(table);
    for (Index cols = 12; cols <= 70; cols += 29) {
      RowMajor w = RowMajor::Zero(2, cols);
      for (Index j = 0; j < 12; ++j) w(0, cols - 12 + j) = w(1, j) = edges[j];
      RowMajor range = RowMajor::Zero(2, cols);
      range.col(0).setConstant(7);
      FakeQuantizer fq(Symmetric(4), fewbit::per_channel(), StraightThrough::clipped);
      fq.freeze(range);
      REQUIRE(fq.quantize(range).affine(0, 0).scale == 1);
      const RowMajor got = fq.backward(RowMajor::Constant(2, cols, 3), w);
      for (Index j = 0; j < 12; ++j) {
        INFO("weight " << edges[j]);
        CHECK(got(0, cols - 12 + j) == (kept[j] ? 3 : 0));
        CHECK(got(1, j) == (kept[j] ? 3 : 0));
      }
    }
  });
  // A gradient that is not a number does not come through where nothing does.
  MatrixXf w(1, 2), gradient(1, 2), range = MatrixXf::Constant(1, 2, 1);
  w << 0.5f, 5;
  gradient << INFINITY, NAN;
  range(0, 1) = -1;
  FakeQuantizer fq(Symmetric(4), fewbit::per_tensor(), StraightThrough::clipped);
  fq.freeze(range);
  CHECK(fq.backward(gradient, w)(0, 0) == INFINITY);
  CHECK(fq.backward(gradient, w)(0, 1) == 0);
}

TEST_CASE("gradients and weights may lie in any order", "[training]") {
  const MatrixXf w = support::normal_matrix(40, 70, 307), gradient = support::normal_matrix(40, 70, 308);
  const FakeQuantizer fq(Symmetric(4), fewbit::per_group(16), StraightThrough::clipped, Percentile(80));
  const MatrixXf expected = fq.backward(gradient, w);
  support::in_every_layout(w, [&](const char*, const auto& m) {
    CHECK((fq.backward(gradient, m) == expected));
    CHECK((fq.backward(RowMajor(gradient), m) == RowMajor(expected)));
  });
  support::in_every_layout(gradient,
                           [&](const char*, const auto& m) { CHECK((MatrixXf(fq.backward(m, w)) == expected)); });
  CHECK((fq.backward(gradient.cast<double>(), w) == expected.cast<double>()));
}

TEST_CASE("ranges of activations follow a moving average", "[training]") {
  FakeQuantizer fq(Asymmetric(8), fewbit::per_tensor(), StraightThrough::clipped, fewbit::MovingAverage(0.5));
  CHECK_THROWS_WITH(fq.forward(MatrixXf::Ones(2, 2)), Contains("observed"));
  MatrixXf x(1, 2);
  x << -1, 3;
  fq.observe(x);
  fq.observe(3 * x);
  fq.observe(MatrixXf(1, 0));
  CHECK(fq.estimator().range() == fewbit::Range{-2, 6});
  CHECK(fq.quantize(x).affine(0, 0) == Asymmetric(8).fit({-2, 6}));
  x << -100, 100;
  CHECK(fq.backward(x, x).isZero(0));
  x(0, 0) = NAN;
  CHECK_THROWS_AS(fq.observe(x), std::domain_error);
  CHECK(fq.estimator().range() == fewbit::Range{-2, 6});
}

TEST_CASE("a FakeQuantizer says no", "[training][bad-input]") {
  MatrixXf w = support::normal_matrix(4, 12, 309);
  FakeQuantizer clipped(Symmetric(4), fewbit::per_group(4), StraightThrough::clipped);
  CHECK_THROWS_WITH(clipped.backward(w), Contains("backward(gradient, W)"));
  CHECK_THROWS_WITH(clipped.backward(w.leftCols(3), w), Contains("4 x 12") && Contains("4 x 3"));
  clipped.freeze(w);
  CHECK(clipped.is_frozen());
  CHECK_THROWS_WITH(clipped.forward(w.leftCols(8)), Contains("4 x 3 blocks") && Contains("4 x 8, which has 4 x 2"));
  CHECK_THROWS_AS(clipped.quantize(w.leftCols(8)), std::invalid_argument);
  clipped.unfreeze();
  CHECK_NOTHROW(clipped.forward(w.leftCols(8)));
  w(2, 3) = NAN;
  for (const bool frozen : {false, true}) {
    FakeQuantizer fq(Symmetric(4), fewbit::per_group(4), StraightThrough::clipped);
    if (frozen) fq.freeze(MatrixXf::Ones(4, 12));
    CHECK_THROWS_WITH(fq.forward(w), Contains("row 2, column 3"));
    CHECK_THROWS_WITH(fq.backward(w, w), Contains("row 2, column 3"));
    CHECK_THROWS_WITH(fq.quantize(w), Contains("row 2, column 3"));
  }
  CHECK_THROWS_AS(clipped.freeze(w), std::domain_error);
  CHECK(!clipped.is_frozen());
}

TEST_CASE("a frozen tensor range serves batches of any size", "[training]") {
  FakeQuantizer fq(Asymmetric(8));
  fq.freeze(support::normal_matrix(16, 64, 310));
  for (const Index batch : {1, 3, 100})
    CHECK((fq.forward(support::normal_matrix(16, batch, 311)) ==
           fewbit::dequantize(fq.quantize(support::normal_matrix(16, batch, 311)))));
}

namespace {

// The loss sum(gradient * forward) with rounding replaced by the offset that it had: what gradients are of.
template <class G>
double relaxed(const MatrixXf& w, const MatrixXf& gradient, const G& grid, Index width, const Eigen::VectorXf& at,
               const Eigen::VectorXd& scales) {
  const fewbit::Levels levels = grid.levels();
  const double first = levels.first(), last = levels.last();
  const Index across = (w.cols() + width - 1) / width;
  double sum = 0;
  for (Index i = 0; i < w.rows(); ++i)
    for (Index j = 0; j < w.cols(); ++j) {
      const Index b = i * across + j / width;
      const double s0 = at[b], s = scales[b], u0 = w(i, j) / s0;
      const fewbit::Affine a{at[b], 0};
      const double level = levels[static_cast<int>(fewbit::kernel::scalar::nearest(w(i, j), a, levels))];
      const bool inside = is_inside(w(i, j), a, levels);
      const double value = inside ? w(i, j) / s + (level - u0) : (level > 0 ? last : first);
      sum += gradient(i, j) * s * value;
    }
  return sum;
}

}  // namespace

TEST_CASE("LSQ's gradients are those of the relaxed function", "[training][lsq][law]") {
  const MatrixXf w = support::normal_matrix(5, 22, 321), gradient = support::normal_matrix(5, 22, 322);
  const auto check = [&](const auto& grid, Index width) {
    Lsq lsq(grid, fewbit::per_group(width), w);
    const float most = grid.levels().last();
    for (int again = 0; again < 3; ++again) {
      const auto got = lsq.backward(gradient, w);
      const Eigen::VectorXd scales = lsq.scales().template cast<double>();
      for (Index b = 0; b < scales.size(); ++b) {
        Eigen::VectorXd up = scales, down = scales;
        const double h = 1e-5 * scales[b];
        up[b] += h, down[b] -= h;
        const double slope = (relaxed(w, gradient, grid, width, lsq.scales(), up) -
                              relaxed(w, gradient, grid, width, lsq.scales(), down)) /
                             (2 * h);
        const Index across = (22 + width - 1) / width, g = b % across;
        const auto n = static_cast<double>(std::min(width, 22 - g * width));
        CHECK(got.scales[b] == Approx(slope / std::sqrt(n * static_cast<double>(most))).margin(1e-5));
      }
      for (Index i = 0; i < 5; ++i)
        for (Index j = 0; j < 22; ++j) {
          const fewbit::Affine a{lsq.scales()[i * ((22 + width - 1) / width) + j / width], 0};
          CHECK(got.weights(i, j) == (is_inside(w(i, j), a, grid.levels()) ? gradient(i, j) : 0.f));
        }
      lsq.scales() *= 0.6f;  // more and more weights lie outside
    }
  };
  on_every_table([&](const char*) {
    check(Symmetric(4), 22);
    check(Symmetric(2), 5);
    check(Symmetric(3).signed_scale(), 8);
    check(fewbit::nf4, 11);
  });
}

TEST_CASE("LSQ starts at 2 mean|w| / sqrt(qmax), learns, and exports what it has learned", "[training][lsq]") {
  const MatrixXf w = support::normal_matrix(8, 64, 323);
  Lsq lsq(Symmetric(3), fewbit::per_channel(), w);
  for (Index i = 0; i < 8; ++i)
    CHECK(lsq.scales()[i] == Approx(2 * static_cast<double>(w.row(i).cwiseAbs().mean()) / std::sqrt(3.)));
  const double start = (lsq.forward(w) - w).squaredNorm();
  for (int step = 0; step < 200; ++step) lsq.scales() -= 0.002f * lsq.backward(2 * (lsq.forward(w) - w), w).scales;
  CHECK((lsq.forward(w) - w).squaredNorm() < 0.9 * start);
  for (const Granularity& g : granularities()) {
    Lsq any(Asymmetric(3), g, w.cwiseAbs());
    any.scales() *= 0.7f;
    CHECK((any.forward(w.cwiseAbs()) == fewbit::dequantize(any.quantize(w.cwiseAbs()))));
  }
  lsq.scales()[3] = -1;  // a step too far
  CHECK(lsq.forward(w).allFinite());
  CHECK((lsq.forward(w) == fewbit::dequantize(lsq.quantize(w))));
  lsq.scales()[3] = NAN;
  CHECK_THROWS_WITH(lsq.forward(w), Contains("learned scale 3"));
  CHECK_THROWS_AS(lsq.forward(w.topRows(3)), std::invalid_argument);
  CHECK_THROWS_AS(lsq.backward(w.topRows(3), w), std::invalid_argument);
  CHECK(
      (Lsq(Symmetric(4), fewbit::per_tensor(), MatrixXf::Zero(3, 3)).forward(MatrixXf::Zero(3, 3)).array() == 0).all());
}

TEST_CASE("PACT clips, rounds and learns where to clip", "[training][pact]") {
  Pact pact(4, 3);
  MatrixXf x(1, 8), gradient(1, 8);
  x << -1, 0, 0.05f, 1.49f, 2.93f, 3, 3.1f, 100;
  gradient << 1, 2, 4, 8, 16, 32, 64, 128;
  const MatrixXf y = pact.forward(x);
  for (Index j = 0; j < 8; ++j)
    CHECK(y(0, j) == Approx(std::nearbyint(std::clamp(static_cast<double>(x(0, j)), 0., 3.) * 15 / 3) * 3 / 15));
  CHECK((y == fewbit::dequantize(pact.quantize(x))));
  const auto got = pact.backward(gradient, x);
  CHECK(got.alpha == 32 + 64 + 128);
  MatrixXf expected(1, 8);
  expected << 0, 2, 4, 8, 16, 0, 0, 0;
  CHECK((got.inputs == expected));

  // Finite differences on clip(x, 0, alpha).
  const MatrixXf many = 2 * support::normal_matrix(9, 31, 331), by = support::normal_matrix(9, 31, 332);
  for (const float alpha : {0.5f, 1.f, 3.f}) {
    const auto clipped = [&](double a, const MatrixXf& v) {
      return (by.cast<double>().array() * v.cast<double>().array().max(0).min(a)).sum();
    };
    const auto g = Pact(4, alpha).backward(by, many);
    const double h = 1e-6;
    CHECK(g.alpha == Approx((clipped(alpha + h, many) - clipped(alpha - h, many)) / (2 * h)).margin(1e-5));
    for (Index i = 0; i < 9; ++i)
      for (Index j = 0; j < 31; ++j) {
        MatrixXf up = many, down = many;
        up(i, j) += 1e-3f, down(i, j) -= 1e-3f;
        const double slope = (clipped(alpha, up) - clipped(alpha, down)) /
                             (static_cast<double>(up(i, j)) - static_cast<double>(down(i, j)));
        if (std::fabs(many(i, j)) > 2e-3f && std::fabs(many(i, j) - alpha) > 2e-3f)
          CHECK(g.inputs(i, j) == Approx(slope).margin(1e-4));
      }
  }
  CHECK_NOTHROW(Pact(4, 1e-30f));
  for (const float alpha : {0.f, -1.f, 1e-44f, 0.99e-30f, NAN, INFINITY})
    CHECK_THROWS_AS(Pact(4, alpha), std::invalid_argument);
  CHECK_THROWS_AS(Pact(0, 1), std::invalid_argument);
  CHECK_THROWS_AS(pact.backward(x, x.leftCols(3)), std::invalid_argument);
  pact.alpha() -= 5;
  CHECK_THROWS_WITH(pact.forward(x), Contains("alpha"));
  x(0, 2) = NAN;
  CHECK_THROWS_WITH(Pact(4, 3).forward(x), Contains("column 2"));
}

TEST_CASE("training with quantized weights finds weights that round well", "[training]") {
  // Inputs that depend on each other: what one weight loses others can make up for.
  const MatrixXf x = support::normal_matrix(24, 6, 340) * support::normal_matrix(6, 200, 341) / 3 +
                     support::normal_matrix(24, 200, 344) / 5,
                 trained = support::normal_matrix(4, 24, 342), y = trained * x;
  for (const StraightThrough way : {StraightThrough::identity, StraightThrough::clipped}) {
    const FakeQuantizer fq(Symmetric(3), fewbit::per_channel(), way);
    const auto loss = [&](const MatrixXf& w) { return (fq.forward(w) * x - y).squaredNorm(); };
    MatrixXf w = trained;
    float least = loss(w);
    for (int step = 0; step < 300; ++step) {
      w -= 0.02f * fq.backward(MatrixXf((fq.forward(w) * x - y) * x.transpose() / 200), w);
      least = std::min(least, loss(w));
    }
    CHECK(least < 0.5f * loss(trained));
  }
}
