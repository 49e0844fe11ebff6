// AWQ and SmoothQuant: scales of inputs that come with the matrix, judged by what they do to the output.

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/ops/metrics.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/quantize/awq.hpp>

#include <support/catch.hpp>
#include <support/matrices.hpp>

namespace {

using Catch::Matchers::Contains;
using Eigen::MatrixXd;
using fewbit::Asymmetric;
using fewbit::AwqOptions;
using fewbit::AwqReport;
using fewbit::Granularity;
using fewbit::InputStatistics;
using fewbit::QuantizedMatrix;
using fewbit::Symmetric;
using support::Index;
using support::MatrixXf;

// Inputs of very different sizes.
MatrixXf uneven(Index inputs, Index samples, std::uint32_t seed) {
  MatrixXf x = support::normal_matrix(inputs, samples, seed);
  for (Index j = 0; j < inputs; ++j)
    x.row(j) *= std::exp(1.5f * static_cast<float>(std::sin(7. * static_cast<double>(j))));
  return x;
}
double output_error(const QuantizedMatrix& q, const MatrixXf& w, const MatrixXf& x) {
  return ((fewbit::dequantize<MatrixXd>(q) - w.cast<double>()) * x.cast<double>()).squaredNorm();
}

}  // namespace

TEST_CASE("AWQ's scale is the best of its formula's", "[awq]") {
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    const MatrixXf w = support::normal_matrix(15, 70, 200 + seed), x = uneven(70, 90, 210 + seed);
    double least = INFINITY, ratio = 0;
    for (int i = 0; i < 20; ++i) {
      const Eigen::VectorXd mean = x.cast<double>().cwiseAbs().rowwise().mean();
      Eigen::VectorXd s = mean.array().pow(i / 20.).max(1e-4);
      s /= std::sqrt(s.maxCoeff() * s.minCoeff());
      const MatrixXf scaled = w * s.cast<float>().asDiagonal();
      const MatrixXd rounded =
          fewbit::dequantize<MatrixXd>(fewbit::quantize(scaled, Asymmetric(3), fewbit::per_group(32)));
      const double loss =
          ((rounded * s.cwiseInverse().asDiagonal() - w.cast<double>()) * x.cast<double>()).squaredNorm();
      if (loss < least) least = loss, ratio = i / 20.;
    }
    AwqReport report;
    AwqOptions options;
    options.most_clipped = 0, options.report = &report;
    const QuantizedMatrix q = fewbit::awq(w, x, Asymmetric(3), fewbit::per_group(32), options);
    CHECK(report.ratio == ratio);
    CHECK(ratio > 0);
    CHECK(report.loss_scaled == Approx(least).epsilon(1e-4));
    CHECK(report.loss == report.loss_scaled);
    CHECK(report.loss == Approx(output_error(q, w, x)).epsilon(1e-4));
    CHECK(report.loss_nearest ==
          Approx(output_error(fewbit::quantize(w, Asymmetric(3), fewbit::per_group(32)), w, x)).epsilon(1e-4));
    CHECK(report.loss < 0.9 * report.loss_nearest);
    REQUIRE(q.input_map().scale.size() == 70);
    const MatrixXf y = q * x, expected = fewbit::dequantize(q) * x;
    CHECK((y - expected).cwiseAbs().maxCoeff() <= 1e-4f * expected.cwiseAbs().maxCoeff());
  }
}

TEST_CASE("ranges are cut where the output gains", "[awq]") {
  const MatrixXf w = support::normal_matrix(20, 96, 221), x = uneven(96, 700, 222);
  for (const Granularity& g : {fewbit::per_group(32), fewbit::per_group(25, fewbit::ScaleType::f16),
                               fewbit::per_channel(), fewbit::per_block(3, 40), fewbit::per_tensor()}) {
    AwqReport report;
    AwqOptions options;
    options.report = &report;
    const auto gains = [&](const auto& grid) {
      const QuantizedMatrix q = fewbit::awq(w, x, grid, g, options);
      CHECK(report.loss <= report.loss_scaled);
      CHECK(report.loss_scaled <= report.loss_nearest);
      CHECK(report.loss == Approx(output_error(q, w, x)).epsilon(1e-4));
      return report.loss < 0.95 * report.loss_scaled;
    };
    CHECK(gains(Symmetric(2)));
    gains(Asymmetric(4)), gains(fewbit::nf4), gains(Symmetric(8));
    // From statistics: never worse than nothing by their own measure, and better where inputs are independent.
    const QuantizedMatrix q = fewbit::awq(w, InputStatistics::of(x), Symmetric(2), g, options);
    CHECK(report.loss < report.loss_nearest);
    CHECK(output_error(q, w, x) < output_error(fewbit::quantize(w, Symmetric(2), g), w, x));
  }
}

