// Bad and awkward inputs as a table: concrete matrices and requests, each by name and class, and what must come of them
// strictly and saturating. Every matrix comes through quantize, fake_quantize and fake_quantize_in_place in five
// layouts; what is refused leaves all memory about it as it was, to the last bit.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/metrics.hpp>
#include <fewbit/quantize/fake_quantize.hpp>

#include <support/any.hpp>
#include <support/expected.hpp>
#include <support/host_mode.hpp>
#include <support/refusals.hpp>

namespace {

using fewbit::Affine;
using fewbit::Granularity;
using fewbit::QuantizedMatrix;
using fewbit::Range;
using fewbit::ScaleType;
using support::GridCase;
using support::impossible;
using support::Index;
using support::judged;
using support::MatrixXf;
using support::Outcome;
using support::refused;
using support::Request;
using support::Tally;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity(),
                huge = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();
constexpr Index most_index = std::numeric_limits<Index>::max();
const fewbit::Symmetric narrow_grid(4);

// ------------------------------------------------------------------------------------------------ what a case is

struct Case {
  int number;  // of its class
  std::string name;
  MatrixXf w;
  GridCase grid;
  Granularity granularity;
  Outcome strict, saturating;
  std::optional<Affine> fixed{};  // what every block is given, whatever its range
};

// Any grid, or one Affine for all: one type at the door, so that each layout is compiled once.
struct TableGrid {
  support::AnyGrid grid;
  std::optional<Affine> fixed;

  fewbit::Levels levels() const { return support::levels(grid); }
  Affine fit(Range r) const { return fixed ? *fixed : support::fit(grid, r); }
  float zero(Range r, float scale) const {
    if (const auto* a = std::get_if<fewbit::Asymmetric>(&grid); a != nullptr && !fixed) return a->zero(r, scale);
    return fit(r).zero;
  }
};
static_assert(fewbit::Grid<TableGrid>);

GridCase narrow(int bits) { return support::integer_grids(bits)[0]; }
GridCase full(int bits) { return support::integer_grids(bits)[1]; }
GridCase signed_scale(int bits) { return support::integer_grids(bits)[2]; }
GridCase asymmetric(int bits) { return support::integer_grids(bits)[3]; }
GridCase with_zero(int bits) { return support::integer_grids(bits)[4]; }
GridCase table(std::size_t i) { return support::table_grids()[i]; }

GridCase some_grid(std::size_t i) {
  static const std::vector<GridCase> grids{narrow(4),    asymmetric(4), table(0),    full(8),       signed_scale(3),
                                           with_zero(5), narrow(2),     table(3),    asymmetric(8), signed_scale(8),
                                           narrow(16),   table(7),      with_zero(1)};
  return grids[i % grids.size()];
}
Granularity some_granularity(std::size_t i, ScaleType t = ScaleType::f32) {
  const Granularity all[] = {fewbit::per_channel(t),     fewbit::per_tensor(t),   fewbit::per_group(16, t),
                             fewbit::per_column(t),      fewbit::per_group(7, t), fewbit::per_block(16, 8, t),
                             fewbit::per_block(5, 17, t)};
  return all[i % 7];
}

MatrixXf row_of(const std::vector<float>& weights) {
  return Eigen::Map<const Eigen::RowVectorXf>(weights.data(), static_cast<Index>(weights.size()));
}
float float_of(std::uint32_t bits) { return fewbit::bit_cast<float>(bits); }

// That the first weight in row order that is not finite is named.
Outcome first_named(const MatrixXf& w) {
  for (Index i = 0; i < w.rows(); ++i)
    for (Index j = 0; j < w.cols(); ++j)
      if (!std::isfinite(w(i, j)))
        return refused({"weight at row " + std::to_string(i) + ", column " + std::to_string(j) + " is " +
                            (std::isnan(w(i, j)) ? ""
                             : w(i, j) > 0       ? "inf;"
                                                 : "-inf;"),
                        std::isnan(w(i, j)) ? "nan" : "inf", "NonFinite::saturating"});
  return judged;
}

struct Cases {
  std::vector<Case> all{};

