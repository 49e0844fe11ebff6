// Scales of 8 bits: what they take, what they cost, and what stays as it was.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/ops/metrics.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/quantize/double_quantize.hpp>

#include <support/expected.hpp>

namespace {

using fewbit::CodedScales;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;
using support::Index;
using support::MatrixXf;
using support::Tally;

std::vector<fewbit::Affine> affines(const QuantizedMatrix& q) {
  std::vector<fewbit::Affine> all;
  for (Index i = 0; i < q.blocks_down(); ++i)
    for (Index j = 0; j < q.blocks_across(); ++j) all.push_back(q.affine(i, j));
  return all;
}

// That dq is q with other scales: half a step of its run away, a step being 1/127 of the largest distance from the
// mean, and the rounding of floats; the bytes are those of the scales' codes.
void judge(Tally& tally, const std::string& place, const QuantizedMatrix& q, const QuantizedMatrix& dq) {
  const std::span codes = q.codes(), coded = dq.codes();
  tally.check(std::equal(codes.begin(), codes.end(), coded.begin(), coded.end()), place, "codes have changed");
  tally.check(dq.tiling() == q.tiling() && dq.levels() == q.levels() && dq.scale_type() == q.scale_type(), place,
              "tiling, levels or scale type");
  tally.check(dq.params().is_coded(), place, "scales are not coded");
  const std::vector<fewbit::Affine> before = affines(q), after = affines(dq);
  double sum = 0;
  for (const fewbit::Affine& a : before) sum += static_cast<double>(a.scale);
  const double mean = sum / static_cast<double>(before.size());
  for (std::size_t first = 0; first < before.size(); first += 256) {
    const std::size_t last = std::min(before.size(), first + 256);
    double far = 0;
    for (std::size_t b = first; b < last; ++b)
      far = std::max(far, std::fabs(static_cast<double>(before[b].scale) - mean));
    for (std::size_t b = first; b < last; ++b) {
      const double moved = std::fabs(static_cast<double>(after[b].scale) - static_cast<double>(before[b].scale));
      tally.check(moved <= far / 254 * (1 + 1e-5) + 0x1p-21 * std::fabs(mean), place, "scale ", b, " moved by ", moved,
                  " of ", far);
      tally.check(after[b].zero == before[b].zero, place, "zero-point ", b, " is ", after[b].zero);
      tally.check(std::isfinite(after[b].scale) && after[b].scale != 0, place, "scale ", b, " is ", after[b].scale);
    }
  }
  const std::size_t n = before.size(), source = q.scale_type() == ScaleType::f32 ? 4 : 2;
  tally.check(dq.bytes() == q.bytes() - source * n + n + 4 * ((n + 255) / 256) + 4, place, dq.bytes(), " bytes from ",
              q.bytes());
  support::judge_decoded(tally, place, dq, fewbit::dequantize(dq));
}

}  // namespace

TEST_CASE("NF4 in groups of 64 takes 4.127 bits a weight and costs less than .1 % of MSE", "[quantize][double]") {
  const MatrixXf w = support::normal_matrix(1024, 1024, 42);
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64)), dq = fewbit::double_quantize(q);
  CHECK(q.bits_per_weight() == 4.5);
  CHECK(std::fabs(dq.bits_per_weight() - (4 + 8. / 64 + 32. / (64 * 256))) < 32. / (1 << 20) + 1e-12);
  CHECK(std::fabs(dq.bits_per_weight() - 4.12695) < 1e-4);
  const double before = fewbit::compare(w, fewbit::dequantize(q)).mse,
               after = fewbit::compare(w, fewbit::dequantize(dq)).mse;
  CHECK(std::round(before * 1e6) == 8458);
  CHECK(std::round(after * 1e6) <= 8462);
  CHECK(after < before * 1.001);
  Tally tally;
  judge(tally, "", q, dq);
  tally.require(3 * 16384);
}

TEST_CASE("codes and zero-points stay, scales move by half a step, in every format", "[quantize][double]") {
  Tally tally;
  const MatrixXf w = support::normal_matrix(30, 640, 501);
  for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
    for (const fewbit::Granularity g : {fewbit::per_group(64, t), fewbit::per_group(50, t), fewbit::per_channel(t),
                                        fewbit::per_column(t), fewbit::per_block(7, 9, t), fewbit::per_tensor(t)}) {
      const std::string place = "type " + std::to_string(static_cast<int>(t)) + ", blocks of " +
                                std::to_string(g.rows) + " x " + std::to_string(g.cols) + ": ";
      const auto check = [&](const char* name, const QuantizedMatrix& q) {
        judge(tally, name + place, q, fewbit::double_quantize(q));
      };
      check("NF4, ", fewbit::quantize(w, fewbit::nf4, g));
      check("int8, ", fewbit::quantize(w, fewbit::Symmetric(8), g));
      check("zero-points, ", fewbit::quantize(w, fewbit::Asymmetric(4), g));
      check("zero-points that are no codes, ", fewbit::quantize(w.cwiseAbs().array() + 1, fewbit::Asymmetric(3), g));
      check("scales of both signs, ", fewbit::quantize(w, fewbit::Symmetric(4).signed_scale(), g));
    }
  }
  tally.require(3 * 6 * 5 * 30 * 640);
}

