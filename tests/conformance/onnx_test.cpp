// ONNX's quantization operators on recorded vectors: fewbit, through its public names, gives their integers and floats
// bit for bit. make_onnx_vectors.py works the vectors out from the text of the operators, in fractions.
//
// What ONNX has and fewbit has not: float8 and float4e2m1 as targets of QuantizeLinear, int32 as a source of
// DequantizeLinear, tensors of other than two axes, quotients and results in 16 bits (fewbit divides and multiplies
// floats). Where both can say something and say different things, a case below shows it.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/linear.hpp>
#include <fewbit/quantize/quantize.hpp>

#include <support/matrices.hpp>
#include <support/oracle.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Affine;
using fewbit::Levels;
using fewbit::QuantizedMatrix;
using support::Index;
using support::RowMajor;
using support::Tally;

constexpr float inf = std::numeric_limits<float>::infinity();

// x and y of rows x cols, with a scale and a zero-point for each block: 0 rows or columns are all of them.
// QuantizeLinear turns x into y; DequantizeLinear turns y into `decoded`. A case has one of the two.
struct LinearCase {
  std::string name, type;
  Index rows, cols, block_rows, block_cols;
  std::vector<float> scale;
  std::vector<int> zero;
  std::vector<float> x;
  std::vector<int> y;
  std::vector<float> decoded;
};

struct DynamicCase {
  std::string name;
  std::vector<float> x;
  float scale;
  int zero;
  std::vector<int> y;
};

// y[rows, cols] are the sums of a[rows, inner] and b[inner, cols], `result` what they are rounded to.
struct ProductCase {
  std::string a_type, b_type;
  Index rows, inner, cols;
  std::vector<int> a, b, a_zero, b_zero, y;
  std::string y_type;
  std::vector<float> a_scale, b_scale;
  float y_scale;
  int y_zero;
  std::vector<int> result;
};

#include "onnx_vectors.inc"

// An integer type of ONNX as a grid of a user's own.
struct OnnxType {
  int bits, first;

  explicit OnnxType(const std::string& name)
      : bits(std::stoi(name.substr(name.find('t') + 1))), first(name[0] == 'u' ? 0 : -(1 << (bits - 1))) {}
  Levels levels() const { return Levels::integers(bits, first, 1 << bits); }
  Affine fit(fewbit::Range) const { return {}; }  // scales are given
};
static_assert(fewbit::Grid<OnnxType>);

// Scales and zero-points that are inputs, as they are in ONNX: an estimator that looks its answer up.
struct Given {
  const LinearCase* c;
  Affine operator()(const fewbit::Block& block, const auto&) const {
    const fewbit::Tiling tiling(c->rows, c->cols, {c->block_rows, c->block_cols});
    const Index b = block.row / tiling.block_rows * tiling.blocks_across() + block.col / tiling.block_cols;
    const auto at = static_cast<std::size_t>(b);
    return {c->scale[at], static_cast<float>(c->zero[at])};
  }
};

// The same for one block.
struct One {
  Affine affine;
  Affine operator()(std::span<const float>, const auto&) const { return affine; }
};

RowMajor matrix(const std::vector<float>& values, Index rows, Index cols) {
  return Eigen::Map<const RowMajor>(values.data(), rows, cols);
}

int level(const QuantizedMatrix& q, Index i, Index j) {
  return static_cast<int>(q.levels().first()) + static_cast<int>(q.code(i, j));
}

void check_levels(Tally& tally, const std::string& name, const QuantizedMatrix& q, const std::vector<int>& y) {
  for (Index i = 0, k = 0; i < q.rows(); ++i)
    for (Index j = 0; j < q.cols(); ++j, ++k) {
      const int expected = y[static_cast<std::size_t>(k)];
      tally.check(level(q, i, j) == expected, name, ", ", i, ", ", j, ": ", level(q, i, j), " for ", expected);
    }
}

