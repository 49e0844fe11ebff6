// Any grid, blocks, scale type and weights: every instruction set makes the same bytes and floats, the oracle agrees
// with them, fake_quantize is dequantize of quantize, and what cannot be quantized is refused by name, the first such
// place first. Grids are the library's, or any levels under an Affine from the input.

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fewbit/ops/dequantize.hpp>
#include <fewbit/quantize/fake_quantize.hpp>

#include <support/expected.hpp>
#include <support/integer_oracle.hpp>

#include "support/bytes.hpp"
#include "support/law.hpp"

namespace {

using fewbit::Affine;
using fewbit::Granularity;
using fewbit::Levels;
using fewbit::NonFinite;
using fewbit::QuantizedMatrix;
using fewbit::QuantizeOptions;
using fewbit::Rounding;
using fewbit::ScaleType;
using fewbit::kernel::Table;
using fuzz::Bytes;
using fuzz::Law;
using support::Index;
using support::MatrixXf;
using support::same_bits;

// A grid of the library, or levels whose Affine is `given` whatever the weights are. One type, so that all of them are
// compiled once.
struct Chosen {
  support::GridCase grid;
  Levels all;
  std::optional<Affine> given{};

  const Levels& levels() const { return all; }
  Affine fit(fewbit::Range r) const { return given ? *given : support::fit(grid.grid, r); }
  float zero(fewbit::Range r, float scale) const {
    if (given) return given->zero;
    const auto* asymmetric = std::get_if<fewbit::Asymmetric>(&grid.grid);
    return asymmetric != nullptr ? asymmetric->zero(r, scale) : fit(r).zero;
  }
};
static_assert(fewbit::Grid<Chosen>);

struct Case {
  Chosen grid;
  Granularity granularity;
  QuantizeOptions options;
  MatrixXf w;
};

// ---- from bytes

// An integer times a power of two.
float draw_scaled(Bytes& in, int first, int last, int lowest, int highest) {
  const int digits = in.between(first, last);  // arguments of a call have no order
  return std::ldexp(static_cast<float>(digits), in.between(lowest, highest));
}

std::vector<float> draw_table(Bytes& in) {
  const std::size_t n = 2 + in.below(255), style = in.below(4), from_input = in.below(32);
  support::NumPy random(in.u8());
  std::vector<float> table;
  while (table.size() < n) {
    float level = 0;
    if (table.size() >= from_input) level = static_cast<float>(random.randn());
    else if (style == 0) level = in.f32();
    else if (style == 1) level = static_cast<float>(in.between(-32768, 32767)) / 256;
    else if (style == 2) level = static_cast<float>(in.between(-128, 127)) / 8;
    else level = draw_scaled(in, -128, 127, -140, 110);
    table.push_back(std::isfinite(level) ? level : 1);
  }
  std::sort(table.begin(), table.end());
  table.erase(std::unique(table.begin(), table.end()), table.end());  // -0 is 0
  if (table.size() < 2) table = {-1, 1};
  return table;
}

Affine draw_affine(Bytes& in, ScaleType type) {
  Affine a;
  const std::size_t kind = in.below(8);
  if (kind == 0) a.scale = in.f32();  // 0 and what is not finite too
  else if (kind == 1) a.scale = std::ldexp(1.f, in.between(-149, 127));
  else a.scale = draw_scaled(in, 1, 255, -16, 2);
  if (kind == 2) a.scale = -a.scale;
  if (kind > 2) a.scale = fewbit::round_scale(a.scale, type);
  switch (in.below(8)) {
    case 0: a.zero = in.f32(); break;
    case 1: a.zero = static_cast<float>(in.between(-32768, 32767)); break;
    case 2: a.zero = static_cast<float>(in.between(-32768, 32767)) / 512; break;
    case 3: a.zero = draw_scaled(in, -128, 127, 0, 60); break;
    case 4: a.zero = static_cast<float>(in.below(16)); break;
    default: break;
  }
  return a;
}

Chosen draw_grid(Bytes& in, ScaleType type) {
  static const auto integers = [] {
    std::vector<std::vector<support::GridCase>> of_bits(1);
    for (int bits = 1; bits <= 16; ++bits) of_bits.push_back(support::integer_grids(bits));
    return of_bits;
  }();
  static const std::vector<support::GridCase> tables = support::table_grids();
  const auto of_library = [](const support::GridCase& c) { return Chosen{c, support::levels(c.grid)}; };
  const auto drawn_integers = [&] {
    const auto bits = static_cast<std::size_t>(in.between(1, 16));
    return of_library(integers[bits][in.below(5)]);
  };
  const auto drawn_table = [&](bool reaches) {
    const std::vector<float> t = draw_table(in);
    const float wanted = reaches ? std::fabs(in.f32()) : 0.f, reach = std::isfinite(wanted) ? wanted : 0.f;
    const fewbit::Codebook grid = reach > 0 ? fewbit::Codebook(t, reach) : fewbit::Codebook(t);
    return of_library(
        {"a table", grid, {oracle::Kind::table, oracle::bits_for(t.size()), t, static_cast<double>(reach)}});
  };
  const auto given = [&](Chosen c) {
    c.given = draw_affine(in, type);
    return c;
  };
  switch (in.below(8)) {
    case 0: return of_library(tables[in.below(tables.size())]);
    case 1: return drawn_table(in.flag());
    case 2: return given(drawn_table(false));
    case 3: {  // as many integers as there may be, from anywhere
      const int bits = in.between(1, 16), count = 2 + static_cast<int>(in.below((std::size_t{1} << bits) - 1)),
                first = in.flag() ? in.between(-300, 300) : in.between(-32768, 32767) * 2;
      Chosen c = of_library(integers[static_cast<std::size_t>(bits)][1]);
      c.grid.name = std::to_string(count) + " integers from " + std::to_string(first);
      c.all = Levels::integers(bits, first, count);
      return given(c);
    }
    case 4: return given(drawn_integers());
    default: return drawn_integers();
  }
}

Granularity draw_granularity(Bytes& in) {
  const ScaleType type = static_cast<ScaleType>(in.below(3));
  switch (in.below(8)) {
    case 0: return fewbit::per_tensor(type);
    case 1: return fewbit::per_channel(type);
    case 2: return fewbit::per_column(type);
    case 3: {
      const Index rows = in.between(1, 4);
      return fewbit::per_block(rows, in.between(1, 70), type);
    }
    case 4: return fewbit::per_group(in.between(1, 20), type);
    case 5: return fewbit::per_group(in.between(1, 256), type);
    default: return fewbit::per_group(Index{16} << in.below(4), type);
  }
}

Case draw_case(Bytes& in) {
  const Granularity granularity = draw_granularity(in);
  Case c{draw_grid(in, granularity.scale), granularity, {}, {}};
  const std::size_t how = in.below(16);
  c.options.nonfinite = how % 2 != 0 ? NonFinite::saturating : NonFinite::strict;
  c.options.rounding = how == 2 || how == 3 ? Rounding::half_away
                       : how == 4           ? Rounding::stochastic
                                            : Rounding::half_even;
  const Index rows = in.between(0, 5), cols = in.between(0, 300);
  // On levels that are not the oracle's grid's the weights are planted by their places, which are as far apart.
  oracle::Affine planted{std::ldexp(1.f, in.between(-20, 20)), 0};
  if (c.grid.given && std::isfinite(c.grid.given->scale) && std::isfinite(c.grid.given->zero))
    planted = {c.grid.given->scale, c.grid.given->zero + c.grid.grid.expected.first() - c.grid.all.first()};
  fuzz::Weights weight(in, planted, c.grid.grid.expected);
  c.w.resize(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) c.w(i, j) = weight();
  return c;
}

// ---- what is refused

// The places that may be named, in the order in which the library looks, the last being one that must be refused if
// `must`. Those before it are blocks of one value, whose scale the formulas leave open.
struct Refusal {
  std::vector<std::string> places;
  bool must = false;