TEST_CASE("each group's cut is the best of those tried", "[awq]") {
  const MatrixXf w = support::normal_matrix(6, 40, 231), x = MatrixXf::Identity(40, 40);  // groups do not meet
  AwqOptions options;
  options.ratios = 1;
  const QuantizedMatrix q = fewbit::awq(w, x, Symmetric(3), fewbit::per_group(20), options);
  CHECK(q.input_map().empty());
  for (Index i = 0; i < 6; ++i)
    for (Index g = 0; g < 2; ++g) {
      const MatrixXf block = w.block(i, 20 * g, 1, 20);
      const float most = block.cwiseAbs().maxCoeff();
      double least = INFINITY;
      float scale = 0;
      for (int k = 0; k < 10; ++k) {
        const float tried = most * (1 - static_cast<float>(k) / 20) / 3;
        double loss = 0;
        for (Index j = 0; j < 20; ++j) {
          const double level = std::clamp(std::nearbyint(static_cast<double>(block(0, j)) / tried), -3., 3.);
          loss += std::pow(static_cast<double>(block(0, j)) - level * tried, 2);
        }
        if (loss < least) least = loss, scale = tried;
      }
      CHECK(q.affine(i, g).scale == Approx(scale));
    }
}

TEST_CASE("two cuts are enough to choose from, and one is none", "[awq]") {
  MatrixXf w = support::normal_matrix(6, 40, 232);
  for (Index i = 0; i < 6; ++i) w(i, 7) = 5;
  const MatrixXf x = MatrixXf::Identity(40, 40);
  AwqReport report;
  AwqOptions options;
  options.ratios = 1, options.report = &report;
  for (const int clips : {2, 4}) {  // half of them are tried: 1, or 1 and .75
    options.clips = clips;
    fewbit::awq(w, x, Symmetric(2), fewbit::per_channel(), options);
    CHECK((report.loss < report.loss_scaled) == (clips == 4));
  }
}

TEST_CASE("AWQ's scales of inputs have 1 in their middle", "[awq]") {
  const MatrixXf w = support::normal_matrix(15, 70, 261), x = 100 * uneven(70, 90, 262);
  AwqReport report;
  AwqOptions options;
  options.report = &report;
  const QuantizedMatrix q = fewbit::awq(w, x, Asymmetric(3), fewbit::per_group(32), options);
  REQUIRE(report.ratio > 0);
  const std::vector<float>& scale = q.input_map().scale;
  const float least = *std::min_element(scale.begin(), scale.end()),
              most = *std::max_element(scale.begin(), scale.end());
  CHECK(least * most == Approx(1));
  CHECK(most > 1.5f * least);
}

TEST_CASE("AWQ's choice does not depend on the unit of the inputs", "[awq]") {
  const MatrixXf w = 1024 * support::normal_matrix(12, 64, 263), x = uneven(64, 80, 264);
  const QuantizedMatrix q = fewbit::awq(w, x, Symmetric(3), fewbit::per_group(16));
  for (const int e : {-110, -50, 50, 121}) {
    const MatrixXf other = x.unaryExpr([&](float v) { return std::ldexp(v, e); });
    AwqOptions options;
    options.ratios = 1;  // the scales themselves are powers of these inputs, and cut off at 1e-4
    const QuantizedMatrix cut = fewbit::awq(w, x, Symmetric(3), fewbit::per_group(16), options);
    CHECK(fewbit::awq(w, other, Symmetric(3), fewbit::per_group(16), options) == cut);
    if (e == 50)
      CHECK(fewbit::compare(fewbit::dequantize(q),
                            fewbit::dequantize(fewbit::awq(w, other, Symmetric(3), fewbit::per_group(16))))
                .sqnr_db > 10);
  }
}