// As a tensor that is held, of a type of ONNX, with no scale of its own.
QuantizedMatrix tensor(const std::vector<int>& y, const std::string& type, Index rows, Index cols,
                       fewbit::Granularity granularity, const std::vector<Affine>& affines) {
  QuantizedMatrix q(rows, cols, OnnxType(type).levels(), granularity);
  const int bits = q.bits(), first = OnnxType(type).first;
  for (Index i = 0, k = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j, ++k)
      fewbit::put_code(q.codes(i), static_cast<std::size_t>(j), bits,
                       static_cast<unsigned>(y[static_cast<std::size_t>(k)] - first));
  q.set_params(affines);
  return q;
}

}  // namespace

TEST_CASE("QuantizeLinear: eight integer types, per tensor, per axis and in blocks", "[conformance][onnx]") {
  Tally tally;
  int cases = 0;
  for (const LinearCase& c : linear_cases) {
    if (c.x.empty()) continue;
    ++cases;
    const RowMajor x = matrix(c.x, c.rows, c.cols);
    const fewbit::Granularity granularity{c.block_rows, c.block_cols};
    const QuantizedMatrix q = fewbit::quantize(x, OnnxType(c.type), granularity, Given{&c});
    check_levels(tally, c.name, q, c.y);
    check_levels(tally, c.name + ", column-major",
                 fewbit::quantize(support::MatrixXf(x), OnnxType(c.type), granularity, Given{&c}), c.y);
    // What is held is the tensor's raw data for unsigned types, low bits first, where rows end on bytes as ONNX, which
    // knows no rows, has them. A code of a signed type is its two's complement with the sign bit turned.
    if (c.type[0] == 'u' && c.cols * q.bits() % 8 == 0) {
      const std::vector<std::uint8_t> held(q.codes().begin(), q.codes().end());
      tally.check(held == oracle::pack({c.y.begin(), c.y.end()}, q.bits()), c.name, ": other bytes");
    }
  }
  CHECK(cases == 8 * 5);
  tally.require(2 * 8 * 5 * 36);
}

TEST_CASE("DequantizeLinear: eight integer types, per tensor, per axis and in blocks", "[conformance][onnx]") {
  Tally tally;
  int cases = 0, infinite = 0;
  for (const LinearCase& c : linear_cases) {
    if (!c.x.empty()) continue;
    ++cases;
    std::vector<Affine> affines;
    for (std::size_t b = 0; b < c.scale.size(); ++b) affines.push_back({c.scale[b], static_cast<float>(c.zero[b])});
    const QuantizedMatrix q = tensor(c.y, c.type, c.rows, c.cols, {c.block_rows, c.block_cols}, affines);
    const RowMajor w = fewbit::dequantize<RowMajor>(q);
    for (std::size_t k = 0; k < c.decoded.size(); ++k) {
      tally.check(fewbit::bit_cast<std::uint32_t>(w.data()[k]) == fewbit::bit_cast<std::uint32_t>(c.decoded[k]), c.name,
                  ", ", k, ": ", w.data()[k], " for ", c.decoded[k]);
      infinite += std::isinf(c.decoded[k]);
    }
  }
  CHECK(cases == 8 * 5);
  CHECK(infinite > 0);
  tally.require(8 * 5 * 36);
}

TEST_CASE("where a scale is negative or near the end of the floats, fewbit and ONNX differ", "[conformance][onnx]") {
  // Under a negative scale the zero-point is -0 in ONNX and +0 here: a weight of zero has one encoding.
  const QuantizedMatrix q = tensor({3, 4}, "int8", 1, 2, fewbit::per_tensor(), {{-0.5f, 3}});
  const RowMajor w = fewbit::dequantize<RowMajor>(q);
  CHECK((w(0, 0) == 0 && !std::signbit(w(0, 0))));
  CHECK((static_cast<float>(3 - 3) * -0.5f == 0 && std::signbit(static_cast<float>(3 - 3) * -0.5f)));
  CHECK(w(0, 1) == -0.5f);

  // A scale with which an outer level would decode to an infinity is taken as it is where it is given with the codes
  // (the vectors have it), and gives way where codes are made, so that no finite weight comes back infinite.
  const RowMajor x = (RowMajor(1, 2) << -0x1p127f, 1).finished();
  const QuantizedMatrix far = fewbit::quantize(x, OnnxType("int8"), fewbit::per_tensor(), One{{0x1p125f, 0}});
  CHECK(far.affine(0, 0).scale < 0x1p125f);
  CHECK(far.affine(0, 0).scale * 128 <= std::numeric_limits<float>::max());
}

