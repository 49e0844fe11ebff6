// What the library must survive: one case for each class of bad or awkward input, by number. Every message begins with
// "fewbit:" and names the place and the value, so that it can be acted upon.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/metrics.hpp>
#include <fewbit/ops/product.hpp>

#include <support/any.hpp>
#include <support/expected.hpp>
#include <support/refusals.hpp>

namespace {

using fewbit::Granularity;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;
using support::GridCase;
using support::Index;
using support::MatrixXf;
using support::says;
using support::Tally;
using support::thrown;

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN(),
                infinity = std::numeric_limits<float>::infinity();
constexpr float huge = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();

std::vector<Granularity> granularities(ScaleType t = ScaleType::f32) {
  return {fewbit::per_tensor(t),   fewbit::per_channel(t),     fewbit::per_column(t),
          fewbit::per_group(8, t), fewbit::per_group(1000, t), fewbit::per_block(4, 8, t)};
}

std::vector<GridCase> some_grids() {
  std::vector<GridCase> grids = support::table_grids();
  for (const int bits : {1, 2, 4, 8, 16})
    for (GridCase& c : support::integer_grids(bits)) grids.push_back(std::move(c));
  return grids;
}

std::string describe(const std::string& layout, const GridCase& c, Granularity g) {
  return layout + ", " + c.name + ", " + std::to_string(g.rows) + " x " + std::to_string(g.cols) + ", scales " +
         fewbit::name(g.scale) + ": ";
}

template <class F>
void check_refused(Tally& tally, const std::string& place, const std::vector<std::string>& words, F&& f) {
  const std::optional<std::string> message = thrown<std::domain_error>(f);
  tally.check(says(message, words), place, "said: ", message.value_or("nothing was thrown"));
}

// One bad weight, in every layout, for every granularity: strict names it and leaves the input alone.
void strict_names(float bad, const std::string& value) {
  Tally tally;
  for (const auto& place : {std::pair<Index, Index>{0, 0}, {13, 29}, {16, 30}, {7, 30}, {16, 0}}) {
    const Index row = place.first, col = place.second;
    MatrixXf w = support::normal_matrix(17, 31, 71);
    w(row, col) = bad;
    support::in_every_layout(w, [&](const std::string& layout, const auto& expression) {
      for (const Granularity g : granularities()) {
        const GridCase c{"Symmetric(4)", fewbit::Symmetric(4), {oracle::Kind::narrow, 4}};
        const std::vector<std::string> words{"row", std::to_string(row), "column", std::to_string(col), value};
        check_refused(tally, describe(layout, c, g), words,
                      [&] { fewbit::quantize(expression, fewbit::Symmetric(4), g); });
        check_refused(tally, describe(layout, c, g) + "fake_quantize, ", words,
                      [&] { fewbit::fake_quantize(expression, fewbit::Symmetric(4), g); });
      }
      for (Index i = 0; i < w.rows(); ++i)
        for (Index j = 0; j < w.cols(); ++j)
          tally.check(support::same_bits(expression.coeff(i, j), w(i, j)) || std::isnan(w(i, j)), layout,
                      ": the input changed at ", i, ", ", j);
    });
  }
  tally.require(5 * 6 * 6 * 2);
}

// Saturating takes the same matrix, and the oracle says what comes out.
void saturates(float bad) {
  Tally tally;
  MatrixXf w = support::planted_matrix(17, 31, 72, 3);
  w(0, 0) = w(13, 29) = w(16, 30) = bad;
  for (Index j = 8; j < 16; ++j) w(5, j) = bad;   // a whole group of 8
  for (Index i = 0; i < 17; ++i) w(i, 20) = bad;  // a whole column
  for (const GridCase& c : some_grids()) {
    for (const Granularity g : granularities(ScaleType::bf16)) {
      const QuantizedMatrix q = support::quantize(w, c.grid, g, support::saturating);
      support::judge(tally, describe("column-major", c, g), w, c, g, q);
      support::judge_decoded(tally, describe("fake_quantize", c, g), q,
                             support::fake_quantize(w, c.grid, g, support::saturating));
    }
  }
  support::in_every_layout(w, [&](const std::string& layout, const auto& expression) {
    const GridCase c = support::integer_grids(5)[3];
    for (const Granularity g : granularities()) {
      const QuantizedMatrix q =
          fewbit::quantize(expression, fewbit::Asymmetric(5), g, fewbit::MinMax{}, support::saturating);
      support::judge(tally, describe(layout, c, g), w, c, g, q);
    }
  });
  tally.require(30 * 6 * 17 * 31 * 3);
}

}  // namespace

// ------------------------------------------------------------------------------------------------ 1, 2: not finite

TEST_CASE("class 1: a NaN is refused with its row, column and value", "[bad-input][class-1]") {
  strict_names(not_a_number, "nan");
}

TEST_CASE("class 1: saturating, a NaN becomes the zero-point and does not touch the range", "[bad-input][class-1]") {
  saturates(not_a_number);
  MatrixXf w(1, 4);
  w << 1, not_a_number, -3, 2;
  const QuantizedMatrix q =
      fewbit::quantize(w, fewbit::Asymmetric(4), fewbit::per_tensor(), fewbit::MinMax{}, support::saturating);
  CHECK(q.affine(0, 0).scale == static_cast<float>(5 / 15.));
  CHECK(static_cast<float>(q.code(0, 1)) == q.affine(0, 0).zero);
  CHECK(q(0, 1) == 0);
}

TEST_CASE("class 2: an infinity is refused with its row, column and value", "[bad-input][class-2]") {
  strict_names(infinity, "inf");
  strict_names(-infinity, "-inf");
}

TEST_CASE("class 2: saturating, infinities become the ends, the right way round", "[bad-input][class-2]") {
  saturates(infinity);
  saturates(-infinity);
  Tally tally;
  MatrixXf w(2, 5);  // the signed grid has a negative scale in the second row: its ends change places
  w << infinity, -infinity, 1, -2, huge / 4, infinity, -infinity, 2, -1, huge / 4;
  w(0, 4) = w(1, 4) = 0.5f;
  for (const GridCase& c : some_grids()) {
    const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_channel(), support::saturating);
    for (Index i = 0; i < 2; ++i)
      for (Index j = 1; j < 5; ++j) {
        tally.check(q(i, 0) >= q(i, j), c.name, ": +inf decodes to ", q(i, 0), ", ", w(i, j), " to ", q(i, j));
        tally.check(q(i, 1) <= q(i, j) || j == 1, c.name, ": -inf decodes to ", q(i, 1), ", ", w(i, j), " to ",
                    q(i, j));
      }
  }
  tally.require(30 * 2 * 8);
}

