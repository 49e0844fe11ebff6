// quantize, end to end: every grid, granularity and scale type against the oracle, and fake_quantize against quantize.

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/ops/dequantize.hpp>

#include <support/any.hpp>
#include <support/expected.hpp>

namespace {

using fewbit::Granularity;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;
using support::GridCase;
using support::Index;
using support::MatrixXf;
using support::Tally;

std::vector<Granularity> granularities(ScaleType t) {
  return {fewbit::per_tensor(t),        fewbit::per_channel(t),     fewbit::per_column(t),
          fewbit::per_group(1, t),      fewbit::per_group(5, t),    fewbit::per_group(8, t),
          fewbit::per_group(32, t),     fewbit::per_group(1000, t), fewbit::per_block(3, 4, t),
          fewbit::per_block(2, 1000, t)};
}

std::string describe(const GridCase& c, Granularity g, const MatrixXf& w) {
  return c.name + ", " + std::to_string(g.rows) + " x " + std::to_string(g.cols) + " of " + std::to_string(w.rows()) +
         " x " + std::to_string(w.cols()) + ", scales " + fewbit::name(g.scale) + ": ";
}

// What quantize, dequantize and both fake_quantizes make of w.
void judge_all(Tally& tally, const MatrixXf& w, const GridCase& c, Granularity g) {
  const std::string place = describe(c, g, w);
  const QuantizedMatrix q = support::quantize(w, c.grid, g);
  support::judge(tally, place, w, c, g, q);
  support::judge_decoded(tally, place + "dequantize, ", q, fewbit::dequantize(q));
  support::judge_decoded(tally, place + "fake_quantize, ", q, support::fake_quantize(w, c.grid, g));
  MatrixXf in_place = w;
  std::visit([&](const auto& grid) { fewbit::fake_quantize_in_place(in_place, grid, g); }, c.grid);
  support::judge_decoded(tally, place + "fake_quantize_in_place, ", q, in_place);
}

}  // namespace

TEST_CASE("quantize gives the oracle's bytes for every grid, granularity and scale type", "[quantize]") {
  const MatrixXf plain = support::planted_matrix(7, 45, 1, 5), wide = support::planted_matrix(5, 67, 2, 120);
  for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    Tally tally;
    for (const GridCase& c : support::all_grids()) {
      for (const Granularity g : granularities(t)) {
        if (!support::overflows(plain, c, g)) judge_all(tally, plain, c, g);
        if (t != ScaleType::f16 && !support::overflows(wide, c, g)) judge_all(tally, wide, c, g);
      }
    }
    tally.require(80 * 10 * 7 * 45 * 4);
  }
}

TEST_CASE("matrices too large for one panel quantize alike", "[quantize]") {
  Tally tally;
  const MatrixXf tall = support::planted_matrix(150, 19, 3, 5), wide = support::planted_matrix(3, 2100, 4, 5);
  for (const GridCase& c : {support::integer_grids(4)[0], support::integer_grids(5)[3], support::table_grids()[0]}) {
    for (const Granularity g : {fewbit::per_tensor(), fewbit::per_column(), fewbit::per_group(128, ScaleType::f16),
                                fewbit::per_block(64, 64, ScaleType::bf16)}) {
      judge_all(tally, tall, c, g);
      judge_all(tally, wide, c, g);
    }
  }
  tally.require(3 * 4 * 2 * 10'000);
}

TEST_CASE("an estimator sees the weights of its block, row by row, and the grid with stored scales",
          "[quantize][estimator]") {
  const MatrixXf w = support::normal_matrix(5, 11, 5);
  for (const Granularity g : {fewbit::per_tensor(), fewbit::per_channel(), fewbit::per_column(), fewbit::per_group(4),
                              fewbit::per_block(2, 3)}) {
    std::vector<std::vector<float>> seen;
    const auto record = [&](std::span<const float> block, const auto& grid) {
      seen.emplace_back(block.begin(), block.end());
      return grid.fit({-4, 4});
    };
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), g, record);
    const Index rows = g.rows ? g.rows : w.rows(), cols = g.cols ? g.cols : w.cols();
    std::vector<std::vector<float>> expected;
    for (Index i = 0; i < w.rows(); i += rows)
      for (Index j = 0; j < w.cols(); j += cols) {
        std::vector<float> block;
        for (Index a = i; a < std::min(i + rows, w.rows()); ++a)
          for (Index b = j; b < std::min(j + cols, w.cols()); ++b) block.push_back(w(a, b));
        expected.push_back(block);
      }
    INFO("blocks of " << g.rows << " x " << g.cols);
    std::sort(seen.begin(), seen.end());  // in which order blocks are fitted is the library's affair
    std::sort(expected.begin(), expected.end());
    CHECK((seen == expected));
    CHECK(q.affine(0, 0) == fewbit::Affine{static_cast<float>(4 / 7.), 0});
  }
}

