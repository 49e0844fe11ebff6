// What must hold for any weights, whatever the implementation: the laws of quantization, for every grid, width,
// granularity and scale type.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/product.hpp>

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

constexpr ScaleType scale_types[] = {ScaleType::f32, ScaleType::f16, ScaleType::bf16};

std::vector<Granularity> granularities(ScaleType t) {
  return {fewbit::per_tensor(t),    fewbit::per_channel(t),  fewbit::per_column(t),
          fewbit::per_group(32, t), fewbit::per_group(7, t), fewbit::per_block(3, 8, t)};
}

std::string describe(const GridCase& c, Granularity g) {
  return c.name + ", " + std::to_string(g.rows) + " x " + std::to_string(g.cols) + ", scales " + fewbit::name(g.scale) +
         ": ";
}

fewbit::Affine affine_of(const QuantizedMatrix& q, Index i, Index j) {
  return q.affine(i / q.block_rows(), j / q.block_cols());
}

float level_of(const QuantizedMatrix& q, Index i, Index j) { return q.levels()[static_cast<int>(q.code(i, j))]; }

}  // namespace

TEST_CASE("a weight inside the range moves by half a step at most, at every magnitude from 2^-149 to 2^127",
          "[laws][bad-input][class-6]") {
  Tally tally;
  double worst = 0;
  const MatrixXf unit = support::normal_matrix(1, 48, 51);
  for (const int bits : {1, 2, 3, 4, 5, 8, 12, 16}) {
    for (const GridCase& c : support::integer_grids(bits)) {
      if (c.name.rfind("Asymmetric(" + std::to_string(bits) + ")", 0) == 0 &&
          c.expected.kind == oracle::Kind::asymmetric)
        continue;  // below
      for (const ScaleType t : {ScaleType::f32, ScaleType::bf16}) {
        for (int e = -149; e <= 127; ++e) {
          // The largest |w| is 2^e exactly, the others below it; a zero keeps the block from being constant.
          MatrixXf w(1, 48);
          for (Index j = 0; j < 48; ++j)
            w(0, j) =
                static_cast<float>(std::ldexp(static_cast<double>(std::fmax(-1.f, std::fmin(1.f, unit(0, j) / 3))), e));
          w(0, 5) = std::ldexp(1.f, e), w(0, 6) = 0, w(0, 7) = -std::ldexp(1.f, e) / 2;
          const QuantizedMatrix q = support::quantize(w, c.grid, fewbit::per_tensor(t));
          const fewbit::Affine a = q.affine(0, 0);
          for (Index j = 0; j < 48; ++j) {
            // The quotient, not the difference: at 2^-149 no difference could be small enough to see.
            const double quotient =
                static_cast<double>(w(0, j)) / static_cast<double>(a.scale) + static_cast<double>(a.zero);
            const bool inside = quotient >= static_cast<double>(q.levels().first()) - 0.5 &&
                                quotient <= static_cast<double>(q.levels().last()) + 0.5;
            if (!inside) {  // clamped, on its own side
              tally.check(level_of(q, 0, j) == (quotient > 0 ? q.levels().last() : q.levels().first()), c.name, ", 2^",
                          e, ": ", w(0, j), " not clamped");
              continue;
            }
            const double off = std::fabs(quotient - static_cast<double>(level_of(q, 0, j)));
            worst = std::fmax(worst, off);
            tally.check(off <= oracle::half_step(quotient - static_cast<double>(a.zero)), c.name, ", 2^", e, ": ",
                        w(0, j), " is ", off, " steps off");
          }
          // And the range is covered: with scales in float, nothing is clamped by more than that.
          if (t == ScaleType::f32 && c.expected.kind == oracle::Kind::narrow)
            tally.check(std::fabs(static_cast<double>(q.levels().last()) * static_cast<double>(a.scale)) >=
                                std::ldexp(1 - 0x1p-23, e) ||
                            bits == 1,
                        c.name, ", 2^", e, ": the last level is ", q.levels().last() * a.scale);
        }
      }
    }
  }
  tally.require(8 * 3 * 2 * 277 * 40);
  CHECK(worst > 0.49);  // the bound is met, so it says something
}