TEST_CASE("class 2: saturating, an infinity is an end even under a scale that no finite weight would fill",
          "[bad-input][class-2]") {
  MatrixXf w(1, 3);
  w << infinity, -infinity, 1;
  const auto wide = [](std::span<const float>, const auto&) { return fewbit::Affine{1e38f, 0}; };
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(8), fewbit::per_tensor(), wide, support::saturating);
  CHECK(q.levels()[static_cast<int>(q.code(0, 0))] == 127);
  CHECK(q.levels()[static_cast<int>(q.code(0, 1))] == -127);
}

TEST_CASE("classes 1 and 2: an estimator never sees what is not finite", "[bad-input][class-1][class-2]") {
  MatrixXf w = support::normal_matrix(4, 24, 73);
  w(0, 3) = not_a_number, w(1, 9) = infinity, w(2, 17) = -infinity;
  for (Index j = 0; j < 8; ++j) w(3, j) = not_a_number;
  for (const Granularity g : granularities()) {
    bool all_finite = true, never_empty = true;
    const auto look = [&](std::span<const float> block, const auto& grid) {
      never_empty = never_empty && !block.empty();
      for (const float x : block) all_finite = all_finite && std::isfinite(x);
      return grid.fit({-1, 1});
    };
    fewbit::quantize(w, fewbit::Symmetric(4), g, look, support::saturating);
    INFO(g.rows << " x " << g.cols);
    CHECK(all_finite);
    CHECK(never_empty);
  }
}

TEST_CASE("classes 1 and 2: of several bad weights the first in row order is named", "[bad-input][class-1][class-2]") {
  MatrixXf w = support::normal_matrix(40, 50, 74);
  w(3, 44) = not_a_number, w(3, 45) = infinity, w(7, 0) = not_a_number, w(39, 1) = -infinity;
  for (const Granularity g : granularities())
    CHECK(says(thrown<std::domain_error>([&] { fewbit::quantize(w, fewbit::Symmetric(4), g); }),
               {"row", "3", "column", "44", "nan"}));
}

TEST_CASE("classes 1 and 2: a double beyond the floats is refused by its own value, and saturates",
          "[bad-input][class-2]") {
  Eigen::MatrixXd w = support::normal_matrix(9, 20, 75).cast<double>();
  w(4, 11) = -1e300;
  for (const Granularity g : granularities()) {
    CHECK(says(thrown<std::domain_error>([&] { fewbit::quantize(w, fewbit::Symmetric(4), g); }),
               {"row", "4", "column", "11", "-1e+300"}));
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), g, fewbit::MinMax{}, support::saturating);
    CHECK(q.levels()[static_cast<int>(q.code(4, 11))] * q.affine(4 / q.block_rows(), 11 / q.block_cols()).scale < 0);
  }
  w(4, 11) = 1e-300;  // below them is zero
  CHECK(fewbit::quantize(w, fewbit::Symmetric(4))(4, 11) == 0);
}

// ------------------------------------------------------------------------------------------------ 3 - 11: finite, and
// awkward

TEST_CASE("class 3: a weight many scales away saturates on its own side", "[bad-input][class-3]") {
  Tally tally;
  MatrixXf w(1, 6);
  w << 1e30f, -1e30f, huge, -huge, 3e9f, -3e9f;
  const auto tiny_scale = [](std::span<const float>, const auto&) { return fewbit::Affine{1e-20f, 0}; };
  const auto negative = [](std::span<const float>, const auto&) { return fewbit::Affine{-1e-20f, 0}; };
  for (int bits = 1; bits <= 16; ++bits) {
    const QuantizedMatrix up = fewbit::quantize(w, fewbit::Symmetric(bits), fewbit::per_tensor(), tiny_scale);
    const QuantizedMatrix down = fewbit::quantize(w, fewbit::Symmetric(bits), fewbit::per_tensor(), negative);
    const auto last = static_cast<unsigned>(up.levels().count() - 1);
    for (Index j = 0; j < 6; ++j) {
      tally.check(up.code(0, j) == (w(0, j) > 0 ? last : 0), bits, " bits: ", w(0, j), " got code ", up.code(0, j));
      tally.check(down.code(0, j) == (w(0, j) > 0 ? 0 : last), bits, " bits, negative scale: ", w(0, j), " got code ",
                  down.code(0, j));
    }
  }
  tally.require(16 * 12);
}

TEST_CASE("class 4: a range that overflows a float has a finite scale, and keeps the order of the weights",
          "[bad-input][class-4]") {
  Tally tally;
  MatrixXf w(1, 7);
  w << -huge, huge, 1, 0, -1, huge / 2, -huge / 2;
  for (const GridCase& c : some_grids()) {
    for (const ScaleType t : {ScaleType::f32, ScaleType::bf16}) {
      if (support::overflows(w, c, fewbit::per_tensor(t))) continue;
      const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_tensor(t));
      support::judge(tally, describe("", c, fewbit::per_tensor(t)), w, c, fewbit::per_tensor(t), q);
      tally.check(std::isfinite(q.affine(0, 0).scale), c.name, ": scale ", q.affine(0, 0).scale);
      tally.check(
          q(0, 0) <= q(0, 6) && q(0, 6) <= q(0, 4) && q(0, 4) <= q(0, 2) && q(0, 2) <= q(0, 5) && q(0, 5) <= q(0, 1),
          c.name, ": order");
    }
  }
  tally.require(30 * 20);
}

