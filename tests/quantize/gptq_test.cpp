// GPTQ against the formula it stands for, its published figures, and inputs that end other implementations.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <Eigen/Cholesky>
#include <Eigen/LU>

#include <fewbit/grid/nf4.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/quantize/gptq.hpp>
#include <fewbit/quantize/quantize.hpp>
#include <fewbit/quantize/refine.hpp>

#include <support/any.hpp>
#include <support/catch.hpp>
#include <support/matrices.hpp>
#include <support/tally.hpp>

namespace {

using Catch::Matchers::Contains;
using Eigen::MatrixXd;
using fewbit::Asymmetric;
using fewbit::GptqOptions;
using fewbit::GptqReport;
using fewbit::Granularity;
using fewbit::GroupScales;
using fewbit::Hessian;
using fewbit::MinMax;
using fewbit::QuantizedMatrix;
using fewbit::Symmetric;
using support::Index;
using support::MatrixXf;

constexpr GroupScales every_rule[] = {GroupScales::from_original, GroupScales::fresh, GroupScales::stale};

MatrixXd row_losses(const MatrixXd& w, const QuantizedMatrix& q, const MatrixXd& h) {
  const MatrixXd d = w - fewbit::dequantize<MatrixXd>(q);
  return ((d * h).array() * d.array()).rowwise().sum();
}
double loss(const MatrixXd& w, const QuantizedMatrix& q, const MatrixXd& h) { return row_losses(w, q, h).sum(); }

// Inputs that depend on each other.
MatrixXf correlated(Index inputs, Index samples, std::uint32_t seed) {
  const MatrixXf mix = support::normal_matrix(inputs, inputs, seed);
  return mix * support::normal_matrix(inputs, samples, seed + 1) + support::normal_matrix(inputs, samples, seed + 2);
}
Hessian hessian_of(const MatrixXf& x) {
  Hessian h(x.rows());
  h.add(x);
  return h;
}

// The problems of the published table.
struct Problem {
  MatrixXd w;
  Hessian hessian{256};
  MatrixXd h;

  Problem(std::uint32_t k, double decay, double heavy) {
    constexpr Index m = 48, n = 256, samples = 1024;
    support::NumPy random(100 + k);
    const auto randn = [&](Index rows, Index cols) {
      MatrixXd a(rows, cols);
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < cols; ++j) a(i, j) = random.randn();
      return a;
    };
    MatrixXd a = randn(n, n);
    for (Index j = 0; j < n; ++j) a.col(j) *= std::exp(-static_cast<double>(j) / decay);
    const Eigen::VectorXd size = (randn(n, 1) * heavy).array().exp();
    const MatrixXd source = randn(n, samples), noise = randn(n, samples);
    const MatrixXd x = size.asDiagonal() * ((a * source) * .3 + .3 * noise);
    w = randn(m, n) * .02;
    const Eigen::VectorXd row_size = (randn(m, 1) * .3).array().exp();
    w = row_size.asDiagonal() * w;
    hessian.add(x);
    h = hessian.matrix();
  }
};

}  // namespace

TEST_CASE("inputs that do not depend on each other: round to nearest, bit for bit", "[gptq][law]") {
  const Granularity granularities[] = {fewbit::per_tensor(),   fewbit::per_channel(fewbit::ScaleType::f16),
                                       fewbit::per_column(),   fewbit::per_group(32),
                                       fewbit::per_group(7),   fewbit::per_block(3, 40),
                                       fewbit::per_block(5, 1)};
  support::Tally tally;
  const MatrixXf w = support::planted_matrix(19, 150, 11, 6);
  MatrixXf x = MatrixXf::Zero(150, 150);
  for (Index j = 0; j < 150; ++j) x(j, j) = 0.01f + static_cast<float>((j * 37) % 150);
  const Hessian h = hessian_of(x);
  std::vector<support::GridCase> grids = support::table_grids();
  for (const int bits : {1, 2, 3, 4, 7, 8, 13, 16})
    for (support::GridCase& g : support::integer_grids(bits)) grids.push_back(std::move(g));
  for (const support::GridCase& c : grids)
    for (const Granularity& g : granularities) {
      const QuantizedMatrix nearest = support::quantize(w, c.grid, g);
      for (const GroupScales rule : every_rule)
        for (const bool act_order : {false, true}) {
          GptqOptions options;
          options.scales = rule, options.act_order = act_order;
          const QuantizedMatrix q =
              std::visit([&](const auto& grid) { return fewbit::gptq(w, h, grid, g, MinMax{}, options); }, c.grid);
          // Groups of columns in another order are other groups.
          if (act_order && rule != GroupScales::from_original && nearest.blocks_across() > 1 &&
              nearest.block_cols() > 1) {
            tally.check(q.input_map().order.size() == 150, c.name, ": the order is not kept");
          } else {
            tally.check(q == nearest, c.name, " in blocks of ", g.rows, " x ", g.cols);
          }
        }
    }
  tally.require(2000);
}

