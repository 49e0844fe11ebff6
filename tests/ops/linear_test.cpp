// The quantized linear layer, and the exact integer sums beneath an integer product.

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/ops/linear.hpp>
#include <fewbit/quantize/double_quantize.hpp>

#include <support/expected.hpp>

namespace {

using fewbit::Activations;
using fewbit::QuantizedLinear;
using fewbit::QuantizedMatrix;
using support::Index;
using support::MatrixXf;
using support::RowMajor;
using support::Tally;
using Int8 = Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic>;
using Int32 = Eigen::Matrix<std::int32_t, Eigen::Dynamic, Eigen::Dynamic>;

// y is W x + b within the bound of a product and the rounding of one sum.
template <class X, class Y>
void check_layer(const QuantizedMatrix& q, const Eigen::VectorXf& b, const X& x, const Y& y) {
  const Eigen::MatrixXd w = fewbit::dequantize(q).cast<double>(), xd = x.template cast<float>().template cast<double>();
  Eigen::MatrixXd exact = w * xd, size = w.cwiseAbs() * xd.cwiseAbs();
  if (b.size() != 0) exact.colwise() += b.cast<double>(), size.colwise() += b.cast<double>().cwiseAbs();
  REQUIRE((y.rows() == q.rows() && y.cols() == x.cols()));
  const double unit = static_cast<double>(q.cols() + 3) * 0x1p-24;
  CHECK(((y.template cast<double>() - exact).cwiseAbs().array() <= unit * size.array()).all());
}

Int8 random_bytes(Index rows, Index cols, std::uint32_t seed) {
  support::NumPy random(seed);
  Int8 x(rows, cols);
  for (Index c = 0; c < cols; ++c)
    for (Index k = 0; k < rows; ++k) x(k, c) = static_cast<std::int8_t>(static_cast<int>(random.below(256)) - 128);
  return x;
}

// Sums in 64 bits, from the codes one by one.
template <class X, class Y>
void judge_sums(Tally& tally, const std::string& place, const QuantizedMatrix& q, const X& x, const Y& y) {
  tally.check(y.rows() == q.rows() && y.cols() == x.cols(), place, y.rows(), " x ", y.cols());
  if (y.rows() != q.rows() || y.cols() != x.cols()) return;
  for (Index i = 0; i < q.rows(); ++i)
    for (Index c = 0; c < x.cols(); ++c) {
      std::int64_t sum = 0;
      for (Index k = 0; k < q.cols(); ++k) {
        const auto level = static_cast<std::int64_t>(q.levels().first()) + static_cast<std::int64_t>(q.code(i, k));
        sum += level * std::int64_t{x(k, c)};
      }
      tally.check(std::int64_t{y(i, c)} == sum, place, "sum ", i, ", ", c, " is ", y(i, c), " for ", sum);
    }
}

}  // namespace

TEST_CASE("a linear layer is W x + b, for vectors and matrices of any kind", "[ops][linear]") {
  for (const auto& [out, in] : {std::pair<Index, Index>{33, 70}, {1, 1}, {128, 64}}) {
    const MatrixXf w = support::normal_matrix(out, in, 301), x = support::normal_matrix(in, 5, 302);
    const Eigen::VectorXf b = support::normal_matrix(out, 1, 303), none;
    const QuantizedLinear layer(w, b, fewbit::nf4, fewbit::per_group(32)), bare(w, fewbit::nf4, fewbit::per_group(32));
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::nf4, fewbit::per_group(32));
    INFO(out << " x " << in);
    CHECK(layer.weights() == q);
    CHECK(bare.weights() == q);
    CHECK(layer.bias() == b);
    CHECK(bare.bias().size() == 0);
    CHECK((layer.in() == in && layer.out() == out));
    static_assert(std::is_same_v<decltype(layer(b)), Eigen::VectorXf>);
    static_assert(std::is_same_v<decltype(layer(x)), MatrixXf>);
    check_layer(q, b, x, layer(x));
    check_layer(q, none, x, bare(x));
    check_layer(q, b, x.col(3), layer(x.col(3)));
    check_layer(q, b, (x * 2 - x).eval(), layer(x * 2 - x));
    const RowMajor samples = x.transpose();  // a sample to a row, as the listings have them
    check_layer(q, b, x, layer(samples.transpose()));
    const Eigen::MatrixXd d = x.cast<double>() / 3;
    check_layer(q, b, d, layer(d));
    CHECK(layer(x.leftCols(0)).cols() == 0);
  }
}

TEST_CASE("a layer's bias may be a row, of another type, or missing; the defaults are 8 bits under one scale",
          "[ops][linear]") {
  const MatrixXf w = support::normal_matrix(6, 40, 304), x = support::normal_matrix(40, 3, 305);
  const Eigen::VectorXf b = support::normal_matrix(6, 1, 306);
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(8));
  const QuantizedLinear plain(w, b), bare(w);
  CHECK(plain.weights() == q);
  CHECK(bare.weights() == q);
  CHECK(QuantizedLinear(q, b)(x) == plain(x));
  CHECK(QuantizedLinear(q, b.transpose())(x) == plain(x));
  CHECK(QuantizedLinear(q, b.cast<double>())(x) == plain(x));
  CHECK(QuantizedLinear(q, Eigen::VectorXf())(x) == bare(x));
  CHECK(QuantizedLinear(q)(x) == q * x);
  CHECK(plain.bytes() == q.bytes() + 24);
  CHECK(bare.bytes() == q.bytes());
}