namespace {

// DynamicQuantizeLinear as an estimator of a user's own: the range stretched to 0, its length and the scale each
// rounded to a float.
struct DynamicRange {
  Affine operator()(fewbit::Range r, const auto&) const {
    const float low = std::min(0.f, r.lo), high = std::max(0.f, r.hi);
    const float scale = (high - low) / 255;
    return {scale, std::nearbyint(std::clamp(0 - low / scale, 0.f, 255.f))};
  }
  Affine operator()(std::span<const float> block, const auto& grid) const {
    const auto [lo, hi] = std::minmax_element(block.begin(), block.end());
    return (*this)(fewbit::Range{*lo, *hi}, grid);
  }
};
static_assert(fewbit::RangeEstimator<DynamicRange, OnnxType>);

bool is_float(double x) { return static_cast<double>(static_cast<float>(x)) == x; }

}  // namespace

TEST_CASE("DynamicQuantizeLinear is an estimator of three lines", "[conformance][onnx]") {
  Tally tally;
  for (const DynamicCase& c : dynamic_cases) {
    const RowMajor x = matrix(c.x, 1, static_cast<Index>(c.x.size()));
    const QuantizedMatrix q = fewbit::quantize(x, OnnxType("uint8"), fewbit::per_tensor(), DynamicRange{});
    tally.check(q.affine(0, 0) == Affine{c.scale, static_cast<float>(c.zero)}, c.name, ": scale ", q.affine(0, 0).scale,
                ", zero-point ", q.affine(0, 0).zero, " for ", c.scale, ", ", c.zero);
    check_levels(tally, c.name, q, c.y);
  }
  tally.require(18 * 10);
}

// Asymmetric(8).including_zero() differs from it in four ways: the length of the range is formed in double, so that it
// is rounded once with the quotient and cannot overflow; a subnormal scale goes away from zero, so that it cannot
// vanish; a block of one value is exact; and a tensor of zeros has scale 1, where ONNX divides 0 by 0.
TEST_CASE("including_zero is DynamicQuantizeLinear where the range's length is a float, and within a unit elsewhere",
          "[conformance][onnx]") {
  Tally tally;
  int same = 0, rounded = 0, apart = 0, subnormal = 0;
  for (const DynamicCase& c : dynamic_cases) {
    const RowMajor x = matrix(c.x, 1, static_cast<Index>(c.x.size()));
    const QuantizedMatrix q = fewbit::quantize(x, fewbit::Asymmetric(8).including_zero());
    const Affine a = q.affine(0, 0);
    const double low = std::min(0.f, x.minCoeff()), high = std::max(0.f, x.maxCoeff());
    if (c.scale < std::numeric_limits<float>::min()) {
      ++subnormal;
      tally.check(a.scale == oracle::stored_scale((high - low) / 255, oracle::f32) && a.scale >= c.scale, c.name,
                  ": scale ", a.scale, " for ", c.scale);
      continue;
    }
    if (is_float(high - low)) {
      ++same;
      tally.check(a == Affine{c.scale, static_cast<float>(c.zero)}, c.name, ": scale ", a.scale, ", zero-point ",
                  a.zero, " for ", c.scale, ", ", c.zero);
      check_levels(tally, c.name, q, c.y);
      continue;
    }
    ++rounded, apart += a.scale != c.scale;
    const int near = a.scale == c.scale ? 0 : 1;
    tally.check(a.scale == static_cast<float>((high - low) / 255), c.name, ": ", a.scale, " is not the nearest scale");
    tally.check(a.scale >= std::nextafter(c.scale, 0.f) && a.scale <= std::nextafter(c.scale, inf), c.name, ": scale ",
                a.scale, " for ", c.scale);
    tally.check(std::fabs(a.zero - static_cast<float>(c.zero)) <= static_cast<float>(near), c.name, ": zero-point ",
                a.zero, " for ", c.zero);
    for (Index k = 0; k < x.cols(); ++k)
      tally.check(std::abs(level(q, 0, k) - c.y[static_cast<std::size_t>(k)]) <= near, c.name, ", weight ", k);
  }
  CHECK(same >= 8);
  CHECK(subnormal == 1);
  CHECK(rounded >= 6);
  CHECK(apart > 0);  // the difference shows
  tally.require(18 * 10);

  const auto fitted = [](float a, float b) {
    const RowMajor x = (RowMajor(1, 2) << a, b).finished();
    return fewbit::quantize(x, fewbit::Asymmetric(8).including_zero());
  };
  CHECK(fitted(3, 3).affine(0, 0) == Affine{3.f / 128, 0});  // ONNX: 3 / 255
  CHECK(fitted(3, 3)(0, 0) == 3);
  CHECK(fitted(0, 0).affine(0, 0) == Affine{1, 0});
  constexpr float most = std::numeric_limits<float>::max();
  CHECK(std::isfinite(fitted(-most, most).affine(0, 0).scale));  // ONNX: infinite
  CHECK(fitted(0, 0x1p-149f).affine(0, 0).scale == 0x1p-149f);   // ONNX: 0
}

