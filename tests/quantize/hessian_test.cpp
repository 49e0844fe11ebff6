// What calibration gathers: the same sums however samples are cut, whatever their type, wherever they were gathered.

#include <cmath>
#include <stdexcept>

#include <fewbit/quantize/hessian.hpp>
#include <fewbit/quantize/input_statistics.hpp>

#include <support/catch.hpp>
#include <support/matrices.hpp>
#include <support/tally.hpp>

namespace {

using Catch::Matchers::Contains;
using Eigen::MatrixXd;
using fewbit::Hessian;
using fewbit::InputStatistics;
using support::Index;
using support::MatrixXf;

Hessian of(const MatrixXf& x) {
  Hessian h(x.rows());
  h.add(x);
  return h;
}

// 2/N X Y^T, one product after the other.
MatrixXd exact(const MatrixXf& x, const MatrixXf& y) {
  MatrixXd sum = MatrixXd::Zero(x.rows(), x.rows());
  for (Index s = 0; s < x.cols(); ++s)
    for (Index i = 0; i < x.rows(); ++i)
      for (Index j = 0; j < x.rows(); ++j) sum(i, j) += static_cast<double>(x(i, s)) * static_cast<double>(y(j, s));
  return sum * 2 / static_cast<double>(x.cols());
}

void check_close(support::Tally& tally, const MatrixXd& h, const MatrixXf& x) {
  const MatrixXd expected = exact(x, x);
  for (Index i = 0; i < h.rows(); ++i)
    for (Index j = 0; j < h.rows(); ++j) {
      tally.check(h(i, j) == h(j, i), "not symmetric at ", i, ", ", j);
      tally.check(std::fabs(h(i, j) - expected(i, j)) <= 0x1p-20 * std::sqrt(expected(i, i) * expected(j, j)), x.rows(),
                  " inputs, ", x.cols(), " samples: element ", i, ", ", j, " is ", h(i, j), " for ", expected(i, j));
    }
}

}  // namespace

