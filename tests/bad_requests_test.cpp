// Bad and awkward requests as a table: matrices of other scalars, integer products at their ends, estimators that have
// nothing to choose from, and training at the edge of its range.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <fewbit/estimate/hqq.hpp>
#include <fewbit/estimate/kl_divergence.hpp>
#include <fewbit/estimate/mse.hpp>
#include <fewbit/estimate/percentile.hpp>
#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/linear.hpp>
#include <fewbit/quantize/double_quantize.hpp>
#include <fewbit/quantize/fake_quantizer.hpp>
#include <fewbit/quantize/input_statistics.hpp>
#include <fewbit/quantize/lsq.hpp>

#include <support/any.hpp>
#include <support/host_mode.hpp>
#include <support/matrices.hpp>
#include <support/refusals.hpp>

namespace {

using fewbit::Asymmetric;
using fewbit::FakeQuantizer;
using fewbit::Granularity;
using fewbit::Hqq;
using fewbit::Lsq;
using fewbit::MinMax;
using fewbit::MseSearch;
using fewbit::Pact;
using fewbit::QuantizedMatrix;
using fewbit::StraightThrough;
using fewbit::Symmetric;
using support::impossible;
using support::Index;
using support::judged;
using support::MatrixXf;
using support::Outcome;
using support::refused;
using support::Request;
using support::RowMajor;
using support::saturating;
using support::Tally;
using Int8 = Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic>;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity(),
                huge = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();
const Symmetric grid(4);

struct Table {
  std::vector<Request> all{};
  void add(int number, const std::string& name, const Outcome& o, std::function<void()> ask) {
    all.push_back({number, name, o, std::move(ask)});
  }
};

template <class F>
void on_every_table(F&& f) {
  for (const fewbit::kernel::Table* table : fewbit::kernel::all())
    if (table->supported()) {
      const fewbit::kernel::Use use(*table);
      INFO(table->name);
      f();
    }
}

// ------------------------------------------------------------------------------------------------ other scalars

// f(layout, expression) for a matrix of any scalar, as in_every_layout does for floats.
template <class T, class F>
void in_five_layouts(const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>& w, F&& f) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  const Index rows = w.rows(), cols = w.cols();
  const T beside(nan_value);
  f("column-major", w);
  const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> by_row = w;
  f("row-major", by_row);
  Matrix apart = Matrix::Constant(2 * rows, 3 * cols, beside);
  Eigen::Map<Matrix, Eigen::Unaligned, Strides> strided(apart.data(), rows, cols, Strides(6 * rows, 2));
  strided = w;
  f("strided both ways", strided);
  Matrix around = Matrix::Constant(rows + 3, cols + 4, beside);
  around.block(2, 3, rows, cols) = w;
  f("block", around.block(2, 3, rows, cols));
  const Matrix turned = w.transpose();
  f("transposed", turned.transpose());
}

// A weight of T at row 3, column 17, as it is refused, and as saturating takes it: like the float `as`, coded so.
template <class T>
void add_scalar(Table& t, int number, const std::string& name, T x, float as, const Outcome& o) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  const Granularity g = number % 2 ? fewbit::per_group(8) : fewbit::per_channel();
  Matrix w = support::normal_matrix(5, 20, 461).cast<T>();
  MatrixXf floats = w.template cast<float>();
  w(3, 17) = x, floats(3, 17) = as;
  const QuantizedMatrix expected = fewbit::quantize(floats, grid, g, MinMax{}, saturating);
  t.add(number, name, judged, [=] {
    in_five_layouts<T>(w, [&](const char* layout, const auto& m) {
      INFO(layout);
      const auto strictly = [&] { return fewbit::quantize(m, grid, g); };
      if (o.kind == Outcome::Kind::judged) CHECK(strictly() == expected);
      else CHECK(support::says(support::thrown<std::domain_error>(strictly), o.words));
      CHECK(fewbit::quantize(m, grid, g, MinMax{}, saturating) == expected);
    });
  });
}