TEST_CASE("zero-points between two codes count in GPTQ as they do in quantize", "[gptq][law]") {
  MatrixXf x = MatrixXf::Zero(40, 40);
  for (Index j = 0; j < 40; ++j) x(j, j) = 1 + static_cast<float>((j * 7) % 40);
  const Hessian h = hessian_of(x);
  const MatrixXf w = support::normal_matrix(18, 40, 139);
  for (const float part : {-.45f, -.2f, .3f, .5f}) {
    const auto between = [&](std::span<const float> block, const auto& grid) {
      const fewbit::Affine a = MinMax{}(block, grid);
      return fewbit::Affine{a.scale, a.zero + part};
    };
    for (const Granularity& g : {fewbit::per_channel(), fewbit::per_group(8)}) {
      CHECK(fewbit::gptq(w, h, Symmetric(4), g, between) == fewbit::quantize(w, Symmetric(4), g, between));
      CHECK(fewbit::gptq(w, h, fewbit::Asymmetric(3), g, between) ==
            fewbit::quantize(w, fewbit::Asymmetric(3), g, between));
    }
  }
}

TEST_CASE("rows of more than one tile, with scales of one level in a million, are round to nearest too",
          "[gptq][law]") {
  MatrixXf x = MatrixXf::Zero(20, 20);
  for (Index j = 0; j < 20; ++j) x(j, j) = 1 + static_cast<float>((j * 7) % 20);
  const Hessian h = hessian_of(x);
  MatrixXf w = support::normal_matrix(530, 20, 12);
  for (Index i = 0; i < w.rows(); i += 3) w.row(i).array() = 1000 + w.row(i).array() * 0.001f;  // zero-points past 2^20
  support::Tally tally;
  for (const int bits : {4, 8}) {
    const fewbit::Asymmetric grid(bits);
    for (const Granularity& g : {fewbit::per_channel(), fewbit::per_group(8), fewbit::per_block(7, 10)}) {
      const QuantizedMatrix nearest = fewbit::quantize(w, grid, g);
      const QuantizedMatrix q = fewbit::gptq(w, h, grid, g, MinMax{});
      for (Index i = 0; i < w.rows(); ++i)
        for (Index j = 0; j < w.cols(); ++j)
          tally.check(q.code(i, j) == nearest.code(i, j), bits, " bits, row ", i, ", column ", j);
      tally.check(q == nearest, bits, " bits in blocks of ", g.rows, " x ", g.cols);
      GptqOptions fresh;
      fresh.scales = GroupScales::fresh, fresh.act_order = false;
      tally.check(fewbit::gptq(w, h, grid, g, MinMax{}, fresh) == nearest, bits, " bits, scales fitted on the way");
    }
  }
  tally.require(2 * 3 * 10602);
}

TEST_CASE("the Cholesky factor is Eigen's, whatever the blocks", "[gptq]") {
  support::Tally tally;
  for (const Index n : {1, 2, 31, 32, 33, 95, 96, 97, 128, 193, 300, 1130}) {
    // Diagonals of 1 to 3, what is beside them falls off, to a half: no element of the factor is so small that it could
    // be left out.
    MatrixXd h(n, n);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j)
        h(i, j) =
            0.5 + std::pow(0.7, std::abs(static_cast<double>(i - j))) * (i == j ? 1 + static_cast<double>(i % 3) : 1);
    fewbit::PaddedSquare<double> a(n);
    const auto fill = [&] {
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j <= i; ++j) a.row(i)[j] = h(i, j);
    };
    fill();
    double part = 0;
    const bool found = fewbit::cholesky(a, [&](double done) {
      tally.check(done > part && done <= 1, n, ": part ", done, " after ", part);
      part = done;
    });
    tally.check(found && part == 1, n, ": no factor");
    const MatrixXd expected = h.llt().matrixL();
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j <= i; ++j)
        tally.check(std::fabs(a.row(i)[j] - expected(i, j)) <= 1e-12, n, ": element ", i, ", ", j, " is ", a.row(i)[j],
                    " for ", expected(i, j));
    for (const Index bad : {Index{0}, n / 2, n - 1}) {  // an eigenvalue below 0, first seen there
      fill();
      a.row(bad)[bad] = -1e-3;
      tally.check(!fewbit::cholesky(a, [](double) {}), n, ": a factor in spite of a pivot below 0 at ", bad);
    }
  }
  tally.require(700'000);
}

