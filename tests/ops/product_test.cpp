// Products straight from the codes: every width, grid, granularity and batch, with floats and with integers, both ways.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include <fewbit/fewbit.hpp>

#include <support/expected.hpp>

namespace {

using Eigen::MatrixXd;
using fewbit::Activations;
using fewbit::Granularity;
using fewbit::QuantizedMatrix;
using support::Index;
using support::MatrixXf;
using support::Tally;

struct Case {
  std::string name;
  QuantizedMatrix q;
};

std::vector<Case> cases(Index rows, Index cols) {
  std::vector<float> levels(100);
  for (std::size_t i = 0; i < levels.size(); ++i)
    levels[i] = static_cast<float>(std::tan(0.03 * static_cast<double>(i) - 1.48));
  const fewbit::Codebook hundred(levels);
  const MatrixXf w = support::normal_matrix(rows, cols, 700 + static_cast<std::uint32_t>(cols)).array() + 0.3f;
  std::vector<Case> all;
  const auto add = [&](const std::string& name, const auto& grid, const Granularity& g) {
    all.push_back({name + ", blocks of " + std::to_string(g.rows) + " x " + std::to_string(g.cols),
                   fewbit::quantize(w, grid, g)});
  };
  for (const Granularity& g :
       {fewbit::per_tensor(), fewbit::per_channel(fewbit::ScaleType::bf16), fewbit::per_column(), fewbit::per_group(3),
        fewbit::per_group(16), fewbit::per_group(48), fewbit::per_group(64, fewbit::ScaleType::f16),
        fewbit::per_group(128), fewbit::per_block(2, 32), fewbit::per_block(3, 7)}) {
    for (const int bits : {1, 2, 3, 4, 5, 8, 11, 16}) {
      const std::string name = std::to_string(bits) + " bits";
      add(name + ", symmetric", fewbit::Symmetric(bits), g);
      add(name + ", signed", fewbit::Symmetric(bits).signed_scale(), g);
      add(name + ", asymmetric", fewbit::Asymmetric(bits), g);
    }
    add("nf4", fewbit::nf4, g);
    add("100 levels", hundred, g);
    all.push_back({"nf4, double-quantized", fewbit::double_quantize(fewbit::quantize(w, fewbit::nf4, g))});
  }
  return all;
}

// Whether y is W x within (n + 2) 2^-24 sum |w x|, given the x and the magnitudes that count.
bool within(const MatrixXf& y, const MatrixXd& w, const MatrixXd& x, const MatrixXd& magnitude) {
  const MatrixXd bound = static_cast<double>(w.cols() + 2) * 0x1p-24 * (w.cwiseAbs() * magnitude);
  return ((y.cast<double>() - w * x).cwiseAbs().array() <= bound.array() + 1e-300).all();
}
bool within(const MatrixXf& y, const MatrixXd& w, const MatrixXd& x) { return within(y, w, x, x.cwiseAbs()); }

// The columns of X as integers, by the formulas: scale * (code - zero).
struct Rounded {
  MatrixXd x, magnitude;
  Rounded(const MatrixXf& from, bool asymmetric) : x(from.rows(), from.cols()), magnitude(from.rows(), from.cols()) {
    for (Index c = 0; c < from.cols(); ++c) {
      const double lo = std::min(0., static_cast<double>(from.col(c).minCoeff())),
                   hi = std::max(0., static_cast<double>(from.col(c).maxCoeff()));
      const oracle::Affine a =
          oracle::fit(asymmetric ? lo : static_cast<double>(from.col(c).minCoeff()),
                      asymmetric ? hi : static_cast<double>(from.col(c).maxCoeff()),
                      {asymmetric ? oracle::Kind::asymmetric_with_zero : oracle::Kind::narrow, 8}, oracle::f32);
      const double scale = static_cast<double>(a.scale), zero = static_cast<double>(a.zero);
      for (Index k = 0; k < from.rows(); ++k) {
        const double level = std::nearbyint(static_cast<double>(oracle::divide(from(k, c), a.scale))) + zero,
                     code = asymmetric ? std::clamp(level, 0., 255.) : std::clamp(level, -127., 127.);
        x(k, c) = scale * (code - zero);
        // Zero-points are taken out behind the sum: what is added before that counts too. Codes are moved by 128.
        magnitude(k, c) = asymmetric ? scale * (std::fabs(code - 128) + std::fabs(zero - 128)) : std::fabs(x(k, c));
      }
    }
  }
};

MatrixXf inputs(Index rows, Index cols) {
  return support::normal_matrix(rows, cols, 800 + static_cast<std::uint32_t>(cols)).array() + 0.5f;
}

}  // namespace