TEST_CASE("the output's error is judged by the inputs that will come, divided by their scale", "[awq]") {
  const MatrixXf x = uneven(20, 33, 265), errors = support::normal_matrix(3, 20, 266);
  const Eigen::VectorXf s = support::normal_matrix(20, 1, 267).array().abs() + 0.1f;
  support::RowMajor padded = support::RowMajor::Zero(3, 64);
  padded.leftCols(20) = errors;
  for (const bool divide : {false, true}) {
    const fewbit::OutputError all(x), some = divide ? all.divided(s) : all;
    std::vector<double> loss(3);
    some.add({3, 0, 20, 64, padded.data()}, loss.data());
    MatrixXd seen = x.cast<double>();
    if (divide) seen = s.cast<double>().cwiseInverse().asDiagonal() * seen;
    for (Index i = 0; i < 3; ++i)
      CHECK(loss[static_cast<std::size_t>(i)] ==
            Approx((errors.row(i).cast<double>() * seen).squaredNorm()).epsilon(1e-5));
  }
}

TEST_CASE("AWQ with inputs that are 0, alike, or far apart", "[awq][bad-input]") {
  const MatrixXf w = support::normal_matrix(7, 30, 241);
  const auto survives = [&](const MatrixXf& x, bool is_identity) {
    for (const bool by_statistics : {false, true}) {
      AwqReport report;
      AwqOptions options;
      options.report = &report;
      const QuantizedMatrix q =
          by_statistics ? fewbit::awq(w, InputStatistics::of(x), Symmetric(4), fewbit::per_group(10), options)
                        : fewbit::awq(w, x, Symmetric(4), fewbit::per_group(10), options);
      CHECK(fewbit::dequantize(q).allFinite());
      CHECK((q.input_map().empty() || !is_identity));
      CHECK(fewbit::compare(w, fewbit::dequantize(q)).sqnr_db > 3);
    }
  };
  survives(MatrixXf::Zero(30, 9), true);
  survives(MatrixXf::Ones(30, 9), true);
  MatrixXf x = uneven(30, 50, 242);
  x.row(11).setZero();
  survives(x, false);
  survives(x * 1e30f, false);
  survives(x * 1e-30f, false);
  x.row(3) *= 1e15f, x.row(4) *= 1e-15f;
  survives(x, false);
  const QuantizedMatrix zeros = fewbit::awq(MatrixXf::Zero(3, 30), x, Symmetric(4), fewbit::per_group(10));
  CHECK((fewbit::dequantize(zeros).array() == 0).all());
}

TEST_CASE("AWQ says no", "[awq][bad-input]") {
  MatrixXf w = support::normal_matrix(4, 12, 251), x = uneven(12, 20, 252);
  CHECK_THROWS_WITH(fewbit::awq(w, x.topRows(11), Symmetric(4)), Contains("4 x 12") && Contains("11"));
  CHECK_THROWS_WITH(fewbit::awq(w, InputStatistics(11), Symmetric(4)), Contains("11"));
  CHECK_THROWS_WITH(fewbit::awq(w, InputStatistics(12), Symmetric(4)), Contains("never ran"));
  CHECK_THROWS_WITH(fewbit::awq(w, x.leftCols(0), Symmetric(4)), Contains("never ran"));
  AwqOptions options;
  options.ratios = 0;
  CHECK_THROWS_AS(fewbit::awq(w, x, Symmetric(4), fewbit::per_group(4), options), std::invalid_argument);
  options = {};
  options.most_clipped = 1;
  CHECK_THROWS_AS(fewbit::awq(w, x, Symmetric(4), fewbit::per_group(4), options), std::invalid_argument);
  options = {};
  options.clip_samples = 0;
  CHECK_THROWS_AS(fewbit::awq(w, x, Symmetric(4), fewbit::per_group(4), options), std::invalid_argument);
  x(3, 4) = NAN;
  CHECK_THROWS_WITH(fewbit::awq(w, x, Symmetric(4)), Contains("input 3"));
  x(3, 4) = 0;
  w(1, 2) = NAN;
  CHECK_THROWS_WITH(fewbit::awq(w, x, Symmetric(4)), Contains("row 1, column 2"));
  CHECK(fewbit::awq(MatrixXf(0, 12), x, Symmetric(4)).size() == 0);
}