TEST_CASE("the formula, an inverse for each column, gives the same codes", "[gptq][law]") {
  support::Tally tally;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    const Index n = 2 + seed % 11, rows = 4;
    const MatrixXf w = support::normal_matrix(rows, n, 1000 + seed), x = correlated(n, 3 * n, 2000 + 10 * seed);
    const Hessian hessian = hessian_of(x);
    MatrixXd h = hessian.matrix();
    h.diagonal().array() += 0.01 * h.diagonal().mean();
    for (const bool act_order : {false, true}) {
      std::vector<Index> left(static_cast<std::size_t>(n));
      std::iota(left.begin(), left.end(), Index{0});
      const MatrixXd original = hessian.matrix();
      if (act_order)
        std::stable_sort(left.begin(), left.end(), [&](Index a, Index b) { return original(a, a) > original(b, b); });
      const auto compare = [&](const auto& grid) {
        const QuantizedMatrix nearest = fewbit::quantize(w, grid, fewbit::per_channel());
        GptqOptions options;
        options.act_order = act_order;
        const QuantizedMatrix q = fewbit::gptq(w, hessian, grid, fewbit::per_channel(), MinMax{}, options);
        MatrixXd u = w.cast<double>();  // optimal brain quantization: round one, move the rest by their own inverse
        for (std::size_t k = 0; k < left.size(); ++k) {
          const std::vector<Index> rest(left.begin() + static_cast<std::ptrdiff_t>(k), left.end());
          const MatrixXd inverse = MatrixXd(h(rest, rest)).inverse();
          for (Index i = 0; i < rows; ++i) {
            const fewbit::Affine a = nearest.affine(i, 0);
            const double target = u(i, rest[0]);
            unsigned best = 0;
            double best_distance = INFINITY, second = INFINITY;
            for (unsigned code = 0; code < static_cast<unsigned>(grid.levels().count()); ++code) {
              const double level = grid.levels()[static_cast<int>(code)];
              const double distance = std::fabs(target - a.scale * (level - a.zero));
              if (distance < best_distance) second = best_distance, best_distance = distance, best = code;
              else if (distance < second) second = distance;
            }
            const double chosen = a.scale * (grid.levels()[static_cast<int>(q.code(i, rest[0]))] - a.zero);
            const bool is_tie = second - best_distance < 1e-4 * std::fabs(static_cast<double>(a.scale));
            tally.check(q.code(i, rest[0]) == best || is_tie, "seed ", seed, ", row ", i, ", column ", rest[0],
                        ": code ", q.code(i, rest[0]), " for ", best);
            const double error = (target - chosen) / inverse(0, 0);
            for (std::size_t j = 0; j < rest.size(); ++j) u(i, rest[j]) -= error * inverse(0, static_cast<Index>(j));
          }
        }
      };
      compare(Symmetric(3));
      compare(Asymmetric(4));
      compare(fewbit::nf4);
    }
  }
  tally.require(9000);
}

TEST_CASE("the published table of losses, relative to round to nearest", "[gptq][quality]") {
  struct Row {
    double decay, heavy;
    int bits;
    double stale, fresh, fixed, ordered;
  };
  const auto [decay, heavy, bits, stale, fresh, fixed, ordered] =
      GENERATE(Row{120, .7, 4, .368, .367, .377, .163}, Row{120, .7, 2, .508, .715, .413, .211},
               Row{40, 1.2, 3, .260, .270, .263, .114}, Row{40, 1.2, 2, .357, .511, .305, .125},
               Row{1e9, .3, 4, .484, .474, .498, .361}, Row{1e9, .3, 2, .584, .636, .519, .421});
  const Asymmetric grid = Asymmetric(bits).including_zero();
  double found[5] = {};
  for (std::uint32_t k = 0; k < 4; ++k) {
    const Problem p(k, decay, heavy);
    const double nearest = loss(p.w, fewbit::quantize(p.w, grid, fewbit::per_group(32)), p.h);
    const auto add = [&](double& to, GroupScales rule, bool act_order) {
      GptqOptions options;
      options.scales = rule, options.act_order = act_order;
      to += loss(p.w, fewbit::gptq(p.w, p.hessian, grid, fewbit::per_group(32), MinMax{}, options), p.h) / nearest / 4;
    };
    add(found[0], GroupScales::stale, false);
    add(found[1], GroupScales::fresh, false);
    add(found[2], GroupScales::from_original, false);
    add(found[3], GroupScales::from_original, true);
    found[4] += loss(p.w, fewbit::gptq(p.w, p.hessian, grid, fewbit::per_group(32)), p.h) / nearest / 4;
  }
  CHECK(std::fabs(found[0] - stale) < .001);
  CHECK(std::fabs(found[1] - fresh) < .001);
  CHECK(std::fabs(found[2] - fixed) < .001);
  CHECK(std::fabs(found[3] - ordered) < .001);
  CHECK(found[4] < 1.05 * ordered);
}

TEST_CASE("the report says what the result is worth", "[gptq]") {
  const MatrixXf w = support::normal_matrix(37, 150, 21), x = correlated(150, 400, 22);
  const Hessian hessian = hessian_of(x);
  const MatrixXd h = hessian.matrix();
  for (const GroupScales rule : every_rule)
    for (const bool act_order : {false, true})
      for (const int bits : {2, 4}) {
        GptqReport report;
        GptqOptions options;
        options.scales = rule, options.act_order = act_order, options.report = &report;
        const Asymmetric grid(bits);
        const QuantizedMatrix q = fewbit::gptq(w, hessian, grid, fewbit::per_group(32), MinMax{}, options);
        const MatrixXd before = row_losses(w.cast<double>(), fewbit::quantize(w, grid, fewbit::per_group(32)), h),
                       after = row_losses(w.cast<double>(), q, h);
        REQUIRE(report.row_loss_before.size() == 37);
        REQUIRE(report.row_loss_after.size() == 37);
        for (Index i = 0; i < 37; ++i) {
          CHECK(report.row_loss_before[static_cast<std::size_t>(i)] == Approx(before(i, 0)).epsilon(1e-3));
          CHECK(report.row_loss_after[static_cast<std::size_t>(i)] == Approx(after(i, 0)).epsilon(1e-3));
        }
        CHECK(report.loss_before == Approx(before.sum()).epsilon(1e-3));
        CHECK(report.loss_after == Approx(after.sum()).epsilon(1e-3));
        CHECK(report.loss_after < 0.6 * report.loss_before);
        CHECK(report.damping == 0.01);
        CHECK(report.damping_steps == 0);
        CHECK(report.dead_inputs.empty());
        // Without a report the codes are the same.
        options.report = nullptr;
        CHECK(q == fewbit::gptq(w, hessian, grid, fewbit::per_group(32), MinMax{}, options));
      }
}

