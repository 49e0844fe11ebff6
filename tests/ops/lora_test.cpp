// The adapted layer: what it computes, its gradients by finite differences, and what it holds.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <fewbit/grid/nf4.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/ops/lora.hpp>
#include <fewbit/quantize/double_quantize.hpp>

#include <support/expected.hpp>

namespace {

using fewbit::LoraGradients;
using fewbit::LoraLinear;
using fewbit::QuantizedMatrix;
using support::Index;
using support::MatrixXf;
using support::Tally;

QuantizedMatrix frozen(Index out, Index in, std::uint32_t seed = 401) {
  return fewbit::double_quantize(
      fewbit::quantize(support::normal_matrix(out, in, seed), fewbit::nf4, fewbit::per_group(64)));
}

// A layer that has learned something.
template <class Scalar = float>
LoraLinear<Scalar> trained(QuantizedMatrix base, Index rank, float alpha) {
  LoraLinear<Scalar> layer(std::move(base), rank, alpha, 7);
  layer.b() = support::normal_matrix(layer.out(), rank, 402).template cast<Scalar>();
  return layer;
}

// W + (alpha / r) B A in double, from what is held.
template <class Scalar>
Eigen::MatrixXd exact_weights(const LoraLinear<Scalar>& layer, float alpha) {
  const Eigen::MatrixXd a = layer.a().template cast<float>().template cast<double>(),
                        b = layer.b().template cast<float>().template cast<double>();
  return fewbit::dequantize(layer.base()).template cast<double>() +
         static_cast<double>(alpha) / static_cast<double>(layer.rank()) * (b * a);
}

// The same of the absolute values: what errors are measured by.
template <class Scalar>
Eigen::MatrixXd size_of_weights(const LoraLinear<Scalar>& layer, float alpha) {
  const Eigen::MatrixXd a = layer.a().template cast<float>().template cast<double>().cwiseAbs(),
                        b = layer.b().template cast<float>().template cast<double>().cwiseAbs();
  return fewbit::dequantize(layer.base()).template cast<double>().cwiseAbs() +
         std::fabs(static_cast<double>(alpha)) / static_cast<double>(layer.rank()) * (b * a);
}

void judge(Tally& tally, const char* place, const MatrixXf& y, const Eigen::MatrixXd& exact,
           const Eigen::MatrixXd& bound) {
  tally.check(y.rows() == exact.rows() && y.cols() == exact.cols(), place, "is ", y.rows(), " x ", y.cols());
  if (y.rows() != exact.rows() || y.cols() != exact.cols()) return;
  for (Index i = 0; i < y.rows(); ++i)
    for (Index j = 0; j < y.cols(); ++j)
      tally.check(std::fabs(static_cast<double>(y(i, j)) - exact(i, j)) <= bound(i, j), place, i, ", ", j, " is ",
                  y(i, j), " for ", exact(i, j), " +- ", bound(i, j));
}

}  // namespace

TEST_CASE("an adapted layer starts as its base, bit for bit", "[ops][lora]") {
  const QuantizedMatrix q = frozen(20, 130);
  const MatrixXf x = support::normal_matrix(130, 5, 403);
  const LoraLinear<> layer(q, 8, 16);
  CHECK(layer.forward(x) == q * x);
  CHECK(layer.forward(x.col(2)) == q * x.col(2));
  CHECK(layer.merge() == fewbit::dequantize(q));
  CHECK(layer.base() == q);
  CHECK((layer.a().rows() == 8 && layer.a().cols() == 130 && layer.b().rows() == 20 && layer.b().cols() == 8));
  CHECK(layer.b().isZero(0));
  CHECK(layer.scaling() == 2);
  static_assert(std::is_same_v<decltype(layer.forward(x)), MatrixXf>);
  static_assert(std::is_same_v<decltype(layer.forward(x.col(0))), Eigen::VectorXf>);
}