  void add(int number, const std::string& name, const MatrixXf& w, const GridCase& grid, Granularity g,
           const Outcome& strict = judged, const Outcome& saturating = judged,
           const std::optional<Affine>& fixed = std::nullopt) {
    all.push_back({number, name, w, grid, g, strict, saturating, fixed});
  }
  // One with weights that are not finite, on the grid and granularity whose turn it is.
  void add_bad(int number, const std::string& name, const MatrixXf& w) {
    const std::size_t n = all.size();
    const ScaleType type = n % 3 == 2 ? ScaleType::bf16 : ScaleType::f32;
    add(number, name, w, some_grid(n), some_granularity(n / 2, type), first_named(w));
  }
  // A finite one, which comes to the same in either mode.
  void add_fine(int number, const std::string& name, const MatrixXf& w, const GridCase& grid, Granularity g) {
    add(number, name + ", " + grid.name, w, grid, g);
  }
};

// ------------------------------------------------------------------------------------------------ the table

struct Place {
  Index row, col;
};
// The corners, and both sides of where a register, a line of memory and a panel of rows end.
const std::vector<Place> places{{0, 0},  {0, 34}, {65, 0}, {65, 34}, {3, 15},  {3, 16},  {3, 17},
                                {15, 3}, {16, 3}, {17, 3}, {63, 20}, {64, 20}, {31, 31}, {32, 32}};

std::string at(Place p) { return "row " + std::to_string(p.row) + ", column " + std::to_string(p.col); }

void not_finite(Cases& t) {
  const MatrixXf w = support::normal_matrix(66, 35, 401), small = support::normal_matrix(5, 20, 402);
  const auto one = [&](Place p, float x) {
    MatrixXf m = w;
    m(p.row, p.col) = x;
    return m;
  };
  for (const Place p : places) {
    t.add_bad(1, "a NaN at " + at(p), one(p, nan_value));
    t.add_bad(2, "+inf at " + at(p), one(p, inf));
    t.add_bad(2, "-inf at " + at(p), one(p, -inf));
  }
  const std::pair<const char*, std::uint32_t> kinds[] = {{"a quiet NaN", 0x7fc00000},
                                                         {"a quiet NaN with a sign", 0xffc00000},
                                                         {"a quiet NaN with a payload", 0x7fc12345},
                                                         {"a signalling NaN", 0x7f800001},
                                                         {"a signalling NaN with a sign", 0xff800001},
                                                         {"a signalling NaN with a payload", 0x7fa5a5a5},
                                                         {"a NaN of ones", 0xffffffff},
                                                         {"the largest signalling NaN", 0x7fbfffff}};
  for (const auto& [name, bits] : kinds) {
    MatrixXf m = small;
    m(2, 13) = float_of(bits);
    t.add_bad(1, name, m);
  }
  const std::pair<const char*, float> values[] = {{"NaN", nan_value}, {"+inf", inf}, {"-inf", -inf}};
  for (const auto& [name, x] : values) {
    const int number = std::isnan(x) ? 1 : 2;
    MatrixXf m = w;
    m.row(16).setConstant(x);
    t.add_bad(number, std::string("a row of ") + name, m);
    m = w, m.col(33).setConstant(x);
    t.add_bad(number, std::string("a column of ") + name, m);
    m = w, m.block(4, 16, 1, 16).setConstant(x);
    t.add_bad(number, std::string("a group of ") + name, m);
    m = w, m.block(16, 8, 16, 8).setConstant(x);
    t.add_bad(number, std::string("a block of ") + name, m);
    t.add_bad(number, std::string("nothing but ") + name, MatrixXf::Constant(5, 20, x));
    t.add_bad(number, std::string("one weight, ") + name, MatrixXf::Constant(1, 1, x));
    m = MatrixXf::Zero(3, 17), m(1, 16) = x;
    t.add_bad(number, std::string("zeros, and ") + name, m);
    m = MatrixXf::Constant(3, 17, -0.f), m(2, 0) = x;
    t.add_bad(number, std::string("zeros with a sign, and ") + name, m);
    m = MatrixXf::Constant(3, 17, tiny), m(2, 16) = x;
    t.add_bad(number, std::string("the smallest floats, and ") + name, m);
    m = MatrixXf::Constant(2, 17, -0.3f), m(1, 8) = x;
    t.add_bad(number, std::string("one value, and ") + name, m);
  }
  MatrixXf m = w;
  m(64, 0) = inf, m(3, 34) = nan_value, m(3, 33) = -inf;
  t.add_bad(2, "several, of which the first in row order is named", m);
  m = small, m(0, 19) = nan_value, m(1, 0) = inf;
  t.add_bad(1, "a NaN at the end of a row, an infinity at the start of the next", m);
  // Grids by name from here: what an infinity becomes depends on which end is which.
  for (const GridCase& g : {narrow(4), full(4), signed_scale(4), asymmetric(4), with_zero(4), narrow(1), asymmetric(1),
                            narrow(16), asymmetric(16), table(0), table(5), table(6), table(7), table(9)}) {
    const MatrixXf ends = row_of({inf, -inf, 1, -2, 0.5f, -0.25f, 0}), turned = -ends;
    t.add(2, "both infinities, the longer side below, " + g.name, ends, g, fewbit::per_tensor(), first_named(ends));
    t.add(2, "both infinities, the longer side above, " + g.name, turned, g, fewbit::per_tensor(), first_named(turned));
    const MatrixXf largest = row_of({huge, inf, -huge, -inf, nan_value, 1});
    t.add(2, "infinities beside the largest floats, " + g.name, largest, g, fewbit::per_tensor(), first_named(largest));
  }
}

void far_and_wide(Cases& t) {
  const MatrixXf far = row_of({1e30f, -1e30f, huge, -huge, 3e9f, -3e9f, 0x1p31f, -0x1p31f, 0x1.fffffep30f, 0x1p32f,
                               0x1p63f, -0x1p63f, 0x1p64f, -0x1p100f, 1, -1, 0, -0.f});
  for (const GridCase& g : {narrow(1), narrow(2), narrow(3), narrow(4), full(8), signed_scale(8), asymmetric(8),
                            narrow(16), asymmetric(16), table(0), table(9)})
    for (const Affine a : {Affine{1, 0}, Affine{1e-20f, 0}, Affine{-1e-20f, 0}, Affine{tiny, 3}})
      t.add(3,
            "quotients beyond every integer, scale " + std::to_string(std::ilogb(a.scale)) +
                (a.scale < 0 ? " and negative, " : ", ") + g.name,
            far, g, fewbit::per_tensor(), judged, judged, a);

  const std::pair<const char*, MatrixXf> wide[] = {
      {"both largest floats", row_of({-huge, huge})},
      {"both largest floats and a zero", row_of({-huge, huge, 0, 1, -1})},
      {"3.4e38 both ways", row_of({3.4e38f, -3.4e38f, 1e38f, -2e38f, 3e37f})},
      {"2e38 both ways", row_of({2e38f, -2e38f, 1, 1e-45f})},
      {"zero to the largest float", row_of({0, huge, 1, huge / 2})},
      {"zero to the smallest", row_of({0, -huge, -1, -huge / 3})},
      {"the two largest floats", row_of({huge, support::next_down(huge), huge, huge})},
      {"the largest float and 1e-45", row_of({huge, tiny, -tiny, 0})}};
  for (const auto& [name, w] : wide)
    for (const GridCase& g : {narrow(4), signed_scale(8), asymmetric(4), with_zero(8), table(0), full(2)})
      t.add_fine(4, name, w, g, fewbit::per_tensor());
  t.add_fine(4, "a range beyond the floats in each row", MatrixXf(wide[2].second.replicate(17, 7)), asymmetric(4),
             fewbit::per_channel());
  t.add_fine(4, "a range beyond the floats in each column", MatrixXf(wide[2].second.transpose().replicate(4, 17)),
             asymmetric(2), fewbit::per_column());
}

void zeros_and_constants(Cases& t) {
  for (std::size_t i = 0; i < 8; ++i) {
    const ScaleType type = i % 3 == 0 ? ScaleType::f16 : i % 3 == 1 ? ScaleType::f32 : ScaleType::bf16;
    MatrixXf w = support::normal_matrix(18, 35, 403);
    w.row(2).setZero(), w.col(17).setZero(), w.block(4, 16, 1, 16).setZero(), w.block(5, 0, 11, 17).setZero();
    t.add_fine(5, "zeros by row, column, group and block", w, some_grid(i), some_granularity(i, type));
    t.add_fine(5, "nothing but zeros", MatrixXf::Zero(5, 20), some_grid(i), some_granularity(i + 1, type));
  }
  MatrixXf lone = MatrixXf::Zero(4, 33);
  lone(3, 32) = 1e-30f;
  t.add_fine(5, "zeros and one weight of 1e-30", lone, narrow(4), fewbit::per_tensor());
  t.add_fine(5, "zeros and one weight of 1e-30", lone, asymmetric(4), fewbit::per_channel());

  std::size_t n = 0;
  for (const int e : {-149, -148, -146, -140, -133, -127, -126, -125, -120, -100, -80, -64, -50, -40, -30, -27})
    for (const bool even : {true, false}) {
      const float u = std::ldexp(1.f, e);
      const MatrixXf w = row_of({u, -u, 0, 0.75f * u, -0.25f * u, 0.5f * u, -0.625f * u});
      t.add_fine(e <= -127 ? 11 : 6, "weights of 2^" + std::to_string(e), w, even ? narrow(4) : some_grid(1 + n++ % 12),
                 fewbit::per_tensor());
    }
  MatrixXf subnormal(9, 33);
  for (Index k = 0; k < subnormal.size(); ++k)
    subnormal(k / 33, k % 33) = float_of(static_cast<std::uint32_t>(k) * 28244u) * (k % 2 ? -1.f : 1.f);
  for (std::size_t i = 0; i < 10; ++i)
    t.add_fine(11, "subnormals of every size", subnormal, some_grid(i), some_granularity(i));
  MatrixXf mixed = support::normal_matrix(9, 33, 404);
  mixed.rightCols(16) *= 1e-40f;
  for (std::size_t i = 0; i < 4; ++i)
    t.add_fine(11, "subnormals beside ordinary weights", mixed, some_grid(3 * i), some_granularity(i + 2));

  n = 0;
  for (const float c : {huge, 0.95f * huge, 0.7f * huge, 0.4f * huge, 1e38f, 1e20f, 65504.f, 3.f, 1.f, 0.3f, 1e-3f,
                        1e-8f, 1e-20f, 1.2e-38f, 1e-40f, 3 * tiny, tiny})
    for (const float sign : {1.f, -1.f})
      for (const bool second : {false, true}) {
        const GridCase g = second ? some_grid(1 + n % 12) : narrow(4);
        t.add_fine(7, "nothing but " + std::to_string(std::ilogb(c)) + " in log2, " + std::to_string(sign * c),
                   MatrixXf::Constant(3, 17, sign * c), g, some_granularity(n++));
      }

  const std::pair<const char*, std::pair<float, float>> sides[] = {{"1 to 2", {1, 2}},
                                                                   {"100 to 101", {100, 101}},
                                                                   {"a millionth of itself", {1e6f, 1e6f + 1}},
                                                                   {"1e-3 to 5", {1e-3f, 5}},
                                                                   {"0 to 1", {0, 1}},
                                                                   {"two neighbours", {1, 1.0000001f}},
                                                                   {"1e30 and up", {1e30f, 1.5e30f}}};
  for (const auto& [name, ends] : sides)
    for (const bool below : {false, true})
      for (const GridCase& g : {asymmetric(4), with_zero(8), asymmetric(1)}) {
        MatrixXf w(2, 17);
        for (Index k = 0; k < w.size(); ++k)
          w(k / 17, k % 17) = ends.first + (ends.second - ends.first) * static_cast<float>(k) / 33;
        w(1, 16) = ends.second;
        t.add_fine(8, std::string(name) + (below ? ", below zero" : ""), below ? MatrixXf(-w) : w, g,
                   fewbit::per_tensor(below ? ScaleType::f32 : ScaleType::bf16));
      }

  for (const GridCase& g : {narrow(4), signed_scale(4), asymmetric(4), with_zero(3), table(0), table(8)}) {
    t.add_fine(9, "-0 among weights", row_of({-0.f, 1, -2, -0.f, 0, 0.5f, -0.f}), g, fewbit::per_tensor());
    t.add_fine(9, "nothing but -0", MatrixXf::Constant(3, 9, -0.f), g, fewbit::per_channel());
  }
}

void ties(Cases& t) {
  for (const int bits : {2, 3, 4, 8, 16})
    for (const GridCase& g : {narrow(bits), signed_scale(bits), asymmetric(bits)}) {
      // A scale of 1/4: the longest weight is the last level's, the others lie half-way between levels and next to it.
      const float first = g.expected.first(), last = g.expected.last(), end = std::fabs(first) < last ? last : first;
      std::vector<float> w{end / 4};
      if (g.expected.kind == oracle::Kind::asymmetric) w.push_back(0);
      for (int k = 0; k < 33; ++k) {
        const float level = first + static_cast<float>(k * (g.expected.count() - 2) / 32);
        const float tie = (level + 0.5f) / 4;
        w.insert(w.end(), {tie, support::next_up(tie), support::next_down(tie)});
      }
      t.add_fine(10, "ties and their neighbours", row_of(w), g, fewbit::per_tensor());
    }
  for (std::size_t i = 0; i < 9; ++i) {
    const GridCase g = table(i);
    std::vector<float> w{1, -1};
    for (std::size_t k = 0; k + 1 < g.expected.table.size(); ++k) {
      const float tie = (g.expected.table[k] + g.expected.table[k + 1]) / 2;
      w.insert(w.end(), {tie, support::next_up(tie), support::next_down(tie)});
    }
    for (float& x : w) x = std::fmin(std::fmax(x, -1.f), 1.f);
    t.add_fine(10, "half-way between levels", row_of(w), g, fewbit::per_tensor());
  }
}

void stored_scales(Cases& t) {
  const auto beyond = [](const char* type) { return refused({"scale", type, "store scales as"}); };
  const auto in_row_3 = [](float most) {
    MatrixXf w = support::normal_matrix(5, 20, 405);
    w(3, 17) = most;
    return w;
  };
  const Granularity f16 = fewbit::per_channel(ScaleType::f16), bf16 = fewbit::per_channel(ScaleType::bf16);
  const auto names_block = [](Outcome o) { return o.words.push_back("block at row 3, column 0"), o; };
  for (const float x : {1e6f, -1e6f, 3e38f, 65520.f * 7, 65536.f * 7})
    t.add(15, "a scale of " + std::to_string(x) + " / 7 does not fit f16", in_row_3(x), narrow(4), f16,
          names_block(beyond("f16")), names_block(beyond("f16")));
  t.add_fine(15, "the largest scale of f16", in_row_3(65504.f * 7), narrow(4), f16);
  t.add_fine(15, "what is rounded to the largest scale of f16", in_row_3(65519.f * 7), narrow(4), f16);
  t.add(15, "a group's scale does not fit f16", in_row_3(1e6f), asymmetric(4), fewbit::per_group(16, ScaleType::f16),
        refused({"f16", "row 3, column 16"}), refused({"f16", "row 3, column 16"}));
  t.add(15, "a signed scale does not fit f16", in_row_3(1e6f), signed_scale(3), f16, beyond("f16"), beyond("f16"));
  t.add(15, "a codebook's scale does not fit f16", in_row_3(65536), table(0), f16, beyond("f16"), beyond("f16"));
  t.add_fine(15, "a codebook's scale fits f16", in_row_3(65500), table(0), f16);
  t.add(15, "one large value does not fit f16", MatrixXf::Constant(3, 17, 1e6f), narrow(4), f16, beyond("f16"),
        beyond("f16"));
  t.add(15, "a scale beyond bf16", in_row_3(huge), narrow(2), bf16, names_block(beyond("bf16")),
        names_block(beyond("bf16")));
  t.add_fine(15, "the largest scale of bf16", in_row_3(0x1.fep127f), narrow(2), bf16);
  MatrixXf infinite = in_row_3(1e6f);
  infinite(1, 1) = inf;
  t.add(15, "an infinity and a scale that does not fit", infinite, narrow(4), f16, first_named(infinite),
        beyond("f16"));
  for (const ScaleType type : {ScaleType::f16, ScaleType::bf16})
    for (const float u : {1e-5f, 1e-6f, 1e-7f, 1e-8f, 1e-12f, 1e-30f, 1e-38f, 1e-42f, tiny})
      t.add_fine(15, "scales of " + std::to_string(std::ilogb(u)) + " in log2 as " + fewbit::name(type),
                 row_of({u, -u, u / 2, 0, u / 3, -u / 7}), type == ScaleType::f16 ? narrow(4) : asymmetric(4),
                 fewbit::per_tensor(type));
  const MatrixXf w = support::normal_matrix(3, 9, 406);
  const std::pair<const char*, Affine> odd[] = {{"no scale", {0, 0}},
                                                {"-0 for a scale", {-0.f, 0}},
                                                {"an infinite scale", {inf, 0}},
                                                {"a NaN for a scale", {nan_value, 0}},
                                                {"an infinite zero-point", {1, inf}},
                                                {"a NaN for a zero-point", {1, nan_value}}};
  for (const auto& [name, a] : odd) {
    const Outcome o = refused({"scale", "zero-point", "row 0, column 0"});
    t.add(15, std::string("an estimator that answers with ") + name, w, narrow(4), fewbit::per_channel(), o, o, a);
  }
}

void shapes(Cases& t) {
  for (int bits = 1; bits <= 16; ++bits)
    for (const bool signs : {false, true})
      t.add_fine(16, "every width", support::planted_matrix(3, 19, 407, 2), signs ? narrow(bits) : asymmetric(bits),
                 fewbit::per_channel());
  const std::pair<Index, Index> extents[] = {{0, 0}, {0, 1}, {1, 0}, {0, 7}, {5, 0}, {0, 1000}, {1000, 0}};
  std::size_t n = 0;
  for (const auto& [rows, cols] : extents)
    for (int again = 0; again < 2; ++again, ++n)
      t.add_fine(17, std::to_string(rows) + " x " + std::to_string(cols), MatrixXf(rows, cols), some_grid(n),
                 some_granularity(n));
  for (const float x : {1.f, -1.f, 0.f, -0.f, huge, -huge, tiny, -tiny, 0.3f})
    for (const GridCase& g : {narrow(4), asymmetric(8)})
      t.add_fine(18,
                 "one weight of " + std::to_string(x) + (std::signbit(x) ? " below" : " above") +
                     (std::fabs(x) == tiny ? ", the smallest" : ""),
                 MatrixXf::Constant(1, 1, x), g, fewbit::per_tensor());
  for (Index cols = 1; cols <= 130; cols += cols < 35 ? 1 : cols < 61 ? 13 : cols < 67 ? 1 : cols < 126 ? 30 : 1)
    t.add_fine(18, std::to_string(cols) + " columns", support::planted_matrix(2, cols, 408, 3),
               cols % 2 ? narrow(static_cast<int>(cols % 16) + 1) : asymmetric(static_cast<int>(cols * 7 % 16) + 1),
               some_granularity(static_cast<std::size_t>(cols)));
  const MatrixXf w = support::planted_matrix(18, 37, 409, 3);
  for (const Index n_group : {Index{1}, Index{7}, Index{36}, Index{37}, Index{38}, Index{4096}, most_index})
    for (const GridCase& g : {narrow(4), asymmetric(3)})
      t.add_fine(19, "groups of " + std::to_string(n_group), w, g, fewbit::per_group(n_group));
  t.add_fine(19, "blocks larger than the matrix", w, narrow(4), fewbit::per_block(most_index, most_index));
  t.add_fine(19, "blocks taller than the matrix", w, asymmetric(4), fewbit::per_block(19, 5));
  t.add_fine(19, "blocks wider than the matrix", w, table(0), fewbit::per_block(5, 38));
  const std::pair<Index, Index> panels[] = {{1, 300}, {300, 1},  {63, 3},  {64, 3},  {65, 3}, {16, 16},
                                            {15, 17}, {128, 17}, {7, 256}, {129, 2}, {33, 33}};
  for (const auto& [rows, cols] : panels)
    t.add_fine(20, std::to_string(rows) + " x " + std::to_string(cols), support::planted_matrix(rows, cols, 410, 3),
               some_grid(n), some_granularity(n)),
        ++n;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    Cases t;
    not_finite(t), far_and_wide(t), zeros_and_constants(t), ties(t), stored_scales(t), shapes(t);
    return t.all;
  }();
  return all;
}