TEST_CASE("GPTQ helps every grid and granularity", "[gptq]") {
  const MatrixXf w = support::normal_matrix(24, 96, 31), x = correlated(96, 300, 32);
  const Hessian hessian = hessian_of(x);
  const MatrixXd h = hessian.matrix(), exact = w.cast<double>();
  const auto helps = [&](const auto& grid, const Granularity& g) {
    const double nearest = loss(exact, fewbit::quantize(w, grid, g), h);
    for (const GroupScales rule : every_rule) {
      GptqOptions options;
      options.scales = rule;
      const QuantizedMatrix q = fewbit::gptq(w, hessian, grid, g, MinMax{}, options);
      CHECK(loss(exact, q, h) < 0.75 * nearest);
      // However it is stored, it multiplies as it decodes.
      const MatrixXf y = q * x, expected = fewbit::dequantize(q) * x;
      CHECK((y - expected).cwiseAbs().maxCoeff() <= 1e-4f * expected.cwiseAbs().maxCoeff());
    }
  };
  for (const Granularity& g : {fewbit::per_tensor(), fewbit::per_channel(), fewbit::per_column(), fewbit::per_group(32),
                               fewbit::per_group(25, fewbit::ScaleType::f16), fewbit::per_block(5, 20)}) {
    helps(Symmetric(4), g);
    helps(Asymmetric(3), g);
    helps(fewbit::nf4, g);
  }
  for (const int bits : {3, 2}) {  // the default cuts ranges where levels are few
    const QuantizedMatrix cut = fewbit::gptq(w, hessian, Symmetric(bits), fewbit::per_group(32));
    CHECK(cut == fewbit::gptq(w, hessian, Symmetric(bits), fewbit::per_group(32), fewbit::MseSearch{.exponent = 2.4}));
  }
  CHECK(fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_group(32)) ==
        fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_group(32), MinMax{}));
  CHECK(fewbit::gptq(w, hessian, Symmetric(4)).block_cols() == 96);
  CHECK(fewbit::gptq(w, x, fewbit::nf4, fewbit::per_group(32)) ==
        fewbit::gptq(w, hessian, fewbit::nf4, fewbit::per_group(32)));
  CHECK(fewbit::refine(fewbit::quantize(w, Symmetric(4)), w, x) ==
        fewbit::refine(fewbit::quantize(w, Symmetric(4)), w, hessian));
}

TEST_CASE("blocks of columns are a matter of speed", "[gptq][law]") {
  const MatrixXf w = support::normal_matrix(20, 130, 41);
  const Hessian hessian = hessian_of(correlated(130, 300, 42));
  const MatrixXd h = hessian.matrix();
  for (const GroupScales rule : {GroupScales::from_original, GroupScales::fresh}) {
    GptqOptions options;
    options.scales = rule;
    const double expected =
        loss(w.cast<double>(), fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_group(24), options), h);
    for (const Index block : {1, 5, 16, 64, 1000}) {
      options.block = block;
      const QuantizedMatrix q = fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_group(24), options);
      CHECK(loss(w.cast<double>(), q, h) ==
            Approx(expected).epsilon(0.1));  // a tie that falls otherwise moves the rest
    }
  }
}

TEST_CASE("no Hessian ends it", "[gptq][bad-input]") {
  const Index n = 40;
  const MatrixXf w = support::normal_matrix(9, n, 51);
  const auto survives = [&](const Hessian& hessian, double damping = 0.01) {
    GptqReport report;
    for (const GroupScales rule : every_rule) {
      GptqOptions options;
      options.damping = damping, options.report = &report, options.scales = rule;
      const QuantizedMatrix q = fewbit::gptq(w, hessian, Symmetric(3), fewbit::per_group(16), options);
      CHECK(fewbit::dequantize(q).allFinite());
      // Scales of compensated weights follow these wherever they go: far, for inputs that hardly matter.
      if (rule == GroupScales::from_original) CHECK(fewbit::dequantize(q).cwiseAbs().maxCoeff() < 10);
      CHECK(std::isfinite(report.loss_after));
      CHECK(report.loss_after <= report.loss_before * 1.0001);
      double ladder = damping;  // each step four times the last, the first at least 1e-4
      for (int step = 0; step < report.damping_steps; ++step) ladder = std::max(1e-4, 4 * ladder);
      CHECK(report.damping == ladder);
    }
    return report;
  };
  CHECK(survives(hessian_of(support::normal_matrix(n, 1, 52))).damping_steps == 0);   // one sample
  CHECK(survives(hessian_of(support::normal_matrix(n, 10, 53))).damping_steps == 0);  // fewer samples than inputs
  CHECK(survives(hessian_of(support::normal_matrix(n, 10, 53)), 0).damping_steps > 0);
  CHECK(survives(hessian_of(MatrixXf::Ones(n, 100)), 0).damping > 0);  // all inputs the same
  survives(hessian_of(correlated(n, 100, 54)), 0);
  for (const int e : {-120, -60, 60, 100}) {
    MatrixXf x = correlated(n, 100, 55);
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = std::ldexp(x.data()[i], e);
    CHECK(survives(hessian_of(x)).damping_steps == 0);
  }
  MatrixXf wide = correlated(n, 100, 56);  // one input 1e12 times as large as another
  wide.row(3) *= 1e6f, wide.row(7) *= 1e-6f;
  survives(hessian_of(wide));
  survives(hessian_of(wide), 0);
  MatrixXd indefinite = support::normal_matrix(n, n, 57).cast<double>();
  indefinite = (indefinite + indefinite.transpose()).eval();
  GptqReport report;
  GptqOptions options;
  options.report = &report;
  const QuantizedMatrix q =
      fewbit::gptq(w, Hessian::from_matrix(indefinite), Symmetric(3), fewbit::per_group(16), options);
  CHECK(fewbit::dequantize(q).allFinite());
  CHECK(report.damping_steps > 0);
}