TEST_CASE("asymmetric weights move by half a step at most, wherever their range lies", "[laws][bad-input][class-8]") {
  Tally tally;
  support::NumPy random(52);
  for (int bits = 1; bits <= 16; ++bits) {
    for (int trial = 0; trial < 60; ++trial) {
      const double size = std::ldexp(1., static_cast<int>(random.below(200)) - 100), shift = random.randn() * 3;
      MatrixXf w(1, 40);
      for (Index j = 0; j < 40; ++j) w(0, j) = static_cast<float>((random.random_sample() + shift) * size);
      const QuantizedMatrix q = fewbit::quantize(w, fewbit::Asymmetric(bits));
      const fewbit::Affine a = q.affine(0, 0);
      for (Index j = 0; j < 40; ++j) {
        const double steps = static_cast<double>(w(0, j)) / static_cast<double>(a.scale),
                     quotient = steps + static_cast<double>(a.zero);
        const double off = std::fabs(std::clamp(quotient, 0., static_cast<double>(q.levels().last())) -
                                     static_cast<double>(level_of(q, 0, j)));
        // The zero-point was rounded too, so an end of the range may be clamped by half a step.
        tally.check(off <= oracle::half_step(steps), bits, " bits, shift ", shift, ": ", w(0, j), " is ", off,
                    " steps off");
        tally.check(std::fabs(quotient - std::clamp(quotient, 0., static_cast<double>(q.levels().last()))) <=
                        0.5 + std::fabs(steps) * 0x1p-22,
                    bits, " bits, shift ", shift, ": ", w(0, j), " lies at ", quotient);
      }
    }
  }
  tally.require(16 * 60 * 80);
}

TEST_CASE("zero stays zero, and comes back without a sign", "[laws][bad-input][class-9]") {
  Tally tally;
  MatrixXf w = support::planted_matrix(6, 50, 53, 4);
  for (Index j = 0; j < 50; j += 3) w(j % 6, j) = j % 2 ? 0.f : -0.f;
  for (const GridCase& c : support::all_grids()) {
    const bool holds_zero =
        c.expected.kind != oracle::Kind::asymmetric &&
        (c.expected.uniform() || std::count(c.expected.table.begin(), c.expected.table.end(), 0.f) > 0);
    if (!holds_zero) continue;
    for (const ScaleType t : scale_types) {
      for (const Granularity g : granularities(t)) {
        const QuantizedMatrix q = support::quantize(w, c.grid, g);
        const MatrixXf back = fewbit::dequantize(q);
        for (Index i = 0; i < 6; ++i)
          for (Index j = 0; j < 50; ++j)
            if (w(i, j) == 0)
              tally.check(support::same_bits(back(i, j), 0.f), describe(c, g), i, ", ", j, " is ", back(i, j));
      }
    }
  }
  tally.require(70 * 3 * 6 * 17);
}

