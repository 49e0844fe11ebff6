// Weights of 1.6 bits at work: every product and every way to decode gives what the unpacked matrix gives, bit for bit.

#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <fewbit/estimate/absmean.hpp>
#include <fewbit/ops/ternary.hpp>
#include <fewbit/quantize/double_quantize.hpp>

#include <support/matrices.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Activations;
using fewbit::Granularity;
using fewbit::QuantizedMatrix;
using fewbit::TernaryMatrix;
using support::Index;
using support::MatrixXf;
using support::Tally;

QuantizedMatrix bitnet(Index rows, Index cols, Granularity g, std::uint32_t seed = 600) {
  return fewbit::quantize(support::normal_matrix(rows, cols, seed), fewbit::Symmetric(2), g, fewbit::AbsMean{});
}

QuantizedMatrix mapped(QuantizedMatrix q) {
  support::NumPy random(601);
  fewbit::InputMap map;
  map.order.resize(static_cast<std::size_t>(q.cols()));
  std::iota(map.order.begin(), map.order.end(), 0u);
  for (std::size_t k = map.order.size(); k > 1; --k) std::swap(map.order[k - 1], map.order[random.below(k)]);
  for (Index k = 0; k < q.cols(); ++k) map.scale.push_back(static_cast<float>(random.randn()));
  q.set_input_map(map);
  return q;
}

QuantizedMatrix shifted(QuantizedMatrix q) {
  std::vector<fewbit::Affine> affines(q.tiling().blocks());
  q.params().read(0, affines.size(), affines.data(), fewbit::kernel::active());
  for (std::size_t b = 0; b < affines.size(); ++b) affines[b].zero = static_cast<float>(b % 3) / 4;
  q.set_params(affines);
  return q;
}

// Some of more rows than are unpacked at a time, blocks shorter and taller than that, and every remainder of five.
std::vector<QuantizedMatrix> matrices() {
  using fewbit::ScaleType;
  std::vector<QuantizedMatrix> all;
  for (const auto& [rows, cols] :
       {std::pair<Index, Index>{1, 1}, {5, 33}, {300, 64}, {257, 131}, {1030, 47}, {40, 9000}, {600, 250}})
    for (const Granularity g :
         {fewbit::per_tensor(), fewbit::per_channel(ScaleType::bf16), fewbit::per_column(), fewbit::per_group(32),
          fewbit::per_group(128, ScaleType::f16), fewbit::per_group(7), fewbit::per_block(3, 16),
          fewbit::per_block(100, 64), fewbit::per_block(270, 20), fewbit::per_block(256, 64)})
      all.push_back(bitnet(rows, cols, g));
  for (const Granularity g : {fewbit::per_group(32), fewbit::per_block(100, 64), fewbit::per_block(270, 20)}) {
    all.push_back(fewbit::double_quantize(bitnet(560, 66, g)));
    all.push_back(shifted(bitnet(560, 66, g)));
    all.push_back(mapped(fewbit::double_quantize(bitnet(560, 66, g))));
  }
  return all;
}

std::string place(const QuantizedMatrix& q) {
  return std::to_string(q.rows()) + " x " + std::to_string(q.cols()) + " in blocks of " +
         std::to_string(q.block_rows()) + " x " + std::to_string(q.block_cols());
}

}  // namespace

TEST_CASE("a product from five weights to a byte is that of the unpacked matrix, to the last bit", "[ops][ternary]") {
  Tally tally;
  for (const QuantizedMatrix& q : matrices()) {
    const TernaryMatrix t = fewbit::pack_ternary(q);
    for (const Index n : {1, 3, 30}) {
      const MatrixXf x = support::normal_matrix(q.cols(), n, 602).array() + 0.5f;
      for (const Activations a : {Activations::floats, Activations::int8, Activations::uint8})
        tally.check(fewbit::product(t, x, a) == fewbit::product(q, x, a), place(q), ", ", n, " columns, activations ",
                    static_cast<int>(a));
      tally.check(t * x == q * x, place(q), ", ", n, " columns");
    }
    const Eigen::VectorXd x = Eigen::VectorXd::LinSpaced(q.cols(), -1, 1);
    tally.check(t * x == q * x, place(q), ", a vector of doubles");
  }
  tally.require(79 * 13);
}

TEST_CASE("products agree on every instruction set", "[ops][ternary]") {
  for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
    if (!table->supported()) continue;
    const fewbit::kernel::Use use(*table);
    for (const Granularity g : {fewbit::per_tensor(), fewbit::per_group(64), fewbit::per_block(50, 32)}) {
      const QuantizedMatrix q = bitnet(333, 200, g);
      const TernaryMatrix t = fewbit::pack_ternary(q);
      for (const Index n : {1, 4, 25}) {
        const MatrixXf x = support::normal_matrix(200, n, 603);
        INFO(table->name << ", " << place(q) << ", " << n << " columns");
        CHECK((t * x == q * x));
        CHECK((fewbit::product(t, x, Activations::int8) == fewbit::product(q, x, Activations::int8)));
        CHECK((fewbit::product(t, x, Activations::uint8) == fewbit::product(q, x, Activations::uint8)));
      }
    }
  }
}