TEST_CASE("a Hessian of the largest numbers gives the codes of a smaller one", "[gptq][bad-input]") {
  const MatrixXf w = support::normal_matrix(5, 24, 58);
  const MatrixXd h = hessian_of(correlated(24, 100, 59)).matrix();
  const QuantizedMatrix q = fewbit::gptq(w, Hessian::from_matrix(h), Symmetric(3), fewbit::per_group(8));
  // Its trace is beyond the range of a double.
  const double unit = std::ldexp(1., 1022 - std::ilogb(h.maxCoeff()));
  REQUIRE(std::isinf(h.trace() * unit));
  CHECK(fewbit::gptq(w, Hessian::from_matrix(MatrixXd(h * unit)), Symmetric(3), fewbit::per_group(8)) == q);
}

TEST_CASE("dead inputs are handled and reported", "[gptq][bad-input]") {
  MatrixXf x = correlated(20, 60, 61), w = support::normal_matrix(5, 20, 62);
  x.row(4).setZero(), x.row(17).setZero();
  GptqReport report;
  GptqOptions options;
  options.report = &report;
  const QuantizedMatrix q = fewbit::gptq(w, hessian_of(x), Symmetric(4), fewbit::per_group(10), options);
  CHECK(report.dead_inputs == std::vector<Index>{4, 17});
  CHECK((fewbit::dequantize(q).col(4).array() == 0).all());
  CHECK((fewbit::dequantize(q).col(17).array() == 0).all());
  w.col(4).setConstant(1000), w.col(17).setConstant(-1000);  // they do not even stretch a range
  CHECK(fewbit::gptq(w, hessian_of(x), Symmetric(4), fewbit::per_group(10)) == q);

  const QuantizedMatrix none =
      fewbit::gptq(w, hessian_of(MatrixXf::Zero(20, 5)), Symmetric(4), fewbit::per_channel(), options);
  CHECK(report.dead_inputs.size() == 20);
  CHECK((fewbit::dequantize(none).array() == 0).all());
  CHECK(report.loss_after == 0);
}