  explicit Refusal(const Case& c) {
    const Index rows = c.w.rows(), cols = c.w.cols();
    if (rows == 0 || cols == 0) return;
    const Index height = c.granularity.rows ? std::min(c.granularity.rows, rows) : rows,
                width = c.granularity.cols ? std::min(c.granularity.cols, cols) : cols;
    if (height > 1) look_at_weights(c, 0, rows);
    for (Index i = 0; i < rows && !must; i += height) {
      if (height == 1) look_at_weights(c, i, i + 1);
      for (Index j = 0; j < cols && !must; j += width) look_at_block(c, i, j, height, width);
    }
  }

  void judge(const Law& law, const std::string& said) const {
    if (said.empty()) return law.check(!must, "accepted, in spite of: ", must ? places.back() : "");
    bool named = said.rfind("fewbit: ", 0) == 0;
    bool found = false;
    for (const std::string& place : places) found = found || said.find(place) != std::string::npos;
    law.check(named && found, "refused with the words '", said, "'; expected ",
              places.empty() ? "no refusal" : places.back());
  }

 private:
  void look_at_weights(const Case& c, Index first, Index last) {
    if (c.options.nonfinite == NonFinite::saturating) return;
    for (Index i = first; i < last; ++i)
      for (Index j = 0; j < c.w.cols(); ++j)
        if (!must && !std::isfinite(c.w(i, j)))
          add("weight at row " + std::to_string(i) + ", column " + std::to_string(j) + " is ", true);
  }
  void look_at_block(const Case& c, Index i, Index j, Index height, Index width) {
    const std::string place = "block at row " + std::to_string(i) + ", column " + std::to_string(j) + " ";
    const oracle::Format f = support::format(c.granularity.scale);
    if (c.grid.given) {
      const double scale = static_cast<double>(c.grid.given->scale);
      if (!std::isfinite(scale) || scale == 0 || !std::isfinite(c.grid.given->zero) ||
          std::isinf(oracle::stored(scale, f)))
        add(place, true);
      return;
    }
    const support::BlockRange r = support::range_of(c.w, i, j, height, width);
    if (r.empty() || (r.constant() && r.lo == 0)) return;
    if (r.constant()) add(place, false);
    else if (std::isinf(oracle::fit(r.lo, r.hi, c.grid.grid.expected, f).scale)) add(place, true);
  }
  void add(const std::string& place, bool is_certain) {
    if (must) return;
    places.push_back(place), must = is_certain;
  }
};

// ---- what comes out

struct Outcome {
  std::string said;  // the refusal
  std::optional<QuantizedMatrix> q;
  MatrixXf decoded, fake;
};

bool same_floats(const MatrixXf& a, const MatrixXf& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         (a.size() == 0 || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0);
}

template <class W>
Outcome outcome(const Case& c, const W& w) {
  const Law law;
  Outcome o;
  try {
    o.q = fewbit::quantize(w, c.grid, c.granularity, fewbit::MinMax{}, c.options);
    o.decoded = fewbit::dequantize(*o.q);
  } catch (const std::domain_error& e) {
    o.said = e.what();
  }
  try {
    o.fake = fewbit::fake_quantize(w, c.grid, c.granularity, fewbit::MinMax{}, c.options);
    law.check(o.said.empty(), "fake_quantize accepts what quantize refuses with '", o.said, "'");
    law.check(same_floats(o.fake, o.decoded), "fake_quantize is not dequantize of quantize");
  } catch (const std::domain_error& e) {
    law.check(o.said == e.what(), "quantize says '", o.said, "' and fake_quantize '", e.what(), "'");
  }
  return o;
}

// The Affine of a block under one that was given, and codes and weights under that.
void judge_given(const Law& law, const Case& c, const QuantizedMatrix& q) {
  const Levels& l = c.grid.all;
  const double scale = static_cast<double>(c.grid.given->scale), zero = static_cast<double>(c.grid.given->zero),
               reach = std::max(std::fabs(static_cast<double>(l.first()) - zero),
                                std::fabs(static_cast<double>(l.last()) - zero)),
               stored = oracle::stored(scale, support::format(q.scale_type()));
  for (Index b = 0; b < q.blocks_down() * q.blocks_across(); ++b) {
    const Affine a = q.affine(b / q.blocks_across(), b % q.blocks_across());
    const double s = static_cast<double>(a.scale);
    law.check(same_bits(a.zero, c.grid.given->zero + 0.f), "zero-point ", zero, " came out as ", a.zero);
    law.check(oracle::stored(s, support::format(q.scale_type())) == s && s != 0 &&
                  std::signbit(s) == std::signbit(scale) && std::fabs(s) <= std::fabs(stored),
              "scale ", scale, " came out as ", s);
    if (std::fabs(stored) * reach <= 0.99 * oracle::f32.most)
      law.check(s == stored, "scale ", scale, " came out as ", s, " for ", stored);
  }
  for (Index i = 0; i < q.rows(); ++i)
    for (Index j = 0; j < q.cols(); ++j) {
      const Affine a = q.affine(i / q.block_rows(), j / q.block_cols());
      const float w = std::isnan(c.w(i, j)) ? 0.f : c.w(i, j);
      unsigned code;
      float decoded;
      if (l.uniform()) {
        const integer_oracle::Integers integers{static_cast<std::int64_t>(l.first()), l.count(),
                                                fewbit::bit_cast<std::uint32_t>(a.scale),
                                                fewbit::bit_cast<std::uint32_t>(a.zero)};
        code = integers.code(fewbit::bit_cast<std::uint32_t>(w));
        decoded = fewbit::bit_cast<float>(integers.weight(code));
      } else {
        code = support::expected_code(w, {a.scale, a.zero}, c.grid.grid.expected);
        decoded = oracle::decode(code, {a.scale, a.zero}, c.grid.grid.expected);
      }
      law.check(q.code(i, j) == code && same_bits(q(i, j), decoded), c.grid.grid.name, ", weight ", i, ", ", j, ", ", w,
                ", scale ", a.scale, ", zero ", a.zero, ": code ", q.code(i, j), " for ", code, ", decodes to ",
                q(i, j), " for ", decoded);
    }
}

// Masks and gradients, which leave the library only by way of training.
void judge_masks(const Law& law, const Case& c, const QuantizedMatrix& q) {
  const auto n = static_cast<std::size_t>(q.cols());
  std::vector<Affine> affine(static_cast<std::size_t>(q.blocks_across()));
  std::vector<float> x(n), gradient(n), out(n), passed(n);
  std::vector<std::uint8_t> mask((n + 7) / 8), expected;
  for (Index i = 0; i < q.rows(); ++i) {
    for (Index g = 0; g < q.blocks_across(); ++g) affine[static_cast<std::size_t>(g)] = q.affine(i / q.block_rows(), g);
    std::vector<unsigned> inside(n);
    for (std::size_t k = 0; k < n; ++k) {
      const float w = c.w(i, static_cast<Index>(k));
      const Affine a = affine[k / static_cast<std::size_t>(q.block_cols())];
      x[k] = std::isnan(w) ? 0.f : w, gradient[k] = static_cast<float>(k) - 7.5f;
      inside[k] = c.grid.given && c.grid.all.uniform() ? fewbit::kernel::scalar::inside(x[k], a, c.grid.all)
                                                       : oracle::inside(x[k], {a.scale, a.zero}, c.grid.grid.expected);
    }
    expected = oracle::pack(inside, 1);
    const fewbit::kernel::Row row{n, static_cast<std::size_t>(q.block_cols()), affine.data(), &c.grid.all};
    for (const Table* t : fewbit::kernel::all()) {
      if (!t->supported()) continue;
      std::fill(mask.begin(), mask.end(), std::uint8_t{0xa5});
      t->fake_quantize(x.data(), row, out.data(), mask.data());
      law.check(mask == expected, t->name, ": the mask of row ", i, " is wrong, ", c.grid.grid.name);
      for (std::size_t k = 0; k < n; ++k)
        law.check(same_bits(out[k], q(i, static_cast<Index>(k))) || c.options.rounding != Rounding::half_even, t->name,
                  ": weight ", k, " of row ", i, " changes with a mask");
      t->straight_through(x.data(), row, gradient.data(), passed.data());
      for (std::size_t k = 0; k < n; ++k)
        law.check(same_bits(passed[k], inside[k] != 0 ? gradient[k] : 0.f), t->name, ": gradient ", k, " of row ", i,
                  " is ", passed[k]);
    }
  }
}

template <class W>
void judge(const Case& c, const W& w) {
  const Law law;
  const Outcome scalar = [&] {
    const fewbit::kernel::Use use(fewbit::kernel::scalar::table);
    return outcome(c, w);
  }();
  for (const Table* t : fewbit::kernel::all()) {
    if (!t->supported()) continue;
    const fewbit::kernel::Use use(*t);
    const Outcome o = outcome(c, w);
    law.check(o.said == scalar.said, t->name, " says '", o.said, "', scalar '", scalar.said, "'");
    law.check(o.q == scalar.q, t->name, " makes other codes or scales than scalar, ", c.grid.grid.name);
    law.check(same_floats(o.decoded, scalar.decoded), t->name, " decodes to other weights than scalar, ",
              c.grid.grid.name);
  }
  Refusal(c).judge(law, scalar.said);
  if (!scalar.q || c.w.size() == 0) return;
  support::judge_decoded(law, c.grid.grid.name + ", ", *scalar.q, scalar.decoded);
  judge_masks(law, c, *scalar.q);
  if (c.options.rounding != Rounding::half_even) return;
  if (c.grid.given) judge_given(law, c, *scalar.q);
  else support::judge(law, c.grid.grid.name + ", ", c.w, c.grid.grid, c.granularity, *scalar.q);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes in(data, size);
  const bool by_row = in.flag();
  const Case c = draw_case(in);
  if (by_row) judge(c, support::RowMajor(c.w));
  else judge(c, c.w);
  return 0;
}