TEST_CASE("an estimator's scale is rounded to its stored type before codes are chosen", "[quantize][estimator]") {
  const MatrixXf w = support::normal_matrix(6, 64, 6);
  const auto third = [](std::span<const float>, const auto&) { return fewbit::Affine{1 / 3.f, 2.25f}; };
  for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Asymmetric(3), fewbit::per_group(16, t), third);
    const oracle::Affine a{oracle::stored_scale(static_cast<double>(1 / 3.f), support::format(t)), 2.25f};
    Tally tally;
    for (Index i = 0; i < w.rows(); ++i)
      for (Index j = 0; j < w.cols(); ++j)
        tally.check(q.code(i, j) == oracle::code(w(i, j), a, {oracle::Kind::asymmetric, 3}), i, ", ", j);
    tally.require(6 * 64);
    CHECK(q.affine(3, 2) == fewbit::Affine{a.scale, a.zero});
  }
}

TEST_CASE("an estimator that returns nonsense is caught, and the block is named", "[quantize][estimator]") {
  const MatrixXf w = support::normal_matrix(30, 40, 7);
  const float bad[] = {0, -0.f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
  for (const float b : bad) {
    const auto scale = [&](std::span<const float>, const auto&) { return fewbit::Affine{b, 0}; };
    CHECK_THROWS_AS(fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(8), scale), std::domain_error);
    if (b == 0) continue;
    const auto zero = [&](std::span<const float> block, const auto&) {
      return block[0] == w(13, 24) ? fewbit::Affine{1, b} : fewbit::Affine{};
    };
    try {
      fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(8), zero);
      FAIL("a zero-point of " << b << " was accepted");
    } catch (const std::domain_error& e) {
      const std::string what = e.what();
      INFO(what);
      CHECK(what.rfind("fewbit: ", 0) == 0);
      CHECK(what.find("13") != std::string::npos);
      CHECK(what.find("24") != std::string::npos);
    }
  }
}

TEST_CASE("an exception of an estimator comes out as it was thrown", "[quantize][estimator]") {
  const MatrixXf w = support::normal_matrix(9, 40, 8);
  for (const Granularity g : {fewbit::per_tensor(), fewbit::per_group(8), fewbit::per_block(2, 8)}) {
    const auto refuse = [](std::span<const float>, const auto&) -> fewbit::Affine { throw std::out_of_range("mine"); };
    CHECK_THROWS_AS(fewbit::quantize(w, fewbit::Symmetric(4), g, refuse), std::out_of_range);
  }
}

TEST_CASE("quantize takes float, double, half and bfloat16, and any of them gives the floats' bytes", "[quantize]") {
  const MatrixXf w = support::normal_matrix(9, 50, 9);
  const Granularity g = fewbit::per_group(16);
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(5), g);
  CHECK(fewbit::quantize(w.cast<double>(), fewbit::Symmetric(5), g) == q);

  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic> h = w.cast<Eigen::half>();
  CHECK(fewbit::quantize(h, fewbit::Symmetric(5), g) == fewbit::quantize(h.cast<float>(), fewbit::Symmetric(5), g));
  const Eigen::Matrix<Eigen::bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> b = w.cast<Eigen::bfloat16>();
  CHECK(fewbit::quantize(b, fewbit::Symmetric(5), g) == fewbit::quantize(b.cast<float>(), fewbit::Symmetric(5), g));
  CHECK_FALSE(fewbit::quantize(h, fewbit::Symmetric(5), g) == q);  // the comparison can tell
}