TEST_CASE("GPTQ says no before it starts", "[gptq][bad-input]") {
  MatrixXf w = support::normal_matrix(4, 12, 71);
  const Hessian h = hessian_of(correlated(12, 40, 72));
  CHECK_THROWS_WITH(fewbit::gptq(w, Hessian(12), Symmetric(4)), Contains("never ran"));
  CHECK_THROWS_WITH(fewbit::gptq(w, hessian_of(MatrixXf::Ones(11, 5)), Symmetric(4)),
                    Contains("4 x 12") && Contains("11"));
  GptqOptions options;
  for (const double damping : {-0.01, 1.1e6, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    options.damping = damping;
    CHECK_THROWS_WITH(fewbit::gptq(w, h, Symmetric(4), fewbit::per_channel(), options), Contains("damping"));
  }
  options = {};
  for (const double asymmetry : {-0.01, 1.01, static_cast<double>(NAN)}) {
    options.asymmetry = asymmetry;
    CHECK_THROWS_WITH(fewbit::gptq(w, h, Symmetric(4), fewbit::per_channel(), options), Contains("asymmetry"));
  }
  options = {};
  options.block = 0;
  CHECK_THROWS_AS(fewbit::gptq(w, h, Symmetric(4), fewbit::per_channel(), options), std::invalid_argument);
  options = {};
  options.asymmetry = 0.25;
  CHECK_THROWS_WITH(fewbit::gptq(w, h, Symmetric(4), fewbit::per_channel(), options), Contains("add(x, original)"));
  w(2, 5) = NAN;
  CHECK_THROWS_WITH(fewbit::gptq(w, h, Symmetric(4)), Contains("row 2, column 5"));
  w(2, 5) = 1e30f;
  CHECK_THROWS_WITH(fewbit::gptq(w, h, Symmetric(4), fewbit::per_channel(fewbit::ScaleType::f16)), Contains("f16"));

  Hessian nothing(0);
  nothing.add(MatrixXf(0, 3));
  CHECK(fewbit::gptq(MatrixXf(5, 0), nothing, Symmetric(4)).size() == 0);
  CHECK(fewbit::gptq(MatrixXf(0, 12), h, Symmetric(4), fewbit::per_group(4)).rows() == 0);
}

TEST_CASE("progress is told, and can end it", "[gptq]") {
  const MatrixXf w = support::normal_matrix(300, 40, 81);
  const Hessian h = hessian_of(correlated(40, 100, 82));
  std::vector<double> parts;
  GptqOptions options;
  options.block = 8;
  options.progress = [&](double done) { return parts.push_back(done), true; };
  const QuantizedMatrix q = fewbit::gptq(w, h, Symmetric(4), fewbit::per_group(8), options);
  REQUIRE(parts.size() >= 3);
  CHECK(std::is_sorted(parts.begin(), parts.end()));
  CHECK(parts.back() == Approx(1));
  CHECK(parts.back() <= 1);
  CHECK(parts.front() <= 40. / (40 + 3 * 300));  // the factor's part, from its first columns on
  // It comes bit by bit: rounding does not jump from where the factor was found to the end.
  double largest_step = 0;
  for (std::size_t k = 1; k < parts.size(); ++k) largest_step = std::max(largest_step, parts[k] - parts[k - 1]);
  CHECK(largest_step < 0.4);
  CHECK(parts[parts.size() - 2] > 0.6);
  for (const double at : {0., 0.5}) {
    options.progress = [&](double done) { return done <= at; };
    CHECK_THROWS_AS(fewbit::gptq(w, h, Symmetric(4), fewbit::per_group(8), options), fewbit::Cancelled);
  }
}

TEST_CASE("GPTAQ as its paper has it", "[gptq][law]") {
  const Index n = 24, rows = 6;
  for (const std::uint32_t seed : {1u, 2u, 3u, 4u}) {
    const MatrixXf w = support::normal_matrix(rows, n, 90 + seed), original = correlated(n, 200, 900 + 10 * seed),
                   x = original + 0.2f * correlated(n, 200, 990 + 10 * seed);
    Hessian hessian(n);
    hessian.add(x, original);
    GptqReport report;
    GptqOptions options;
    options.act_order = false, options.asymmetry = 0.25, options.report = &report;
    const QuantizedMatrix q = fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_channel(), MinMax{}, options);
    const MatrixXd h = hessian.matrix();
    CHECK(report.loss_after == Approx(loss(w.cast<double>(), q, h)).epsilon(1e-3));

    MatrixXd damped = h;
    damped.diagonal().array() += 0.01 * h.diagonal().mean();
    const MatrixXd u = MatrixXd(damped.inverse()).llt().matrixU();
    MatrixXd p = hessian.deviation() * u.transpose();
    p.triangularView<Eigen::Lower>().setZero();
    p = (0.25 * p * u).eval();
    const QuantizedMatrix nearest = fewbit::quantize(w, Symmetric(4), fewbit::per_channel());
    MatrixXd left = w.cast<double>();
    for (Index i = 0; i < n; ++i) {
      Eigen::VectorXd error(rows);
      const Eigen::VectorXd column = left.col(i);
      for (Index r = 0; r < rows; ++r) {
        const double target = column[r] / nearest.affine(r, 0).scale,
                     code = std::clamp(std::nearbyint(target), -7., 7.);
        const bool is_tie = std::fabs(std::fabs(target - std::floor(target)) - .5) < 1e-3;
        if (!is_tie) CHECK(static_cast<double>(q(r, i)) == Approx(code * nearest.affine(r, 0).scale));
        error[r] = (column[r] - static_cast<double>(q(r, i))) / u(i, i);
      }
      left.rightCols(n - i) -= error * u.row(i).tail(n - i) - column * p.row(i).tail(n - i);
    }

    const auto end_to_end = [&](const QuantizedMatrix& m) {
      return (fewbit::dequantize(m) * x - w * original).squaredNorm();
    };
    options.asymmetry = 0;
    const QuantizedMatrix plain = fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_channel(), MinMax{}, options);
    CHECK(end_to_end(q) < end_to_end(plain));
  }
}