namespace {

using Int8 = Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic>;
using Int32 = Eigen::Matrix<std::int32_t, Eigen::Dynamic, Eigen::Dynamic>;

std::vector<int> transposed(const std::vector<int>& values, Index rows, Index cols) {
  std::vector<int> out;
  for (Index j = 0; j < cols; ++j)
    for (Index i = 0; i < rows; ++i) out.push_back(values[static_cast<std::size_t>(i * cols + j)]);
  return out;
}

// A user's MatMulInteger: B^T is W[out, in], and the rows of A are activations, uint8 moved to int8 with its
// zero-points. integer_product sums levels; zero-points come out through the sums of rows and columns.
Int32 mat_mul_integer(const ProductCase& c) {
  const QuantizedMatrix w =
      tensor(transposed(c.b, c.inner, c.cols), c.b_type, c.cols, c.inner, fewbit::per_tensor(), {Affine{}});
  const int shift = c.a_type == "uint8" ? 128 : 0;
  Int8 x(c.inner, c.rows);
  for (Index k = 0; k < x.size(); ++k)
    x.data()[k] = static_cast<std::int8_t>(c.a[static_cast<std::size_t>(k)] - shift);  // A by row is X by column
  const Int8 ones = Int8::Ones(c.inner, 1);
  const Int32 sums = fewbit::integer_product(w, x), w_sums = fewbit::integer_product(w, ones);
  const Int32 x_sums = x.cast<std::int32_t>().colwise().sum();
  Int32 y(c.rows, c.cols);
  for (Index i = 0; i < c.rows; ++i)
    for (Index j = 0; j < c.cols; ++j) {
      const int a_zero = c.a_zero[static_cast<std::size_t>(i)] - shift, b_zero = c.b_zero[static_cast<std::size_t>(j)];
      y(i, j) = sums(j, i) - a_zero * w_sums(j, 0) - b_zero * x_sums(0, i) +
                static_cast<std::int32_t>(c.inner) * a_zero * b_zero;
    }
  return y;
}

}  // namespace