TEST_CASE("class 4: finite weights decode to finite weights, up to the largest float", "[bad-input][class-4]") {
  Tally tally;
  support::NumPy random(95);
  for (const GridCase& c : some_grids()) {
    for (int trial = 0; trial < 40; ++trial) {
      MatrixXf w(1, 9);
      for (Index j = 0; j < 9; ++j) w(0, j) = huge * static_cast<float>(2 * random.random_sample() - 1);
      if (trial % 4 == 1) w = w.cwiseAbs();
      if (trial % 4 == 2) w(0, 3) = huge, w(0, 5) = -huge;
      if (trial % 4 == 3) w = MatrixXf::Constant(1, 9, huge), w(0, 4) = support::next_down(huge);
      if (trial % 8 == 4) w.setConstant(trial % 16 == 4 ? huge : -0.9999f * huge);
      for (const ScaleType t : {ScaleType::f32, ScaleType::bf16}) {
        try {
          const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_tensor(t));
          for (Index j = 0; j < 9; ++j)
            tally.check(std::isfinite(q(0, j)), c.name, ", ", fewbit::name(t), ": ", w(0, j), " decodes to ", q(0, j),
                        " by ", q.affine(0, 0).scale, ", ", q.affine(0, 0).zero);
        } catch (const std::domain_error& e) {  // a scale that bf16, which ends before the floats, cannot hold
          tally.check(t == ScaleType::bf16 && says(std::string(e.what()), {"bf16"}), c.name, ": ", e.what());
        }
      }
    }
  }
  tally.require(30 * 40 * 9);
}

TEST_CASE("class 4: levels far beyond a table's reach decode to finite weights, however small the scale",
          "[bad-input][class-4]") {
  Tally tally;
  for (int far = 0; far < 128; far += 3) {
    const std::vector<float> levels{-1, -0.25f, 0.5f, std::ldexp(1.f, far)};
    const GridCase c{
        "levels to 2^" + std::to_string(far), fewbit::Codebook(levels, 1), {oracle::Kind::table, 2, levels, 1}};
    for (int exponent = -120; exponent < 128; exponent += 4) {
      MatrixXf w(2, 3);
      w << -1, 0.3f, 0.9f, 0.7f, 0.7f, 0.7f;
      w *= std::ldexp(1.f, exponent);
      for (const ScaleType t : {ScaleType::f32, ScaleType::bf16}) {
        const fewbit::Granularity g = fewbit::per_channel(t);
        support::judge(tally, c.name + ", weights of 2^" + std::to_string(exponent) + ", ", w, c, g,
                       support::quantize(w, c.grid, g));
      }
    }
  }
  tally.require(43 * 62 * 2 * 20);
}

TEST_CASE("class 4: a scale that is rounded up at the end of the floats gives way by one step",
          "[bad-input][class-4]") {
  Tally tally;
  support::NumPy random(96);
  MatrixXf w(1, 4);
  w << huge, -huge, 0.25f * huge, 0;
  for (int trial = 0; trial < 300; ++trial) {
    const auto most = static_cast<float>(1 + 3 * random.random_sample());
    const std::vector<float> levels{-most, -0.25f, 0.5f, most};
    const GridCase c{
        "levels to " + std::to_string(most), fewbit::Codebook(levels), {oracle::Kind::table, 2, levels, 0}};
    support::judge(tally, c.name + ", ", w, c, fewbit::per_tensor(),
                   support::quantize(w, c.grid, fewbit::per_tensor()));
  }
  tally.require(300 * 20);
}

TEST_CASE("class 4: a zero-point of one's own counts towards what the outermost levels decode to",
          "[bad-input][class-4]") {
  const MatrixXf w = support::normal_matrix(1, 40, 97);
  for (const float zero : {-5.f, -4.f, 4.f, 5.f})
    for (const float sign : {-1.f, 1.f}) {
      const auto huge_scale = [&](std::span<const float>, const auto&) {
        return fewbit::Affine{sign * huge / 5, zero};
      };
      const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_tensor(), huge_scale);
      const fewbit::Affine a = q.affine(0, 0);
      CHECK(a.zero == zero);
      CHECK(std::isfinite(a.scale * (q.levels().first() - zero)));
      CHECK(std::isfinite(a.scale * (q.levels().last() - zero)));
      CHECK(std::isinf(1.01f * a.scale * std::max(zero - q.levels().first(), q.levels().last() - zero)));
    }
}

TEST_CASE("classes 4 and 7: a block of one value near the largest float decodes to a finite one",
          "[bad-input][class-4]") {
  Tally tally;
  for (const GridCase& c : support::all_grids())
    for (int step = 0; step < 48; ++step) {
      const float value = huge * (1 - 0.01f * static_cast<float>(step / 2)) * (step % 2 == 0 ? 1.f : -1.f);
      for (const ScaleType t : {ScaleType::f32, ScaleType::bf16}) try {
          const QuantizedMatrix q = support::quantize(MatrixXf::Constant(1, 3, value), c.grid, fewbit::per_tensor(t));
          tally.check(std::isfinite(q(0, 1)), c.name, ", ", fewbit::name(t), ": ", value, " decodes to ", q(0, 1),
                      " by ", q.affine(0, 0).scale, ", ", q.affine(0, 0).zero);
        } catch (const std::domain_error& e) {
          tally.check(t == ScaleType::bf16 && says(std::string(e.what()), {"bf16"}), c.name, ": ", e.what());
        }
    }
  tally.require(90 * 48 * 2);
}

TEST_CASE("classes 2 and 4: saturating, an infinity among the largest floats decodes to a finite weight",
          "[bad-input][class-2][class-4]") {
  Tally tally;
  for (const GridCase& c : some_grids())
    for (const float sign : {1.f, -1.f}) {
      MatrixXf w = MatrixXf::Constant(1, 3, sign * huge);
      w(0, 2) = sign * std::numeric_limits<float>::infinity();
      const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_tensor(), support::saturating);
      for (Index j = 0; j < 3; ++j) tally.check(std::isfinite(q(0, j)), c.name, ": ", w(0, j), " decodes to ", q(0, j));
    }
  tally.require(30 * 6);
}

