// How inputs reach the columns of the codes: what an order and a scale may be, and that everything that decodes or
// multiplies sees the same mapped matrix.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/quantize/double_quantize.hpp>
#include <fewbit/storage/input_map.hpp>

#include <support/expected.hpp>
#include <support/matrices.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::InputMap;
using fewbit::QuantizedMatrix;
using support::Index;
using support::MatrixXf;
using support::Tally;

InputMap map_of(Index n, bool order, bool scale, std::uint32_t seed) {
  support::NumPy random(seed);
  InputMap map;
  if (order) {
    map.order.resize(static_cast<std::size_t>(n));
    std::iota(map.order.begin(), map.order.end(), 0u);
    for (std::size_t k = map.order.size(); k > 1; --k) std::swap(map.order[k - 1], map.order[random.below(k)]);
  }
  if (scale)
    for (Index k = 0; k < n; ++k) map.scale.push_back(static_cast<float>(std::exp(random.randn()) - 3));
  return map;
}

}  // namespace

TEST_CASE("an input map is an order that names each input once, and scales that are numbers", "[storage][input-map]") {
  const auto check = [](InputMap map, std::size_t n) { map.check(n); };
  CHECK_NOTHROW(check({}, 3));
  CHECK_NOTHROW(check({{2, 0, 1}, {}}, 3));
  CHECK_NOTHROW(check({{}, {1, -2, 1e-30f}}, 3));
  CHECK_NOTHROW(check({{0, 1, 2}, {1, 1, 1}}, 3));
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(check({{0, 1}, {}}, 3), std::invalid_argument);
  CHECK_THROWS_AS(check({{0, 1, 2, 3}, {}}, 3), std::invalid_argument);
  CHECK_THROWS_AS(check({{0, 1, 3}, {}}, 3), std::invalid_argument);
  CHECK_THROWS_AS(check({{0, 1, 1}, {}}, 3), std::invalid_argument);
  CHECK_THROWS_AS(check({{0, 1, 4294967295u}, {}}, 3), std::invalid_argument);
  CHECK_THROWS_AS(check({{}, {1, 1}}, 3), std::invalid_argument);
  CHECK_THROWS_AS(check({{}, {1, 1, 1, 1}}, 3), std::invalid_argument);
  for (const float bad : {0.f, -0.f, nan, infinity, -infinity})
    CHECK_THROWS_AS(check({{}, {1, bad, 1}}, 3), std::invalid_argument);
  try {
    check({{0, 1, 1}, {}}, 3);
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    CHECK(what.rfind("fewbit: ", 0) == 0);
    CHECK(what.find("names 1 at 2") != std::string::npos);
    CHECK(what.find("there already") != std::string::npos);
  }
}

TEST_CASE("a matrix counts its input map, compares it, and is as it was when one is refused", "[storage][input-map]") {
  const QuantizedMatrix plain = fewbit::quantize(support::normal_matrix(4, 24, 601), fewbit::Symmetric(4));
  QuantizedMatrix q = plain;
  CHECK(q.input_map().empty());
  q.set_input_map(map_of(24, true, false, 602));
  CHECK(q.bytes() == plain.bytes() + 24 * 4);
  CHECK_FALSE(q == plain);
  q.set_input_map(map_of(24, true, true, 602));
  CHECK(q.bytes() == plain.bytes() + 24 * 8);
  CHECK(q.bits_per_weight() == 8. * static_cast<double>(q.bytes()) / 96);
  const QuantizedMatrix before = q;
  CHECK_THROWS_AS(q.set_input_map(map_of(23, true, false, 603)), std::invalid_argument);
  CHECK_THROWS_AS(q.set_input_map(map_of(25, false, true, 603)), std::invalid_argument);
  CHECK(q == before);
  q.set_input_map({});
  CHECK(q == plain);
  CHECK(fewbit::double_quantize(before).input_map() == before.input_map());
}

TEST_CASE("dequantize, products and transposed products see the mapped matrix", "[storage][input-map]") {
  Tally tally;
  const auto judge = [&](const std::string& place, const MatrixXf& y, const MatrixXf& w, const MatrixXf& x,
                         const MatrixXf& size) {
    // Two roundings more than a product has: the input's scale meets the input here, and the weight there.
    const Eigen::MatrixXd exact = w.cast<double>() * x.cast<double>(),
                          bound = static_cast<double>(w.cols() + 5) * 0x1p-24 *
                                  (size.cast<double>().cwiseAbs() * x.cast<double>().cwiseAbs());
    tally.check(y.rows() == w.rows() && y.cols() == x.cols(), place, "is ", y.rows(), " x ", y.cols());
    for (Index i = 0; i < exact.rows(); ++i)
      for (Index c = 0; c < exact.cols(); ++c)
        tally.check(std::fabs(static_cast<double>(y(i, c)) - exact(i, c)) <= bound(i, c), place, i, ", ", c, " is ",
                    y(i, c), " for ", exact(i, c));
  };
  const Index out = 21, in = 150;
  const MatrixXf w = support::normal_matrix(out, in, 604);
  for (const QuantizedMatrix& made : {fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64)),
                                      fewbit::double_quantize(fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64))),
                                      fewbit::quantize(w, fewbit::Asymmetric(4), fewbit::per_group(32)),
                                      fewbit::quantize(w, fewbit::Symmetric(8), fewbit::per_channel())}) {
    for (const int kind : {0, 1, 2, 3}) {
      QuantizedMatrix q = made;
      q.set_input_map(map_of(in, kind % 2 != 0, kind / 2 != 0, 605));
      const MatrixXf full = support::mapped(q), back = fewbit::dequantize(q);
      const std::string place = std::to_string(q.bits()) + " bits, map " + std::to_string(kind) + ": ";
      tally.check(back == full, place, "decodes to another matrix");
      tally.check(fewbit::dequantize<support::RowMajor>(q) == full, place, "decodes to another matrix by rows");
      for (const Index n : {1, 4, 17}) {
        const MatrixXf x = support::normal_matrix(in, n, 606), y = support::normal_matrix(out, n, 607);
        judge(place + "W x: ", q * x, full, x, full);
        judge(place + "W^T y: ", q.transpose() * y, full.transpose(), y, full.transpose());
      }
      // Activations are rounded after they are mapped, as the codes meet them: an order alone changes nothing.
      if (kind == 1) {
        const MatrixXf x = support::normal_matrix(in, 3, 608);
        MatrixXf ordered(in, 3);
        for (Index k = 0; k < in; ++k)
          ordered.row(k) = x.row(static_cast<Index>(q.input_map().order[static_cast<std::size_t>(k)]));
        tally.check(fewbit::product(q, x, fewbit::Activations::int8) ==
                        fewbit::product(made, ordered, fewbit::Activations::int8),
                    place, "rounded activations");
      }
    }
  }
  tally.require(4 * 4 * 22 * (21 + 150));
}
