// Products of any levels, blocks, zero-points and shape, with floats and with integers of 8 bits, both ways, through an
// input map and from ternary bytes, on every instruction set: within the bounds that ops/product.hpp states of
// dequantize-then-multiply in double, and exactly that where all numbers are small and whole.

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fewbit/ops/ternary.hpp>
#include <fewbit/quantize/double_quantize.hpp>

#include <support/expected.hpp>

#include "support/bytes.hpp"
#include "support/law.hpp"

namespace {

using Eigen::MatrixXd;
using fewbit::Activations;
using fewbit::Affine;
using fewbit::Granularity;
using fewbit::Levels;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;
using fewbit::kernel::Table;
using fuzz::Bytes;
using fuzz::Law;
using support::Index;
using support::MatrixXf;

const Law law;

struct Case {
  QuantizedMatrix q;
  MatrixXf x, back;    // q x, and W^T back
  bool whole = false;  // small integers all over: floats make no error
};

// ---- from bytes

Levels draw_levels(Bytes& in, bool whole) {
  static constexpr float short_floats[] = {-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const std::size_t kind = whole ? 0 : in.below(8);
  if (kind == 7) return Levels::table(short_floats);
  if (kind >= 5) {
    const std::size_t n = 2 + in.below(255);
    support::NumPy random(in.u8());
    std::vector<float> table(n);
    double at = -1;
    for (float& level : table)
      level = static_cast<float>(at += 0.001 + random.random_sample() / static_cast<double>(n));
    return Levels::table(table);
  }
  // Widths that have kernels of their own come up more often than the others.
  static constexpr int widths[] = {4, 8, 2, 4, 8, 1, 3, 4, 8, 5, 6, 7, 4, 8, 9, 16};
  const int bits = whole ? widths[in.below(9)] : widths[in.below(16)], half = 1 << (bits - 1);
  switch (in.below(4)) {
    case 0: return Levels::integers(bits, -half, 2 * half);
    case 1: return Levels::integers(bits, 0, 2 * half);
    case 2: return bits == 1 ? Levels::integers(1, -1, 2) : Levels::integers(bits, 1 - half, 2 * half - 1);
    default: {
      const int count = 2 + static_cast<int>(in.below((std::size_t{1} << bits) - 1));
      return Levels::integers(bits, in.between(-400, 400), count);
    }
  }
}

Granularity draw_granularity(Bytes& in) {
  const ScaleType type = static_cast<ScaleType>(in.below(3));
  switch (in.below(8)) {
    case 0: return fewbit::per_tensor(type);
    case 1: return fewbit::per_channel(type);
    case 2: return fewbit::per_column(type);
    case 3: {
      const Index rows = in.between(1, 5);
      return fewbit::per_block(rows, in.between(1, 140), type);
    }
    case 4: return fewbit::per_group(in.between(1, 200), type);
    default: return fewbit::per_group(Index{16} << in.below(5), type);
  }
}

QuantizedMatrix draw_matrix(Bytes& in, bool whole, support::NumPy& random) {
  const Levels levels = draw_levels(in, whole);
  const Granularity g = draw_granularity(in);
  const Index rows = in.between(0, 13), cols = in.between(0, 340);
  QuantizedMatrix q(rows, cols, levels, g);
  const auto count = static_cast<std::size_t>(levels.count());
  const std::size_t extremes = in.below(3), zeros = whole ? in.below(2) : in.below(5);
  for (Index i = 0; i < rows; ++i) {
    std::vector<unsigned> codes(static_cast<std::size_t>(cols));
    for (unsigned& c : codes) {
      const bool last = extremes == 1 || (extremes == 2 && random.below(2) == 0);
      c = static_cast<unsigned>(last ? count - 1 : in.left() > 64 ? in.below(count) : random.below(count));
    }
    const std::vector<std::uint8_t> bytes = oracle::pack(codes, levels.bits());
    std::copy(bytes.begin(), bytes.end(), q.codes(i));
  }
  std::vector<Affine> affines(q.tiling().blocks());
  const int spread = in.between(0, 8);
  for (Affine& a : affines) {
    if (!whole)
      a.scale = fewbit::round_scale(
          std::exp2(spread * random.random_sample() - spread / 2.) * (1 + random.random_sample()), g.scale);
    if (random.below(4) == 0) a.scale = -a.scale;
    if (zeros == 1) a.zero = levels.first() + static_cast<float>(random.below(std::min<std::size_t>(count, 256)));
    if (zeros == 2) a.zero = levels.first() + static_cast<float>(random.randn() * static_cast<double>(count) / 4);
    if (zeros == 3) a.zero = static_cast<float>(random.below(2000)) - 1000;
    if (zeros == 4) a.zero = levels.last() + static_cast<float>(random.randn() / 64);  // what is left is small
    if (random.below(8) == 0) a.zero = 0;
  }
  q.set_params(affines);
  if (!whole && in.below(8) == 1) q = fewbit::double_quantize(std::move(q));
  const std::size_t mapped = in.below(8);
  fewbit::InputMap map;
  if (mapped == 1 || mapped == 3) {
    map.order.resize(static_cast<std::size_t>(cols));
    std::iota(map.order.begin(), map.order.end(), 0u);
    for (std::size_t k = map.order.size(); k > 1; --k) std::swap(map.order[k - 1], map.order[random.below(k)]);
  }
  if (mapped == 2 || mapped == 3)
    for (Index k = 0; k < cols; ++k)
      map.scale.push_back(whole ? (random.below(2) != 0 ? 2.f : -2.f)
                                : static_cast<float>(std::exp(random.randn())) * (random.below(2) != 0 ? 1.f : -1.f));
  q.set_input_map(map);
  return q;
}

// Activations: normal, of one sign, constant, or with a few large ones; whole ones that int8 holds as they are, and
// that sums of floats take in without a rounding.
MatrixXf draw_activations(Bytes& in, Index rows, Index cols, bool whole, support::NumPy& random) {
  MatrixXf x(rows, cols);
  const std::size_t kind = in.below(6);
  const float size = whole ? 1.f : std::ldexp(1.f, in.between(-12, 12));
  for (Index c = 0; c < cols; ++c)
    for (Index k = 0; k < rows; ++k) {
      const double normal = random.randn();
      float v = static_cast<float>(normal);
      if (kind == 1) v = static_cast<float>(std::fabs(normal));
      if (kind == 2) v = static_cast<float>(c + 1);
      if (kind == 3 && random.below(20) == 0) v *= 300;
      if (kind == 4 && random.below(2) == 0) v = 0;
      if (in.left() > 32) v = static_cast<float>(in.between(-128, 127)) / 8;
      if (whole) v = k == 0 ? 127.f : static_cast<float>(random.below(63)) - 31;
      x(k, c) = v * size;
    }
  return x;
}

Case draw_case(Bytes& in) {
  Case c;
  c.whole = in.below(4) == 3;
  support::NumPy random(in.u16());
  const Index batch = in.flag() ? in.between(1, 4) : in.between(0, 30);
  c.q = draw_matrix(in, c.whole, random);
  c.x = draw_activations(in, c.q.cols(), batch, c.whole, random);
  c.back = draw_activations(in, c.q.rows(), batch, c.whole, random);
  return c;
}

// ---- what must come out

std::string place(const QuantizedMatrix& q, Index batch) {
  const Levels& l = q.levels();
  return std::to_string(q.rows()) + " x " + std::to_string(q.cols()) + " of " + std::to_string(q.bits()) + " bits, " +
         std::to_string(l.count()) + (l.uniform() ? " integers from " : " floats from ") + std::to_string(l.first()) +
         ", blocks of " + std::to_string(q.block_rows()) + " x " + std::to_string(q.block_cols()) + ", " +
         std::to_string(batch) + " columns";
}

// A product in double, and how far from it floats may be: terms * 2^-24 of the sum of magnitudes, or not at all.
struct Expected {
  MatrixXd exact, bound;

  Expected(const MatrixXd& w, const MatrixXd& x, const MatrixXd& w_sizes, const MatrixXd& x_sizes, Index terms,
           bool is_exact)
      : exact(w * x), bound(w_sizes * x_sizes) {
    bound *= is_exact ? 0 : static_cast<double>(terms) * 0x1p-24 * (1 + 1e-9);  // these sums are rounded themselves
  }
  void judge(const std::string& what, const Case& c, const MatrixXf& y) const {
    const Index cols = y.cols();
    law.check(y.rows() == exact.rows() && cols <= exact.cols(), what, ": the product is ", y.rows(), " x ", cols);
    for (Index j = 0; j < cols; ++j)
      for (Index i = 0; i < y.rows(); ++i) {
        const double off = std::fabs(static_cast<double>(y(i, j)) - exact(i, j));
        law.check(
            off <= bound(i, j), what, ", ", [&] { return place(c.q, cols); }, ": row ", i, ", column ", j, " is ",
            y(i, j), " for ", exact(i, j), ", off by ", off, " where ", bound(i, j), " is allowed");
      }
  }
};

// The columns of X as the codes of W meet them, rounded to 8 bits by the formulas: scale * (code - zero).
struct Rounded {
  MatrixXd x, size;
  Rounded(const MatrixXf& from, bool asymmetric) : x(from.rows(), from.cols()), size(from.rows(), from.cols()) {
    for (Index c = 0; c < from.cols(); ++c) {
      double lo = static_cast<double>(from.col(c).minCoeff()), hi = static_cast<double>(from.col(c).maxCoeff());
      if (lo == hi) {  // one value is exact, zeros have the scale 1
        x.col(c).setConstant(lo), size.col(c).setConstant(lo == 0 && asymmetric ? 256 : std::fabs(lo));
        continue;
      }
      const oracle::Grid grid{asymmetric ? oracle::Kind::asymmetric_with_zero : oracle::Kind::narrow, 8};
      const oracle::Affine a = oracle::fit(lo, hi, grid, oracle::f32);
      const double scale = static_cast<double>(a.scale), zero = static_cast<double>(a.zero);
      for (Index k = 0; k < from.rows(); ++k) {
        const double code = oracle::code(from(k, c), a, grid) + static_cast<double>(grid.first());
        x(k, c) = scale * (code - zero);
        size(k, c) = asymmetric ? scale * (std::fabs(code - 128) + std::fabs(zero - 128)) : std::fabs(x(k, c));
      }
    }
  }
};

// How large a weight is where integers meet it. Zero-points that are no small whole numbers come out behind the sums of
// codes, and what the two had in common has been rounded by then.
struct IntegerSizes {
  MatrixXd size;
  Index terms;

  explicit IntegerSizes(const QuantizedMatrix& q) : size(q.rows(), q.cols()), terms(q.cols() + 2) {
    const Levels& l = q.levels();
    const bool by_integers = l.uniform() && (q.bits() == 4 || q.bits() == 8);
    const auto is_small = [&](float x) { return std::fabs(x) <= (q.bits() == 8 ? 256 : 128) && x == std::floor(x); };
    for (Index i = 0; i < q.rows(); ++i)
      for (Index k = 0; k < q.cols(); ++k) {
        const Affine a = q.affine(i / q.block_rows(), k / q.block_cols());
        size(i, k) = std::fabs(static_cast<double>(q(i, k)));
        if (!by_integers || (is_small(a.zero) && is_small(l.first()))) continue;
        const double offset = std::fabs(static_cast<double>(a.zero) - static_cast<double>(l.first()));
        size(i, k) = std::fabs(static_cast<double>(a.scale)) * (q.code(i, k) + offset);
        terms = q.cols() + 4;
      }
  }
};

// The inputs as the codes meet them: ordered and scaled.
MatrixXf mapped_by_definition(const fewbit::InputMap& map, const MatrixXf& x) {
  MatrixXf mapped(x.rows(), x.cols());
  for (Index k = 0; k < x.rows(); ++k)
    for (Index j = 0; j < x.cols(); ++j) {
      const auto at = static_cast<std::size_t>(k);
      const float v = x(map.order.empty() ? k : static_cast<Index>(map.order[at]), j);
      mapped(k, j) = map.scale.empty() ? v : oracle::multiply(v, map.scale[at]);
    }
  return mapped;
}

// Everything that is multiplied on a table.
class Judge {
 public:
  explicit Judge(const Case& c)
      : c_(c), w_(support::mapped(c.q)), coded_(c.q.rows(), c.q.cols()),
        mapped_(mapped_by_definition(c.q.input_map(), c.x)) {
    for (Index i = 0; i < coded_.rows(); ++i)
      for (Index k = 0; k < coded_.cols(); ++k) coded_(i, k) = static_cast<double>(c.q(i, k));
    const MatrixXd w = w_.cast<double>(), x = c.x.cast<double>(), back = c.back.cast<double>();
    const Index in = c.q.cols();
    // One rounding for a weight that a map scales, and one for its input.
    floats_.emplace(w, x, w.cwiseAbs(), x.cwiseAbs(), in + (c.q.input_map().scale.empty() ? 2 : 4), c.whole);
    transposed_.emplace(w.transpose(), back, w.transpose().cwiseAbs(), back.cwiseAbs(), c.q.rows() + 2, c.whole);
    if (in == 0) return;
    const Rounded int8(mapped_, false), uint8(mapped_, true);
    const IntegerSizes sizes(c.q);
    int8_.emplace(coded_, int8.x, sizes.size, int8.size, sizes.terms, c.whole);
    uint8_.emplace(coded_, uint8.x, sizes.size, uint8.size, sizes.terms, false);
  }

  void judge(const Table& table) const {
    const fewbit::kernel::Use use(table);
    const QuantizedMatrix& q = c_.q;
    const std::string name = table.name;
    law.check(fewbit::dequantize(q) == w_, name, ", ", place(q, 0), " decodes to other weights");
    floats_->judge(name + ", floats", c_, q * c_.x);
    transposed_->judge(name + ", transposed", c_, q.transpose() * c_.back);
    if (c_.x.cols() > 0) {
      const Eigen::VectorXf one = c_.x.col(0);
      floats_->judge(name + ", floats, one column", c_, q * one);
    }
    if (q.cols() > 0) {
      int8_->judge(name + ", int8", c_, fewbit::product(q, c_.x, Activations::int8));
      uint8_->judge(name + ", uint8", c_, fewbit::product(q, c_.x, Activations::uint8));
    }
    if (q.levels() != fewbit::ternary_levels) return;
    const fewbit::TernaryMatrix t = fewbit::pack_ternary(q);
    for (const Activations a : {Activations::floats, Activations::int8, Activations::uint8})
      law.check(fewbit::product(t, c_.x, a) == fewbit::product(q, c_.x, a), name, ", ", place(q, c_.x.cols()),
                ": five weights to a byte give another product, activations ", static_cast<int>(a));
    law.check(fewbit::dequantize(t) == w_, name, ", ", place(q, 0), ": five weights to a byte decode to other weights");
  }

 private:
  const Case& c_;
  MatrixXf w_;      // in the order of the inputs
  MatrixXd coded_;  // as the codes lie
  MatrixXf mapped_;
  std::optional<Expected> floats_, transposed_, int8_, uint8_;
};

// One activation that is not finite: it spoils its column, and cannot be rounded.
void judge_spoilt(const Case& c, Index k, Index j, float by) {
  MatrixXf x = c.x;
  x(k, j) = by;
  const MatrixXf y = c.q * x;
  for (Index other = 0; other < x.cols(); ++other)
    law.check(y.col(other).allFinite() || other == j, "an activation of ", by, " in column ", j, " is felt in column ",
              other);
  try {
    fewbit::product(c.q, x, Activations::int8);
    law.check(false, "an activation of ", by, " was rounded");
  } catch (const std::domain_error& e) {
    const std::string named = "activation at row " + std::to_string(k) + ", column " + std::to_string(j) + " is ";
    law.check(std::string(e.what()).find(named) != std::string::npos, "'", e.what(), "' does not say '", named, "'");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes in(data, size);
  const Case c = draw_case(in);
  const Judge judge(c);
  for (const Table* t : fewbit::kernel::all())
    if (t->supported()) judge.judge(*t);
  if (c.x.size() > 0 && in.below(4) == 1) {
    constexpr float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity()};
    const Index k = static_cast<Index>(in.below(static_cast<std::size_t>(c.x.rows()))),
                j = static_cast<Index>(in.below(static_cast<std::size_t>(c.x.cols())));
    judge_spoilt(c, k, j, bad[in.below(3)]);
  }
  return 0;
}
