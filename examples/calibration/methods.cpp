// What calibration gains: the error of a layer's output by method, bits and correlation of its inputs, on the samples
// that a method has seen and on others; and whether GPTQ gains what was published for these layers.
#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "../support/correlated_inputs.hpp"
#include "../support/table.hpp"

namespace {

using Eigen::MatrixXd;
using example::fixed;
using example::joined;
using fewbit::GroupScales;
using fewbit::MinMax;
using fewbit::MseSearch;

// How much inputs tell about each other, and how unlike in size they are: see CorrelatedInputs.
struct Kind {
  const char* name;
  double decay, heavy;
};
const std::vector<Kind> kinds{{"weak", 1e9, 0.3}, {"medium", 120, 0.7}, {"strong", 40, 1.2}};
const std::vector<int> widths{4, 3, 2};

// One layer, W[48, 256], and 1024 samples of its inputs; then as many that no method sees.
struct Layer {
  static constexpr Eigen::Index outputs = 48, inputs = 256, samples = 1024;
  MatrixXd W, X;
  fewbit::Hessian seen{inputs}, unseen{inputs};

  Layer(std::uint32_t seed, const Kind& kind) {
    example::NumpyRandom random(seed);
    const example::CorrelatedInputs source(random, inputs, kind.decay, kind.heavy);
    X = source.draw(random, samples);
    W = 0.02 * random.doubles(outputs, inputs);
    for (Eigen::Index i = 0; i < outputs; ++i) W.row(i) *= std::exp(0.3 * random.normal());
    seen.add(X);
    unseen.add(source.draw(random, samples));
  }
};

// The mean of |W x - Q x|^2 over the samples, times 2: the trace of E H E^T for E = W - Q.
double output_error(const MatrixXd& W, const fewbit::QuantizedMatrix& q, const fewbit::Hessian& samples) {
  const MatrixXd error = W - fewbit::dequantize<MatrixXd>(q);
  return (error * samples.matrix()).cwiseProduct(error).sum();
}

struct Method {
  std::string name;
  std::function<fewbit::QuantizedMatrix(const Layer&, const fewbit::Asymmetric&)> quantize;
};

// In the order of all_methods.
enum Number : std::size_t {
  nearest,
  least_error,
  weighted,
  hqq,
  hqq_in_scales,
  awq,
  stale,
  fresh,
  fixed_order,
  act_order,
  act_order_range,
  by_default,
  refined
};

std::vector<Method> all_methods() {
  const auto groups = fewbit::per_group(32);
  const auto rounded = [=](const auto& estimate) {
    return [=](const Layer& l, const auto& grid) { return fewbit::quantize(l.W, grid, groups, estimate); };
  };
  const auto gptq = [=](const auto& estimate, const fewbit::GptqOptions& options) {
    return [=](const Layer& l, const auto& grid) { return fewbit::gptq(l.W, l.seen, grid, groups, estimate, options); };
  };
  const auto by_importance = [=](const Layer& l, const auto& grid) {
    const Eigen::VectorXf square = fewbit::InputStatistics::of(l.X).mean_square().cast<float>();
    return fewbit::quantize(l.W, grid, groups, MseSearch{.importance{square.begin(), square.end()}});
  };
  const auto default_gptq = [=](const Layer& l, const auto& grid) { return fewbit::gptq(l.W, l.seen, grid, groups); };
  return {
      {"round to nearest", rounded(MinMax{})},
      {"range of least error", rounded(MseSearch{})},
      {"least error by mean x^2", by_importance},
      {"HQQ", rounded(fewbit::Hqq{})},
      {"HQQ, errors in scales", rounded(fewbit::Hqq{.in_scales = true})},
      {"AWQ", [=](const Layer& l, const auto& grid) { return fewbit::awq(l.W, l.X, grid, groups); }},
      {"GPTQ, stale scales", gptq(MinMax{}, {.act_order = false, .scales = GroupScales::stale})},
      {"GPTQ, fresh scales", gptq(MinMax{}, {.act_order = false, .scales = GroupScales::fresh})},
      {"GPTQ, static scales", gptq(MinMax{}, {.act_order = false})},
      {"GPTQ, act-order", gptq(MinMax{}, {})},
      {"act-order, range^2.4", gptq(MseSearch{.exponent = 2.4}, {})},
      {"GPTQ by default", default_gptq},
      {"GPTQ by default, refined",
       [=](const Layer& l, const auto& g) { return fewbit::refine(default_gptq(l, g), l.W, l.seen); }},
  };
}

// For each kind and width: every method's error over that of round to nearest, the mean of four layers.
struct Setting {
  std::string name;
  std::vector<double> seen, unseen;
};

std::vector<Setting> measure(const std::vector<Method>& methods, std::vector<double>& bits_held) {
  std::vector<Setting> settings;
  for (const Kind& kind : kinds) {
    std::vector<Layer> layers;
    for (std::uint32_t seed = 100; seed < 104; ++seed) layers.emplace_back(seed, kind);
    for (const int bits : widths) {
      Setting s{joined(kind.name, " ", bits), std::vector<double>(methods.size()), std::vector<double>(methods.size())};
      for (const Layer& layer : layers) {
        double whole = 0, whole_unseen = 0;
        for (std::size_t m = 0; m < methods.size(); ++m) {
          const auto q = methods[m].quantize(layer, fewbit::Asymmetric(bits).including_zero());
          const double seen = output_error(layer.W, q, layer.seen), unseen = output_error(layer.W, q, layer.unseen);
          if (m == nearest) whole = seen, whole_unseen = unseen;
          s.seen[m] += seen / whole / 4;
          s.unseen[m] += unseen / whole_unseen / 4;
          if (bits == 4) bits_held[m] = q.bits_per_weight();
        }
      }
      settings.push_back(s);
    }
  }
  return settings;
}

// Measured for these layers without the library: stale .. act_order_range.
const std::map<std::string, std::vector<double>> reference{
    {"weak 4", {.484, .474, .498, .361, .373}},   {"weak 2", {.584, .636, .519, .421, .358}},
    {"medium 4", {.368, .367, .377, .163, .168}}, {"medium 2", {.508, .715, .413, .211, .191}},
    {"strong 3", {.260, .270, .263, .114, .110}}, {"strong 2", {.357, .511, .305, .125, .111}}};

}  // namespace