TEST_CASE("refining never makes a row worse, and ends where no single step helps", "[gptq][refine]") {
  const MatrixXf w = support::normal_matrix(21, 70, 101);
  const Hessian hessian = hessian_of(correlated(70, 200, 102));
  const MatrixXd h = hessian.matrix(), exact = w.cast<double>();
  support::Tally tally;
  const auto improves = [&](const QuantizedMatrix& from) {
    MatrixXd before = row_losses(exact, from, h);
    QuantizedMatrix q = from;
    CHECK(fewbit::refine(from, w, hessian, 0) == from);
    for (int pass = 0; pass < 40; ++pass) {
      QuantizedMatrix next = fewbit::refine(q, w, hessian, 1);
      const MatrixXd after = row_losses(exact, next, h);
      for (Index i = 0; i < 21; ++i)
        tally.check(after(i, 0) <= before(i, 0) * (1 + 1e-12), "pass ", pass, ": row ", i, " went from ", before(i, 0),
                    " to ", after(i, 0));
      if (next == q) break;
      q = std::move(next), before = after;
    }
    CHECK(q == fewbit::refine(from, w, hessian, 1000));
    CHECK(before.sum() < row_losses(exact, from, h).sum());
    const MatrixXd g = (exact - fewbit::dequantize<MatrixXd>(q)) * h;
    for (Index i = 0; i < 21; ++i)
      for (Index j = 0; j < 70; ++j)
        for (int code = 0; code < q.levels().count(); ++code) {
          const double step =
              static_cast<double>(fewbit::weight(q.levels()[code], q.affine(i / q.block_rows(), j / q.block_cols()))) -
              static_cast<double>(q(i, j));
          tally.check(2 * step * g(i, j) - step * step * h(j, j) <= 1e-9 * h(j, j) * step * step, "row ", i,
                      ", column ", j, ": a step of ", step, " would help");
        }
  };
  improves(fewbit::quantize(w, Symmetric(3), fewbit::per_channel()));
  improves(fewbit::quantize(w, fewbit::nf4, fewbit::per_group(16)));
  improves(fewbit::gptq(w, hessian, Asymmetric(2), fewbit::per_block(4, 30)));
  tally.require(40'000);

  // A matrix that has its inputs in another order, and scaled.
  GptqOptions options;
  options.scales = GroupScales::fresh;
  QuantizedMatrix mapped = fewbit::gptq(w, hessian, Symmetric(3), fewbit::per_group(16), options);
  fewbit::InputMap map = mapped.input_map();
  REQUIRE(!map.order.empty());
  for (Index k = 0; k < 70; ++k) map.scale.push_back(k % 2 == 0 ? 1.25f : 0.75f);
  mapped.set_input_map(map);
  const double before = loss(exact, mapped, h);
  CHECK(loss(exact, fewbit::refine(mapped, w, hessian), h) < 0.7 * before);
}

TEST_CASE("refining says no to what does not belong together", "[gptq][refine][bad-input]") {
  MatrixXf w = support::normal_matrix(4, 12, 111);
  const Hessian h = hessian_of(correlated(12, 40, 112));
  const QuantizedMatrix q = fewbit::quantize(w, Symmetric(4), fewbit::per_channel());
  CHECK_THROWS_AS(fewbit::refine(q, w.topRows(3), h), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::refine(q, w, Hessian(11)), std::invalid_argument);
  CHECK_THROWS_WITH(fewbit::refine(q, w, Hessian(12)), Contains("never ran"));
  CHECK_THROWS_AS(fewbit::refine(q, w, h, -1), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::refine(QuantizedMatrix(4, 12, q.levels(), fewbit::per_channel()), w, h),
                  std::invalid_argument);
  w(1, 2) = INFINITY;
  CHECK_THROWS_WITH(fewbit::refine(q, w, h), Contains("row 1, column 2"));
}

TEST_CASE("a matrix that is no Hessian at all is damped in a few steps", "[gptq][bad-input]") {
  const MatrixXf w = support::normal_matrix(3, 2, 121);
  for (const double diagonal : {1e-320, 1e-290, 1e-20, 1e-3}) {
    MatrixXd h(2, 2);
    h << diagonal, 1, 1, diagonal;
    GptqReport report;
    GptqOptions options;
    options.report = &report;
    std::vector<double> parts;
    options.progress = [&](double done) { return parts.push_back(done), true; };
    const QuantizedMatrix q = fewbit::gptq(w, Hessian::from_matrix(h), Symmetric(4), fewbit::per_channel(), options);
    CHECK(fewbit::dequantize(q).allFinite());
    CHECK(report.damping_steps > 0);
    CHECK(report.damping_steps < 20);
    CHECK(std::is_sorted(parts.begin(), parts.end()));
    CHECK(parts.back() == 1);
  }
}

TEST_CASE("dead inputs change nothing for the others", "[gptq]") {
  const MatrixXf w = support::normal_matrix(6, 40, 122);
  MatrixXf x = correlated(20, 60, 123);
  x.row(3) *= 30;
  MatrixXf with_dead = MatrixXf::Zero(40, 60);
  with_dead.topRows(20) = x;
  const QuantizedMatrix alone = fewbit::gptq(w.leftCols(20), hessian_of(x), Symmetric(3), fewbit::per_group(20)),
                        together = fewbit::gptq(w, hessian_of(with_dead), Symmetric(3), fewbit::per_group(20));
  for (Index i = 0; i < 6; ++i)
    for (Index j = 0; j < 20; ++j) CHECK(alone.code(i, j) == together.code(i, j));
}

namespace {

struct Placed {
  fewbit::Affine operator()(const fewbit::Block& block, const auto& grid) const {
    return grid.fit({-1.f - static_cast<float>(block.col), 1});
  }
};

}  // namespace

TEST_CASE("importances stay with their inputs when groups are of columns in another order", "[gptq]") {
  const Index n = 64;
  const MatrixXf w = support::normal_matrix(8, n, 124), x = correlated(n, 200, 125);
  const Hessian hessian = hessian_of(x);
  std::vector<Index> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), Index{0});
  const MatrixXd h = hessian.matrix();
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return h(a, a) > h(b, b); });
  fewbit::MseSearch search, permuted;
  for (Index j = 0; j < n; ++j) search.importance.push_back(static_cast<float>(1 + (j * j) % 17));
  for (Index k = 0; k < n; ++k)
    permuted.importance.push_back(search.importance[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])]);
  GptqOptions taken, natural;
  taken.scales = natural.scales = GroupScales::fresh, natural.act_order = false;
  const QuantizedMatrix q = fewbit::gptq(w, hessian, Symmetric(3), fewbit::per_group(16), search, taken),
                        by_hand = fewbit::gptq(MatrixXf(w(Eigen::all, order)),
                                               Hessian::from_matrix(MatrixXd(h(order, order))), Symmetric(3),
                                               fewbit::per_group(16), permuted, natural);
  CHECK(std::equal(q.codes().begin(), q.codes().end(), by_hand.codes().begin()));
  CHECK_THROWS_WITH(fewbit::gptq(w, hessian, Symmetric(3), fewbit::per_group(16), Placed{}, taken),
                    Contains("reordered"));
  CHECK_NOTHROW(fewbit::gptq(w, hessian, Symmetric(3), fewbit::per_group(16), Placed{}, natural));
}