TEST_CASE("256 scales share one, and the last run is as short as it comes out", "[quantize][double]") {
  for (const Index blocks : {1, 2, 255, 256, 257, 300, 512, 513}) {
    const QuantizedMatrix q =
        fewbit::quantize(support::normal_matrix(1, 8 * blocks, 502), fewbit::nf4, fewbit::per_group(8));
    const QuantizedMatrix dq = fewbit::double_quantize(q);
    const CodedScales& scales = dq.params().coded();
    INFO(blocks << " blocks");
    CHECK(scales.codes.size() == static_cast<std::size_t>(blocks));
    CHECK(scales.second.size() == static_cast<std::size_t>((blocks + 255) / 256));
    CHECK(dq.bytes() == static_cast<std::size_t>(4 * blocks + blocks) + 4 * scales.second.size() + 4);
    Tally tally;
    judge(tally, "", q, dq);
    for (std::size_t b = 0; b < scales.codes.size(); ++b) {  // the formula, one rounding at a time
      const float second = scales.second[b / 256], zero = oracle::subtract(128, oracle::divide(scales.mean, second)),
                  scale = oracle::multiply(second, oracle::subtract(static_cast<float>(scales.codes[b]), zero));
      tally.check(dq.affine(0, static_cast<Index>(b)).scale == scale, "scale ", b, " is ",
                  dq.affine(0, static_cast<Index>(b)).scale, " for ", scale);
    }
    tally.require(static_cast<std::size_t>(blocks));
  }
}

TEST_CASE("one block, and blocks of one scale, keep it exactly", "[quantize][double]") {
  const MatrixXf w = support::normal_matrix(5, 96, 503);
  const QuantizedMatrix one = fewbit::quantize(w, fewbit::nf4);
  CHECK(fewbit::dequantize(fewbit::double_quantize(one)) == fewbit::dequantize(one));
  for (const float c : {3.25f, -0.1f, 1e-30f, 1e30f}) {
    const MatrixXf constant = MatrixXf::Constant(5, 96, c);
    const QuantizedMatrix q = fewbit::quantize(constant, fewbit::nf4, fewbit::per_group(32));
    INFO("constant " << c);
    CHECK(fewbit::dequantize(fewbit::double_quantize(q)) == constant);
  }
}

TEST_CASE("a row of zeros stays one, and has no say in the scales of others", "[quantize][double]") {
  MatrixXf w = support::normal_matrix(9, 512, 504, 0.001f);
  const QuantizedMatrix full = fewbit::double_quantize(fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64)));
  w.row(4).setZero();
  for (const bool asymmetric : {false, true}) {
    const QuantizedMatrix q = asymmetric ? fewbit::quantize(w, fewbit::Asymmetric(4), fewbit::per_group(64))
                                         : fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64));
    const QuantizedMatrix dq = fewbit::double_quantize(q);
    const MatrixXf back = fewbit::dequantize(dq);
    CHECK(back.row(4).isZero(0));
    CHECK_FALSE(std::signbit(back(4, 7)));
    // A scale of 1 among scales of .003 would leave them two codes between them.
    const double before = fewbit::compare(w, fewbit::dequantize(q)).mse, after = fewbit::compare(w, back).mse;
    CHECK(after < 1.01 * before);
  }
  CHECK(full.params().coded().mean > 0.0015f);
  const MatrixXf nothing = MatrixXf::Zero(3, 128);
  CHECK(fewbit::dequantize(fewbit::double_quantize(fewbit::quantize(nothing, fewbit::nf4, fewbit::per_group(64))))
            .isZero(0));
}