// ------------------------------------------------------------------------------------------------ how it is judged

bool same(const std::vector<float>& a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Codes and weights under the Affine that was fixed for all blocks.
void judge_fixed(Tally& tally, const std::string& place, const Case& c, const QuantizedMatrix& q) {
  const oracle::Affine a{c.fixed->scale, c.fixed->zero};
  tally.check(q.affine(0, 0) == *c.fixed, place, "the scale is ", q.affine(0, 0).scale);
  for (Index i = 0; i < c.w.rows(); ++i)
    for (Index j = 0; j < c.w.cols(); ++j) {
      const unsigned code = support::expected_code(c.w(i, j), a, c.grid.expected);
      tally.check(q.code(i, j) == code, place, c.w(i, j), " has code ", q.code(i, j), " for ", code);
      tally.check(support::same_bits(q(i, j), oracle::decode(code, a, c.grid.expected)), place, c.w(i, j),
                  " decodes to ", q(i, j));
    }
}

void run(Tally& tally, const Case& c, const fewbit::QuantizeOptions& options, const Outcome& outcome) {
  const TableGrid grid{c.grid.grid, c.fixed};
  std::optional<QuantizedMatrix> first;
  support::in_every_writable_layout(c.w, [&](const char* layout, auto& w, std::span<float> memory) {
    using Plain = typename std::decay_t<decltype(w)>::PlainObject;
    const auto& input = w;
    const std::vector<float> before(memory.begin(), memory.end());
    const std::string place = std::to_string(c.number) + ", " + c.name + ", " + c.grid.name + ", " + layout +
                              (options.nonfinite == fewbit::NonFinite::strict ? ", strict: " : ", saturating: ");
    const auto quantize = [&] { return fewbit::quantize(input, grid, c.granularity, fewbit::MinMax{}, options); };
    const auto fake = [&] { return fewbit::fake_quantize(input, grid, c.granularity, fewbit::MinMax{}, options); };
    const auto in_place = [&] { fewbit::fake_quantize_in_place(w, grid, c.granularity, fewbit::MinMax{}, options); };
    const auto unchanged = [&](const char* by) {
      tally.check(same(before, memory), place, by, " changed its input, or what lies beside it");
    };
    if (outcome.kind != Outcome::Kind::judged) {
      check_refusal(tally, place + "quantize ", outcome, quantize), unchanged("quantize");
      check_refusal(tally, place + "fake_quantize ", outcome, fake), unchanged("fake_quantize");
      check_refusal(tally, place + "in place, ", outcome, in_place), unchanged("fake_quantize_in_place");
      return;
    }
    try {
      const QuantizedMatrix q = quantize();
      unchanged("quantize");
      if (!first) {
        first = q;
        if (c.fixed) judge_fixed(tally, place, c, q);
        else if (c.w.size() > 0) support::judge(tally, place, c.w, c.grid, c.granularity, q);
        tally.check(q.rows() == c.w.rows() && q.cols() == c.w.cols(), place, "the shape");
        tally.check(c.w.size() > 0 || (q.bytes() == 0 && q.bits_per_weight() == 0), place, "nothing takes ", q.bytes());
        support::judge_decoded(tally, place + "dequantize, ", q, fewbit::dequantize(q));
      }
      tally.check(q == *first, place, "other bytes than column-major");
      const Plain copy = fake();
      unchanged("fake_quantize");
      support::judge_decoded(tally, place + "fake_quantize, ", q, copy);
      Plain into;
      fewbit::fake_quantize_into(input, into, grid, c.granularity, fewbit::MinMax{}, options);
      unchanged("fake_quantize_into");
      support::judge_decoded(tally, place + "fake_quantize_into, ", q, into);
      in_place();
      support::judge_decoded(tally, place + "in place, ", q, w);
      w = c.w;  // what lies beside it is as it was if all is now as it was
      unchanged("fake_quantize_in_place");
    } catch (const std::exception& e) {
      tally.check(false, place, e.what());
    }
  });
}

std::map<int, std::size_t> count_by_class(const std::vector<Case>& all) {
  std::map<int, std::size_t> count;
  for (const Case& c : all) ++count[c.number];
  return count;
}

}  // namespace