void other_scalars(Table& t) {
  const auto at = [](const char* value) {
    return refused({"weight at row 3, column 17 is", value, "NonFinite::saturating"});
  };
  const auto both = [&](const std::string& type, auto one) {
    using T = decltype(one);
    add_scalar<T>(t, 1, "a NaN of " + type, T(nan_value), nan_value, at("nan"));
    add_scalar<T>(t, 2, "+inf of " + type, T(inf), inf, at("inf"));
    add_scalar<T>(t, 2, "-inf of " + type, T(-inf), -inf, at("-inf"));
    add_scalar<T>(t, 9, "-0 of " + type, T(-0.f), 0, judged);
  };
  both("double", 1.);
  both("half", Eigen::half(1.f));
  both("bfloat16", Eigen::bfloat16(1.f));
  const auto beyond = [](const char* value) {
    return refused({"weight at row 3, column 17 is", value, "beyond the range of a float"});
  };
  add_scalar<double>(t, 2, "a double of 1e300", 1e300, inf, beyond("1e+300"));
  add_scalar<double>(t, 2, "a double of -1e39", -1e39, -inf, beyond("-1e+39"));
  add_scalar<double>(t, 2, "the least double that is rounded out of the floats", 0x1.ffffffp127, inf,
                     beyond("3.40282e+38"));
  add_scalar<double>(t, 2, "the largest double", std::numeric_limits<double>::max(), inf, beyond("1.79769e+308"));
  add_scalar<double>(t, 4, "the largest double that is rounded into the floats", 0x1.fffffefffffffp127, huge, judged);
  add_scalar<double>(t, 6, "a double of 1e-300", 1e-300, 0, judged);
  add_scalar<double>(t, 6, "a double of -1e-46", -1e-46, 0, judged);
  add_scalar<double>(t, 6, "the smallest double", std::numeric_limits<double>::denorm_min(), 0, judged);
  add_scalar<double>(t, 11, "a double of 1e-45", 1e-45, tiny, judged);
  add_scalar(t, 4, "the largest half", Eigen::half(65504.f), 65504, judged);
  add_scalar(t, 6, "the smallest half", Eigen::half(0x1p-24f), 0x1p-24f, judged);
  add_scalar(t, 4, "the largest bfloat16", Eigen::bfloat16(0x1.fep127f), 0x1.fep127f, judged);
  add_scalar(t, 11, "the smallest bfloat16", Eigen::bfloat16(0x1p-133f), 0x1p-133f, judged);
}

// ------------------------------------------------------------------------------------------------ 12 - 14: products