TEST_CASE(
    "classes 2 and 4: saturating, blocks of one large value are coded as strictly, unless an infinity is among them",
    "[bad-input][class-2][class-4]") {
  Tally tally;
  for (const GridCase& c : support::all_grids())
    for (const float value : {huge, -huge, huge * 0.7f, huge * -0.51f})
      for (const Granularity g :
           {fewbit::per_tensor(), fewbit::per_channel(), fewbit::per_column(), fewbit::per_group(2)}) {
        MatrixXf w = MatrixXf::Constant(2, 3, value);
        tally.check(support::quantize(w, c.grid, g, support::saturating) == support::quantize(w, c.grid, g), c.name,
                    ", ", value);
        w(1, 1) = std::numeric_limits<float>::quiet_NaN();
        const QuantizedMatrix q = support::quantize(w, c.grid, g, support::saturating);
        tally.check(q(0, 0) == value && q(1, 2) == value && std::isfinite(q(1, 1)), c.name, ", ", value,
                    " beside a NaN decodes to ", q(0, 0));
        w.row(1).setConstant(value), w(0, 0) = infinity;  // and the infinity of one block is not the next one's
        if (g == fewbit::per_channel() || g == fewbit::per_column())
          tally.check(support::quantize(w, c.grid, g, support::saturating)(1, 2) == value, c.name, ", ", value,
                      " below an infinity");
      }
  tally.require(90 * 4 * 3 * 2);
}

TEST_CASE("class 5: a block of zeros has scale 1 and decodes to exact zeros, whatever else is in the matrix",
          "[bad-input][class-5]") {
  Tally tally;
  MatrixXf w = support::normal_matrix(8, 24, 76);
  w.block(4, 8, 4, 8).setZero();
  w.row(2).setZero();
  w.col(20).setConstant(-0.f);
  const MatrixXf none = MatrixXf::Zero(5, 9);
  for (const GridCase& c : some_grids()) {
    for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
      for (const Granularity g : granularities(t)) {
        const QuantizedMatrix q = support::quantize(w, c.grid, g), z = support::quantize(none, c.grid, g);
        support::judge(tally, describe("zeros among others", c, g), w, c, g, q);
        support::judge(tally, describe("all zeros", c, g), none, c, g, z);
        for (Index i = 0; i < 5; ++i)
          for (Index j = 0; j < 9; ++j)
            tally.check(support::same_bits(z(i, j), 0), describe("all zeros", c, g), z(i, j));
        for (Index i = 0; i < z.blocks_down(); ++i)
          for (Index j = 0; j < z.blocks_across(); ++j)
            tally.check(z.affine(i, j).scale == 1, describe("all zeros", c, g), "scale ", z.affine(i, j).scale);
      }
    }
  }
  tally.require(30 * 3 * 6 * 500);
}

TEST_CASE("class 6: weights from 1e-45 to 1e-8 keep their codes, and no floor swallows them", "[bad-input][class-6]") {
  Tally tally;
  for (const GridCase& c : some_grids()) {
    for (int e = -149; e <= -26; ++e) {
      MatrixXf w(1, 5);
      w << std::ldexp(1.f, e), -std::ldexp(1.f, e), 0, std::ldexp(0.75f, e), std::ldexp(-0.25f, e);
      const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_tensor());
      support::judge(tally, describe("2^" + std::to_string(e), c, fewbit::per_tensor()), w, c, fewbit::per_tensor(), q);
      if (c.expected.bits > 1) tally.check(q(0, 0) - q(0, 1) > 0, c.name, ", 2^", e, ": both ends decode to ", q(0, 0));
    }
  }
  tally.require(30 * 124 * 20);
}

TEST_CASE("class 7: a constant block decodes exactly", "[bad-input][class-7]") {
  Tally tally;
  support::NumPy random(77);
  std::vector<float> values{huge, -huge, 0.7f * huge, -0.6f * huge, 0.4f * huge, tiny, -3 * tiny};
  for (int trial = 0; trial < 20; ++trial)
    values.push_back(static_cast<float>(random.randn() * std::ldexp(1., static_cast<int>(random.below(240)) - 120)));
  for (const GridCase& c : some_grids()) {
    for (const float value : values) {
      for (const Index n : {1, 2, 9}) {
        const MatrixXf w = MatrixXf::Constant(n, n, value);
        for (const Granularity g : granularities()) {
          const MatrixXf back = fewbit::dequantize(support::quantize(w, c.grid, g));
          tally.check(back == w, describe("constant", c, g), value, " became ", back(0, 0));
        }
      }
    }
  }
  tally.require(30 * 27 * 3 * 6);
}

TEST_CASE("class 7: a block of one element decodes exactly", "[bad-input][class-7][class-18]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(5, 21, 78, 100);
  for (const GridCase& c : some_grids()) {
    for (const Granularity g : {fewbit::per_group(1), fewbit::per_block(1, 1)}) {
      const MatrixXf back = fewbit::dequantize(support::quantize(w, c.grid, g));
      for (Index i = 0; i < 5; ++i)
        for (Index j = 0; j < 21; ++j)
          tally.check(back(i, j) == w(i, j), describe("one element", c, g), w(i, j), " became ", back(i, j));
    }
  }
  tally.require(30 * 2 * 100);
}

TEST_CASE("class 8: one-sided blocks follow the documents' formula, or have their zero among the codes",
          "[bad-input][class-8]") {
  Tally tally;
  const MatrixXf one_sided = support::planted_matrix(9, 31, 79, 6).cwiseAbs().array() + 0.125f, minus = -one_sided;
  for (const int bits : {1, 2, 3, 4, 8, 16}) {
    for (const GridCase& c : {support::integer_grids(bits)[3], support::integer_grids(bits)[4]}) {
      for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
        for (const Granularity g : granularities(t)) {
          for (const MatrixXf& w : {one_sided, minus}) {
            const QuantizedMatrix q = support::quantize(w, c.grid, g);
            support::judge(tally, describe("one-sided", c, g), w, c, g, q);
            if (c.expected.kind != oracle::Kind::asymmetric_with_zero) continue;
            for (Index i = 0; i < q.blocks_down(); ++i)
              for (Index j = 0; j < q.blocks_across(); ++j) {
                const float zero = q.affine(i, j).zero;
                tally.check(zero >= 0 && zero <= q.levels().last() && zero == std::nearbyint(zero),
                            describe("one-sided", c, g), "zero-point ", zero);
              }
          }
        }
      }
    }
  }
  tally.require(6 * 2 * 3 * 6 * 2 * 500);
}