TEST_CASE("rows are unpacked some at a time, all of them once, and never across a block", "[ops][ternary]") {
  for (const QuantizedMatrix& q : matrices()) {
    const TernaryMatrix t = fewbit::pack_ternary(q);
    Index next = 0;  // without threads they come in order
    fewbit::each_unpacked(t, [&](Index first, const QuantizedMatrix& rows) {
      INFO(place(q) << ": " << rows.rows() << " rows from " << first);
      CHECK(first == next);
      CHECK(rows.rows() > 0);
      CHECK(rows.rows() <= 256);
      CHECK((rows.codes().size() <= 256 * 1024 || rows.rows() <= 16));
      next = first + rows.rows();
    });
    CHECK(next == q.rows());
  }
}

TEST_CASE("dequantize gives the weights of the unpacked matrix, in any layout and type", "[ops][ternary]") {
  for (const QuantizedMatrix& q : matrices()) {
    const TernaryMatrix t = fewbit::pack_ternary(q);
    const MatrixXf expected = fewbit::dequantize(q);
    INFO(place(q));
    CHECK((fewbit::dequantize(t) == expected));
    CHECK((fewbit::dequantize<support::RowMajor>(t) == expected));
    CHECK((fewbit::dequantize<Eigen::MatrixXd>(t) == expected.cast<double>()));
    MatrixXf around = MatrixXf::Constant(q.rows() + 2, q.cols() + 3, 7.25f);
    fewbit::dequantize_into(t, around.block(1, 2, q.rows(), q.cols()));
    CHECK((around.block(1, 2, q.rows(), q.cols()) == expected));
    CHECK((around.array() == 7.25f).count() == around.size() - q.size());
  }
}

TEST_CASE("shapes that do not fit are refused before anything is written", "[ops][ternary][bad-input]") {
  const TernaryMatrix t = fewbit::pack_ternary(bitnet(6, 10, fewbit::per_channel()));
  CHECK_THROWS_AS(t * Eigen::VectorXf::Ones(9).eval(), std::invalid_argument);
  CHECK_THROWS_AS(t * MatrixXf::Ones(6, 2).eval(), std::invalid_argument);
  MatrixXf out = MatrixXf::Constant(6, 11, 3);
  CHECK_THROWS_AS(fewbit::dequantize_into(t, out), std::invalid_argument);
  CHECK((out.array() == 3).all());
  using Fixed = Eigen::Matrix<float, 5, 10>;
  CHECK_THROWS_AS(fewbit::dequantize<Fixed>(t), std::invalid_argument);
  Eigen::VectorXf x = Eigen::VectorXf::Ones(10);
  x[4] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(fewbit::product(t, x, Activations::int8), std::domain_error);

  TernaryMatrix from = t;
  const TernaryMatrix moved = std::move(from);
  // NOLINTNEXTLINE(bugprone-use-after-move): that is the question
  CHECK_THROWS_AS(from * Eigen::VectorXf::Ones(10).eval(), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::dequantize(from), std::invalid_argument);
}

TEST_CASE("empty matrices multiply and decode to empty or to zeros", "[ops][ternary][bad-input]") {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 7}, {7, 0}, {0, 0}}) {
    const TernaryMatrix t = fewbit::pack_ternary(
        fewbit::quantize(MatrixXf(rows, cols), fewbit::Symmetric(2), fewbit::per_channel(), fewbit::AbsMean{}));
    CHECK((t * MatrixXf::Ones(cols, 3) == MatrixXf::Zero(rows, 3)));
    CHECK(fewbit::dequantize(t).rows() == rows);
    CHECK(fewbit::dequantize(t).cols() == cols);
  }
  const TernaryMatrix t = fewbit::pack_ternary(bitnet(6, 10, fewbit::per_channel()));
  CHECK((t * MatrixXf(10, 0)).cols() == 0);
}

TEST_CASE("a product has the type that its columns ask for", "[ops][ternary]") {
  const TernaryMatrix t = fewbit::pack_ternary(bitnet(6, 10, fewbit::per_channel()));
  static_assert(std::is_same_v<decltype(t * Eigen::VectorXf()), Eigen::VectorXf>);
  static_assert(std::is_same_v<decltype(t * Eigen::MatrixXd()), MatrixXf>);
  CHECK((t * Eigen::VectorXf::Ones(10)).size() == 6);
}