TEST_CASE("a product is dequantize(q) * x for every grid, granularity and batch", "[ops][product]") {
  Tally tally;
  for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 1}, {3, 130}, {70, 67}, {9, 300}})
    for (const Case& one : cases(rows, cols)) {
      const MatrixXf decoded = fewbit::dequantize(one.q);
      const MatrixXd w = decoded.cast<double>();
      for (const Index batch : {1, 2, 5, 14}) {
        const MatrixXf x = inputs(cols, batch), back = inputs(rows, batch);
        const auto place = [&, rows = rows, cols = cols] {  // clang 14 takes no structured binding otherwise
          return one.name + ", " + std::to_string(rows) + " x " + std::to_string(cols) + ", batch " +
                 std::to_string(batch);
        };
        tally.check(within(one.q * x, w, x.cast<double>()), place, ": floats");
        tally.check(within(one.q.transpose() * back, w.transpose(), back.cast<double>()), place, ": transposed");
        const Rounded symmetric(x, false), asymmetric(x, true);
        tally.check(within(fewbit::product(one.q, x, Activations::int8), w, symmetric.x, 1.01 * symmetric.magnitude),
                    place, ": int8");
        tally.check(within(fewbit::product(one.q, x, Activations::uint8), w, asymmetric.x, 1.01 * asymmetric.magnitude),
                    place, ": uint8");
      }
    }
  tally.require(4 * 200 * 4 * 4);
}

TEST_CASE("wide batches and tall matrices agree with narrow and short ones", "[ops][product]") {
  const MatrixXf w = support::normal_matrix(261, 1100, 900), x = inputs(1100, 65);
  for (const QuantizedMatrix& q : {fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(128)),
                                   fewbit::quantize(w, fewbit::Asymmetric(8), fewbit::per_channel()),
                                   fewbit::quantize(w, fewbit::nf4, fewbit::per_group(50))}) {
    const MatrixXf decoded = fewbit::dequantize(q);
    const MatrixXd d = decoded.cast<double>();
    for (const Index batch : {1, 3, 4, 6, 12, 13, 16, 64, 65})
      CHECK(within(q * x.leftCols(batch), d, x.leftCols(batch).cast<double>()));
    for (const Index rows : {1, 2, 4, 5, 63, 64, 65, 128, 200}) {
      const QuantizedMatrix some = fewbit::quantize(w.topRows(rows), fewbit::Symmetric(4), fewbit::per_group(128));
      const MatrixXf top = fewbit::dequantize(some);
      CHECK(within(some * x, top.cast<double>(), x.cast<double>()));
      CHECK(within(fewbit::product(some, x, Activations::int8), top.cast<double>(), Rounded(x, false).x,
                   1.01 * Rounded(x, false).magnitude));
    }
  }
}

TEST_CASE("activations may be any Eigen expression, and a vector gives a vector", "[ops][product]") {
  const QuantizedMatrix q = fewbit::quantize(support::normal_matrix(7, 64, 901), fewbit::nf4, fewbit::per_group(32));
  const MatrixXf x = inputs(64, 6), y = q * x;
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  CHECK((q * RowMajor(x) == y));
  CHECK((q * x.cast<double>() == y));
  CHECK((q * (x + MatrixXf::Zero(64, 6)) == y));
  MatrixXf wide(64, 18);
  for (Index c = 0; c < 6; ++c) wide.col(3 * c) = x.col(c);
  CHECK((q * Eigen::Map<const MatrixXf, 0, Eigen::OuterStride<>>(wide.data(), 64, 6, Eigen::OuterStride<>(192)) == y));
  CHECK((q * MatrixXf(x.transpose()).transpose() == y));
  const Eigen::VectorXf one = x.col(2);
  static_assert(decltype(q * one)::ColsAtCompileTime == 1);
  static_assert(decltype(fewbit::product(q, one, Activations::int8))::ColsAtCompileTime == 1);
  CHECK((q * one == y.col(2)));
  CHECK((q * x.col(2) == y.col(2)));
  CHECK((q * Eigen::Matrix<float, 64, 1>(one) == y.col(2)));
  CHECK((q * MatrixXf(64, 0)).size() == 0);
  CHECK((fewbit::product(q, x, Activations::int8).col(2) == fewbit::product(q, one, Activations::int8)));
}