TEST_CASE("W * 2^k keeps the codes and scales the scales", "[laws]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(6, 50, 54, 2);
  for (const GridCase& c : support::all_grids()) {
    for (const ScaleType t : scale_types) {
      for (const Granularity g : granularities(t)) {
        const QuantizedMatrix q = support::quantize(w, c.grid, g);
        // Where no scale is a subnormal of its type, and none overflows.
        float least = std::numeric_limits<float>::max(), most = 0;
        for (Index i = 0; i < q.blocks_down(); ++i)
          for (Index j = 0; j < q.blocks_across(); ++j)
            least = std::fmin(least, std::fabs(q.affine(i, j).scale)),
            most = std::fmax(most, std::fabs(q.affine(i, j).scale));
        for (const int k : {-100, -7, 3, 90}) {
          const float factor = std::ldexp(1.f, k);
          const oracle::Format f = support::format(t);
          if (static_cast<double>(least) * std::ldexp(1., k) < f.smallest_normal() ||
              static_cast<double>(most) * std::ldexp(1., k) > f.most / 4)
            continue;
          if (static_cast<double>(least) < f.smallest_normal()) continue;
          const QuantizedMatrix scaled = support::quantize((w * factor).eval(), c.grid, g);
          tally.check(std::equal(q.codes().begin(), q.codes().end(), scaled.codes().begin()), describe(c, g),
                      "codes under 2^", k);
          for (Index i = 0; i < q.blocks_down(); ++i)
            for (Index j = 0; j < q.blocks_across(); ++j) {
              const fewbit::Affine a = q.affine(i, j), b = scaled.affine(i, j);
              // A block of zeros keeps its scale of 1.
              tally.check((b.scale == a.scale * factor || (a.scale == 1 && b.scale == 1)) && a.zero == b.zero,
                          describe(c, g), "scale ", a.scale, " became ", b.scale, " under 2^", k);
            }
        }
      }
    }
  }
  tally.require(20'000);
}

TEST_CASE("-W mirrors the levels of a narrow symmetric grid, and the scale of a signed one", "[laws]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(6, 50, 55, 5), minus = -w;
  for (int bits = 1; bits <= 16; ++bits) {
    for (const ScaleType t : scale_types) {
      for (const Granularity g : granularities(t)) {
        const std::string place =
            std::to_string(bits) + " bits, " + std::to_string(g.rows) + " x " + std::to_string(g.cols) + ": ";
        if (bits > 1) {
          const QuantizedMatrix a = fewbit::quantize(w, fewbit::Symmetric(bits), g),
                                b = fewbit::quantize(minus, fewbit::Symmetric(bits), g);
          for (Index i = 0; i < 6; ++i)
            for (Index j = 0; j < 50; ++j) {
              tally.check(level_of(b, i, j) == -level_of(a, i, j), place, "weight ", i, ", ", j);
              tally.check(affine_of(a, i, j) == affine_of(b, i, j), place, "affine of ", i, ", ", j);
            }
          const QuantizedMatrix full = fewbit::quantize(w, fewbit::Symmetric(bits).full_range(), g),
                                mirror = fewbit::quantize(minus, fewbit::Symmetric(bits).full_range(), g);
          for (Index i = 0; i < 6; ++i)
            for (Index j = 0; j < 50; ++j)  // the one level without a mirror image is clamped
              tally.check(
                  level_of(mirror, i, j) == std::fmin(-level_of(full, i, j), full.levels().last()) ||
                      (level_of(full, i, j) == full.levels().last() && level_of(mirror, i, j) == full.levels().first()),
                  place, "weight ", i, ", ", j, " on the full range");
        }
        const QuantizedMatrix a = fewbit::quantize(w, fewbit::Symmetric(bits).signed_scale(), g),
                              b = fewbit::quantize(minus, fewbit::Symmetric(bits).signed_scale(), g);
        for (Index i = 0; i < 6; ++i)
          for (Index j = 0; j < 50; ++j) {
            const Index bi = i / a.block_rows() * a.block_rows(), bj = j / a.block_cols() * a.block_cols();
            const support::BlockRange r = support::range_of(w, bi, bj, a.block_rows(), a.block_cols());
            if (r.lo == -r.hi) continue;  // two elements of one magnitude: which of them counts does not mirror
            tally.check(a.code(i, j) == b.code(i, j) && affine_of(b, i, j).scale == -affine_of(a, i, j).scale, place,
                        "weight ", i, ", ", j, " under a signed scale");
          }
      }
    }
  }
  tally.require(16 * 3 * 6 * 300 * 3);
}

TEST_CASE("permuted rows permute codes and scales", "[laws]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(23, 37, 56, 5);
  Eigen::PermutationMatrix<Eigen::Dynamic> order(23);
  for (Index i = 0; i < 23; ++i) order.indices()[i] = static_cast<int>((i * 7 + 3) % 23);
  const MatrixXf permuted = order * w;
  for (const GridCase& c : support::all_grids()) {
    for (const Granularity g : {fewbit::per_channel(ScaleType::f16), fewbit::per_group(8),
                                fewbit::per_column(ScaleType::bf16), fewbit::per_tensor()}) {
      const QuantizedMatrix a = support::quantize(w, c.grid, g), b = support::quantize(permuted, c.grid, g);
      for (Index i = 0; i < 23; ++i) {
        const Index to = order.indices()[i];
        tally.check(std::equal(a.codes(i), a.codes(i) + a.row_bytes(), b.codes(to)), describe(c, g), "codes of row ",
                    i);
        for (Index j = 0; j < a.blocks_across(); ++j)
          tally.check(a.affine(g.rows == 1 ? i : 0, j) == b.affine(g.rows == 1 ? to : 0, j), describe(c, g), "affine ",
                      j, " of row ", i);
      }
    }
  }
  tally.require(80 * 4 * 46);
}

TEST_CASE("order is preserved inside a block", "[laws]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(1, 200, 57, 8);
  for (const GridCase& c : support::all_grids()) {
    for (const ScaleType t : scale_types) {
      const MatrixXf back = fewbit::dequantize(support::quantize(w, c.grid, fewbit::per_tensor(t)));
      std::vector<Index> order(200);
      std::iota(order.begin(), order.end(), Index{0});
      std::sort(order.begin(), order.end(), [&](Index a, Index b) { return w(0, a) < w(0, b); });
      for (std::size_t k = 1; k < order.size(); ++k)
        tally.check(back(0, order[k - 1]) <= back(0, order[k]), c.name, ": ", w(0, order[k - 1]), " and ",
                    w(0, order[k]), " became ", back(0, order[k - 1]), " and ", back(0, order[k]));
    }
  }
  tally.require(80 * 3 * 199);
}

TEST_CASE("every instruction set gives the same matrix, end to end", "[laws][kernel]") {
  Tally tally;
  const MatrixXf w = support::planted_matrix(9, 133, 58, 6);
  for (const GridCase& c : support::all_grids()) {
    for (const ScaleType t : scale_types) {
      for (const Granularity g :
           {fewbit::per_tensor(t), fewbit::per_column(t), fewbit::per_group(32, t), fewbit::per_group(7, t)}) {
        const auto both = [&](const fewbit::kernel::Table& table) {
          const fewbit::kernel::Use use(table);
          QuantizedMatrix q = support::quantize(w, c.grid, g);
          MatrixXf back = fewbit::dequantize(q), fake = support::fake_quantize(w, c.grid, g);
          return std::tuple(std::move(q), std::move(back), std::move(fake));
        };
        const auto [q, back, fake] = both(fewbit::kernel::choose("scalar"));
        for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
          if (!table->supported()) continue;
          const auto [other, other_back, other_fake] = both(*table);
          tally.check(other == q, table->name, ", ", describe(c, g), "quantize");
          support::judge_decoded(tally, table->name + (", " + describe(c, g)) + "dequantize, ", q, other_back);
          support::judge_decoded(tally, table->name + (", " + describe(c, g)) + "fake_quantize, ", q, other_fake);
        }
        support::judge_decoded(tally, describe(c, g), q, back);
        support::judge_decoded(tally, describe(c, g), q, fake);
      }
    }
  }
  tally.require(80 * 3 * 4 * 9 * 133 * 4);
}