TEST_CASE("class 9: -0 has the code of zero and decodes to +0", "[bad-input][class-9]") {
  Tally tally;
  MatrixXf plus = support::normal_matrix(6, 20, 80), minus = plus;
  for (Index j = 0; j < 20; ++j) plus(j % 6, j) = 0.f, minus(j % 6, j) = -0.f;
  for (const GridCase& c : some_grids()) {
    for (const Granularity g : granularities()) {
      const QuantizedMatrix a = support::quantize(plus, c.grid, g), b = support::quantize(minus, c.grid, g);
      tally.check(a == b, describe("", c, g), "another matrix for -0");
      const MatrixXf x = fewbit::dequantize(b), y = support::fake_quantize(minus, c.grid, g);
      for (Index j = 0; j < 20; ++j) {
        tally.check(x(j % 6, j) != 0 || !std::signbit(x(j % 6, j)), describe("", c, g), "dequantize gave -0");
        tally.check(y(j % 6, j) != 0 || !std::signbit(y(j % 6, j)), describe("", c, g), "fake_quantize gave -0");
      }
    }
  }
  tally.require(30 * 6 * 41);
}

TEST_CASE("class 10: ties go to the even level, in every position of a row", "[bad-input][class-10]") {
  Tally tally;
  for (int bits = 2; bits <= 16; ++bits) {
    const int top = (1 << (bits - 1)) - 1;
    MatrixXf w(3, 41);
    support::NumPy random(81);
    for (Index i = 0; i < 3; ++i) {
      const float scale = i == 0 ? 1.f : i == 1 ? 0x1p-60f : 0x1p40f;
      for (Index j = 0; j < 41; ++j)
        w(i, j) = scale * (static_cast<float>(random.below(static_cast<std::size_t>(2 * top))) -
                           static_cast<float>(top) + 0.5f);
      w(i, 40) = scale * static_cast<float>(top);
    }
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(bits), fewbit::per_channel());
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 40; ++j) {
        const auto level = static_cast<int>(q.levels()[static_cast<int>(q.code(i, j))]);
        tally.check(level % 2 == 0 && std::fabs(static_cast<float>(level) * q.affine(i, 0).scale - w(i, j)) ==
                                          q.affine(i, 0).scale / 2,
                    bits, " bits: ", w(i, j), " became ", level, " under ", q.affine(i, 0).scale);
      }
  }
  tally.require(15 * 120);
}

// ------------------------------------------------------------------------------------------------ 15 - 19: scales,
// widths, shapes

TEST_CASE("class 15: a scale beyond f16 is refused with its block, its value and a remedy", "[bad-input][class-15]") {
  MatrixXf w = support::normal_matrix(20, 48, 82);
  w(13, 29) = 3e6f;
  const auto refused = [&](Granularity g) {
    return thrown<std::domain_error>([&] { fewbit::quantize(w, fewbit::Symmetric(4), g); });
  };
  CHECK(says(refused(fewbit::per_group(8, ScaleType::f16)),
             {"row", "13", "column", "24", "scale", "428571", "65504", "bf16"}));
  CHECK(says(refused(fewbit::per_channel(ScaleType::f16)), {"row", "13", "column", "0", "428571"}));
  CHECK(says(refused(fewbit::per_column(ScaleType::f16)), {"row", "0", "column", "29", "428571"}));
  CHECK(says(refused(fewbit::per_block(4, 8, ScaleType::f16)), {"row", "12", "column", "24", "428571"}));
  for (const ScaleType t : {ScaleType::f32, ScaleType::bf16}) {
    Tally tally;
    const GridCase c = support::integer_grids(4)[0];
    for (const Granularity g : granularities(t))
      support::judge(tally, describe("", c, g), w, c, g, support::quantize(w, c.grid, g));
    tally.require(6 * 20 * 48);
  }
}

TEST_CASE("class 15: the last scale that f16 holds is stored, the next is refused", "[bad-input][class-15]") {
  const auto with_scale = [](float scale) {
    MatrixXf w(1, 2);
    w << 7 * scale, 0;
    return fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_tensor(ScaleType::f16)).affine(0, 0).scale;
  };
  CHECK(with_scale(65504) == 65504);
  CHECK(with_scale(65519) == 65504);
  CHECK_THROWS_AS(with_scale(65521), std::domain_error);
  CHECK_THROWS_AS(with_scale(1e30f), std::domain_error);
}

TEST_CASE("class 15: a scale below f16 is stored as a subnormal, rounded up, and never as zero",
          "[bad-input][class-15]") {
  Tally tally;
  for (const GridCase& c : some_grids()) {
    for (int e = -149; e <= -10; ++e) {
      MatrixXf w(1, 6);
      w << std::ldexp(1.f, e), -std::ldexp(0.9f, e), 0, std::ldexp(0.6f, e), std::ldexp(-0.3f, e), std::ldexp(0.1f, e);
      const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_tensor(ScaleType::f16));
      const float scale = std::fabs(q.affine(0, 0).scale);
      tally.check(scale >= 0x1p-24f && std::isfinite(scale), c.name, ", 2^", e, ": scale ", scale);
      support::judge(tally, describe("2^" + std::to_string(e), c, fewbit::per_tensor(ScaleType::f16)), w, c,
                     fewbit::per_tensor(ScaleType::f16), q);
    }
  }
  tally.require(30 * 140 * 20);
  MatrixXf w(1, 2);
  w << 1e-30f, 0;
  CHECK(fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_tensor(ScaleType::f16)).affine(0, 0).scale == 0x1p-24f);
}

TEST_CASE("class 16: every width from 1 to 16 works, anything else is refused at the door", "[bad-input][class-16]") {
  Tally tally;
  const MatrixXf w = support::normal_matrix(4, 37, 83);
  double before = infinity;
  for (int bits = 1; bits <= 16; ++bits) {
    for (const GridCase& c : support::integer_grids(bits))
      support::judge(tally, c.name + ": ", w, c, fewbit::per_channel(),
                     support::quantize(w, c.grid, fewbit::per_channel()));
    const double mse = fewbit::compare(w, fewbit::dequantize(fewbit::quantize(w, fewbit::Asymmetric(bits)))).mse;
    tally.check(mse < before, bits, " bits are no better than one less: ", mse);
    before = mse;
  }
  tally.require(16 * 5 * 4 * 37);
  for (const int bits : {0, 17, -4})
    CHECK(says(thrown<std::invalid_argument>([&] { fewbit::quantize(w, fewbit::Symmetric(bits)); }),
               {std::to_string(bits), "1", "16"}));
  for (const Index n : {0, -1, -128})
    CHECK(says(thrown<std::invalid_argument>([&] { fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(n)); }),
               {"group", std::to_string(n)}));
  CHECK(says(thrown<std::invalid_argument>([&] {
               fewbit::quantize(w, fewbit::Symmetric(4), Granularity{1, -5, ScaleType::f32});
             }),
             {"-5"}));
}

