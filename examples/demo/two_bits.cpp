// "You need clever per-channel scales (HQQ, BitNet) to make it work": what two bits cost with scales of many kinds, on
// the demo's weights, on normal ones and on heavy-tailed ones.
#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../support/correlated_inputs.hpp"
#include "../support/table.hpp"
#include "demo_weights.hpp"

namespace {

using example::fixed;
using example::joined;
using example::Matrix;
using fewbit::MseSearch;

struct Case {
  std::string name;
  Matrix W;
  fewbit::Index group;
  Eigen::MatrixXd seen, unseen;  // samples of inputs, or none
};

// Student's t with four degrees of freedom, in rows of unlike size.
Matrix heavy_tailed(fewbit::Index rows, fewbit::Index cols) {
  example::NumpyRandom random(42);
  Eigen::MatrixXd t = random.doubles(rows, cols), squares = Eigen::MatrixXd::Zero(rows, cols);
  for (int k = 0; k < 4; ++k) squares += random.doubles(rows, cols).cwiseAbs2();
  t = t.cwiseQuotient((squares / 4).cwiseSqrt());
  for (fewbit::Index i = 0; i < rows; ++i) t.row(i) *= std::exp(0.5 * random.normal());
  return t.cast<float>();
}

// Signal to noise of every method on one matrix, in dB: of the weights, and of the output if there are inputs.
struct Ratios {
  std::map<std::string, double> weights, output;
};

Ratios show(const Case& c) {
  constexpr auto f16 = fewbit::ScaleType::f16;
  const auto int2 = fewbit::Asymmetric(2).including_zero();
  const fewbit::Symmetric ternary(2);  // -1, 0, 1
  const auto signed_scale = fewbit::Symmetric(2).signed_scale();
  const fewbit::Codebook lloyd_max = fewbit::lloyd_max_normal(4);
  const MseSearch least{.shrink = 1};  // heavy tails want ranges below a fifth of the largest weight
  const bool has_inputs = c.seen.size() > 0;
  fewbit::Hessian hessian(c.W.cols());
  if (has_inputs) hessian.add(c.seen);

  Ratios ratios;
  example::Table table({c.name, "bits held", "MSE", "SQNR dB", has_inputs ? "output dB" : ""});
  const auto show_one = [&](const std::string& where, const std::string& name, const fewbit::QuantizedMatrix& q,
                            const double bits_held) {
    const auto error = fewbit::compare(c.W, fewbit::dequantize(q));
    std::string output;
    if (has_inputs) {
      const Eigen::MatrixXd y = c.W.cast<double>() * c.unseen,
                            y_hat = fewbit::dequantize<Eigen::MatrixXd>(q) * c.unseen;
      const double ratio = ratios.output[where + name] = fewbit::compare(y, y_hat).sqnr_db;
      output = fixed(ratio, 1);
    }
    ratios.weights[where + name] = error.sqnr_db;
    table.row({"  " + name, fixed(bits_held, 3), example::general(error.mse, 3), fixed(error.sqnr_db, 1), output});
  };
  const std::pair<const char*, fewbit::Granularity> scales[] = {{"one: ", fewbit::per_tensor(f16)},
                                                                {"row: ", fewbit::per_channel(f16)},
                                                                {"group: ", fewbit::per_group(c.group, f16)}};
  for (const auto& [where, granularity] : scales) {
    const std::string block = where;
    table.note(block == "one: " ? "one scale" : block == "row: " ? "a scale per row" : "a scale per group");
    const auto add = [&](const char* name, const auto& q) { show_one(block, name, q, q.bits_per_weight()); };
    add("min-max", quantize(c.W, int2, granularity));
    add("HQQ", quantize(c.W, int2, granularity, fewbit::Hqq{}));
    add("least error", quantize(c.W, int2, granularity, least));
    add("signed scale", quantize(c.W, signed_scale, granularity));
    add("signed scale, least error", quantize(c.W, signed_scale, granularity, least));
    add("Lloyd-Max levels, least error", quantize(c.W, lloyd_max, granularity, least));
    const auto b158 = quantize(c.W, ternary, granularity, fewbit::AbsMean{});
    show_one(block, "ternary, mean |w| (BitNet)", b158, fewbit::pack_ternary(b158).bits_per_weight());
    if (!has_inputs) continue;
    const auto q = gptq(c.W, hessian, int2, granularity);
    add("AWQ", awq(c.W, c.seen, int2, granularity));
    add("GPTQ", q);
    add("GPTQ, refined", refine(q, c.W, hessian));
  }
  std::cout << table << '\n';
  return ratios;
}

}  // namespace