TEST_CASE("an estimator is told where its block lies, in whatever order columns are taken", "[gptq]") {
  const MatrixXf w = support::normal_matrix(4, 12, 137);
  const Hessian hessian = hessian_of(correlated(12, 50, 138));
  // Ranges hang on the column alone, so scales do, whenever they are fitted.
  for (const Granularity g : {fewbit::per_group(1), fewbit::per_column(), fewbit::per_group(5)})
    for (const GroupScales rule : {GroupScales::from_original, GroupScales::fresh, GroupScales::stale})
      for (const bool act_order : {false, true}) {
        if (act_order && g.cols == 5 && rule != GroupScales::from_original) continue;  // refused
        GptqOptions options;
        options.scales = rule, options.act_order = act_order, options.block = 4;
        const QuantizedMatrix q = fewbit::gptq(w, hessian, Symmetric(4), g, Placed{}, options),
                              nearest = fewbit::quantize(w, Symmetric(4), g, Placed{});
        for (Index i = 0; i < q.blocks_down(); ++i)
          for (Index j = 0; j < q.blocks_across(); ++j) CHECK(q.affine(i, j) == nearest.affine(i, j));
      }
}

TEST_CASE("GPTAQ's first group is fitted to the weights as they are", "[gptq]") {
  const MatrixXf w = support::normal_matrix(4, 32, 126), original = correlated(32, 100, 127),
                 x = original + 0.2f * correlated(32, 100, 128);
  Hessian hessian(32);
  hessian.add(x, original);
  for (const GroupScales rule : {GroupScales::fresh, GroupScales::stale}) {
    GptqOptions options;
    options.scales = rule, options.act_order = false, options.asymmetry = 0.25;
    const QuantizedMatrix q = fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_group(8), MinMax{}, options),
                          nearest = fewbit::quantize(w, Symmetric(4), fewbit::per_group(8));
    for (Index i = 0; i < 4; ++i) CHECK(q.affine(i, 0) == nearest.affine(i, 0));
  }
}

TEST_CASE("a call that throws leaves its report alone, and looks at dead inputs' weights too", "[gptq][bad-input]") {
  MatrixXf x = correlated(3, 20, 129), w = support::normal_matrix(2, 3, 130);
  x.row(1).setZero();
  w(1, 1) = NAN;
  GptqReport report;
  report.loss_after = 42;
  GptqOptions options;
  options.report = &report;
  CHECK_THROWS_WITH(fewbit::gptq(w, hessian_of(x), Symmetric(4), fewbit::per_channel(), options),
                    Contains("row 1, column 1"));
  CHECK(report.loss_after == 42);
  CHECK_THROWS_WITH(fewbit::gptq(MatrixXd::Constant(2, 3, 1e300), hessian_of(x), Symmetric(4)), Contains("1e+300"));
  for (const double asymmetry : {1e38, -.1, std::nan("")}) {
    options = {};
    options.asymmetry = asymmetry;
    CHECK_THROWS_AS(fewbit::gptq(w, hessian_of(x), Symmetric(4), fewbit::per_channel(), options),
                    std::invalid_argument);
  }
}

TEST_CASE("refinement leaves a weight alone that lies halfway between two levels", "[gptq][refine]") {
  // No move gains anything, so none is made, whichever of the two levels the weight has.
  const MatrixXf w = MatrixXf{{-8, .5f, -1.5f, 2.5f, -3.5f}};
  MatrixXf x = MatrixXf::Zero(5, 5);
  for (Index j = 0; j < 5; ++j) x(j, j) = 1 + static_cast<float>(j);
  for (const fewbit::Rounding rounding : {fewbit::Rounding::half_even, fewbit::Rounding::half_away}) {
    const auto unit = [](std::span<const float>, const auto&) { return fewbit::Affine{1, 0}; };
    const QuantizedMatrix q = fewbit::quantize(w, Symmetric(4), fewbit::per_tensor(), unit, {.rounding = rounding});
    CHECK(q(0, 1) == (rounding == fewbit::Rounding::half_even ? 0 : 1));
    CHECK(fewbit::refine(q, w, hessian_of(x)) == q);
  }
}

TEST_CASE("losses are those of the definition, however small", "[gptq]") {
  const MatrixXf w = support::normal_matrix(5, 64, 131);
  for (const Index samples : {1, 3, 500}) {
    const Hessian hessian = hessian_of(support::normal_matrix(64, samples, 132));
    const MatrixXd h = hessian.matrix();
    for (const double damping : {0.01, 100., 1e6}) {
      GptqReport report;
      GptqOptions options;
      options.report = &report, options.damping = damping;
      const QuantizedMatrix q = fewbit::gptq(w, hessian, Symmetric(4), fewbit::per_channel(), options);
      const double expected = loss(w.cast<double>(), q, h);
      CHECK(report.loss_after == Approx(expected).epsilon(1e-9).margin(1e-9 * report.loss_before));
      CHECK(fewbit::row_losses(w, q, hessian).sum() ==
            Approx(expected).epsilon(1e-9).margin(1e-9 * report.loss_before));
    }
  }
  const Hessian h = hessian_of(correlated(64, 90, 133));
  CHECK_THROWS_AS(fewbit::row_losses(w.topRows(3), fewbit::quantize(w, Symmetric(4)), h), std::invalid_argument);
}