TEST_CASE("class 17: an empty matrix quantizes to an empty one, and multiplies to zeros or nothing",
          "[bad-input][class-17]") {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 9}, {9, 0}, {0, 0}}) {
    const MatrixXf w(rows, cols);
    support::in_every_layout(w, [&, r = rows, k = cols](const std::string& layout, const auto& expression) {
      for (const Granularity g : granularities(ScaleType::f16)) {
        INFO(layout << ", " << r << " x " << k << ", blocks of " << g.rows << " x " << g.cols);
        const QuantizedMatrix q = fewbit::quantize(expression, fewbit::Symmetric(4), g);
        CHECK(q.rows() == r);
        CHECK(q.cols() == k);
        CHECK(q.codes().empty());
        CHECK(q.bits_per_weight() == 0);
        const MatrixXf back = fewbit::dequantize(q), fake = fewbit::fake_quantize(expression, fewbit::Symmetric(4), g);
        CHECK((back.rows() == r && back.cols() == k));
        CHECK((fake.rows() == r && fake.cols() == k));
        const Eigen::VectorXf y = q * Eigen::VectorXf::Ones(k).eval();
        CHECK(y.size() == r);
        CHECK((y.array() == 0).all());
        const MatrixXf Y = q * MatrixXf::Ones(k, 3).eval(), none = q * MatrixXf(k, 0);
        CHECK((Y.rows() == r && Y.cols() == 3 && (Y.array() == 0).all()));
        CHECK((none.rows() == r && none.cols() == 0));
      }
    });
    CHECK(fewbit::compare(w, w).mse == 0);
  }
  CHECK(QuantizedMatrix().rows() == 0);
  CHECK(fewbit::dequantize(QuantizedMatrix()).size() == 0);
}

TEST_CASE("class 18: 1 x 1, and every number of columns to 130 by every width", "[bad-input][class-18]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(2, 130, 84, 3);
  for (int bits = 1; bits <= 16; ++bits) {
    for (const GridCase& c : {support::integer_grids(bits)[1], support::integer_grids(bits)[3]}) {
      for (Index cols = 1; cols <= 130; ++cols) {
        const MatrixXf part = w.leftCols(cols);
        const Granularity g = cols % 2 ? fewbit::per_group(32, ScaleType::f16) : fewbit::per_channel();
        const QuantizedMatrix q = support::quantize(part, c.grid, g);
        support::judge(tally, describe(std::to_string(cols) + " columns", c, g), part, c, g, q);
        support::judge_decoded(tally, describe(std::to_string(cols) + " columns", c, g), q, fewbit::dequantize(q));
      }
    }
  }
  for (std::size_t n = 2; n <= 256; n += n < 20 ? 1 : 59) {
    std::vector<float> table(n);
    for (std::size_t i = 0; i < n; ++i) table[i] = static_cast<float>(i) / static_cast<float>(n - 1) - 0.5f;
    const GridCase c{
        std::to_string(n) + " levels", fewbit::Codebook(table), {oracle::Kind::table, oracle::bits_for(n), table}};
    for (Index cols = 1; cols <= 130; cols += cols < 34 ? 1 : 5) {
      const MatrixXf part = w.leftCols(cols);
      support::judge(tally, describe(std::to_string(cols) + " columns", c, fewbit::per_group(32)), part, c,
                     fewbit::per_group(32), support::quantize(part, c.grid, fewbit::per_group(32)));
    }
  }
  tally.require(16 * 2 * 130 * 200);
}

TEST_CASE("class 18: every small shape, and every one about a panel's edge, in both storage orders",
          "[bad-input][class-18]") {
  const MatrixXf whole = support::planted_matrix(133, 35, 99, 3);
  for (Index rows = 1; rows <= 133; rows = rows == 11 ? 61 : rows == 69 ? 127 : rows + 1) {
    for (Index cols = 1; cols <= 35; cols = cols == 19 ? 31 : cols + 1) {
      const MatrixXf w = whole.block(133 - rows, 35 - cols, rows, cols);
      const support::RowMajor by_row = w;
      const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel());
      INFO(rows << " x " << cols);
      CHECK(q == fewbit::quantize(by_row, fewbit::Symmetric(4), fewbit::per_channel()));
      const MatrixXf back = fewbit::dequantize(q);
      CHECK((back == fewbit::dequantize<support::RowMajor>(q)));
      CHECK((back == fewbit::fake_quantize(w, fewbit::Symmetric(4), fewbit::per_channel())));
      CHECK(support::same_bits(back(rows - 1, cols - 1), q(rows - 1, cols - 1)));
    }
  }
}

TEST_CASE("class 19: a group that does not divide the columns, or is longer than they are, ends with them",
          "[bad-input][class-19]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(3, 100, 85, 3);
  for (const GridCase& c : {support::integer_grids(4)[0], support::integer_grids(3)[3], support::table_grids()[0]}) {
    for (const Index n : {Index{7}, Index{32}, Index{64}, Index{99}, Index{100}, Index{101}, Index{4096},
                          std::numeric_limits<Index>::max()}) {
      const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_group(n));
      support::judge(tally, describe("", c, fewbit::per_group(n)), w, c, fewbit::per_group(n), q);
      tally.check(q.blocks_across() == (n >= 100 ? 1 : (100 + n - 1) / n), c.name, ", groups of ", n, ": ",
                  q.blocks_across(), " of them");
      support::judge_decoded(tally, describe("dequantize", c, fewbit::per_group(n)), q, fewbit::dequantize(q));
    }
    const Granularity beyond = fewbit::per_block(std::numeric_limits<Index>::max(), std::numeric_limits<Index>::max());
    support::judge(tally, describe("", c, beyond), w, c, beyond, support::quantize(w, c.grid, beyond));
  }
  tally.require(3 * 9 * 300);
}