int main() {
  const std::vector<Method> methods = all_methods();
  std::vector<double> bits_held(methods.size());
  const std::vector<Setting> settings = measure(methods, bits_held);

  const auto head = [&](const char* title, const char* last) {
    std::vector<std::string> cells{title};
    for (const Setting& s : settings) cells.push_back(s.name);
    cells.push_back(last);
    return cells;
  };
  std::cout << "Error of the output of 48 x 256 weights over that of round to nearest, by correlation of the inputs\n"
               "and bits: Asymmetric(bits).including_zero(), per_group(32), 1024 samples, means of four layers\n\n";
  example::Table table(head("samples seen", "held at 4"));
  for (std::size_t m = 0; m < methods.size(); ++m) {
    std::vector<std::string> row{methods[m].name};
    for (const Setting& s : settings) row.push_back(fixed(s.seen[m], 2));
    row.push_back(joined(fixed(bits_held[m], 3), " bits"));
    table.row(row);
  }
  table.note(
      "Beside 4 bits: a scale of 32 bits and a zero-point per group; HQQ's zero-points are real; AWQ scales inputs.");
  std::cout << table << '\n';

  example::Table others(head("other samples", ""));
  for (const std::size_t m : {weighted, awq, fixed_order, act_order, by_default, refined}) {
    std::vector<std::string> row{methods[m].name};
    for (const Setting& s : settings) row.push_back(fixed(s.unseen[m], 2));
    others.row(row);
  }
  std::cout << others << '\n';

  // In how many settings each of these holds, for the samples that were seen and for others.
  example::Table order({"less error", "seen", "other samples"});
  const auto less = [&](const char* name, std::size_t a, std::size_t b) {
    const auto count = [&](std::vector<double> Setting::*errors) {
      const auto n = std::count_if(settings.begin(), settings.end(),
                                   [&](const Setting& s) { return (s.*errors)[a] < (s.*errors)[b]; });
      return joined(n, " of ", settings.size());
    };
    order.row({name, count(&Setting::seen), count(&Setting::unseen)});
  };
  less("AWQ than ranges weighted by mean x^2", awq, weighted);
  less("GPTQ in the order of columns than AWQ", fixed_order, awq);
  less("act-order than the order of columns", act_order, fixed_order);
  less("refined than not", refined, by_default);
  std::cout << order << '\n';

  example::Table published({"reference", "stale", "fresh", "static", "act-order", "range^2.4", "within 5%"});
  bool all_agree = true;
  for (const Setting& s : settings) {
    const auto found = reference.find(s.name);
    if (found == reference.end()) continue;
    std::vector<std::string> row{s.name};
    bool agrees = true;
    for (std::size_t k = 0; k < found->second.size(); ++k) {
      const double expected = found->second[k];
      row.push_back(fixed(expected, 3));
      agrees = agrees && std::abs(s.seen[stale + k] - expected) <= 0.05 * expected;
    }
    row.push_back(agrees ? "agrees" : "DIFFERS");
    published.row(row);
    all_agree = all_agree && agrees;
  }
  std::cout << published;
  return all_agree ? EXIT_SUCCESS : EXIT_FAILURE;
}