TEST_CASE("MatMulInteger: int8 and uint8 on either side, a zero-point for all, each row or each column",
          "[conformance][onnx]") {
  Tally tally;
  int inside_levels = 0;
  for (const ProductCase& c : product_cases) {
    const std::string name = c.a_type + " x " + c.b_type + ", " + std::to_string(c.inner) + " inner: ";
    const Int32 y = mat_mul_integer(c);
    for (Index i = 0; i < c.rows; ++i)
      for (Index j = 0; j < c.cols; ++j)
        tally.check(y(i, j) == c.y[static_cast<std::size_t>(i * c.cols + j)], name, i, ", ", j, ": ", y(i, j), " for ",
                    c.y[static_cast<std::size_t>(i * c.cols + j)]);

    // One zero-point for all of B can also be in the levels: they begin that much lower, and the sums are ONNX's.
    const bool one_zero = std::all_of(c.b_zero.begin(), c.b_zero.end(), [&](int z) { return z == c.b_zero[0]; });
    const bool plain_a =
        c.a_type == "int8" && std::all_of(c.a_zero.begin(), c.a_zero.end(), [](int z) { return z == 0; });
    if (!one_zero || !plain_a) continue;
    ++inside_levels;
    const OnnxType type(c.b_type);
    QuantizedMatrix w(c.cols, c.inner, Levels::integers(8, type.first - c.b_zero[0], 256), fewbit::per_tensor());
    for (Index j = 0; j < c.cols; ++j)
      for (Index k = 0; k < c.inner; ++k)
        fewbit::put_code(w.codes(j), static_cast<std::size_t>(k), 8,
                         static_cast<unsigned>(c.b[static_cast<std::size_t>(k * c.cols + j)] - type.first));
    w.set_params(std::vector<Affine>{{}});
    Int8 x(c.inner, c.rows);
    for (Index k = 0; k < x.size(); ++k) x.data()[k] = static_cast<std::int8_t>(c.a[static_cast<std::size_t>(k)]);
    const Int32 direct = fewbit::integer_product(w, x);
    for (Index i = 0; i < c.rows; ++i)
      for (Index j = 0; j < c.cols; ++j)
        tally.check(direct(j, i) == c.y[static_cast<std::size_t>(i * c.cols + j)], name, "with the zero-point inside");
  }
  CHECK(inside_levels > 0);
  tally.require(4 * 5 * 6);
}

TEST_CASE("where ONNX lets a 32-bit sum overflow, integer_product refuses", "[conformance][onnx]") {
  const auto weights = [](Index inner) {
    QuantizedMatrix w(1, inner, OnnxType("uint8").levels(), fewbit::per_tensor());
    std::fill_n(w.codes(0), inner, std::uint8_t{255});
    w.set_params(std::vector<Affine>{{}});
    return w;
  };
  constexpr Index most = (std::int64_t{1} << 31) / (255 * 128);  // 65793
  CHECK(fewbit::integer_product(weights(most), Int8(Int8::Constant(most, 1, -128)))(0, 0) == -255 * 128 * most);
  CHECK_THROWS_AS(fewbit::integer_product(weights(most + 1), Int8(Int8::Constant(most + 1, 1, -128))),
                  std::invalid_argument);
}

// The operator's text gives the quotient to be rounded, and then adds the zero-point; adding first, as a program may,
// turns ties round where the zero-point is odd.
TEST_CASE("QLinearMatMul: integer sums, one factor, and round to nearest", "[conformance][onnx]") {
  Tally tally;
  int ties = 0, low = 0, high = 0;
  for (const ProductCase& c : product_cases) {
    const Int32 sums = mat_mul_integer(c);
    RowMajor y(c.rows, c.cols);
    for (Index i = 0; i < c.rows; ++i)
      for (Index j = 0; j < c.cols; ++j) {
        const float factor =
            c.a_scale[static_cast<std::size_t>(i)] * c.b_scale[static_cast<std::size_t>(j)] / c.y_scale;
        y(i, j) = static_cast<float>(sums(i, j)) * factor;
        ties += std::fabs(y(i, j)) < 256 && y(i, j) - std::floor(y(i, j)) == 0.5f;
      }
    const One given{{1, static_cast<float>(c.y_zero)}};  // the scales are in the factor
    const QuantizedMatrix q = fewbit::quantize(y, OnnxType(c.y_type), fewbit::per_tensor(), given);
    check_levels(tally, c.a_type + " x " + c.b_type + " to " + c.y_type, q, c.result);
    for (const int r : c.result) low += r == OnnxType(c.y_type).first, high += r == OnnxType(c.y_type).first + 255;
  }
  CHECK(ties > 5);
  CHECK((low > 5 && high > 5));
  tally.require(4 * 5 * 6);
}