// ------------------------------------------------------------------------------------------------ 20 - 24: memory and
// shapes

TEST_CASE("class 20: storage order, strides, blocks and transposes give the bytes of a plain copy",
          "[bad-input][class-20][class-22][laws]") {
  for (const auto& [rows, cols] :
       {std::pair<Index, Index>{17, 31}, {1, 1}, {1, 70}, {70, 1}, {130, 9}, {8, 8}, {3, 200}}) {
    const MatrixXf w = support::planted_matrix(rows, cols, 86, 3);
    for (const Granularity g : granularities(ScaleType::f16)) {
      const QuantizedMatrix expected = fewbit::quantize(w, fewbit::Symmetric(4), g);
      const MatrixXf decoded = fewbit::dequantize(expected);
      support::in_every_layout(w, [&, r = rows, k = cols](const std::string& layout, const auto& expression) {
        INFO(layout << ", " << r << " x " << k << ", blocks of " << g.rows << " x " << g.cols);
        CHECK(fewbit::quantize(expression, fewbit::Symmetric(4), g) == expected);
        CHECK((fewbit::fake_quantize(expression, fewbit::Symmetric(4), g) == decoded));
      });
    }
  }
}

TEST_CASE("class 20: very wide matrices give the same bytes in either storage order", "[bad-input][class-20][laws]") {
  const MatrixXf w = support::normal_matrix(37, 66'000, 98);
  const support::RowMajor by_row = w;
  for (const Granularity g : {fewbit::per_column(), fewbit::per_group(128, ScaleType::f16)}) {
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), g);
    CHECK(q == fewbit::quantize(by_row, fewbit::Symmetric(4), g));
    const MatrixXf back = fewbit::dequantize(q);
    CHECK((back == fewbit::dequantize<support::RowMajor>(q)));
    CHECK((back == fewbit::fake_quantize(w, fewbit::Symmetric(4), g)));
  }
}

TEST_CASE("class 20: negative strides and reversed matrices", "[bad-input][class-20][laws]") {
  const MatrixXf w = support::normal_matrix(11, 21, 87);
  const MatrixXf across = w.rowwise().reverse(), both = w.reverse();
  const Granularity g = fewbit::per_group(8);
  CHECK(fewbit::quantize(w.reverse(), fewbit::Symmetric(4), g) == fewbit::quantize(both, fewbit::Symmetric(4), g));
  CHECK(fewbit::quantize(w.rowwise().reverse(), fewbit::Symmetric(4), g) ==
        fewbit::quantize(across, fewbit::Symmetric(4), g));
  CHECK(fewbit::quantize(across.rowwise().reverse(), fewbit::Symmetric(4), g) ==
        fewbit::quantize(w, fewbit::Symmetric(4), g));
}

TEST_CASE("class 20: maps whose strides are negative", "[bad-input][class-20][laws]") {
  using Map = Eigen::Map<MatrixXf, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  MatrixXf w = support::normal_matrix(11, 21, 97);
  const Map columns(w.data() + 11 * 20, 11, 21, {-11, 1}), both(w.data() + 11 * 21 - 1, 11, 21, {-11, -1}),
      rows(w.data() + 10, 11, 21, {11, -1});
  for (const Granularity g : granularities()) {
    for (const Map& map : {columns, both, rows}) {
      const MatrixXf copy = map;
      const QuantizedMatrix expected = fewbit::quantize(copy, fewbit::Symmetric(4), g);
      CHECK(fewbit::quantize(map, fewbit::Symmetric(4), g) == expected);
      MatrixXf target = MatrixXf::Zero(11, 21);
      Map into(target.data() + (map.data() - w.data()), 11, 21, {map.outerStride(), map.innerStride()});
      fewbit::dequantize_into(expected, into);
      CHECK((MatrixXf(into) == fewbit::dequantize(expected)));
    }
  }
}

TEST_CASE("class 20: vectors, fixed sizes, arrays and refs", "[bad-input][class-20][laws]") {
  const MatrixXf w = support::normal_matrix(1, 40, 88);
  const Granularity g = fewbit::per_group(16);
  const QuantizedMatrix expected = fewbit::quantize(w, fewbit::Symmetric(4), g);
  const Eigen::RowVectorXf row = w;
  CHECK(fewbit::quantize(row, fewbit::Symmetric(4), g) == expected);
  const Eigen::VectorXf column = w.transpose();
  CHECK(fewbit::quantize(column.transpose(), fewbit::Symmetric(4), g) == expected);
  const QuantizedMatrix upright = fewbit::quantize(column, fewbit::Symmetric(4));
  CHECK((upright.rows() == 40 && upright.cols() == 1));
  CHECK(upright == fewbit::quantize(MatrixXf(w.transpose()), fewbit::Symmetric(4)));
  CHECK(fewbit::quantize(column.segment(3, 30), fewbit::Symmetric(4)) ==
        fewbit::quantize(MatrixXf(column.segment(3, 30)), fewbit::Symmetric(4)));

  const Eigen::Matrix<float, 5, 8> fixed = w.reshaped(5, 8);
  CHECK(fewbit::quantize(fixed, fewbit::Symmetric(4), g) == fewbit::quantize(MatrixXf(fixed), fewbit::Symmetric(4), g));
  const Eigen::Matrix<float, 5, 8, Eigen::RowMajor> by_row = fixed;
  CHECK(fewbit::quantize(by_row, fewbit::Symmetric(4), g) ==
        fewbit::quantize(MatrixXf(fixed), fewbit::Symmetric(4), g));
  const Eigen::Ref<const MatrixXf> ref = w.middleCols(2, 30);
  CHECK(fewbit::quantize(ref, fewbit::Symmetric(4), g) ==
        fewbit::quantize(MatrixXf(w.middleCols(2, 30)), fewbit::Symmetric(4), g));
  const Eigen::ArrayXXf array = w.array();
  CHECK(fewbit::quantize(array, fewbit::Symmetric(4), g) == expected);
}

