// What is done with a quantized matrix: decoded into any memory, multiplied, compared.

#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <type_traits>

#include <fewbit/ops/metrics.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/quantize/quantize.hpp>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/nf4.hpp>

#include <support/expected.hpp>

namespace {

using fewbit::QuantizedMatrix;
using support::Index;
using support::MatrixXf;
using support::RowMajor;
using support::Tally;

QuantizedMatrix sample(Index rows, Index cols, int bits = 4) {
  return fewbit::quantize(support::normal_matrix(rows, cols, 111), fewbit::Asymmetric(bits),
                          fewbit::per_group(32, fewbit::ScaleType::f16));
}

// y is W x within the stated bound: (in + 2) 2^-24 times the sum of |w x|.
template <class X, class Y>
void check_product(const QuantizedMatrix& q, const X& x, const Y& y) {
  const Eigen::MatrixXd w = fewbit::dequantize(q).cast<double>(), xd = x.template cast<float>().template cast<double>();
  const Eigen::MatrixXd exact = w * xd,
                        bound = static_cast<double>(q.cols() + 2) * 0x1p-24 * (w.cwiseAbs() * xd.cwiseAbs());
  REQUIRE((y.rows() == q.rows() && y.cols() == x.cols()));
  CHECK(((y.template cast<double>() - exact).cwiseAbs().array() <= bound.array()).all());
}

}  // namespace

TEST_CASE("dequantize gives the matrix type that is asked for", "[ops][dequantize]") {
  const QuantizedMatrix q = sample(9, 70);
  Tally tally;
  support::judge_decoded(tally, "MatrixXf, ", q, fewbit::dequantize(q));
  support::judge_decoded(tally, "RowMajor, ", q, fewbit::dequantize<RowMajor>(q));
  support::judge_decoded(tally, "MatrixXd, ", q, fewbit::dequantize<Eigen::MatrixXd>(q));
  support::judge_decoded(tally, "fixed, ", q, fewbit::dequantize<Eigen::Matrix<float, 9, 70>>(q));
  tally.require(4 * 9 * 70);
  static_assert(std::is_same_v<decltype(fewbit::dequantize(q)), MatrixXf>);
  using Half = Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic>;
  CHECK((fewbit::dequantize<Half>(q).cast<float>() == fewbit::dequantize(q).cast<Eigen::half>().cast<float>()));
}

TEST_CASE("dequantize_into writes maps and blocks of any stride, and nothing beside them", "[ops][dequantize]") {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{9, 70}, {1, 33}, {150, 3}}) {
    const QuantizedMatrix q = sample(rows, cols);
    const auto untouched = [](const auto& m) { return (m.array() == 7.25f).count(); };
    Tally tally;

    MatrixXf around = MatrixXf::Constant(rows + 4, cols + 5, 7.25f);
    fewbit::dequantize_into(q, around.block(1, 2, rows, cols));
    support::judge_decoded(tally, "block, ", q, around.block(1, 2, rows, cols));
    CHECK(untouched(around) == around.size() - q.size());

    RowMajor by_row = RowMajor::Constant(rows + 4, cols + 5, 7.25f);
    fewbit::dequantize_into(q, by_row.block(2, 1, rows, cols));
    support::judge_decoded(tally, "row-major block, ", q, by_row.block(2, 1, rows, cols));
    CHECK(untouched(by_row) == by_row.size() - q.size());

    std::vector<float> memory(static_cast<std::size_t>(2 * rows * (3 * cols + 1)), 7.25f);
    Eigen::Map<RowMajor, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> strided(memory.data(), rows, cols,
                                                                                   {3 * cols + 1, 3});
    fewbit::dequantize_into(q, strided);
    support::judge_decoded(tally, "strided, ", q, strided);
    CHECK(std::count(memory.begin(), memory.end(), 7.25f) == static_cast<std::ptrdiff_t>(memory.size()) - q.size());

    MatrixXf turned = MatrixXf::Constant(cols, rows, 7.25f);
    fewbit::dequantize_into(q, turned.transpose());
    support::judge_decoded(tally, "transpose, ", q, turned.transpose());
    tally.require(static_cast<std::size_t>(4 * q.size()));
  }
}

TEST_CASE("a product takes vectors and matrices of any kind", "[ops][product]") {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{130, 70}, {1, 1}, {5, 300}, {64, 33}}) {
    const QuantizedMatrix q = sample(rows, cols, 5);
    INFO(rows << " x " << cols);
    const MatrixXf x = support::normal_matrix(cols, 6, 112);
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(q * Eigen::VectorXf())>, Eigen::VectorXf>);
    static_assert(std::is_same_v<std::remove_cvref_t<decltype(q * MatrixXf())>, MatrixXf>);
    const Eigen::VectorXf v = x.col(2);
    const RowMajor r = x;
    check_product(q, x, q * x);
    check_product(q, v, q * v);
    check_product(q, r, q * r);
    check_product(q, x.col(1), q * x.col(1));
    check_product(q, x.leftCols(3), q * x.leftCols(3));
    check_product(q, (x * 2 - x).eval(), q * (x * 2 - x));
    const MatrixXf xt = x.transpose();
    check_product(q, x, q * xt.transpose());
    const Eigen::MatrixXd d = x.cast<double>() / 3;
    check_product(q, d, q * d);
  }
}

