// A program's own threads use the library at once, with no lock of theirs. What is shared is the choice of the table
// and the matrices they read; ThreadSanitizer is asked too (sh tests/run.sh thread).

#include <atomic>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fewbit/estimate/mse.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/linear.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/ops/ternary.hpp>
#include <fewbit/quantize/double_quantize.hpp>
#include <fewbit/quantize/fake_quantizer.hpp>
#include <fewbit/quantize/gptq.hpp>

#include <support/any.hpp>
#include <support/expected.hpp>

namespace {

using fewbit::QuantizedMatrix;
using support::MatrixXf;

constexpr int count = 6;

// Calls f(number of the thread) on threads that start together, and hands on what they return.
template <class F>
auto at_once(F&& f) {
  std::vector<decltype(f(0))> results(count);
  std::atomic<int> waiting{count};
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t)
    threads.emplace_back([&, t] {
      for (--waiting; waiting > 0;) std::this_thread::yield();
      results[static_cast<std::size_t>(t)] = f(t);
    });
  for (std::thread& t : threads) t.join();
  return results;
}

template <class F>
void all_equal_alone(F&& f) {
  const auto alone = f(0);
  for (const auto& result : at_once(f)) CHECK((result == alone));
}

}  // namespace

// First in the file: the table is chosen here, by whoever comes first.
TEST_CASE("threads that quantize before anything else has agree on the table", "[concurrent][kernel]") {
  const MatrixXf w = support::normal_matrix(40, 130, 201);
  const std::vector<QuantizedMatrix> q =
      at_once([&](int) { return fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(32)); });
  for (const QuantizedMatrix& one : q) CHECK((one == q[0]));
  for (const fewbit::kernel::Table* table : at_once([](int) { return &fewbit::kernel::active(); }))
    CHECK(table == &fewbit::kernel::active());
}

TEST_CASE("threads quantize, decode and train on the same weights", "[concurrent]") {
  const MatrixXf w = support::planted_matrix(50, 200, 202, 3);
  all_equal_alone([&](int) { return fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64, fewbit::ScaleType::f16)); });
  all_equal_alone(
      [&](int) { return fewbit::quantize(w, fewbit::Asymmetric(3), fewbit::per_column(), fewbit::MseSearch{}); });
  all_equal_alone([&](int) { return fewbit::fake_quantize(w, fewbit::Symmetric(5), fewbit::per_channel()); });
  all_equal_alone([&](int) {
    const fewbit::QuantizeOptions by_chance{.rounding = fewbit::Rounding::stochastic, .seed = 5};
    return fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel(), fewbit::MinMax{}, by_chance);
  });
  all_equal_alone([&](int) {
    fewbit::FakeQuantizer fq(fewbit::Symmetric(4), fewbit::per_channel());
    const MatrixXf seen = fq.forward(w);
    return MatrixXf(fq.backward(seen));
  });
}

TEST_CASE("threads multiply with one quantized matrix", "[concurrent][product]") {
  const QuantizedMatrix q =
      fewbit::quantize(support::normal_matrix(70, 256, 203), fewbit::Symmetric(4), fewbit::per_group(64));
  const QuantizedMatrix coded = fewbit::double_quantize(q);
  const fewbit::TernaryMatrix t = fewbit::pack_ternary(
      fewbit::quantize(support::normal_matrix(30, 256, 204), fewbit::Symmetric(2), fewbit::per_channel()));
  const MatrixXf x = support::normal_matrix(256, 9, 205);
  all_equal_alone([&](int) { return MatrixXf(q * x); });
  all_equal_alone([&](int) { return MatrixXf(coded * x); });
  all_equal_alone([&](int) { return MatrixXf(t * x); });
  all_equal_alone([&](int) { return MatrixXf(fewbit::product(q, x, fewbit::Activations::int8)); });
  all_equal_alone([&](int) { return fewbit::dequantize(q); });
}

TEST_CASE("threads calibrate with one Hessian", "[concurrent][gptq]") {
  const MatrixXf w = support::normal_matrix(24, 96, 206);
  fewbit::Hessian H(96);
  H.add(support::normal_matrix(96, 200, 207));
  all_equal_alone([&](int) { return fewbit::gptq(w, H, fewbit::Symmetric(3), fewbit::per_group(32)); });
}

TEST_CASE("a thread's error stays its own", "[concurrent][bad-input]") {
  const MatrixXf good = support::normal_matrix(20, 60, 208);
  MatrixXf bad = good;
  bad(7, 3) = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::string> said = at_once([&](int t) -> std::string {
    try {
      fewbit::quantize(t % 2 == 0 ? good : bad, fewbit::Symmetric(4));
    } catch (const std::domain_error& e) {
      return e.what();
    }
    return "";
  });
  for (std::size_t t = 0; t < said.size(); ++t) CHECK(said[t].empty() == (t % 2 == 0));
}