TEST_CASE("class 20: expressions are evaluated, once and rightly", "[bad-input][class-20][laws]") {
  const MatrixXf a = support::normal_matrix(13, 6, 89), b = support::normal_matrix(6, 37, 90),
                 c = support::normal_matrix(13, 37, 91);
  const Granularity g = fewbit::per_group(16, ScaleType::f16);
  const auto same = [&](const auto& expression) {
    const MatrixXf evaluated = expression;
    return fewbit::quantize(expression, fewbit::Symmetric(4), g) ==
           fewbit::quantize(evaluated, fewbit::Symmetric(4), g);
  };
  CHECK(same(a * b + c));
  CHECK(same(c.cwiseProduct(c).transpose()));
  CHECK(same(c.transpose()));
  CHECK(same(a * b));
  CHECK(same((2 * c.array() - 1).matrix()));
  CHECK(same(c.topRows(5) - c.bottomRows(5)));
  CHECK(same(MatrixXf::Identity(9, 20)));
  CHECK(same(MatrixXf::Constant(3, 3, 0.3f)));
}

TEST_CASE("class 21: fake_quantize in place equals the copy, in every layout that can be written",
          "[bad-input][class-21]") {
  const MatrixXf w = support::planted_matrix(17, 31, 92, 3);
  for (const Granularity g : granularities()) {
    const MatrixXf expected = fewbit::dequantize(fewbit::quantize(w, fewbit::Symmetric(4), g));
    MatrixXf column_major = w;
    fewbit::fake_quantize_in_place(column_major, fewbit::Symmetric(4), g);
    CHECK((column_major == expected));
    support::RowMajor row_major = w;
    fewbit::fake_quantize_in_place(row_major, fewbit::Symmetric(4), g);
    CHECK((row_major == expected));
    column_major = w;
    column_major = fewbit::fake_quantize(column_major, fewbit::Symmetric(4), g);
    CHECK((column_major == expected));
  }
}

TEST_CASE("class 21: a matrix that cannot be quantized in place is left as it was", "[bad-input][class-21][class-1]") {
  for (const Granularity g : granularities()) {
    for (const float bad : {not_a_number, infinity}) {
      MatrixXf w = support::normal_matrix(150, 31, 96);
      w(149, 30) = bad;
      const MatrixXf before = w;
      support::RowMajor by_row = w;
      CHECK_THROWS_AS(fewbit::fake_quantize_in_place(w, fewbit::Symmetric(4), g), std::domain_error);
      CHECK_THROWS_AS(fewbit::fake_quantize_in_place(by_row, fewbit::Symmetric(4), g), std::domain_error);
      CHECK(std::memcmp(w.data(), before.data(), static_cast<std::size_t>(w.size()) * sizeof(float)) == 0);
      const MatrixXf after = by_row;
      CHECK(std::memcmp(after.data(), before.data(), static_cast<std::size_t>(w.size()) * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("class 22: data at any address quantizes alike", "[bad-input][class-22]") {
  const support::RowMajor w = support::normal_matrix(5, 67, 93);
  const QuantizedMatrix expected = fewbit::quantize(w, fewbit::Symmetric(3), fewbit::per_group(32));
  std::vector<float> memory(static_cast<std::size_t>(w.size()) + 16, not_a_number), out(memory.size());
  for (Index offset = 0; offset < 16; ++offset) {
    Eigen::Map<support::RowMajor>(memory.data() + offset, 5, 67) = w;
    INFO("offset " << offset);
    CHECK(fewbit::quantize(Eigen::Map<const support::RowMajor>(memory.data() + offset, 5, 67), fewbit::Symmetric(3),
                           fewbit::per_group(32)) == expected);
    Eigen::Map<support::RowMajor> to(out.data() + offset, 5, 67);
    fewbit::dequantize_into(expected, to);
    CHECK((to == fewbit::dequantize(expected)));
  }
}

TEST_CASE("class 23: shapes beyond what can be addressed are refused before a weight is read",
          "[bad-input][class-23]") {
  const float one = 1;  // stands for a matrix that is not there
  constexpr int digits = std::numeric_limits<Index>::digits;
  constexpr Index most = Index{1} << (digits - 2), large = Index{1} << digits * 2 / 3, half = Index{3} << digits / 2;
  for (const auto& [rows, cols] : {std::pair<Index, Index>{large, large}, {most, 4}, {4, most}, {half, half / 2}}) {
    const Eigen::Map<const support::RowMajor> absurd(&one, rows, cols);
    for (const Granularity g : granularities())
      CHECK(says(thrown<std::invalid_argument>([&] { fewbit::quantize(absurd, fewbit::Symmetric(4), g); }),
                 {std::to_string(rows), std::to_string(cols)}));
  }
}

TEST_CASE("class 24: shapes that do not match are refused before anything is written", "[bad-input][class-24]") {
  const MatrixXf w = support::normal_matrix(5, 12, 94);
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(4));
  for (const Index n : {0, 1, 5, 11, 13}) {
    CHECK(says(thrown<std::invalid_argument>([&] { q* Eigen::VectorXf::Ones(n).eval(); }), {"12", std::to_string(n)}));
    CHECK(says(thrown<std::invalid_argument>([&] { q* MatrixXf::Ones(n, 3).eval(); }), {"12", std::to_string(n)}));
  }
  for (const auto& [rows, cols] : {std::pair<Index, Index>{12, 5}, {5, 11}, {5, 13}, {4, 12}, {6, 12}, {0, 0}}) {
    MatrixXf out = MatrixXf::Constant(rows, cols, 7.25f);
    CHECK(says(thrown<std::invalid_argument>([&] { fewbit::dequantize_into(q, out); }),
               {std::to_string(rows), std::to_string(cols), "5", "12"}));
    CHECK((out.array() == 7.25f).all());
    MatrixXf around = MatrixXf::Constant(20, 20, 7.25f);
    auto block = around.block(1, 1, rows, cols);
    CHECK_THROWS_AS(fewbit::dequantize_into(q, block), std::invalid_argument);
    CHECK((around.array() == 7.25f).all());
    CHECK(says(thrown<std::invalid_argument>([&] { fewbit::compare(w, out); }),
               {std::to_string(rows), std::to_string(cols)}));
  }
}