TEST_CASE("q * x is dequantize(q) * x, within the bound of its additions", "[laws][product]") {
  Tally tally;
  const MatrixXf x = support::normal_matrix(133, 9, 59);
  for (const GridCase& c : support::all_grids()) {
    if (c.expected.uniform() && c.expected.bits % 3 == 1 && c.expected.bits != 4) continue;
    for (const Granularity g :
         {fewbit::per_tensor(), fewbit::per_group(32, ScaleType::f16), fewbit::per_block(5, 40, ScaleType::bf16)}) {
      const QuantizedMatrix q = support::quantize(support::normal_matrix(70, 133, 60), c.grid, g);
      const MatrixXf w = fewbit::dequantize(q), many = q * x;
      const Eigen::VectorXf one = q * x.col(0);
      const Eigen::MatrixXd exact = w.cast<double>() * x.cast<double>(),
                            size = w.cast<double>().cwiseAbs() * x.cast<double>().cwiseAbs();
      // Each of n products and n - 1 sums rounds once: n 2^-24 of what is summed, whatever the order; 2 more for slack
      // in 1 / (1 - n 2^-24). A zero-point that is taken out of the sum would be measured with its share.
      for (Index i = 0; i < 70; ++i) {
        tally.check(std::fabs(static_cast<double>(one[i]) - exact(i, 0)) <= (133 + 2) * 0x1p-24 * size(i, 0),
                    describe(c, g), "vector, row ", i);
        for (Index k = 0; k < 9; ++k)
          tally.check(std::fabs(static_cast<double>(many(i, k)) - exact(i, k)) <= (133 + 2) * 0x1p-24 * size(i, k),
                      describe(c, g), "matrix, ", i, ", ", k);
      }
    }
  }
  tally.require(50 * 3 * 700);
}