TEST_CASE("a slice by Eigen::seq or by a list of indices is quantized as what it holds", "[quantize]") {
  const MatrixXf w = support::normal_matrix(9, 50, 10);
  const std::vector<int> rows = {7, 0, 3};
  const auto same_as_copy = [](const auto& slice) {
    const MatrixXf copy = slice;
    return fewbit::quantize(slice, fewbit::Symmetric(5), fewbit::per_group(16)) ==
           fewbit::quantize(copy, fewbit::Symmetric(5), fewbit::per_group(16));
  };
  CHECK(same_as_copy(w(Eigen::all, Eigen::seq(1, 49, 3))));
  CHECK(same_as_copy(w(Eigen::seq(0, 8, 2), Eigen::all)));
  CHECK(same_as_copy(w(rows, Eigen::all)));
}

TEST_CASE("fake_quantize returns the input's own type", "[quantize][fake]") {
  const MatrixXf w = support::normal_matrix(6, 33, 10);
  const Granularity g = fewbit::per_group(8, ScaleType::f16);
  const MatrixXf expected = fewbit::dequantize(fewbit::quantize(w, fewbit::nf4, g));

  const Eigen::MatrixXd d = w.cast<double>();
  const auto from_double = fewbit::fake_quantize(d, fewbit::nf4, g);
  static_assert(std::is_same_v<std::remove_const_t<decltype(from_double)>, Eigen::MatrixXd>);
  CHECK((from_double == expected.cast<double>()));

  const support::RowMajor r = w;
  const auto by_row = fewbit::fake_quantize(r, fewbit::nf4, g);
  static_assert(std::is_same_v<std::remove_const_t<decltype(by_row)>, support::RowMajor>);
  CHECK((by_row == expected));

  const Eigen::Matrix<float, 6, 33> fixed = w;
  const auto of_fixed = fewbit::fake_quantize(fixed, fewbit::nf4, g);
  static_assert(std::is_same_v<std::remove_const_t<decltype(of_fixed)>, Eigen::Matrix<float, 6, 33>>);
  CHECK((of_fixed == expected));
  CHECK((fixed == w));  // the input is untouched
}

TEST_CASE("fake_quantize_in_place writes through maps and blocks, and nowhere else",
          "[quantize][fake][bad-input][class-21]") {
  const MatrixXf w = support::normal_matrix(6, 33, 11);
  const Granularity g = fewbit::per_group(8);
  const MatrixXf expected = fewbit::dequantize(fewbit::quantize(w, fewbit::Symmetric(4), g));

  support::RowMajor around = support::RowMajor::Constant(10, 40, 7.25f);
  around.block(2, 3, 6, 33) = w;
  auto inner = around.block(2, 3, 6, 33);
  fewbit::fake_quantize_in_place(inner, fewbit::Symmetric(4), g);
  CHECK((around.block(2, 3, 6, 33) == expected));
  CHECK((around.array() == 7.25f).count() == 10 * 40 - 6 * 33);

  std::vector<float> memory(6 * 33 * 2, 7.25f);
  Eigen::Map<MatrixXf, 0, Eigen::Stride<Eigen::Dynamic, 2>> strided(memory.data(), 6, 33,
                                                                    Eigen::Stride<Eigen::Dynamic, 2>(12, 2));
  strided = w;
  fewbit::fake_quantize_in_place(strided, fewbit::Symmetric(4), g);
  CHECK((strided == expected));
  CHECK(std::count(memory.begin(), memory.end(), 7.25f) == 6 * 33);
}