TEST_CASE("SmoothQuant moves outliers of the inputs into the weights", "[smooth_quant]") {
  const MatrixXf w = support::normal_matrix(40, 64, 261);
  MatrixXf x = support::normal_matrix(64, 80, 262);
  x.row(5) *= 60, x.row(33) *= 100, x.row(50).setZero();
  for (const double alpha : {0., .5, .8, 1.}) {
    const QuantizedMatrix q = fewbit::smooth_quant(w, x, alpha);
    for (Index j = 0; j < 64; ++j) {
      const double most_x = x.row(j).cwiseAbs().maxCoeff(), most_w = w.col(j).cwiseAbs().maxCoeff();
      const double s = j == 50 ? 1 : std::pow(most_x, alpha) / std::pow(most_w, 1 - alpha);
      CHECK(q.input_map().scale[static_cast<std::size_t>(j)] == Approx(1 / s));
    }
    CHECK(fewbit::compare(w, fewbit::dequantize(q)).sqnr_db > 10);  // outliers were moved here
  }
  const auto error = [&](const QuantizedMatrix& q) {
    return (fewbit::product(q, x, fewbit::Activations::int8) - w * x).squaredNorm();
  };
  CHECK(error(fewbit::smooth_quant(w, x)) < 0.1f * error(fewbit::quantize(w, Symmetric(8), fewbit::per_channel())));
  CHECK(fewbit::smooth_quant(w, InputStatistics::of(x)) == fewbit::smooth_quant(w, x));
  CHECK(fewbit::smooth_quant(w, x, 0.5, Asymmetric(4), fewbit::per_group(16)).bits() == 4);
}

TEST_CASE("SmoothQuant says no, and leaves alone what it cannot scale", "[smooth_quant][bad-input]") {
  MatrixXf w = support::normal_matrix(4, 12, 271), x = uneven(12, 20, 272);
  CHECK_THROWS_WITH(fewbit::smooth_quant(w, x.topRows(11)), Contains("4 x 12") && Contains("11"));
  CHECK_THROWS_WITH(fewbit::smooth_quant(w, InputStatistics(12)), Contains("never ran"));
  for (const double alpha : {-.1, 1.1, std::nan("")})
    CHECK_THROWS_AS(fewbit::smooth_quant(w, x, alpha), std::invalid_argument);
  w.col(3).setZero();
  CHECK(fewbit::smooth_quant(w, x).input_map().scale[3] == 1);
  CHECK(fewbit::smooth_quant(w, MatrixXf::Zero(12, 5)).input_map().empty());
  w(2, 1) = INFINITY;
  CHECK_THROWS_AS(fewbit::smooth_quant(w, x), std::domain_error);
}

TEST_CASE("a scale that leaves the range of floats is no choice", "[awq][bad-input]") {
  MatrixXf w = support::normal_matrix(4, 16, 281), x = uneven(16, 30, 282);
  w.row(1) *= 60000.f;  // near the end of f16
  x.row(2) *= 1000;
  for (const fewbit::ScaleType t : {fewbit::ScaleType::f16, fewbit::ScaleType::f32})
    CHECK(fewbit::dequantize(fewbit::awq(w, x, Symmetric(4), fewbit::per_group(4, t))).allFinite());
  AwqReport report;
  AwqOptions options;
  options.report = &report;
  fewbit::awq(w * 1e25f, x * 1e10f, Symmetric(3), fewbit::per_group(4), options);
  CHECK(std::isfinite(report.loss));
  const double large = report.loss / report.loss_nearest;
  fewbit::awq(w, x, Symmetric(3), fewbit::per_group(4), options);
  CHECK(report.loss / report.loss_nearest == Approx(large).epsilon(0.01));
  CHECK(large < 0.9);
  report.loss = 42;
  w(0, 0) = NAN;
  CHECK_THROWS_AS(fewbit::awq(w, x, Symmetric(3), fewbit::per_group(4), options), std::domain_error);
  CHECK(report.loss == 42);
  options.clips = 0;
  CHECK_NOTHROW(fewbit::awq(w.bottomRows(3), x, Symmetric(3), fewbit::per_group(4), options));
}

TEST_CASE("SmoothQuant leaves alone what its scale would take out of range", "[smooth_quant][bad-input]") {
  for (const float size : {1e20f, 1e-25f}) {
    const MatrixXf w = size * support::normal_matrix(3, 8, 283), x = size * uneven(8, 9, 284);
    CHECK(fewbit::compare(w, fewbit::dequantize(fewbit::smooth_quant(w, x, 1))).sqnr_db > 20);
  }
}