TEST_CASE("a scale of 1 is free only if every weight of its block is 0", "[quantize][double]") {
  MatrixXf w(2, 40);
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 40; ++j) w(i, j) = 0.3f * static_cast<float>((i + j) % 7 - 3);
  w.block(0, 8, 1, 8).setZero();                 // free, between blocks that are not
  w.block(1, 32, 1, 8).setZero();                // free, the last
  w.block(0, 16, 1, 8).setZero(), w(0, 23) = 7;  // scale 1, and its last weight says that it counts
  w.block(1, 0, 1, 8).setZero(), w(1, 0) = -7;
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(8)),
                        dq = fewbit::double_quantize(q);
  const std::vector<fewbit::Affine> before = affines(q), after = affines(dq);
  double sum = 0, far = 0;
  const auto is_free = [](std::size_t b) { return b == 1 || b == 9; };
  for (std::size_t b = 0; b < 10; ++b)
    if (!is_free(b)) sum += static_cast<double>(before[b].scale);
  CHECK(before[1].scale == 1);
  CHECK(before[2].scale == 1);
  for (std::size_t b = 0; b < 10; ++b)
    if (!is_free(b)) far = std::max(far, std::fabs(static_cast<double>(before[b].scale) - sum / 8));
  for (std::size_t b = 0; b < 10; ++b) {
    INFO("block " << b);
    if (is_free(b)) CHECK(static_cast<double>(after[b].scale) == Approx(sum / 8).epsilon(1e-6));
    else
      CHECK(std::fabs(static_cast<double>(after[b].scale) - static_cast<double>(before[b].scale)) <=
            far / 254 * 1.0001);
  }
  CHECK((fewbit::dequantize(dq).block(0, 8, 1, 8).array() == 0).all());
}

TEST_CASE("scales that are far apart stay finite and never become 0", "[quantize][double][bad-input]") {
  Tally tally;
  const auto check = [&](std::vector<float> scales) {
    QuantizedMatrix q(1, static_cast<Index>(scales.size()), fewbit::Symmetric(4).levels(), fewbit::per_group(1));
    std::vector<fewbit::Affine> blocks;
    for (const float s : scales) blocks.push_back({s, 0});
    q.set_params(blocks);
    for (std::size_t k = 0; k < scales.size(); ++k)
      fewbit::put_code(q.codes(0), k, 4, static_cast<unsigned>(1 + k % 6));
    const QuantizedMatrix dq = fewbit::double_quantize(q);
    for (const fewbit::Affine& a : affines(dq))
      tally.check(std::isfinite(a.scale) && a.scale != 0, "a scale of ", scales[0], ", .. is ", a.scale);
    const MatrixXf back = fewbit::dequantize(dq);
    tally.check(back.allFinite(), scales[0], ", ..: weights are not finite");
  };
  constexpr float huge = 1e37f, tiny = std::numeric_limits<float>::denorm_min();
  check({1, -1});
  check({1, -1, 1, -1, 0.001f});
  check({huge, tiny});
  check({huge, -huge, tiny});
  check({tiny, tiny, -tiny});
  check({1, 1, 1, -3});
  check({tiny, 2 * tiny, 3 * tiny, 100 * tiny});
  check({1, std::nextafter(1.f, 2.f)});
  tally.require(20);
}

TEST_CASE("finite weights stay finite up to the largest float", "[quantize][double][bad-input]") {
  constexpr float most = std::numeric_limits<float>::max();
  Tally tally;
  support::NumPy random(512);
  for (int round = 0; round < 300; ++round) {
    MatrixXf w(2, 64);
    for (Index i = 0; i < 2; ++i)
      for (Index j = 0; j < 64; ++j) w(i, j) = static_cast<float>(2 * random.random_sample() - 1) * most;
    w(0, 0) = round % 2 ? most : -most;
    const auto check = [&](const char* name, const QuantizedMatrix& q) {
      const MatrixXf before = fewbit::dequantize(q), after = fewbit::dequantize(fewbit::double_quantize(q));
      tally.check(before.allFinite() && after.allFinite(), name, " of round ", round, " are not finite");
      tally.check((after.cast<double>() - before.cast<double>()).cwiseAbs().maxCoeff() < 0.02 * double{most}, name,
                  " of round ", round, " have moved");
    };
    check("NF4 weights", fewbit::quantize(w, fewbit::nf4, fewbit::per_group(16)));
    check("int4 weights", fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(16)));
    check("int8 weights with scales of both signs",
          fewbit::quantize(w, fewbit::Symmetric(8).signed_scale(), fewbit::per_group(16)));
    check("int4 weights with zero-points", fewbit::quantize(w, fewbit::Asymmetric(4), fewbit::per_group(16)));
  }
  tally.require(300 * 8);
}

TEST_CASE("what has scales of 8 bits comes back as it is, and so does a matrix without blocks", "[quantize][double]") {
  const QuantizedMatrix dq = fewbit::double_quantize(
      fewbit::quantize(support::normal_matrix(8, 256, 505), fewbit::nf4, fewbit::per_group(64)));
  CHECK(fewbit::double_quantize(dq) == dq);
  const QuantizedMatrix empty = fewbit::quantize(MatrixXf(0, 5), fewbit::nf4, fewbit::per_group(64));
  CHECK(fewbit::double_quantize(empty) == empty);
}