TEST_CASE("a Hessian is twice the mean of x x^T", "[hessian]") {
  support::Tally tally;
  for (Index inputs = 1; inputs <= 70; inputs += inputs < 20 ? 1 : 7)
    for (const Index samples : {1, 2, 15, 17, 100}) {
      const MatrixXf x = support::normal_matrix(inputs, samples, static_cast<std::uint32_t>(inputs * 1000 + samples));
      const Hessian h = of(x);
      CHECK(h.samples() == samples);
      check_close(tally, h.matrix(), x);
    }
  const MatrixXf many = support::normal_matrix(9, 1700, 3);
  check_close(tally, of(many).matrix(), many);
  tally.require(100'000);
}

TEST_CASE("sums of samples that are all alike, whose roundings are too, are within 2^-17", "[hessian]") {
  support::Tally tally;
  for (int k = 0; k < 100; ++k) {
    MatrixXf x(2, 3000);
    x.row(0).setConstant(1 + 0.01f * static_cast<float>(k)),
        x.row(1).setConstant(1.37f + 0.005f * static_cast<float>(k));
    const MatrixXd h = of(x).matrix(), expected = exact(x, x);
    for (Index i = 0; i < 2; ++i)
      for (Index j = 0; j < 2; ++j)
        tally.check(std::fabs(h(i, j) - expected(i, j)) <= 0x1p-17 * std::sqrt(expected(i, i) * expected(j, j)), k,
                    ": element ", i, ", ", j, " is ", h(i, j), " for ", expected(i, j));
  }
  tally.require(400);
}

TEST_CASE("batches may be cut anywhere", "[hessian]") {
  const MatrixXf x = support::normal_matrix(67, 1300, 1);
  const MatrixXd whole = of(x).matrix();
  for (const Index step : {1, 7, 511, 512, 513, 1299}) {
    Hessian h(67);
    for (Index first = 0; first < x.cols(); first += step) h.add(x.middleCols(first, std::min(step, x.cols() - first)));
    CHECK(h.samples() == 1300);
    CHECK((h.matrix() == whole));
    CHECK((h.matrix() == whole));  // asking changes nothing
  }
  Hessian asked(67);
  asked.add(x.leftCols(100));
  (void)asked.matrix();
  asked.add(x.rightCols(1200));
  CHECK((asked.matrix() == whole));
  asked.add(MatrixXf(67, 0));
  CHECK((asked.matrix() == whole));
}

TEST_CASE("samples may be of any type and lie anywhere", "[hessian]") {
  const MatrixXf x = support::normal_matrix(21, 60, 2).cast<Eigen::half>().cast<float>();
  const MatrixXd expected = of(x).matrix();
  const auto same = [&](const auto& samples) {
    Hessian h(21);
    h.add(samples);
    CHECK((h.matrix() == expected));
  };
  support::in_every_layout(x, [&](const char*, const auto& samples) { same(samples); });
  same(x.cast<double>().eval());
  same(x.cast<Eigen::half>().eval());
  same((x * 2 - x).eval());
  same(x * 2 - x);
}

TEST_CASE("shards gathered apart are joined", "[hessian]") {
  const MatrixXf x = support::normal_matrix(30, 700, 4);
  Hessian a(30), b(30), nothing(30);
  a.add(x.leftCols(300)), b.add(x.rightCols(400));
  a.merge(b), a.merge(nothing);
  CHECK(a.samples() == 700);
  support::Tally tally;
  check_close(tally, a.matrix(), x);
  tally.require(900);
  nothing.merge(b);
  CHECK((nothing.matrix() == b.matrix()));
  CHECK_THROWS_WITH(a.merge(Hessian(29)), Contains("30 inputs") && Contains("29"));
}

TEST_CASE("numbers whose squares leave the range of a float", "[hessian][bad-input]") {
  for (const int e : {-140, -100, -41, 41, 60, 100, 120}) {
    const MatrixXf x = support::normal_matrix(5, 40, 5);
    MatrixXf scaled = x;
    for (Index i = 0; i < x.size(); ++i) scaled.data()[i] = std::ldexp(x.data()[i], e);
    const MatrixXd h = of(scaled).matrix(), expected = exact(scaled, scaled);
    for (Index i = 0; i < 5; ++i)
      for (Index j = 0; j < 5; ++j)
        CHECK(std::fabs(h(i, j) - expected(i, j)) <= 0x1p-18 * std::sqrt(expected(i, i) * expected(j, j)));
  }
}

TEST_CASE("a Hessian may come from elsewhere", "[hessian]") {
  MatrixXd h(2, 2);
  h << 2, 1, 1, 3;
  CHECK((Hessian::of(support::normal_matrix(5, 9, 5)).matrix() == of(support::normal_matrix(5, 9, 5)).matrix()));
  CHECK((Hessian::from_matrix(h, 10).matrix() == h));
  CHECK(Hessian::from_matrix(h, 10).samples() == 10);
  Hessian joined = Hessian::from_matrix(h, 4);
  joined.merge(Hessian::from_matrix(MatrixXd(3 * h), 4));
  CHECK((joined.matrix() == 2 * h));
  CHECK_THROWS_AS(Hessian::from_matrix(MatrixXd(2, 3)), std::invalid_argument);
  CHECK_THROWS_AS(Hessian::from_matrix(h, 0), std::invalid_argument);
  h(1, 0) = NAN;
  CHECK_THROWS_WITH(Hessian::from_matrix(h), Contains("row 1, column 0") && Contains("nan"));
}

TEST_CASE("pairs of samples tell what changed", "[hessian]") {
  const MatrixXf x = support::normal_matrix(11, 600, 6), original = x + 0.1f * support::normal_matrix(11, 600, 7);
  Hessian h(11);
  h.add(x.leftCols(17), original.leftCols(17));
  h.add(x.rightCols(583), original.rightCols(583));
  CHECK((h.matrix() == of(x).matrix()));
  const MatrixXd expected = exact(original - x, x);
  CHECK((h.deviation() - expected).cwiseAbs().maxCoeff() <= 1e-6 * expected.cwiseAbs().maxCoeff());
  Hessian shard(11);
  shard.add(x, original);
  shard.merge(h);
  CHECK((shard.deviation() - expected).cwiseAbs().maxCoeff() <= 1e-6 * expected.cwiseAbs().maxCoeff());
  Hessian total(11);  // it has had nothing, and takes what comes
  total.merge(h);
  CHECK((total.deviation() == h.deviation()));
  CHECK((total.matrix() == h.matrix()));

  CHECK_THROWS_WITH(h.add(x), Contains("pairs"));
  CHECK_THROWS_WITH(of(x).deviation(), Contains("add(x, original)"));
  CHECK_THROWS_WITH(of(x).add(x, original), Contains("from the start"));
  CHECK_THROWS_WITH(h.merge(of(x)), Contains("shard"));
  CHECK_THROWS_WITH(Hessian(11).add(x, original.leftCols(5)), Contains("pairs"));
}

TEST_CASE("calibration that never ran or makes no sense is an error", "[hessian][bad-input]") {
  CHECK_THROWS_WITH(Hessian(5).matrix(), Contains("never ran"));
  CHECK_THROWS_AS(Hessian(5).matrix(), std::invalid_argument);
  CHECK_THROWS_AS(Hessian(-1), std::invalid_argument);
  Hessian h(5);
  h.add(MatrixXf::Ones(5, 3));
  const MatrixXd before = h.matrix();
  CHECK_THROWS_WITH(h.add(MatrixXf::Ones(3, 5)), Contains("3 x 5") && Contains("5 inputs"));
  MatrixXf bad = MatrixXf::Ones(5, 4);
  for (const float x : {NAN, INFINITY, -INFINITY}) {
    bad(3, 2) = x;
    CHECK_THROWS_AS(h.add(bad), std::domain_error);
    CHECK_THROWS_WITH(h.add(bad), Contains("input 3") && Contains("sample 2"));
    CHECK_THROWS_WITH(h.add(MatrixXf::Ones(5, 4), bad), Contains("from the start"));
    Hessian pairs(5);
    CHECK_THROWS_AS(pairs.add(MatrixXf::Ones(5, 4), bad), std::domain_error);
    CHECK(pairs.samples() == 0);
  }
  CHECK_THROWS_AS(h.add(MatrixXd::Constant(5, 1, 1e300)), std::domain_error);
  CHECK(h.samples() == 3);
  CHECK((h.matrix() == before));
}

TEST_CASE("statistics of inputs", "[hessian]") {
  const MatrixXf x = support::normal_matrix(13, 77, 8);
  InputStatistics whole(13), parts(13), shard(13);
  whole.add(x);
  parts.add(x.leftCols(20)), shard.add(x.rightCols(57).cast<double>()), parts.merge(shard);
  for (const InputStatistics& s : {whole, parts, InputStatistics::of(x)}) {
    CHECK(s.samples() == 77);
    for (Index i = 0; i < 13; ++i) {
      const Eigen::VectorXd row = x.row(i).cast<double>();
      CHECK(s.mean_absolute()[i] == Approx(row.cwiseAbs().mean()));
      CHECK(s.mean_square()[i] == Approx(row.squaredNorm() / 77));
      CHECK(s.max_absolute()[i] == row.cwiseAbs().maxCoeff());
      CHECK(s.importance()[static_cast<std::size_t>(i)] == static_cast<float>(s.mean_square()[i]));
    }
  }
  CHECK_THROWS_WITH(InputStatistics(3).mean_absolute(), Contains("never ran"));
  CHECK_THROWS_WITH(InputStatistics(3).max_absolute(), Contains("never ran"));
  CHECK_THROWS_AS(InputStatistics(-1), std::invalid_argument);
  CHECK_THROWS_AS(whole.add(MatrixXf::Ones(12, 1)), std::invalid_argument);
  CHECK_THROWS_AS(whole.merge(InputStatistics(12)), std::invalid_argument);
  CHECK_THROWS_WITH(whole.add(MatrixXf::Constant(13, 1, NAN)), Contains("input 0"));
  CHECK(whole.samples() == 77);
}

TEST_CASE("inputs of very different size keep their digits", "[hessian][bad-input]") {
  MatrixXf x = support::normal_matrix(4, 40, 9);
  x.row(1) *= 1e-24f, x.row(2) *= 1e20f, x.row(3) *= 1e-2f, x(3, 7) = 1e21f;
  const MatrixXd h = of(x).matrix(), expected = exact(x, x);
  for (Index i = 0; i < 4; ++i)
    for (Index j = 0; j < 4; ++j)
      CHECK(std::fabs(h(i, j) - expected(i, j)) <= 0x1p-20 * std::sqrt(expected(i, i) * expected(j, j)));
}

TEST_CASE("a matrix too large to be added up is refused", "[hessian][bad-input]") {
  CHECK_THROWS_WITH(Hessian::from_matrix(MatrixXd::Constant(2, 2, 1e300), 1'000'000'000), Contains("1e+300"));
  CHECK((Hessian::from_matrix(MatrixXd::Identity(2, 2) * 1e307).matrix() == MatrixXd::Identity(2, 2) * 1e307));
  Hessian h(2);
  h.add(MatrixXf(2, 0), MatrixXf(2, 0));  // no pair at all
  h.add(MatrixXf::Ones(2, 3));
  CHECK_THROWS_WITH(h.deviation(), Contains("add(x, original)"));
}