void products(Table& t) {
  for (const int bits : {2, 3, 4, 8})
    for (const Index n : {Index{1}, Index{31}, Index{64}, Index{1000}})
      t.add(
          12, "the most negative code of " + std::to_string(bits) + " bits times -128, " + std::to_string(n) + " times",
          judged, [=] {
            const QuantizedMatrix q = fewbit::quantize(MatrixXf::Constant(3, n, -0.5f), Symmetric(bits).signed_scale());
            REQUIRE(q.code(2, n - 1) == 0);
            const Int8 x = Int8::Constant(n, 2, -128);
            const auto sum = static_cast<std::int32_t>(n * 128 * (Index{1} << (bits - 1)));
            on_every_table([&] {
              CHECK((fewbit::integer_product(q, x).array() == sum).all());
              const MatrixXf y = fewbit::product(q, MatrixXf::Constant(n, 2, -3), fewbit::Activations::int8);
              CHECK((y.array() == 1.5f * static_cast<float>(n)).all());
            });
          });
  // 255 times 127, twice, is beyond 16 bits; some 66,000 times it is beyond 32.
  for (const Index n : {Index{2}, Index{32}, Index{64}, Index{257}, Index{66'000}, Index{140'000}})
    for (const Index columns : {Index{1}, Index{5}, Index{40}}) {
      if (n > 1000 && columns > 5) continue;
      t.add(n > 1000 ? 14 : 13, std::to_string(n) + " products of 255 and 127, " + std::to_string(columns) + " columns",
            judged, [=] {
              for (const float sign : {1.f, -1.f}) {
                MatrixXf w = MatrixXf::Constant(2, n, sign * 127), x = MatrixXf::Constant(n, columns, 255);
                w(0, 0) = sign * 126, w(1, n - 1) = sign * 125;  // not constant: the codes are the weights
                x(0, 0) = 254;
                const QuantizedMatrix q = fewbit::quantize(w, Symmetric(8), fewbit::per_channel());
                REQUIRE(q.affine(0, 0).scale == 1);
                const Eigen::MatrixXd exact = w.cast<double>() * x.cast<double>();
                const double unit = static_cast<double>(n + 2) * 0x1p-24;  // as ops/product.hpp states it
                on_every_table([&] {
                  const MatrixXf y = fewbit::product(q, x, fewbit::Activations::uint8);
                  CHECK(((y.cast<double>() - exact).cwiseAbs().array() <= unit * exact.cwiseAbs().array()).all());
                });
              }
            });
    }
  t.add(14, "131071 products of -128 and -128 in 32 bits", judged, [] {
    const QuantizedMatrix q = fewbit::quantize(MatrixXf::Constant(1, 131'071, -1), Symmetric(8).signed_scale());
    CHECK(fewbit::integer_product(q, Int8::Constant(131'071, 1, -128).eval())(0, 0) == 131'071 * 16'384);
  });
  for (const Index n : {Index{131'072}, Index{200'000}})
    t.add(14, std::to_string(n) + " products of -128 and -128 in 32 bits",
          impossible({std::to_string(n), "2^31", "split"}), [=] {
            const QuantizedMatrix q = fewbit::quantize(MatrixXf::Constant(1, n, -1), Symmetric(8).signed_scale());
            fewbit::integer_product(q, Int8::Constant(n, 1, -128).eval());
          });

  const MatrixXf w = support::normal_matrix(5, 12, 471);
  const QuantizedMatrix q = fewbit::quantize(w, grid, fewbit::per_channel());
  for (const Index n : {0, 1, 11, 13, 60}) {
    const std::string rows = std::to_string(n) + " rows";
    t.add(24, "W x, x of " + rows, impossible({"5 x 12", rows, "12"}),
          [=] { fewbit::product(q, Eigen::VectorXf::Ones(n).eval()); });
    t.add(24, "W X in integers, X of " + rows, impossible({"5 x 12", rows, "12"}),
          [=] { fewbit::product(q, MatrixXf::Ones(n, 3), fewbit::Activations::int8); });
    t.add(24, "integer_product with X of " + rows, impossible({"5 x 12", rows, "12"}),
          [=] { fewbit::integer_product(q, Int8::Ones(n, 3).eval()); });
  }
  for (const Index n : {1, 4, 6, 11, 13}) {
    t.add(24, "a bias of " + std::to_string(n), impossible({"bias", std::to_string(n) + " x 1", "5 rows"}),
          [=] { fewbit::QuantizedLinear layer(q, Eigen::VectorXf::Ones(n).eval()); });
    t.add(24, "an input map of " + std::to_string(n), impossible({std::to_string(n), "12 columns"}), [=] {
      QuantizedMatrix copy = q;
      fewbit::InputMap map;
      map.scale.assign(static_cast<std::size_t>(n), 1.f);
      copy.set_input_map(map);
    });
  }
  for (const float bad : {nan_value, inf, -inf}) {
    MatrixXf x = MatrixXf::Ones(12, 3);
    x(7, 2) = bad;
    const std::string is = std::isnan(bad) ? "a NaN" : bad > 0 ? "+inf" : "-inf";
    t.add(std::isnan(bad) ? 1 : 2, is + " among activations to be rounded",
          refused({"activation at row 7, column 2 is", std::isnan(bad) ? "nan" : "inf", "floats"}, {"saturating"}),
          [=] { fewbit::product(q, x, fewbit::Activations::int8); });
    t.add(std::isnan(bad) ? 1 : 2, is + " among activations that are floats stays in its column", judged, [=] {
      const MatrixXf y = q * x;
      CHECK(y.leftCols(2).allFinite());
      CHECK(!y.col(2).allFinite());
    });
  }
}

// ------------------------------------------------------------------------------------------------ 30, 31: estimators

template <class E>
void add_constants(Table& t, const std::string& name, const E& estimate) {
  for (const float c : {0.f, -0.f, 1.f, -0.3f, 1e-44f, 3e38f, -huge, 7.f})
    t.add(30, name + " on groups of " + std::to_string(c) + " and " + std::to_string(std::ilogb(c)), judged, [=] {
      MatrixXf w = MatrixXf::Constant(3, 20, c);
      for (const Granularity g : {fewbit::per_group(8), fewbit::per_block(2, 7)}) {
        const QuantizedMatrix plain = fewbit::quantize(w, Asymmetric(4), g);
        CHECK((fewbit::dequantize(plain).array() == c).all());
        CHECK(fewbit::quantize(w, Asymmetric(4), g, estimate) == plain);
        CHECK(fewbit::quantize(RowMajor(w), Asymmetric(4), g, estimate) == plain);
      }
      w(1, 11) = nan_value, w(2, 3) = inf;
      const QuantizedMatrix q = fewbit::quantize(w, Asymmetric(4), fewbit::per_group(8), estimate, saturating);
      CHECK(q == fewbit::quantize(w, Asymmetric(4), fewbit::per_group(8), MinMax{}, saturating));
      CHECK(fewbit::dequantize(q).allFinite());
    });
}

void estimators(Table& t) {
  // One type for all that see a block's weights alone: each is compiled once less.
  using Estimate = std::function<fewbit::Affine(std::span<const float>, const fewbit::Stored<Asymmetric>&)>;
  add_constants<Estimate>(t, "Hqq", Hqq{});
  add_constants(t, "MseSearch", MseSearch{});
  add_constants(t, "MseSearch to the power 2.4", MseSearch{.exponent = 2.4});
  add_constants<Estimate>(t, "Percentile", fewbit::Percentile(90));
  add_constants<Estimate>(t, "KlDivergence", fewbit::KlDivergence{});

  const MatrixXf w = support::normal_matrix(3, 20, 481);
  const auto searched = [=](const std::vector<float>& importance, Granularity g) {
    MseSearch search;
    search.importance = importance;
    return fewbit::quantize(w, grid, g, search);
  };
  for (const Granularity g : {fewbit::per_group(8), fewbit::per_channel(), fewbit::per_tensor()}) {
    const std::string in = " in blocks of " + std::to_string(g.rows) + " x " + std::to_string(g.cols);
    t.add(31, "importances all 0" + in, judged, [=] {
      CHECK(searched(std::vector<float>(20, 0.f), g) == searched({}, g));
      CHECK(searched(std::vector<float>(20, -0.f), g) == searched({}, g));
    });
    t.add(31, "importances of inputs that were all 0" + in, judged, [=] {
      CHECK(searched(fewbit::InputStatistics::of(MatrixXf::Zero(20, 7)).importance(), g) == searched({}, g));
    });
    t.add(31, "importances of 1e-45" + in, judged,
          [=] { CHECK(searched(std::vector<float>(20, tiny), g) == searched({}, g)); });
    t.add(31, "the largest importances" + in, judged,
          [=] { CHECK(fewbit::dequantize(searched(std::vector<float>(20, huge), g)).allFinite()); });
  }
  t.add(31, "importances 0 in one group", judged, [=] {
    std::vector<float> importance(20, 1.f);
    for (std::size_t j = 8; j < 16; ++j) importance[j] = 0;
    CHECK(searched(importance, fewbit::per_group(8)) == searched({}, fewbit::per_group(8)));
  });
  for (const float bad : {-1.f, nan_value, inf, -tiny})
    t.add(31,
          "an importance of " + std::to_string(bad) + (std::isfinite(bad) && bad > -1 ? ", the smallest below 0" : ""),
          impossible({"importance of input 13", "finite numbers of 0 or more"}), [=] {
            std::vector<float> importance(20, 1.f);
            importance[13] = bad;
            searched(importance, fewbit::per_group(8));
          });
  for (const std::size_t n : {1u, 19u, 21u})
    t.add(24, std::to_string(n) + " importances", impossible({std::to_string(n) + " importances", "20 inputs"}),
          [=] { searched(std::vector<float>(n, 1.f), fewbit::per_group(8)); });
}

// ------------------------------------------------------------------------------------------------ 32: training

// What becomes of a gradient of 3 at a weight w, ranges frozen so that the scale is 1.
template <class G>
void add_edge(Table& t, const std::string& name, const G& levels, const MatrixXf& range, float w, bool kept) {
  t.add(32, name + ", a weight of " + std::to_string(w), judged, [=] {
    FakeQuantizer fq(levels, fewbit::per_tensor(), StraightThrough::clipped);
    fq.freeze(range);
    REQUIRE(fq.quantize(range).affine(0, 0).scale == 1);
    MatrixXf m = MatrixXf::Zero(3, 21);
    m(0, 0) = m(2, 20) = m(1, 16) = w;
    const RowMajor by_row = m;
    on_every_table([&] {
      const MatrixXf got = fq.backward(MatrixXf::Constant(3, 21, 3), m);
      CHECK(got(0, 0) == (kept ? 3 : 0));
      CHECK(got(2, 20) == (kept ? 3 : 0));
      CHECK(got(1, 16) == (kept ? 3 : 0));
      CHECK((got.array() == 3).count() == (kept ? 63 : 60));
      CHECK((fq.backward(MatrixXf::Constant(3, 21, 3), by_row) == got));
    });
  });
}

void training(Table& t) {
  MatrixXf seven(1, 2), fifteen(1, 2), eight(1, 2);
  seven << 7, -7, fifteen << 15, 0, eight << 7, -8;
  const std::pair<float, bool> narrow[] = {{7, true},      {7.49999f, true}, {7.5f, false}, {7.50001f, false},
                                           {8, false},     {6.5f, true},     {-7, true},    {-7.49999f, true},
                                           {-7.5f, false}, {-8, false},      {huge, false}, {-huge, false},
                                           {-0.f, true},   {tiny, true}};
  for (const auto& [w, kept] : narrow) add_edge(t, "Symmetric(4)", Symmetric(4), seven, w, kept);
  const std::pair<float, bool> unsigned_levels[] = {{15, true},    {15.5f, false},     {15.49999f, true}, {0, true},
                                                    {-0.5f, true}, {-0.50001f, false}, {-1, false},       {16, false}};
  for (const auto& [w, kept] : unsigned_levels) add_edge(t, "Asymmetric(4)", Asymmetric(4), fifteen, w, kept);
  const std::pair<float, bool> most_negative[] = {{-8, true},       {-8.5f, true}, {-8.50001f, false}, {7, true},
                                                  {7.49999f, true}, {7.5f, false}, {8, false}};
  for (const auto& [w, kept] : most_negative)
    add_edge(t, "Symmetric(4).signed_scale()", Symmetric(4).signed_scale(), eight, w, kept);

  const std::pair<float, bool> clipped[] = {{0, true},
                                            {-0.f, true},
                                            {-tiny, false},
                                            {tiny, true},
                                            {6, false},
                                            {support::next_down(6), true},
                                            {support::next_up(6), false},
                                            {huge, false}};
  for (const auto& [x, kept] : clipped)
    t.add(32,
          "Pact to 6, an activation of 6 and " + std::to_string((x - 6) * 0x1p20f) + " 2^-20, in log2 " +
              std::to_string(std::ilogb(x)) + (std::signbit(x) ? " below" : ""),
          judged, [x = x, kept = kept] {
            const Pact pact(4, 6);
            MatrixXf m = MatrixXf::Constant(2, 17, 1);
            m(1, 16) = x;
            const auto got = pact.backward(MatrixXf::Constant(2, 17, 3), m);
            CHECK(got.inputs(1, 16) == (kept ? 3 : 0));
            CHECK(got.alpha == (x >= 6 ? 3 : 0));
            CHECK(pact.forward(m)(1, 16) == (x >= 6 ? 6 : x > 5 ? 6 : 0));
          });
  for (const float alpha : {0.f, -1.f, nan_value, inf, 1e-31f, tiny})
    t.add(32, "Pact to " + std::to_string(alpha) + " and " + std::to_string(std::ilogb(alpha)),
          impossible({"alpha", "finite and at least 1e-30"}), [=] { Pact(4, alpha); });

  // Where nobody can be told to saturate, nobody is.
  const MatrixXf good = support::normal_matrix(4, 12, 491);
  for (const float bad : {nan_value, inf, -inf}) {
    MatrixXf w = good;
    w(2, 3) = bad;
    const int number = std::isnan(bad) ? 1 : 2;
    const std::string is = std::isnan(bad) ? "a NaN" : bad > 0 ? "+inf" : "-inf";
    const auto at = [](const char* what, const char* remedy) {
      return refused({std::string(what) + " at row 2, column 3 is", remedy}, {"saturating"});
    };
    const FakeQuantizer fq(grid, fewbit::per_group(4), StraightThrough::clipped);
    const Outcome trained = at("number", "smaller rate");
    t.add(number, is + " in a forward pass", trained, [=] { fq.forward(w); });
    t.add(number, is + " in a backward pass", trained, [=] { fq.backward(good, w); });
    t.add(number, is + " in what is exported", trained, [=] { fq.quantize(w); });
    t.add(number, is + " in what is frozen", trained, [=] {
      FakeQuantizer frozen = fq;
      frozen.freeze(w);
    });
    t.add(number, is + " under frozen ranges", trained, [=] {
      FakeQuantizer frozen = fq;
      frozen.freeze(good);
      frozen.forward(w);
    });
    t.add(27, is + " in what is observed", at("observed value", "leave the batch out"), [=] {
      FakeQuantizer watching(grid, fewbit::per_tensor(), StraightThrough::identity, fewbit::MovingAverage(0.5));
      watching.observe(good);
      const fewbit::Range before = watching.estimator().range();
      try {
        watching.observe(w);
      } catch (...) {
        CHECK(watching.estimator().range() == before);
        throw;
      }
    });
    t.add(number, is + " where LSQ starts", at("weight", "smaller rate"), [=] { Lsq(grid, fewbit::per_group(4), w); });
    const Lsq lsq(grid, fewbit::per_group(4), good);
    t.add(number, is + " in LSQ's forward pass", at("weight", "smaller rate"), [=] { lsq.forward(w); });
    t.add(number, is + " in LSQ's backward pass", at("weight", "smaller rate"), [=] { lsq.backward(good, w); });
    t.add(number, is + " in what LSQ exports", at("weight", "smaller rate"), [=] { lsq.quantize(w); });
    t.add(number, is + " in PACT's forward pass", at("activation", "smaller rate"), [=] { Pact(4, 6).forward(w); });
    t.add(number, is + " in PACT's backward pass", at("activation", "smaller rate"),
          [=] { Pact(4, 6).backward(good, w); });
    t.add(number, is + " in what PACT exports", at("activation", "smaller rate"), [=] { Pact(4, 6).quantize(w); });
    t.add(15, is + " for a learned scale", refused({"learned scale 5 is", "smaller rate"}), [=] {
      Lsq broken = lsq;
      broken.scales()[5] = bad;
      broken.forward(good);
    });
  }
  for (const float s : {0.f, -0.f, -1.f, tiny})
    t.add(15,
          "a learned scale of " + std::to_string(s) +
              (std::signbit(s) ? " below"
               : s > 0         ? ", the smallest"
                               : ""),
          judged, [=] {
            for (const fewbit::ScaleType type :
                 {fewbit::ScaleType::f32, fewbit::ScaleType::f16, fewbit::ScaleType::bf16}) {
              Lsq lsq(grid, fewbit::per_group(4, type), good);
              lsq.scales()[5] = s;
              CHECK(lsq.forward(good).allFinite());
              CHECK(lsq.quantize(good).affine(1, 2).scale > 0);
              CHECK((fewbit::dequantize(lsq.quantize(good)) == lsq.forward(good)));
            }
          });

  const FakeQuantizer never(grid, fewbit::per_tensor(), StraightThrough::clipped, fewbit::MovingAverage(0.1));
  const Outcome unseen = impossible({"nothing was observed", "observe()"});
  t.add(28, "a forward pass before anything was observed", unseen, [=] { never.forward(good); });
  t.add(28, "a backward pass before anything was observed", unseen, [=] { never.backward(good, good); });
  t.add(28, "an export before anything was observed", unseen, [=] { never.quantize(good); });
  t.add(28, "ranges frozen before anything was observed", unseen, [=] {
    FakeQuantizer copy = never;
    copy.freeze(good);
  });
  t.add(28, "observed batches that were all empty", unseen, [=] {
    FakeQuantizer copy = never;
    copy.observe(MatrixXf(0, 12)), copy.observe(MatrixXf(4, 0));
    copy.forward(good);
  });
  t.add(28, "which gradients are clipped, without weights", impossible({"depends on W", "backward(gradient, W)"}),
        [=] { never.backward(good); });

  // Ranges and scales of other blocks, the same number of them included.
  const auto frozen = [=](Granularity g) {
    FakeQuantizer fq(grid, g);
    fq.freeze(good);
    return fq;
  };
  const std::pair<Granularity, std::pair<Index, Index>> others[] = {
      {fewbit::per_group(4), {4, 8}},    {fewbit::per_group(4), {12, 4}},  {fewbit::per_group(4), {6, 8}},
      {fewbit::per_group(4), {2, 24}},   {fewbit::per_channel(), {3, 12}}, {fewbit::per_channel(), {12, 4}},
      {fewbit::per_column(), {4, 11}},   {fewbit::per_column(), {12, 4}},  {fewbit::per_block(2, 6), {2, 24}},
      {fewbit::per_block(2, 6), {8, 6}}, {fewbit::per_group(4), {0, 0}}};
  for (const auto& [g, shape] : others) {
    const auto [rows, cols] = shape;
    const std::string of = std::to_string(rows) + " x " + std::to_string(cols);
    const std::string name =
        " of 4 x 12 in blocks of " + std::to_string(g.rows) + " x " + std::to_string(g.cols) + " for " + of;
    t.add(24, "frozen ranges" + name, impossible({"frozen ranges", of, "freeze() it again"}),
          [=, g_ = g, r = rows, c = cols] { frozen(g_).forward(MatrixXf::Ones(r, c)); });
    t.add(24, "learned scales" + name, impossible({"learned scales", of, "another Lsq"}),
          [=, g_ = g, r = rows, c = cols] { Lsq(grid, g_, good).forward(MatrixXf::Ones(r, c)); });
  }
  t.add(24, "frozen ranges of rows for a longer batch", judged, [=] {
    const MatrixXf more = support::normal_matrix(4, 31, 492);
    CHECK((frozen(fewbit::per_channel()).forward(more).leftCols(12) ==
           frozen(fewbit::per_channel()).forward(more.leftCols(12).eval())));
  });
  t.add(24, "scales that were resized", impossible({"13 learned scales", "4 x 3 blocks"}), [=] {
    Lsq lsq(grid, fewbit::per_group(4), good);
    lsq.scales().resize(13);
    lsq.forward(good);
  });
  for (const Index n : {Index{0}, Index{11}, Index{13}}) {
    const std::string of = "4 x " + std::to_string(n);
    const MatrixXf other = MatrixXf::Ones(4, n);
    t.add(24, "a gradient of " + of, impossible({"backward", "4 x 12", of}),
          [=] { FakeQuantizer(grid).backward(other, good); });
    t.add(24, "LSQ's gradient of " + of, impossible({"backward", "4 x 12", of}),
          [=] { Lsq(grid, fewbit::per_tensor(), good).backward(other, good); });
    t.add(24, "PACT's gradient of " + of, impossible({"backward", "4 x 12", of}),
          [=] { Pact(4, 6).backward(other, good); });
  }
}

// ------------------------------------------------------------------------------------------------ 11: the host's mode

#if FEWBIT_X86_64 || FEWBIT_ARM64
void host_modes(Table& t) {
  // What make() gives is the same to the last bit in every mode, on every table.
  const auto add = [&](const std::string& name, const std::function<MatrixXf()>& make) {
    t.add(11, name + " under a mode of the host's", judged, [=] {
      on_every_table([&] {
        const MatrixXf expected = make();
        for (const std::uint64_t mode : {support::HostMode::flush, support::HostMode::upward}) {
          MatrixXf got;
          {
            const support::HostMode host(mode);
            got = make();
          }
          CHECK(support::same_floats(got, expected));
        }
      });
    });
  };
  // Whatever the test itself computes is computed here, before there is a mode.
  const Granularity g = fewbit::per_group(8);
  const MatrixXf x = support::normal_matrix(20, 30, 502), large = x * 1e38f, little = x * 1e-3f, least = x * 1e-40f;
  const MatrixXf small = support::normal_matrix(5, 20, 501) * 1e-38f, tiny_weights = small * 1e-4f;
  const QuantizedMatrix q = fewbit::quantize(small, grid, g), subnormal = fewbit::quantize(tiny_weights, grid, g),
                        ordinary = fewbit::quantize(x.transpose(), grid, g);
  add("a product with floats", [=] { return MatrixXf(subnormal * large); });
  add("a product that is subnormal", [=] { return MatrixXf(q * x.leftCols(3)); });
  add("a product with bytes", [=] { return MatrixXf(fewbit::product(q, little, fewbit::Activations::int8)); });
  add("a product with activations that are subnormal",
      [=] { return MatrixXf(fewbit::product(ordinary, least, fewbit::Activations::int8)); });
  add("a transposed product", [=] { return MatrixXf(subnormal.transpose() * large.topRows(5)); });
  add("weights one by one", [=] {
    MatrixXf w(5, 20);
    for (Index i = 0; i < 5; ++i)
      for (Index j = 0; j < 20; ++j) w(i, j) = subnormal(i, j);
    return w;
  });
  add("scales in 8 bits", [=] { return fewbit::dequantize(fewbit::double_quantize(subnormal)); });
  add("a search", [=] { return fewbit::dequantize(fewbit::quantize(tiny_weights, grid, g, MseSearch{})); });
  add("a forward pass", [=] { return FakeQuantizer(grid, g).forward(small); });
  add("clipped gradients",
      [=] { return FakeQuantizer(grid, g, StraightThrough::clipped, fewbit::Percentile(80)).backward(small, small); });
  add("observed values", [=] {
    FakeQuantizer fq(grid, g, StraightThrough::identity, fewbit::MovingAverage(0.5));
    fq.observe(tiny_weights);
    return fq.forward(tiny_weights);
  });
  add("scales that are learned", [=] { return Lsq(grid, g, tiny_weights).forward(tiny_weights); });
  add("a learned scale below 0", [=] {
    Lsq lsq(grid, g, small);
    lsq.scales()[3] = -1;
    return lsq.forward(small);
  });
  add("gradients of learned scales", [=] { return MatrixXf(Lsq(grid, g, small).backward(small, small).scales); });
}
#else
void host_modes(Table&) {}
#endif

const std::vector<Request>& requests() {
  static const std::vector<Request> all = [] {
    Table t;
    other_scalars(t), products(t), estimators(t), training(t), host_modes(t);
    return t.all;
  }();
  return all;
}

}  // namespace

TEST_CASE("every other request of the table is refused by its name and value, or gives what it should",
          "[bad-input][table]") {
  for (const Request& r : requests()) support::run(r);
}

TEST_CASE("the table of requests holds 200 and more, each once, and some of every class", "[bad-input][table]") {
  support::check_counts(requests(), 200,
                        {{1, 14},
                         {2, 30},
                         {4, 3},
                         {6, 4},
                         {9, 3},
                         {11, 2},
                         {12, 16},
                         {13, 12},
                         {14, 7},
                         {15, 7},
                         {24, 50},
                         {27, 3},
                         {28, 6},
                         {30, 40},
                         {31, 15},
                         {32, 40}});
}