int main() {
  std::vector<Case> cases;
  cases.push_back({"the demo's weights, 24 x 24, groups of 8", example::demo_weights(), 8, {}, {}});
  {
    example::NumpyRandom random(42);
    const Matrix W = random.normals(128, 256);
    const example::CorrelatedInputs inputs(random, 256, 120, 0.7);
    const Eigen::MatrixXd seen = inputs.draw(random, 1024);
    cases.push_back({"normal, 128 x 256, groups of 32", W, 32, seen, inputs.draw(random, 1024)});
  }
  cases.push_back({"heavy-tailed, rows of unlike size, 128 x 256, groups of 32", heavy_tailed(128, 256), 32, {}, {}});

  std::vector<Ratios> ratios;
  for (const Case& c : cases) ratios.push_back(show(c));
  std::cout
      << "Three levels are log2 3 = 1.58 bits; five of them go into a byte. Outputs are for samples not seen.\n\n";

  // What b gains over a on each matrix.
  struct Gain {
    double least = 1e9, most = -1e9;
    std::string text() const { return joined(fixed(least, 1), " to ", fixed(most, 1), " dB"); }
  };
  example::Table gains({"gained, in dB", "demo", "normal", "heavy"});
  const auto gain = [&](const char* name, const char* a, const char* b) {
    Gain g;
    std::vector<std::string> row{name};
    for (const Ratios& r : ratios) {
      const double more = r.weights.at(b) - r.weights.at(a);
      g = {std::min(g.least, more), std::max(g.most, more)};
      row.push_back(fixed(more, 1));
    }
    gains.row(row);
    return g;
  };
  const Gain rows = gain("a scale per row instead of one, min-max", "one: min-max", "row: min-max");
  const Gain range = gain("least error instead of min-max, one scale", "one: min-max", "one: least error");
  const Gain both = gain("a scale per row and least error", "one: min-max", "row: least error");
  const Gain groups =
      gain("a scale per group instead of per row, least error", "row: least error", "group: least error");
  const Gain hqq = gain("HQQ instead of min-max, a scale per row", "row: min-max", "row: HQQ");
  const Gain grouped_hqq = gain("HQQ instead of min-max, a scale per group", "group: min-max", "group: HQQ");
  const Gain bitnet =
      gain("BitNet's ternary instead of least error, one scale", "one: least error", "one: ternary, mean |w| (BitNet)");
  std::cout << gains << '\n';

  const auto verdict = [](bool holds) { return holds ? "Holds: " : "Does not hold: "; };
  const auto gptq = [](const std::map<std::string, double>& r) { return r.at("row: GPTQ") - r.at("row: least error"); };
  const double output = gptq(ratios[1].output), weights = gptq(ratios[1].weights);
  std::cout << verdict(both.least > 3) << "two bits want better scales than one from min to max. A scale per row adds "
            << rows.text() << ",\na range of least error " << range.text() << ", the two together " << both.text()
            << ", and groups instead of rows " << groups.text() << ".\n"
            << verdict(hqq.least > 1 && bitnet.least > 0) << "HQQ and BitNet are what it takes. HQQ moves zero-points "
            << "and keeps scales: " << hqq.text() << " per row,\n"
            << grouped_hqq.text()
            << " per group. BitNet has one scale and not one per channel, and trains its network with it; a finished\n"
            << "matrix rounded to its three levels loses " << Gain{-bitnet.most, -bitnet.least}.text()
            << " against four of least error.\nLeft out: the inputs. Where they tell about each other, GPTQ per row"
            << " gains " << fixed(output, 1) << " dB of output over least\nerror at the same bits, and loses "
            << fixed(-weights, 1) << " dB of the weights' own.\n";
}