TEST_CASE("a layer multiplies rounded activations as product does", "[ops][linear]") {
  const MatrixXf w = support::normal_matrix(20, 96, 307), x = support::normal_matrix(96, 4, 308).cwiseAbs();
  const Eigen::VectorXf b = support::normal_matrix(20, 1, 309);
  for (const int bits : {4, 8}) {
    const QuantizedLinear layer(w, b, fewbit::Symmetric(bits), fewbit::per_channel());
    for (const Activations a : {Activations::floats, Activations::int8, Activations::uint8}) {
      MatrixXf y = fewbit::product(layer.weights(), x, a);
      y.colwise() += b;
      CHECK(layer(x, a) == y);
    }
    CHECK_FALSE(layer(x, Activations::int8) == layer(x));
  }
}

TEST_CASE("layers go through a loop, whatever formats they are of", "[ops][linear]") {
  const Eigen::VectorXf b = support::normal_matrix(64, 1, 310);
  std::vector<QuantizedLinear> layers;
  layers.emplace_back(support::normal_matrix(64, 64, 311, 0.125f), b, fewbit::Symmetric(8), fewbit::per_channel());
  layers.emplace_back(support::normal_matrix(64, 64, 312, 0.125f), fewbit::Asymmetric(4), fewbit::per_group(32));
  layers.emplace_back(fewbit::double_quantize(
      fewbit::quantize(support::normal_matrix(64, 64, 313, 0.125f), fewbit::nf4, fewbit::per_group(64))));
  MatrixXf x = support::normal_matrix(64, 7, 314);
  std::size_t bytes = 0;
  for (const QuantizedLinear& layer : layers) {
    const MatrixXf before = x;
    x = layer(x);
    check_layer(layer.weights(), layer.bias(), before, x);
    bytes += layer.bytes();
    x = x.cwiseMax(0.f).eval();
  }
  CHECK(bytes == (64 * 64 + 64 * 4 + 64 * 4) + (64 * 32 + 128 * 4 + layers[1].weights().params().bytes() - 128 * 4) +
                     (64 * 32 + 64 + 4 + 4));
}

TEST_CASE("a layer of shapes that do not fit is refused, and so are inputs", "[ops][linear][bad-input]") {
  const MatrixXf w = support::normal_matrix(6, 40, 315);
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4));
  CHECK_THROWS_AS(QuantizedLinear(q, Eigen::VectorXf::Zero(5).eval()), std::invalid_argument);
  CHECK_THROWS_AS(QuantizedLinear(q, Eigen::VectorXf::Zero(40).eval()), std::invalid_argument);
  CHECK_THROWS_AS(QuantizedLinear(q, MatrixXf::Zero(2, 3).eval()), std::invalid_argument);
  CHECK_THROWS_AS(QuantizedLinear(QuantizedMatrix(6, 40, q.levels(), fewbit::per_tensor())), std::invalid_argument);
  MatrixXf bad = w;
  bad(1, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(QuantizedLinear(bad), std::domain_error);
  CHECK_THROWS_AS(QuantizedLinear(bad, Eigen::VectorXf::Zero(5).eval()), std::invalid_argument);  // shapes come first
  const QuantizedLinear layer(q);
  CHECK_THROWS_AS(layer(Eigen::VectorXf::Zero(6).eval()), std::invalid_argument);
  CHECK_THROWS_AS(layer(MatrixXf::Zero(41, 2).eval(), Activations::int8), std::invalid_argument);
  try {
    QuantizedLinear(q, Eigen::VectorXf::Zero(5).eval());
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    CHECK(what.rfind("fewbit: ", 0) == 0);
    CHECK(what.find("5 x 1") != std::string::npos);
    CHECK(what.find("6 rows") != std::string::npos);
  }
}

TEST_CASE("integer sums are exact: every width, every layout of x, -128 included", "[ops][integer-product]") {
  Tally tally;
  for (const auto& [out, in] : {std::pair<Index, Index>{9, 63}, {1, 1}, {130, 64}, {3, 321}, {0, 5}, {5, 0}}) {
    const MatrixXf w = support::normal_matrix(out, in, 316);
    const Int8 x = random_bytes(in, 3, 317);
    for (int bits = 1; bits <= 8; ++bits) {
      const std::string place = std::to_string(bits) + " bits: ";
      const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(bits).full_range(), fewbit::per_channel()),
                            shifted = fewbit::quantize(w, fewbit::Asymmetric(bits));
      judge_sums(tally, place, q, x, fewbit::integer_product(q, x));
      judge_sums(tally, place + "asymmetric, ", shifted, x, fewbit::integer_product(shifted, x));
      static_assert(std::is_same_v<decltype(fewbit::integer_product(q, x)), Int32>);
      judge_sums(tally, place + "a column, ", q, x.col(1), fewbit::integer_product(q, x.col(1)));
      const Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> by_row = x;
      judge_sums(tally, place + "row-major, ", q, x, fewbit::integer_product(q, by_row));
      const Int8 turned = x.transpose();
      judge_sums(tally, place + "transposed, ", q, x, fewbit::integer_product(q, turned.transpose()));
    }
  }
  tally.require(8 * (9 + 1 + 130 + 3 + 5) * 3 * 4);
}