TEST_CASE("A is drawn from N(0, 1 / in), the same for the same seed", "[ops][lora]") {
  const QuantizedMatrix q = frozen(4, 1024);
  const LoraLinear<> one(q, 64, 16, 1), same(q, 64, 16, 1), other(q, 64, 16, 2);
  CHECK(one.a() == same.a());
  CHECK((one.a().array() != other.a().array()).count() > 65000);
  const Eigen::ArrayXXd a = one.a().cast<double>().array() * 32;  // 65536 numbers of N(0, 1)
  const double n = 65536;
  CHECK(std::fabs(a.mean()) < 5 / 256.);
  CHECK(std::fabs(a.square().mean() - 1) < 5 * std::sqrt(2 / n));
  CHECK(std::fabs(a.pow(4).mean() - 3) < 5 * std::sqrt(96 / n));
  CHECK(std::fabs(static_cast<double>((a.abs() < 1).count()) / n - 0.682689) < 0.01);
  CHECK(a.abs().maxCoeff() > 3.5);
  CHECK(a.abs().maxCoeff() < 6.5);
  // Neighbours know nothing of each other.
  CHECK(std::fabs((a.leftCols(1023) * a.rightCols(1023)).mean()) < 5 / 256.);
  CHECK(std::fabs((a.topRows(63) * a.bottomRows(63)).mean()) < 5 / 256.);
  // The float that was drawn, rounded to the type that is held.
  const LoraLinear<Eigen::half> narrow(q, 64, 16, 1);
  CHECK(narrow.a().cast<float>() == one.a().cast<Eigen::half>().cast<float>());
}

TEST_CASE("forward is W x + (alpha / r) B (A x), and merge() is that W", "[ops][lora]") {
  Tally tally;
  const auto check = [&](const auto& layer, float alpha) {
    const MatrixXf x = support::normal_matrix(layer.in(), 6, 404);
    const Eigen::MatrixXd w = exact_weights(layer, alpha), size = size_of_weights(layer, alpha), xd = x.cast<double>();
    const double unit = static_cast<double>(layer.in() + layer.rank() + 6) * 0x1p-24;
    judge(tally, "forward ", layer.forward(x), w * xd, unit * size * xd.cwiseAbs());
    judge(tally, "one column ", layer.forward(x.col(1)), w * xd.col(1), unit * size * xd.col(1).cwiseAbs());
    judge(tally, "an expression ", layer.forward(2 * x - x), w * xd, unit * size * xd.cwiseAbs());
    judge(tally, "merged ", layer.merge(), w, static_cast<double>(layer.rank() + 4) * 0x1p-24 * size);
  };
  for (const auto& [out, in] : {std::pair<Index, Index>{33, 70}, {1, 1}, {64, 192}}) {
    check(trained(frozen(out, in), 8, 16), 16);
    check(trained(frozen(out, in), 1, -3), -3);
    check(trained<Eigen::half>(frozen(out, in), 4, 4), 4);
    check(trained<Eigen::bfloat16>(frozen(out, in), 4, 4), 4);
    check(trained(fewbit::quantize(support::normal_matrix(out, in, 405), fewbit::Symmetric(8)), 2, 1), 1);
  }
  tally.require(4 * (33 * 70 + 33 * 13));
  const LoraLinear<> layer = trained(frozen(5, 64), 2, 2);
  CHECK(layer.forward(MatrixXf(64, 0)).cols() == 0);
}

TEST_CASE("gradients are those of finite differences", "[ops][lora]") {
  const float alpha = 6;
  const auto check = [&](const auto& layer) {
    const Index n = 4;
    const MatrixXf x = support::normal_matrix(layer.in(), n, 406), dy = support::normal_matrix(layer.out(), n, 407);
    const LoraGradients g = layer.backward(x, dy);
    REQUIRE((g.a.rows() == layer.a().rows() && g.a.cols() == layer.a().cols()));
    REQUIRE((g.b.rows() == layer.b().rows() && g.b.cols() == layer.b().cols()));
    REQUIRE((g.x.rows() == x.rows() && g.x.cols() == n));

    // The loss sum(dY * Y) in double. It is linear in each number by itself, so that a difference has no error but
    // rounding, whatever the step.
    const Eigen::MatrixXd w = fewbit::dequantize(layer.base()).template cast<double>(), g0 = dy.cast<double>();
    Eigen::MatrixXd a = layer.a().template cast<float>().template cast<double>(),
                    b = layer.b().template cast<float>().template cast<double>(), xd = x.cast<double>();
    const double scaling = static_cast<double>(alpha) / static_cast<double>(layer.rank());
    const auto loss = [&] { return (g0.array() * (w * xd + scaling * (b * (a * xd))).array()).sum(); };
    Tally tally;
    const auto compare = [&](const char* name, Eigen::MatrixXd& at, const MatrixXf& gradient) {
      const double size = gradient.cast<double>().norm() / std::sqrt(static_cast<double>(gradient.size()));
      for (Index i = 0; i < at.rows(); ++i)
        for (Index j = 0; j < at.cols(); ++j) {
          const double before = at(i, j);
          at(i, j) = before + 0.5;
          const double up = loss();
          at(i, j) = before - 0.5;
          const double down = loss();
          at(i, j) = before;
          tally.check(std::fabs(up - down - static_cast<double>(gradient(i, j))) < 1e-4 * size, name, i, ", ", j, ": ",
                      gradient(i, j), " for ", up - down);
        }
    };
    compare("A ", a, g.a);
    compare("B ", b, g.b);
    compare("X ", xd, g.x);
    tally.require(static_cast<std::size_t>(g.a.size() + g.b.size() + g.x.size()));
  };
  check(trained(frozen(12, 70), 3, alpha));
  check(trained<Eigen::half>(frozen(12, 70), 3, alpha));
  check(trained(frozen(1, 1), 1, alpha));
}

