// Calibration that is bad, scarce or missing, as a table of concrete requests: what a Hessian, statistics of inputs and
// the algorithms that read them must survive, and what they must refuse without having taken anything in.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/quantize/awq.hpp>
#include <fewbit/quantize/gptq.hpp>
#include <fewbit/quantize/refine.hpp>
#include <fewbit/quantize/smooth_quant.hpp>

#include <support/matrices.hpp>
#include <support/refusals.hpp>

namespace {

using Eigen::MatrixXd;
using fewbit::GptqOptions;
using fewbit::GptqReport;
using fewbit::Hessian;
using fewbit::InputStatistics;
using fewbit::QuantizedMatrix;
using fewbit::Symmetric;
using support::impossible;
using support::Index;
using support::judged;
using support::MatrixXf;
using support::Outcome;
using support::refused;
using support::Request;
using support::RowMajor;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
constexpr Index in = 24, out = 6;
const Symmetric grid(3);
const fewbit::Granularity groups = fewbit::per_group(8);

const MatrixXf& weights() {
  static const MatrixXf w = support::normal_matrix(out, in, 451);
  return w;
}
const MatrixXf& samples() {
  static const MatrixXf x = [] {
    MatrixXf some = support::normal_matrix(in, 60, 452);
    for (Index i = 1; i < in; ++i) some.row(i) += 0.5f * some.row(i - 1);
    return some;
  }();
  return x;
}

// Codes that decode to numbers, a damping that is one, a loss that is no worse; whatever the Hessian and its damping.
void survives(const Hessian& h, double damping, const std::vector<Index>& dead) {
  GptqReport report;
  GptqOptions options;
  options.damping = damping, options.report = &report;
  const QuantizedMatrix q = fewbit::gptq(weights(), h, grid, groups, options);
  const MatrixXf back = fewbit::dequantize(q);
  CHECK(back.allFinite());
  CHECK((std::isfinite(report.damping) && report.damping >= damping));
  CHECK(report.damping_steps <= 30);
  CHECK(std::isfinite(report.loss_after));
  CHECK(report.dead_inputs == dead);
  for (const Index j : dead) CHECK((back.col(j).array() == 0).all());
  // Where they lie in memory is nothing to it.
  options.report = nullptr;
  CHECK(fewbit::gptq(RowMajor(weights()), h, grid, groups, options) == q);
  const MatrixXf turned = weights().transpose();
  CHECK(fewbit::gptq(turned.transpose(), h, grid, groups, options) == q);
}

struct Table {
  std::vector<Request> all{};
  void add(int number, const std::string& name, const Outcome& o, std::function<void()> ask) {
    all.push_back({number, name, o, std::move(ask)});
  }
};

void hessians(Table& t) {
  const auto add = [&](int number, const std::string& name, const Hessian& h, const std::vector<Index>& dead = {}) {
    for (const double damping : {0., 0.01, 1.})
      t.add(number, name + ", damped by " + std::to_string(damping), judged, [=] { survives(h, damping, dead); });
  };
  const MatrixXf& x = samples();
  add(25, "one sample", Hessian::of(x.leftCols(1)));
  add(25, "two samples", Hessian::of(x.leftCols(2)));
  add(25, "fewer samples than inputs", Hessian::of(x.leftCols(in - 1)));
  add(25, "all inputs alike", Hessian::of(MatrixXf::Ones(in, 50)));
  MatrixXf twice = x;
  twice.row(9) = twice.row(4), twice.row(20) = -twice.row(4);
  add(25, "inputs that are copies of others", Hessian::of(twice));
  for (const int e : {-130, -70, 50, 110})
    add(25, "samples of 2^" + std::to_string(e), Hessian::of(x * std::ldexp(1.f, e)));
  MatrixXf apart = x;
  apart.row(3) *= 1e9f, apart.row(7) *= 1e-9f;
  add(25, "inputs 1e18 apart", Hessian::of(apart));
  MatrixXd m = support::normal_matrix(in, in, 453).cast<double>();
  m = (m + m.transpose()).eval();
  m.diagonal() = m.diagonal().cwiseAbs();
  add(25, "an indefinite matrix", Hessian::from_matrix(m));
  add(25, "an indefinite matrix with numbers of 1e300",
      Hessian::from_matrix(MatrixXd(m * 1e300 / m.cwiseAbs().maxCoeff())));
  add(25, "a matrix that is not symmetric", Hessian::from_matrix(MatrixXd(m.triangularView<Eigen::Upper>())));
  MatrixXd bordered = MatrixXd::Identity(in, in);
  bordered(0, in - 1) = bordered(in - 1, 0) = 1e12;
  add(25, "a matrix far larger off its diagonal", Hessian::from_matrix(bordered));

  std::vector<Index> every(in);
  for (Index j = 0; j < in; ++j) every[static_cast<std::size_t>(j)] = j;
  const auto without = [&](const std::vector<Index>& dead) {
    MatrixXf some = x;
    for (const Index j : dead) some.row(j).setZero();
    return Hessian::of(some);
  };
  for (const std::vector<Index>& dead : {std::vector<Index>{0}, {in - 1}, {7, 8}, {0, 5, 23}})
    add(26, std::to_string(dead.size()) + " dead inputs from " + std::to_string(dead[0]), without(dead), dead);
  add(26, "all inputs dead", Hessian::of(MatrixXf::Zero(in, 9)), every);
  std::vector<Index> but_one(every.begin() + 1, every.end());
  add(26, "all inputs dead but one", without(but_one), but_one);
  add(26, "a matrix of zeros", Hessian::from_matrix(MatrixXd::Zero(in, in)), every);
  MatrixXd below = MatrixXd::Identity(in, in);
  below(11, 11) = -1;
  add(26, "a diagonal below 0", Hessian::from_matrix(below), {11});
  t.add(26, "an input of nothing but -0", judged, [] {
    MatrixXf some = samples();
    some.row(2).setConstant(-0.f);
    survives(Hessian::of(some), 0.01, {2});
  });
}

void samples_not_finite(Table& t) {
  const auto bad_samples = [](float x) {
    MatrixXf some = samples();
    some(13, 41) = x;
    return some;
  };
  for (const float x : {nan_value, inf, -inf}) {
    const MatrixXf bad = bad_samples(x);
    const std::string is = std::isnan(x) ? "a NaN" : x > 0 ? "+inf" : "-inf";
    const Outcome o =
        refused({"calibration input 13 of sample 41", std::isnan(x) ? "nan" : "inf", "leave"}, {"saturating"});
    t.add(27, is + " in a batch, in every layout", judged, [=] {
      Hessian h(in);
      InputStatistics s(in);
      h.add(samples()), s.add(samples());
      const MatrixXd before = h.matrix();
      const Eigen::VectorXd mean = s.mean_square();
      support::in_every_layout(bad, [&](const char* layout, const auto& batch) {
        INFO(layout);
        const auto into_hessian = support::thrown<std::domain_error>([&] { h.add(batch); }),
                   into_statistics = support::thrown<std::domain_error>([&] { s.add(batch); });
        CHECK(support::says(into_hessian, o.words));
        CHECK(support::says(into_statistics, o.words));
      });
      CHECK((h.samples() == 60 && h.matrix() == before));
      CHECK((s.samples() == 60 && s.mean_square() == mean && s.max_absolute().allFinite()));
    });
    t.add(27, is + " in the first of a pair", o, [=] { Hessian(in).add(bad, samples()); });
    t.add(27, is + " in the second of a pair", judged, [=] {
      Hessian h(in);
      CHECK(support::says(support::thrown<std::domain_error>([&] { h.add(samples(), bad); }), o.words));
      CHECK(h.samples() == 0);
    });
    t.add(27, is + " among all samples", o, [=] { Hessian::of(bad); });
    t.add(27, is + " among awq's samples", o, [=] { fewbit::awq(weights(), bad, grid, groups); });
    t.add(27, is + " among smooth_quant's samples", o, [=] { fewbit::smooth_quant(weights(), bad); });
    t.add(27, is + " among refine's samples", o,
          [=] { fewbit::refine(fewbit::quantize(weights(), grid), weights(), bad); });
    MatrixXd h = MatrixXd::Identity(in, in);
    h(2, 19) = static_cast<double>(x);
    t.add(27, is + " in a Hessian from elsewhere", refused({"row 2, column 19", "must be finite"}),
          [=] { Hessian::from_matrix(h); });
  }
  t.add(27, "a double beyond the floats in a batch", refused({"input 0 of sample 0", "inf"}),
        [] { Hessian(in).add(MatrixXd::Constant(in, 2, 1e300)); });
  t.add(27, "a double beyond the floats in statistics", refused({"input 0 of sample 0", "inf"}),
        [] { InputStatistics(in).add(MatrixXd::Constant(in, 2, -1e300)); });
  t.add(27, "a Hessian from elsewhere that overflows with its samples", refused({"beyond the range of a double"}),
        [] { Hessian::from_matrix(MatrixXd::Constant(in, in, 1e308), 1'000'000); });

  const auto overflowing = [] {
    const MatrixXd large = MatrixXd::Identity(in, in) * 1.5e308;
    Hessian h = Hessian::from_matrix(large, 2);
    h.merge(Hessian::from_matrix(large, 2));
    return h;
  };
  t.add(25, "shards that add up beyond the doubles", refused({"shards add up", "scale them down"}),
        [=] { overflowing().matrix(); });
  t.add(25, "gptq with shards that add up beyond the doubles", refused({"shards add up", "scale them down"}),
        [=] { fewbit::gptq(weights(), overflowing(), grid, groups); });

  // Weights that are not finite, where no one can be told to saturate.
  for (const float x : {nan_value, inf, -inf}) {
    MatrixXf w = weights();
    w(4, 17) = x;
    const Outcome o =
        refused({"weight at row 4, column 17 is", std::isnan(x) ? "nan" : "inf", "repair it"}, {"saturating"});
    const std::string is = std::isnan(x) ? "a NaN" : x > 0 ? "+inf" : "-inf";
    const int number = std::isnan(x) ? 1 : 2;
    t.add(number, is + " among gptq's weights", o, [=] { fewbit::gptq(w, Hessian::of(samples()), grid, groups); });
    t.add(number, is + " among gptq's weights, of a dead input", o, [=] {
      MatrixXf some = samples();
      some.row(17).setZero();
      fewbit::gptq(w, Hessian::of(some), grid, groups);
    });
    t.add(number, is + " among awq's weights", o, [=] { fewbit::awq(w, samples(), grid, groups); });
    t.add(number, is + " among awq's weights, by statistics", o,
          [=] { fewbit::awq(w, InputStatistics::of(samples()), grid, groups); });
    t.add(number, is + " among smooth_quant's weights", o, [=] { fewbit::smooth_quant(w, samples()); });
    t.add(number, is + " among refine's weights", o,
          [=] { fewbit::refine(fewbit::quantize(weights(), grid), w, samples()); });
    t.add(number, is + " among row_losses' weights", o,
          [=] { fewbit::row_losses(w, fewbit::quantize(weights(), grid), Hessian::of(samples())); });
  }
}

void never_ran(Table& t) {
  const Outcome o = impossible({"calibration never ran", "add() some first"});
  const auto q = [] { return fewbit::quantize(weights(), grid, groups); };
  t.add(28, "a Hessian's matrix", o, [] { Hessian(in).matrix(); });
  t.add(28, "a Hessian's deviation", o, [] { Hessian(in).deviation(); });
  t.add(28, "a Hessian of a batch without samples", o, [] { Hessian::of(samples().leftCols(0)).matrix(); });
  t.add(28, "shards that never ran", o, [] {
    Hessian h(in);
    h.merge(Hessian(in));
    h.matrix();
  });
  t.add(28, "gptq", o, [] { fewbit::gptq(weights(), Hessian(in), grid, groups); });
  t.add(28, "refine", o, [=] { fewbit::refine(q(), weights(), Hessian(in)); });
  t.add(28, "refine, without samples", o, [=] { fewbit::refine(q(), weights(), samples().leftCols(0)); });
  t.add(28, "row_losses", o, [=] { fewbit::row_losses(weights(), q(), Hessian(in)); });
  t.add(28, "mean |x|", o, [] { InputStatistics(in).mean_absolute(); });
  t.add(28, "mean x^2", o, [] { InputStatistics(in).mean_square(); });
  t.add(28, "max |x|", o, [] { InputStatistics(in).max_absolute(); });
  t.add(28, "importances", o, [] { InputStatistics(in).importance(); });
  t.add(28, "awq, by statistics", o, [] { fewbit::awq(weights(), InputStatistics(in), grid, groups); });
  t.add(28, "awq, without samples", o, [] { fewbit::awq(weights(), samples().leftCols(0), grid, groups); });
  t.add(28, "smooth_quant, by statistics", o, [] { fewbit::smooth_quant(weights(), InputStatistics(in)); });
  t.add(28, "smooth_quant, without samples", o, [] { fewbit::smooth_quant(weights(), samples().leftCols(0)); });
}

void other_shapes(Table& t) {
  const auto q = [] { return fewbit::quantize(weights(), grid, groups); };
  const auto number = [](Index n) { return std::to_string(n); };
  for (const Index n : {Index{0}, Index{1}, in - 1, in + 1}) {
    const MatrixXf x = MatrixXf::Ones(n, 5);
    const std::string name = number(n) + " inputs";
    t.add(24, "a batch of " + name, impossible({number(n) + " x 5", "24 inputs", "a column is a sample"}),
          [=] { Hessian(in).add(x); });
    t.add(24, "statistics of a batch of " + name, impossible({number(n) + " x 5", "24 inputs"}),
          [=] { InputStatistics(in).add(x); });
    t.add(24, "gptq with " + name, impossible({"gptq", "6 x 24", number(n) + " inputs"}),
          [=] { fewbit::gptq(weights(), Hessian::of(x), grid, groups); });
    t.add(24, "awq with " + name, impossible({"awq", "6 x 24", number(n) + " inputs"}),
          [=] { fewbit::awq(weights(), x, grid, groups); });
    t.add(24, "smooth_quant with " + name, impossible({"smooth_quant", "6 x 24", number(n) + " inputs"}),
          [=] { fewbit::smooth_quant(weights(), InputStatistics::of(x)); });
    t.add(24, "refine with " + name, impossible({"refine", "6 x 24", number(n) + " inputs"}),
          [=] { fewbit::refine(q(), weights(), Hessian::of(x)); });
    t.add(24, "shards of " + name, impossible({"24 inputs", number(n)}), [=] { Hessian(in).merge(Hessian(n)); });
    t.add(24, "shards of statistics of " + name, impossible({"24 inputs", number(n)}),
          [=] { InputStatistics(in).merge(InputStatistics(n)); });
  }
  t.add(24, "a batch that is transposed", impossible({"60 x 24", "24 inputs", "a column is a sample"}),
        [] { Hessian(in).add(samples().transpose()); });
  t.add(24, "pairs of batches of two sizes", impossible({"24 x 60", "24 x 59", "pairs"}),
        [] { Hessian(in).add(samples(), samples().leftCols(59)); });
  t.add(24, "a Hessian that is not square", impossible({"24 x 23", "square"}),
        [] { Hessian::from_matrix(MatrixXd::Zero(24, 23)); });
  t.add(24, "a Hessian from no samples", impossible({"0 samples"}),
        [] { Hessian::from_matrix(MatrixXd::Identity(in, in), 0); });
  t.add(24, "refine, of other weights", impossible({"6 x 24", "5 x 24"}),
        [=] { fewbit::refine(q(), weights().topRows(5), samples()); });
  t.add(16, "a Hessian of -1 inputs", impossible({"-1 inputs"}), [] { Hessian h(-1); });
  t.add(16, "statistics of -1 inputs", impossible({"-1 inputs"}), [] { InputStatistics s(-1); });
}

void scales_of_inputs(Table& t) {
  const auto add = [&](const std::string& name, const MatrixXf& w, const MatrixXf& x, bool identity) {
    for (const bool by_statistics : {false, true})
      t.add(29, name + (by_statistics ? ", by statistics" : ", by samples"), judged, [=] {
        fewbit::AwqReport report;
        fewbit::AwqOptions options;
        options.report = &report;
        const QuantizedMatrix q = by_statistics ? fewbit::awq(w, InputStatistics::of(x), grid, groups, options)
                                                : fewbit::awq(w, x, grid, groups, options);
        CHECK(fewbit::dequantize(q).allFinite());
        if (identity) CHECK((q.input_map().empty() && report.ratio == 0));
        for (const float s : q.input_map().scale) CHECK((std::isfinite(s) && s > 0));
        CHECK(report.loss <= report.loss_nearest);
        const MatrixXf turned = w.transpose();
        CHECK((by_statistics ? fewbit::awq(turned.transpose(), InputStatistics::of(x), grid, groups)
                             : fewbit::awq(turned.transpose(), RowMajor(x), grid, groups)) == q);
      });
  };
  const MatrixXf &w = weights(), &x = samples();
  const auto with_row = [](const MatrixXf& from, Index i, float by) {
    MatrixXf m = from;
    m.row(i) *= by;
    return m;
  };
  add("an input that is 0", w, with_row(x, 11, 0), false);
  add("all inputs 0", w, MatrixXf::Zero(in, 9), true);
  add("all inputs alike", w, MatrixXf::Ones(in, 9), true);
  MatrixXf lone = MatrixXf::Zero(in, 9);
  lone.row(7).setOnes();
  add("one input of many not 0", w, lone, false);
  add("one sample", w, x.leftCols(1), false);
  add("an input 1e30 times the others", w, with_row(x, 3, 1e30f), false);
  add("an input 1e-30 times the others", w, with_row(x, 3, 1e-30f), false);
  add("inputs of 1e-42", w, x * 1e-42f, false);
  add("inputs of 1e37", w, x * 1e37f, false);
  add("weights of 0 for an input", with_row(w.transpose(), 5, 0).transpose(), x, false);
  add("no weight but 0", MatrixXf::Zero(out, in), x, true);
  add("one value for all weights", MatrixXf::Constant(out, in, 0.3f), x, false);
}

const std::vector<Request>& requests() {
  static const std::vector<Request> all = [] {
    Table t;
    hessians(t), samples_not_finite(t), never_ran(t), other_shapes(t), scales_of_inputs(t);
    return t.all;
  }();
  return all;
}

}  // namespace

TEST_CASE("every request of calibration's table is refused by its name and value, or gives what it should",
          "[bad-input][table]") {
  for (const Request& r : requests()) support::run(r);
}

TEST_CASE("calibration's table holds 150 requests and more, each once, and some of every class", "[bad-input][table]") {
  support::check_counts(requests(), 150, {{1, 7}, {2, 14}, {24, 35}, {25, 30}, {26, 20}, {27, 25}, {28, 16}, {29, 20}});
}