TEST_CASE("integer sums reach the end of 32 bits, and are refused beyond", "[ops][integer-product]") {
  // All levels -128 and all inputs -128: in * 2^14.
  const auto all_lowest = [](Index in) {
    QuantizedMatrix q(1, in, fewbit::Levels::integers(8, -128, 256), fewbit::per_tensor());
    std::fill(q.codes(0), q.codes(0) + q.row_bytes(), std::uint8_t{0});
    q.set_params(std::vector<fewbit::Affine>{{1, 0}});
    return q;
  };
  const Index most = 131071;
  const Int8 x = Int8::Constant(most + 1, 1, -128);
  CHECK(fewbit::integer_product(all_lowest(most), x.topRows(most))(0, 0) == 131071 * 16384);
  CHECK_THROWS_AS(fewbit::integer_product(all_lowest(most + 1), x), std::invalid_argument);
}

TEST_CASE("integer sums follow the order of the inputs", "[ops][integer-product]") {
  const QuantizedMatrix plain = fewbit::quantize(support::normal_matrix(4, 5, 318), fewbit::Symmetric(8));
  QuantizedMatrix q = plain;
  q.set_input_map({{3, 0, 4, 1, 2}, {}});
  const Int8 x = random_bytes(5, 2, 319);
  Int8 ordered(5, 2);
  const Index order[] = {3, 0, 4, 1, 2};
  for (Index k = 0; k < 5; ++k) ordered.row(k) = x.row(order[k]);
  CHECK(fewbit::integer_product(q, x) == fewbit::integer_product(plain, ordered));
  q.set_input_map({{}, {1, 2, 3, 4, 5}});
  CHECK_THROWS_AS(fewbit::integer_product(q, x), std::invalid_argument);
}

TEST_CASE("integer sums are refused where there are none", "[ops][integer-product][bad-input]") {
  const MatrixXf w = support::normal_matrix(4, 64, 320);
  const Int8 x = random_bytes(64, 2, 321);
  using fewbit::integer_product;
  CHECK_THROWS_AS(integer_product(fewbit::quantize(w, fewbit::nf4), x), std::invalid_argument);
  CHECK_THROWS_AS(integer_product(fewbit::quantize(w, fewbit::Symmetric(9)), x), std::invalid_argument);
  CHECK_THROWS_AS(integer_product(fewbit::quantize(w, fewbit::Symmetric(8), fewbit::per_group(32)), x),
                  std::invalid_argument);
  CHECK_THROWS_AS(integer_product(fewbit::quantize(w, fewbit::Symmetric(8), fewbit::per_column()), x),
                  std::invalid_argument);
  CHECK_THROWS_AS(integer_product(fewbit::quantize(w, fewbit::Symmetric(8)), x.topRows(63)), std::invalid_argument);
  const QuantizedMatrix unfinished(4, 64, fewbit::Symmetric(8).levels(), fewbit::per_tensor()),
      far(4, 64, fewbit::Levels::integers(8, 40000, 256), fewbit::per_tensor());
  CHECK_THROWS_AS(integer_product(unfinished, x), std::invalid_argument);
  CHECK_THROWS_AS(integer_product(far, x), std::invalid_argument);
}

TEST_CASE("integer sums times a scale are the product with rounded activations", "[ops][integer-product]") {
  const MatrixXf w = support::normal_matrix(12, 200, 322), x = support::normal_matrix(200, 3, 323);
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(8), fewbit::per_channel());
  const fewbit::IntegerColumns columns = fewbit::integer_columns(x, false);
  const MatrixXf y = fewbit::product(q, x, Activations::int8);
  const Int32 sums = fewbit::integer_product(q, columns.codes);
  Tally tally;
  for (Index i = 0; i < y.rows(); ++i)
    for (Index c = 0; c < y.cols(); ++c) {
      const double exact = static_cast<double>(sums(i, c)) * static_cast<double>(q.affine(i, 0).scale) *
                           static_cast<double>(columns.scale[c]);
      double size = 0;
      for (Index k = 0; k < q.cols(); ++k)
        size += std::fabs(static_cast<double>(q(i, k)) * columns.codes(k, c) * static_cast<double>(columns.scale[c]));
      tally.check(std::fabs(static_cast<double>(y(i, c)) - exact) <= 202 * 0x1p-24 * size, i, ", ", c, ": ", y(i, c),
                  " for ", exact);
    }
  tally.require(36);
}