TEST_CASE("shapes that do not match and activations that cannot be rounded are refused", "[ops][product][bad-input]") {
  const QuantizedMatrix q = fewbit::quantize(support::normal_matrix(5, 8, 902), fewbit::Symmetric(4));
  CHECK_THROWS_AS(q * Eigen::VectorXf(7), std::invalid_argument);
  CHECK_THROWS_AS(q * MatrixXf(5, 8), std::invalid_argument);
  CHECK_THROWS_AS(q.transpose() * Eigen::VectorXf(8), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::product(q, Eigen::VectorXf(9), Activations::int8), std::invalid_argument);
  CHECK_THROWS_AS(fewbit::product(QuantizedMatrix(5, 8, q.levels(), {}), Eigen::VectorXf(8)), std::invalid_argument);
  MatrixXf x = inputs(8, 3);
  x(4, 1) = std::numeric_limits<float>::quiet_NaN();
  const MatrixXf y = q * x;
  CHECK(y.col(0).allFinite());
  CHECK(y.col(1).array().isNaN().all());
  CHECK(y.col(2).allFinite());
  for (const Activations a : {Activations::int8, Activations::uint8}) {
    try {
      fewbit::product(q, x, a);
      FAIL("accepted");
    } catch (const std::domain_error& e) {
      CHECK(std::string(e.what()).find("row 4, column 1") != std::string::npos);
    }
  }
}

TEST_CASE("products of empty matrices are zero or empty", "[ops][product][bad-input]") {
  const QuantizedMatrix none = fewbit::quantize(MatrixXf(3, 0), fewbit::Symmetric(4));
  CHECK((none * MatrixXf(0, 2) == MatrixXf::Zero(3, 2)));
  CHECK((fewbit::product(none, MatrixXf(0, 2), Activations::int8) == MatrixXf::Zero(3, 2)));
  CHECK((fewbit::quantize(MatrixXf(0, 4), fewbit::Symmetric(4)) * MatrixXf(4, 2)).rows() == 0);
  // More columns than are multiplied at a time, into a result that has no memory.
  CHECK((fewbit::quantize(MatrixXf::Ones(2, 600), fewbit::Symmetric(4)).transpose() * MatrixXf(2, 0)).rows() == 600);
  const QuantizedMatrix zeros = fewbit::quantize(MatrixXf::Zero(4, 40), fewbit::Symmetric(8));
  CHECK((fewbit::product(zeros, inputs(40, 2), Activations::int8) == MatrixXf::Zero(4, 2)));
  CHECK((fewbit::product(zeros, MatrixXf::Zero(40, 2), Activations::int8) == MatrixXf::Zero(4, 2)));
}

TEST_CASE("an int8 product is off by no more than half a step of the activations", "[ops][product]") {
  const QuantizedMatrix q =
      fewbit::quantize(support::normal_matrix(33, 512, 903), fewbit::Symmetric(4), fewbit::per_group(128));
  const MatrixXf x = inputs(512, 9), decoded = fewbit::dequantize(q);
  const MatrixXf exact = decoded * x, y = fewbit::product(q, x, Activations::int8);
  const Eigen::VectorXf reach = decoded.cwiseAbs().rowwise().sum();
  for (Index c = 0; c < x.cols(); ++c) {
    const float half_step = x.col(c).cwiseAbs().maxCoeff() / 254;
    CHECK(((y - exact).col(c).cwiseAbs().array() <= 1.001f * half_step * reach.array()).all());
  }
  CHECK(fewbit::compare(exact, y).sqnr_db > 40);
}

TEST_CASE("zero-points leave long integer sums without a trace", "[ops][product]") {
  // Codes and zero-points of 128 add up to sums of 28 bits, of which 1 is left.
  for (const Index n : {14336, 28672}) {
    MatrixXf w = MatrixXf::Zero(5, n);
    w.col(0).setConstant(-128), w.col(1).setConstant(127), w.col(2).setConstant(1);
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Asymmetric(8), fewbit::per_channel());
    Eigen::VectorXf x(n);
    for (Index k = 0; k < n; ++k) x[k] = 127 - static_cast<float>(7 * k % 2);
    x[0] = x[1] = 0, x[2] = 1;
    for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
      if (!table->supported()) continue;
      const fewbit::kernel::Use use(*table);
      INFO(table->name << ", " << n);
      CHECK((fewbit::product(q, x, Activations::int8) == Eigen::VectorXf::Ones(5)));
    }
  }
}

TEST_CASE("an activation that cannot be rounded is named by its place in X, whatever the input map",
          "[ops][product][bad-input]") {
  QuantizedMatrix q = fewbit::quantize(support::normal_matrix(3, 4, 904), fewbit::Symmetric(4));
  q.set_input_map({{3, 2, 1, 0}, {}});
  Eigen::VectorXf x = Eigen::VectorXf::Ones(4);
  x[0] = std::numeric_limits<float>::quiet_NaN();
  try {
    fewbit::product(q, x, Activations::int8);
    FAIL("accepted");
  } catch (const std::domain_error& e) {
    CHECK(std::string(e.what()).find("row 0, column 0") != std::string::npos);
  }
}