TEST_CASE("at the start only B has a gradient, and X has the base's", "[ops][lora]") {
  const LoraLinear<> layer(frozen(12, 70), 3, 3);
  const MatrixXf x = support::normal_matrix(70, 4, 408), dy = support::normal_matrix(12, 4, 409);
  const LoraGradients g = layer.backward(x, dy);
  CHECK(g.a.isZero(0));
  CHECK_FALSE(g.b.isZero(0.01f));
  CHECK(g.x == layer.base().transpose() * dy);
  // Expressions, other types and a single column do as well.
  CHECK(layer.backward(x.cast<double>(), dy.cast<double>()).b == g.b);
  CHECK(layer.backward(x * 1, dy * 1).b == g.b);
  CHECK(layer.backward(x.col(0), dy.col(0)).x.cols() == 1);
}

TEST_CASE("gradient descent on the adapters finds a change of low rank", "[ops][lora]") {
  const QuantizedMatrix q = frozen(16, 64, 410);
  const MatrixXf change = support::normal_matrix(16, 2, 411) * support::normal_matrix(2, 64, 412, 0.125f),
                 x = support::normal_matrix(64, 256, 413), y = q * x + change * x;
  LoraLinear<> layer(q, 2, 2, 3);
  const auto loss = [&] { return (layer.forward(x) - y).squaredNorm() / static_cast<float>(x.cols()); };
  const float before = loss();
  for (int step = 0; step < 500; ++step) {
    const LoraGradients g = layer.backward(x, 2.f / static_cast<float>(x.cols()) * (layer.forward(x) - y));
    layer.a() -= 0.02f * g.a, layer.b() -= 0.02f * g.b;
  }
  CHECK(before > 10);
  CHECK(loss() < before * 1e-4f);
  CHECK((layer.merge() - fewbit::dequantize(q) - change).norm() < 0.02f * change.norm());
  CHECK(layer.base() == q);
}

TEST_CASE("an adapted layer counts its parameters and its bytes", "[ops][lora]") {
  const QuantizedMatrix q = frozen(48, 128);
  const LoraLinear<> layer(q, 4, 16);
  const LoraLinear<Eigen::half> narrow(q, 4, 16);
  CHECK(layer.parameters() == 4 * (48 + 128));
  CHECK(layer.bytes() == q.bytes() + 4 * 704);
  CHECK(narrow.parameters() == layer.parameters());
  CHECK(narrow.bytes() == q.bytes() + 2 * 704);
  CHECK((layer.in() == 128 && layer.out() == 48 && layer.rank() == 4));
}

TEST_CASE("adapters and inputs that do not fit are refused", "[ops][lora][bad-input]") {
  const QuantizedMatrix q = frozen(6, 40);
  CHECK_THROWS_AS(LoraLinear<>(q, 0, 1), std::invalid_argument);
  CHECK_THROWS_AS(LoraLinear<>(q, -1, 1), std::invalid_argument);
  CHECK_THROWS_AS(LoraLinear<>(q, 1, std::numeric_limits<float>::infinity()), std::invalid_argument);
  CHECK_THROWS_AS(LoraLinear<>(q, 1, std::numeric_limits<float>::quiet_NaN()), std::invalid_argument);
  CHECK_THROWS_AS(LoraLinear<>(QuantizedMatrix(6, 40, q.levels(), fewbit::per_tensor()), 1, 1), std::invalid_argument);
  const LoraLinear<> layer(q, 2, 2);
  const MatrixXf x = MatrixXf::Zero(40, 3), dy = MatrixXf::Zero(6, 3);
  CHECK_THROWS_AS(layer.forward(dy), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(dy, dy), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(x, x), std::invalid_argument);
  CHECK_THROWS_AS(layer.backward(x, dy.leftCols(2)), std::invalid_argument);
  CHECK(layer.backward(x, dy).x.isZero(0));
}