TEST_CASE("every matrix of the table comes to what its class says, in both modes and five layouts",
          "[bad-input][table]") {
  for (const auto& [number, count] : count_by_class(cases())) {
    Tally tally;
    for (const Case& c : cases()) {
      if (c.number != number) continue;
      run(tally, c, {}, c.strict);
      run(tally, c, support::saturating, c.saturating);
    }
    INFO("class " << number);
    tally.require(count * 2 * 5 * 4);
  }
}

TEST_CASE("what is not finite has the code of its side under every rounding", "[bad-input][class-1][class-2][table]") {
  Tally tally;
  for (const Case& c : cases()) {
    if (c.strict.kind == Outcome::Kind::judged || c.saturating.kind != Outcome::Kind::judged) continue;
    const TableGrid grid{c.grid.grid, c.fixed};
    const QuantizedMatrix even = fewbit::quantize(c.w, grid, c.granularity, fewbit::MinMax{}, support::saturating);
    for (const fewbit::Rounding rounding : {fewbit::Rounding::half_away, fewbit::Rounding::stochastic}) {
      const fewbit::QuantizeOptions options{fewbit::NonFinite::saturating, rounding, 7};
      const QuantizedMatrix q = fewbit::quantize(c.w, grid, c.granularity, fewbit::MinMax{}, options);
      const std::string place = c.name + ", " + c.grid.name + ": ";
      tally.check(q.params() == even.params(), place, "the ranges depend on the rounding");
      support::judge_decoded(tally, place, q,
                             fewbit::fake_quantize(c.w, grid, c.granularity, fewbit::MinMax{}, options));
      for (Index i = 0; i < c.w.rows(); ++i)
        for (Index j = 0; j < c.w.cols(); ++j) {
          if (std::isfinite(c.w(i, j))) continue;
          if (std::isinf(c.w(i, j)))
            tally.check(q.code(i, j) == even.code(i, j), place, c.w(i, j), " has code ", q.code(i, j), " for ",
                        even.code(i, j));
          tally.check(std::isfinite(q(i, j)), place, c.w(i, j), " decodes to ", q(i, j));
        }
      CHECK(support::says(support::thrown<std::domain_error>([&] {
                            fewbit::quantize(c.w, grid, c.granularity, fewbit::MinMax{},
                                             fewbit::QuantizeOptions{fewbit::NonFinite::strict, rounding, 7});
                          }),
                          c.strict.words));
    }
  }
  tally.require(100'000);
}

// ------------------------------------------------------------------------------------------------ requests

namespace {

using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;

// A copy of q with other scales, from as many Affines as are given.
void set_params(const QuantizedMatrix& q, std::size_t n, Affine a = {}) {
  QuantizedMatrix copy = q;
  copy.set_params(std::vector<Affine>(n, a));
}

std::vector<Request> requests() {
  std::vector<Request> r;
  const auto add = [&](int number, const std::string& name, const Outcome& o, std::function<void()> ask) {
    r.push_back({number, name, o, std::move(ask)});
  };
  const auto number = [](auto n) { return std::to_string(n); };

  for (const int bits : {0, -1, 17, 32, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
    const Outcome o = impossible({"bit width", number(bits), "use 1 to 16"});
    add(16, "Symmetric(" + number(bits) + ")", o, [=] { fewbit::Symmetric{bits}; });
    add(16, "Asymmetric(" + number(bits) + ")", o, [=] { fewbit::Asymmetric{bits}; });
  }
  for (const Index n : {Index{0}, Index{-1}, Index{-128}, std::numeric_limits<Index>::min()}) {
    add(16, "groups of " + number(n), impossible({"group size", number(n), "use 1 or more"}),
        [=] { fewbit::per_group(n); });
    add(16, "blocks of 1 x " + number(n), impossible({"block", number(n), "use 1 or more"}),
        [=] { fewbit::per_block(1, n); });
    add(16, "blocks of " + number(n) + " x 1", impossible({"block", number(n), "use 1 or more"}),
        [=] { fewbit::per_block(n, 1); });
  }
  const MatrixXf w = support::normal_matrix(5, 12, 421);
  for (const Granularity g : {Granularity{-1, 0}, Granularity{0, -7}, Granularity{-3, 4}})
    add(16, "a granularity by hand of " + number(g.rows) + " x " + number(g.cols),
        impossible({number(g.rows), number(g.cols), "use extents of 0"}), [=] { fewbit::quantize(w, narrow_grid, g); });
  const std::pair<const char*, std::pair<std::vector<float>, std::vector<std::string>>> tables[] = {
      {"no levels", {{}, {"codebook of 0 levels", "2 to 256"}}},
      {"one level", {{0}, {"codebook of 1 levels"}}},
      {"257 levels", {std::vector<float>(257, 1), {"257"}}},
      {"levels that descend", {{1, 0, -1}, {"level 1", "sort them"}}},
      {"a level twice", {{-1, 0, 0, 1}, {"level 2", "duplicates"}}},
      {"zeros of both signs", {{-0.f, 0.f}, {"level 1", "duplicates"}}},
      {"a level that is a NaN", {{-1, nan_value, 1}, {"level 1", "nan", "finite"}}},
      {"an infinite level", {{-1, 0, inf}, {"level 2", "inf", "finite"}}}};
  for (const auto& [name, what] : tables)
    add(16, std::string("a codebook of ") + name, impossible(what.second),
        [levels = what.first] { fewbit::Codebook{levels}; });
  for (const float reach : {0.f, -1.f, nan_value, inf})
    add(16, "a codebook's reach of " + number(reach), impossible({"reach", "above 0"}), [=] {
      fewbit::Codebook(std::vector<float>{-1, 1}, reach);
    });

  static const float one = 1;  // stands for matrices that are not there
  constexpr int digits = std::numeric_limits<Index>::digits;
  constexpr Index large = Index{1} << digits * 2 / 3, quarter = Index{1} << (digits - 2), root = Index{3} << digits / 2;
  const std::pair<Index, Index> absurd[] = {{large, large},   {quarter, 4},    {4, quarter},
                                            {root, root / 2}, {most_index, 2}, {1, most_index}};
  for (const auto& [rows, cols] : absurd) {
    const Eigen::Map<const support::RowMajor> map(&one, rows, cols);
    for (const Granularity g : {fewbit::per_tensor(), fewbit::per_group(128)})
      add(23, number(rows) + " x " + number(cols) + (g.rows == 0 ? " under one scale" : " in groups"),
          impossible({number(rows), number(cols), "split it"}), [=] { fewbit::quantize(map, narrow_grid, g); });
  }

  const QuantizedMatrix q = fewbit::quantize(w, narrow_grid, fewbit::per_group(4));
  const std::pair<Index, Index> others[] = {{12, 5}, {5, 11}, {5, 13}, {4, 12}, {6, 12}, {0, 0}, {1, 60}, {60, 1}};
  for (const auto& [rows, cols] : others) {
    const std::string shape = number(rows) + " x " + number(cols);
    add(24, "dequantize into " + shape, impossible({shape, "5 x 12", "resize"}), [=, r_ = rows, c_ = cols] {
      MatrixXf out = MatrixXf::Constant(r_, c_, 7.25f);
      try {
        fewbit::dequantize_into(q, out);
      } catch (...) {
        CHECK((out.array() == 7.25f).all());
        throw;
      }
    });
    add(24, "compare with " + shape, impossible({shape, "5 x 12", "one shape"}),
        [=, r_ = rows, c_ = cols] { fewbit::compare(w, MatrixXf::Zero(r_, c_)); });
  }
  for (const std::size_t n : {0u, 1u, 14u, 16u, 60u})
    add(24, number(n) + " scales for 15 blocks", impossible({number(n) + " scales", "15"}), [=] { set_params(q, n); });
  for (const float scale : {0.f, -0.f, inf, -inf, nan_value})
    add(24, "scales set to " + number(scale), impossible({"scale", "block 0"}), [=] { set_params(q, 15, {scale, 0}); });
  for (const float zero : {inf, -inf, nan_value})
    add(24, "zero-points set to " + number(zero), impossible({"zero-point", "block 0", "finite"}), [=] {
      set_params(q, 15, {1, zero});
    });
  add(24, "a result of another fixed size", impossible({"4 x 12", "5 x 12"}), [=] {
    Eigen::Matrix<float, 4, 12> out;
    fewbit::fake_quantize_into(w, out, narrow_grid, fewbit::per_channel());
  });
  add(24, "weights that were moved away", impossible({"5 x 12", "moved from"}), [=] {
    QuantizedMatrix from = q;
    const QuantizedMatrix to = std::move(from);
    fewbit::dequantize(from);
  });

  // What must come out, and is checked where it is asked for.
  const MatrixXf seen = fewbit::fake_quantize(w, narrow_grid, fewbit::per_group(4));
  add(21, "a matrix set to its own quantized weights", judged, [=] {
    MatrixXf m = w;
    m = fewbit::fake_quantize(m, narrow_grid, fewbit::per_group(4));
    CHECK((m == seen));
  });
  add(21, "a transpose in place", judged, [=] {
    MatrixXf m = w.transpose();
    fewbit::fake_quantize_in_place(m.transpose(), narrow_grid, fewbit::per_group(4));
    CHECK((m.transpose() == seen));
  });
  add(21, "a block in place, and nothing beside it", judged, [=] {
    MatrixXf m = MatrixXf::Constant(9, 20, 7.25f);
    m.block(2, 3, 5, 12) = w;
    fewbit::fake_quantize_in_place(m.block(2, 3, 5, 12), narrow_grid, fewbit::per_group(4));
    CHECK((m.block(2, 3, 5, 12) == seen));
    CHECK((m.array() == 7.25f).count() == 9 * 20 - 5 * 12);
  });
  add(21, "decoded over the weights it came from", judged, [=] {
    MatrixXf m = w;
    fewbit::dequantize_into(fewbit::quantize(m, narrow_grid, fewbit::per_group(4)), m);
    CHECK((m == seen));
  });
  add(21, "twice in place is once", judged, [=] {
    MatrixXf m = w;
    fewbit::fake_quantize_in_place(m, narrow_grid, fewbit::per_group(4));
    fewbit::fake_quantize_in_place(m, narrow_grid, fewbit::per_group(4));
    CHECK((m - seen).cwiseAbs().maxCoeff() <= 1e-6f);
  });
  add(20, "rows in reverse, by a negative stride", judged, [=] {
    MatrixXf m = w, turned = w.colwise().reverse();
    const Eigen::Map<const MatrixXf, Eigen::Unaligned, Strides> map(m.data() + 4, 5, 12, {5, -1});
    CHECK(fewbit::quantize(map, narrow_grid, fewbit::per_group(4)) ==
          fewbit::quantize(turned, narrow_grid, fewbit::per_group(4)));
  });
  add(20, "one weight seen as many, by strides of 0", judged, [=] {
    const float third = 1.f / 3;
    const Eigen::Map<const MatrixXf, Eigen::Unaligned, Strides> map(&third, 5, 12, {0, 0});
    CHECK((fewbit::dequantize(fewbit::quantize(map, narrow_grid, fewbit::per_group(4))).array() == third).all());
  });
  for (const Index offset : {1, 2, 3, 5, 7, 11, 15})
    add(22, "weights " + number(offset) + " floats into memory", judged, [=] {
      std::vector<float> memory(static_cast<std::size_t>(offset + 60), nan_value);
      Eigen::Map<support::RowMajor> rows(memory.data() + offset, 5, 12);
      rows = w;
      CHECK(fewbit::quantize(rows, narrow_grid, fewbit::per_group(4)) == q);
      CHECK(std::isnan(memory[static_cast<std::size_t>(offset - 1)]));
    });
  return r;
}

}  // namespace

TEST_CASE("every request of the table is refused by its name and value, or gives what it should",
          "[bad-input][table]") {
  for (const Request& r : requests()) support::run(r);
}

TEST_CASE("the table holds 300 concrete inputs and more, each once, and some of every class", "[bad-input][table]") {
  std::set<std::string> names;
  for (const Case& c : cases()) names.insert(std::to_string(c.number) + c.name + c.grid.name);
  CHECK(names.size() == cases().size());
  CHECK(cases().size() >= 500);
  support::check_counts(requests(), 80, {{1, 30},  {2, 60},  {3, 40},  {4, 40},  {5, 15},  {6, 15},  {7, 60},
                                         {8, 40},  {9, 10},  {10, 20}, {11, 20}, {15, 30}, {16, 60}, {17, 10},
                                         {18, 50}, {19, 15}, {20, 10}, {21, 5},  {22, 5},  {23, 10}, {24, 25}},
                        count_by_class(cases()));
}

// ------------------------------------------------------------------------------------------------ 11: the host's mode

#if FEWBIT_X86_64 || FEWBIT_ARM64

using support::HostMode;

TEST_CASE("class 11: codes and weights do not depend on the mode that the host program has set",
          "[bad-input][class-11]") {
  const std::pair<const char*, std::uint64_t> modes[] = {
      {"flush to zero", HostMode::flush},
      {"upward", HostMode::upward},
      {"toward zero and flush", HostMode::toward_zero | HostMode::flush}};
  {
    const HostMode host(HostMode::flush);
    const volatile float subnormal = 1e-40f;
    CHECK(subnormal * 2 == 0);
  }
  std::vector<MatrixXf> matrices;
  for (int e = -149; e <= -110; e += e < -118 ? 1 : 4)
    matrices.push_back(support::normal_matrix(3, 37, 430) * std::ldexp(1.f, e));
  matrices.push_back(support::normal_matrix(3, 37, 431));
  matrices.back().rightCols(20) *= 1e-40f;
  Tally tally;
  for (const fewbit::kernel::Table* one : fewbit::kernel::all()) {
    if (!one->supported()) continue;
    const fewbit::kernel::Use use(*one);
    for (const auto& mode : modes)
      for (const MatrixXf& w : matrices)
        for (const GridCase& c : {narrow(4), asymmetric(8), with_zero(3), table(0)})
          for (const Granularity g :
               {fewbit::per_channel(), fewbit::per_tensor(ScaleType::bf16), fewbit::per_group(16)}) {
            const TableGrid grid{c.grid, {}};
            const QuantizedMatrix expected = fewbit::quantize(w, grid, g);
            const MatrixXf decoded = fewbit::dequantize(expected);
            QuantizedMatrix q;
            MatrixXf back, fake, in_place = w;
            std::uint64_t after = 0;
            std::string said;
            {
              const HostMode host(mode.second);
              try {
                q = fewbit::quantize(w, grid, g);
                back = fewbit::dequantize(q);
                fake = fewbit::fake_quantize(w, grid, g);
                fewbit::fake_quantize_in_place(in_place, grid, g);
              } catch (const std::exception& e) {
                said = e.what();
              }
              after = HostMode::now();
            }
            const auto place = [&] {
              return std::string(one->name) + ", " + mode.first + ", " + c.name + ", " +
                     std::to_string(std::ilogb(w.cwiseAbs().maxCoeff())) + " in log2: ";
            };
            tally.check(said.empty(), place, said);
            tally.check(q == expected, place, "other codes or scales");
            tally.check(support::same_floats(back, decoded), place, "dequantize");
            tally.check(support::same_floats(fake, decoded), place, "fake_quantize");
            tally.check(support::same_floats(in_place, decoded), place, "in place");
            tally.check(after == mode.second, place, "the host's mode came back as ", after);
          }
  }
  tally.require(3 * 30 * 4 * 3 * 6);
}

TEST_CASE("class 11: a refusal leaves the host's mode as it was", "[bad-input][class-11]") {
  MatrixXf w = support::normal_matrix(3, 37, 432);
  w(2, 36) = nan_value;
  std::uint64_t after = 0;
  std::optional<std::string> message;
  {
    const HostMode host(HostMode::flush);
    message = support::thrown<std::domain_error>([&] { fewbit::quantize(w, narrow_grid, fewbit::per_channel()); });
    after = HostMode::now();
  }
  CHECK(support::says(message, {"row 2, column 36", "nan"}));
  CHECK(after == HostMode::flush);
}

#endif