TEST_CASE("every instruction set decodes coded scales to the same bits", "[quantize][double][isa]") {
  const QuantizedMatrix dq = fewbit::double_quantize(
      fewbit::quantize(support::normal_matrix(37, 1000, 506), fewbit::Asymmetric(4), fewbit::per_group(24)));
  Tally tally;
  for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
    if (!table->supported()) continue;
    const fewbit::kernel::Use use(*table);
    support::judge_decoded(tally, std::string(table->name) + ": ", dq, fewbit::dequantize(dq));
    const QuantizedMatrix again = fewbit::double_quantize(
        fewbit::quantize(support::normal_matrix(37, 1000, 506), fewbit::Asymmetric(4), fewbit::per_group(24)));
    tally.check(again == dq, table->name, ": another matrix");
  }
  tally.require(37 * 1000);
}

TEST_CASE("products with coded scales are within the bound", "[quantize][double][isa]") {
  const QuantizedMatrix dq = fewbit::double_quantize(
      fewbit::quantize(support::normal_matrix(70, 320, 507), fewbit::nf4, fewbit::per_group(64)));
  const Eigen::MatrixXd w = fewbit::dequantize(dq).cast<double>();
  Tally tally;
  const auto judge_product = [&](const std::string& place, const MatrixXf& y, const Eigen::MatrixXd& by,
                                 const MatrixXf& x) {
    const Eigen::MatrixXd xd = x.cast<double>(), exact = by * xd,
                          bound = static_cast<double>(by.cols() + 2) * 0x1p-24 * (by.cwiseAbs() * xd.cwiseAbs());
    for (Index i = 0; i < y.rows(); ++i)
      for (Index c = 0; c < y.cols(); ++c)
        tally.check(std::fabs(static_cast<double>(y(i, c)) - exact(i, c)) <= bound(i, c), place, i, ", ", c, ": ",
                    y(i, c), " for ", exact(i, c));
  };
  for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
    if (!table->supported()) continue;
    const fewbit::kernel::Use use(*table);
    for (const Index n : {1, 5, 20}) {
      const MatrixXf x = support::normal_matrix(320, n, 508), y = support::normal_matrix(70, n, 509);
      judge_product(std::string(table->name) + ", W x: ", dq * x, w, x);
      judge_product(std::string(table->name) + ", W^T y: ", dq.transpose() * y, w.transpose(), y);
    }
  }
  tally.require(26 * 390);
}

TEST_CASE("a matrix that was never finished, or is moved from, is refused", "[quantize][double][bad-input]") {
  CHECK_THROWS_AS(fewbit::double_quantize(QuantizedMatrix(4, 64, fewbit::nf4.levels(), fewbit::per_group(64))),
                  std::invalid_argument);
  QuantizedMatrix q = fewbit::quantize(support::normal_matrix(4, 64, 510), fewbit::nf4, fewbit::per_group(64));
  const QuantizedMatrix taken = std::move(q);
  CHECK_THROWS_AS(fewbit::double_quantize(q), std::invalid_argument);
  CHECK_NOTHROW(fewbit::double_quantize(taken));
}

TEST_CASE("coded scales that are wrong in number or in value are refused", "[quantize][double][bad-input]") {
  QuantizedMatrix q = fewbit::quantize(support::normal_matrix(1, 64, 511), fewbit::nf4, fewbit::per_group(32));
  const auto give = [&](std::vector<std::uint8_t> codes, std::vector<float> second, float mean) {
    CodedScales scales;
    scales.codes = std::move(codes), scales.second = std::move(second), scales.mean = mean;
    QuantizedMatrix copy = q;
    copy.set_coded_scales(scales);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_NOTHROW(give({128, 130}, {0.5f}, 1));
  CHECK_THROWS_AS(give({128}, {0.5f}, 1), std::invalid_argument);
  CHECK_THROWS_AS(give({128, 130, 1}, {0.5f}, 1), std::invalid_argument);
  CHECK_THROWS_AS(give({128, 130}, {}, 1), std::invalid_argument);
  CHECK_THROWS_AS(give({128, 130}, {0.5f, 0.5f}, 1), std::invalid_argument);
  CHECK_THROWS_AS(give({128, 130}, {nan}, 1), std::invalid_argument);
  CHECK_THROWS_AS(give({128, 126}, {0.5f}, 1), std::invalid_argument);  // the second scale would be 0
}

TEST_CASE("a scale that would come out as 0 at the last code takes the one before", "[quantize][double_quantize]") {
  for (const Index n : {257, 300, 1000}) {
    MatrixXf w = MatrixXf::Constant(n, 64, 0.5f);
    w.col(0).setConstant(8);
    w.row(100).setConstant(1e-9f / 16);
    w(100, 0) = -8e-9f;
    const QuantizedMatrix q =
        fewbit::double_quantize(fewbit::quantize(w, fewbit::Symmetric(4).signed_scale(), fewbit::per_group(64)));
    for (Index i = 0; i < n; ++i) {
      const float scale = q.affine(i, 0).scale;
      CHECK((std::isfinite(scale) && scale != 0));
    }
  }
}