TEST_CASE("a product of a known matrix is exact", "[ops][product]") {
  MatrixXf w(2, 3);
  w << 1, -2, 3, 4, 5, -7;
  const auto unit = [](std::span<const float>, const auto&) { return fewbit::Affine{1, 7}; };
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Asymmetric(4), fewbit::per_tensor(), unit);
  CHECK(q * Eigen::Vector3f(1, 10, 100) == Eigen::Vector2f(281, -646));
  CHECK(q * MatrixXf::Identity(3, 3) == w);
}

TEST_CASE("compare reports the errors as they are defined", "[ops][metrics]") {
  Eigen::MatrixXd exact(2, 2), approx(2, 2);
  exact << 1, -2, 3, 4;
  approx << 1.5, -2, 2, 4.25;
  const fewbit::ErrorReport r = fewbit::compare(exact, approx);
  const double noise = 0.25 + 1 + 0.0625, signal = 1 + 4 + 9 + 16, power = 2.25 + 4 + 4 + 18.0625,
               together = 1.5 + 4 + 6 + 17;
  CHECK(r.mse == noise / 4);
  CHECK(r.rmse == std::sqrt(noise / 4));
  CHECK(r.max_error == 1);
  CHECK(r.mean_absolute_error == 1.75 / 4);
  CHECK(std::fabs(r.sqnr_db - 10 * std::log10(signal / noise)) < 1e-12);
  CHECK(std::fabs(r.cosine - together / std::sqrt(signal * power)) < 1e-15);
}

TEST_CASE("compare sums in double whatever it is given, in any storage order", "[ops][metrics]") {
  const MatrixXf a = support::normal_matrix(133, 70, 113), b = a + 0.001f * support::normal_matrix(133, 70, 114);
  const RowMajor br = b;
  double noise = 0, most = 0;
  for (Index i = 0; i < a.rows(); ++i)
    for (Index j = 0; j < a.cols(); ++j) {
      const double e = std::fabs(static_cast<double>(a(i, j)) - static_cast<double>(b(i, j)));
      noise += e * e, most = std::fmax(most, e);
    }
  for (const fewbit::ErrorReport& r : {fewbit::compare(a, b), fewbit::compare(a, br),
                                       fewbit::compare(br.cast<double>(), a), fewbit::compare(a * 1, b)}) {
    CHECK(std::fabs(r.mse * static_cast<double>(a.size()) / noise - 1) < 1e-12);
    CHECK(r.max_error == most);
    CHECK(r.rmse == std::sqrt(r.mse));
  }
}

TEST_CASE("equal matrices have no error, infinite SQNR and cosine 1; zeros against weights have none of the two",
          "[ops][metrics]") {
  const MatrixXf a = support::normal_matrix(9, 7, 115);
  const fewbit::ErrorReport same = fewbit::compare(a, a);
  CHECK(same.mse == 0);
  CHECK(same.max_error == 0);
  CHECK(std::isinf(same.sqnr_db));
  CHECK(same.sqnr_db > 0);
  CHECK(same.cosine == 1);
  const fewbit::ErrorReport lost = fewbit::compare(a, MatrixXf::Zero(9, 7));
  CHECK(std::fabs(lost.sqnr_db) < 1e-12);
  CHECK(lost.cosine == 0);
  CHECK(fewbit::compare(MatrixXf(0, 3), MatrixXf(0, 3)).mse == 0);
}

TEST_CASE("a NaN in a comparison is not overlooked", "[ops][metrics]") {
  MatrixXf a = support::normal_matrix(5, 5, 116), b = a;
  b(2, 3) = std::numeric_limits<float>::quiet_NaN();
  const fewbit::ErrorReport r = fewbit::compare(a, b);
  CHECK(std::isnan(r.mse));
  CHECK(std::isnan(r.max_error));
  CHECK(std::isnan(r.mean_absolute_error));
  CHECK(std::isnan(r.cosine));
}

TEST_CASE("a report prints on one line, with each of its figures", "[ops][metrics]") {
  fewbit::ErrorReport r;
  r.mse = 0.0625, r.rmse = 0.25, r.max_error = 0.5, r.mean_absolute_error = 0.125, r.sqnr_db = 20.25, r.cosine = 0.75;
  std::ostringstream os;
  os << r;
  const std::string line = os.str();
  INFO(line);
  CHECK(line.find('\n') == std::string::npos);
  for (const char* figure : {"0.0625", "0.25", "0.5", "0.125", "20.25", "0.75"})
    CHECK(line.find(figure) != std::string::npos);
}
