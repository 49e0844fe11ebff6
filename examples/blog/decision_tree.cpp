// The page's decision tree, branch by branch: its network and task, with samples enough that it learns the task and not
// the samples; rounded, calibrated and trained anew at 8, 4, 3 and 2 bits; and whether each branch holds, from the
// numbers just measured.
#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "../support/table.hpp"
#include "qat_network.hpp"

namespace {

using Eigen::MatrixXf;
using example::fixed;
using example::Index;
using example::joined;
using example::MatrixXd;
using example::Network;
using example::percent;
using example::Samples;
using fewbit::QuantizedMatrix;
using fewbit::Symmetric;

constexpr Index batch = 100;
constexpr double point = 0.01;  // what counts as a difference: one in a hundred

// Passes over all samples, and the rate of each.
struct Course {
  int passes;
  double rate;
};
using Schedule = std::vector<Course>;
const Schedule training{{40, 0.3}, {20, 0.1}, {10, 0.02}}, fine_tuning{{6, 0.02}, {5, 0.005}, {4, 0.001}},
    of_changed_task{{10, 0.1}, {10, 0.02}};
const std::vector<std::uint32_t> seeds{123, 124, 125};
const std::vector<int> widths{8, 4, 3, 2};

std::vector<Samples> batches(const Samples& s) {
  std::vector<Samples> all;
  for (Index i = 0; i < s.x.rows(); i += batch)
    all.push_back({s.x.middleRows(i, batch), {s.label.begin() + i, s.label.begin() + i + batch}});
  return all;
}

// Calls step(samples, rate) for each batch of each pass.
template <class Step>
void follow(const Schedule& schedule, const std::vector<Samples>& all, Step&& step) {
  for (const Course& course : schedule)
    for (int pass = 0; pass < course.passes; ++pass)
      for (const Samples& s : all) step(s, course.rate);
}

template <class Q>
void train(Network& w, const std::vector<Samples>& all, Q& q1, Q& q2, const Schedule& schedule) {
  follow(schedule, all, [&](const Samples& s, double rate) { example::train(w, s, q1, q2, 1, rate); });
}

// The page's matrices are [in, out], the library's [out, in].
using Quantize = std::function<QuantizedMatrix(const MatrixXd& W, const MatrixXd& X, const Symmetric&)>;

// Layer by layer: the second one's calibration inputs are what the first gives once it is quantized.
Network quantized(const Network& w, const MatrixXd& x, const Symmetric& grid, const Quantize& quantize) {
  const auto layer = [&](const MatrixXd& page, const MatrixXd& in) -> MatrixXd {
    return fewbit::dequantize<MatrixXd>(quantize(page.transpose(), in.transpose(), grid)).transpose();
  };
  Network q = w;
  q.first = layer(w.first, x);
  q.second = layer(w.second, q.hidden_outputs(x));
  return q;
}

struct Method {
  std::string name;
  std::function<Network(const Network&, const std::vector<Samples>&, const Samples& calibration, const Symmetric&)> run;
};

// In the order of all_methods.
enum Number : std::size_t { nearest, least_error, gptq, refined, awq, qat, qat_least_error, lsq };

// Training is left out at 8 bits, where there is nothing to win back.
bool is_measured(std::size_t method, int bits) { return method < qat || bits < 8; }

std::vector<Method> all_methods() {
  const auto channel = fewbit::per_channel(), column = fewbit::per_column();
  const auto after_training = [](Quantize quantize) {
    return [=](const Network& w, const auto&, const Samples& s, const Symmetric& grid) {
      return quantized(w, s.x, grid, quantize);
    };
  };
  const auto by_gptq = [=](const MatrixXd& W, const fewbit::Hessian& H, const Symmetric& grid) {
    return fewbit::gptq(W, H, grid, channel);
  };
  const auto hessian = [](const MatrixXd& X) {
    fewbit::Hessian H(X.rows());
    H.add(X);
    return H;
  };
  const auto trained = [=](auto make) {
    return [=](Network w, const std::vector<Samples>& all, const Samples&, const Symmetric& grid) {
      auto q1 = make(grid, w.first), q2 = make(grid, w.second);
      train(w, all, q1, q2, fine_tuning);
      return seen(w, q1, q2);
    };
  };
  return {
      {"round to nearest",
       after_training([=](const auto& W, const auto&, const auto& g) { return fewbit::quantize(W, g, channel); })},
      {"  range of least error", after_training([=](const auto& W, const auto&, const auto& g) {
         return fewbit::quantize(W, g, channel, fewbit::MseSearch{});
       })},
      {"GPTQ", after_training([=](const auto& W, const auto& X, const auto& g) { return by_gptq(W, hessian(X), g); })},
      {"  refined", after_training([=](const auto& W, const auto& X, const auto& g) {
         const fewbit::Hessian H = hessian(X);
         return fewbit::refine(by_gptq(W, H, g), W, H);
       })},
      {"AWQ",
       after_training([=](const auto& W, const auto& X, const auto& g) { return fewbit::awq(W, X, g, channel); })},
      {"QAT", trained([=](const Symmetric& g, const MatrixXd&) { return fewbit::FakeQuantizer(g, column); })},
      {"  range of least error, clipped", trained([=](const Symmetric& g, const MatrixXd&) {
         return fewbit::FakeQuantizer(g, column, fewbit::StraightThrough::clipped, fewbit::MseSearch{});
       })},
      {"  learned scales (LSQ)",
       trained([=](const Symmetric& g, const MatrixXd& w) { return fewbit::Lsq(g, column, w); })},
  };
}

// Accuracy on the samples trained on, and on others.
struct Score {
  double seen = 0, fresh = 0;
  Score& operator+=(const Score& s) {
    seen += s.seen, fresh += s.fresh;
    return *this;
  }
};

// The same network, frozen as NF4, with adapters beside it. Floats, [in, samples].
struct AdaptedNetwork {
  fewbit::LoraLinear<> first, second;

  explicit AdaptedNetwork(const Network& w) : first(frozen(w.first), 4, 8, 1), second(frozen(w.second), 4, 8, 2) {}

  static QuantizedMatrix frozen(const MatrixXd& page) {
    return fewbit::quantize(page.transpose(), fewbit::nf4, fewbit::per_channel());
  }
  double accuracy(const Samples& s) const {
    const MatrixXf logits = second.forward(first.forward(s.x.transpose()).cwiseMax(0.f));
    return example::accuracy(logits.transpose().cast<double>(), s.label);
  }
  void train(const Samples& s, float rate) {
    const MatrixXf x = s.x.transpose().cast<float>(), before = first.forward(x), h = before.cwiseMax(0.f);
    MatrixXd logits = second.forward(h).transpose().cast<double>();
    example::to_gradient(logits, s.label);
    const fewbit::LoraGradients g2 = second.backward(h, logits.transpose());
    const fewbit::LoraGradients g1 = first.backward(x, (before.array() > 0).select(g2.x, 0.f));
    first.a() -= rate * g1.a, first.b() -= rate * g1.b;
    second.a() -= rate * g2.a, second.b() -= rate * g2.b;
  }
};

// The task with three pairs of inputs exchanged.
Samples exchanged(Samples s) {
  for (const auto& [i, j] : {std::pair<Index, Index>{0, 8}, {2, 9}, {4, 10}}) s.x.col(i).swap(s.x.col(j));
  return s;
}

const char* verdict(bool holds) { return holds ? "holds" : "does not hold here"; }

std::string points(double difference) {
  return joined(difference < 0 ? "" : "+", fixed(100 * difference, 1), " points");
}

}  // namespace

int main() {
  example::NumpyRandom random(42);
  const Samples s = example::draw(random, 4000), fresh = example::draw(random, 10'000);
  const Samples calibration{s.x.topRows(512), {}};
  const std::vector<Samples> all = batches(s);
  const std::vector<Method> methods = all_methods();

  const auto share = 1 / static_cast<double>(seeds.size());
  const auto score = [&](const Network& w) { return Score{w.accuracy(s) * share, w.accuracy(fresh) * share}; };
  Score full, longer;
  std::vector<std::vector<Score>> scores(methods.size(), std::vector<Score>(widths.size()));
  std::vector<Network> networks;
  example::Exact exact;
  for (const std::uint32_t seed : seeds) {
    Network w(seed);
    train(w, all, exact, exact, training);
    networks.push_back(w);
    full += score(w);
    for (std::size_t m = 0; m < methods.size(); ++m)
      for (std::size_t b = 0; b < widths.size(); ++b)
        if (is_measured(m, widths[b])) scores[m][b] += score(methods[m].run(w, all, calibration, Symmetric(widths[b])));
    train(w, all, exact, exact, fine_tuning);
    longer += score(w);
  }

  std::cout << "Blog, the decision tree: 16 -> 64 -> 4, a scale per output, means of three networks\n\n";
  for (const bool unseen : {false, true}) {
    const auto cell = [&](const Score& x) { return percent(unseen ? x.fresh : x.seen, 1); };
    std::vector<std::string> head{unseen ? "10,000 other samples" : "4000 samples trained on"};
    for (const int bits : widths) head.push_back(joined(bits, " bits"));
    example::Table table(head);
    table.row({"not quantized", cell(full), "", "", ""});
    table.row({"  trained as long as QAT", cell(longer), "", "", ""});
    for (std::size_t m = 0; m < methods.size(); ++m) {
      std::vector<std::string> cells{methods[m].name};
      for (std::size_t b = 0; b < widths.size(); ++b)
        cells.push_back(is_measured(m, widths[b]) ? cell(scores[m][b]) : "");
      table.row(cells);
    }
    std::cout << table << '\n';
  }

  // A changed task, for the first network: trained on in float, and through adapters beside 4 bits.
  const Samples changed_fresh = exchanged(fresh);
  const std::vector<Samples> changed = batches(exchanged(s));
  AdaptedNetwork adapted(networks[0]);
  const double before = networks[0].accuracy(changed_fresh), frozen = adapted.accuracy(changed_fresh);
  follow(of_changed_task, changed, [&](const Samples& x, double rate) { adapted.train(x, static_cast<float>(rate)); });
  Network in_float = networks[0];
  train(in_float, changed, exact, exact, of_changed_task);
  const double of_adapted = adapted.accuracy(changed_fresh), of_float = in_float.accuracy(changed_fresh);
  const fewbit::FakeQuantizer nf4(fewbit::nf4, fewbit::per_column());
  const double rounded = seen(in_float, nf4, nf4).accuracy(changed_fresh);
  example::Table tuning({"Three pairs of inputs exchanged, other samples", "before", "after"});
  tuning.row({"fine-tuned in float", percent(before, 0), percent(of_float, 0)});
  tuning.row({"  and rounded to NF4 then", "", percent(rounded, 0)});
  tuning.row({"NF4 and adapters of rank 4 (QLoRA)", percent(frozen, 0), percent(of_adapted, 0)});
  std::cout << tuning << '\n';

  // The branches, on samples not trained on. A point is one in a hundred; less is no difference.
  const auto at = [&](std::size_t m, std::size_t b) { return scores[m][b].fresh; };
  const auto change = [&](std::size_t m, std::size_t b) { return at(m, b) - full.fresh; };
  const auto loses = [&](double by) { return by <= -point; };
  std::cout << "8 bits, round to nearest is enough: " << verdict(!loses(change(nearest, 0))) << ", "
            << points(change(nearest, 0)) << " from not quantized.\n";
  const double by_gptq = std::max(at(gptq, 1), at(refined, 1)) - at(nearest, 1), by_awq = at(awq, 1) - at(nearest, 1);
  const bool lossy = loses(change(nearest, 1));
  std::cout << "4 bits, calibration is needed: round to nearest " << points(change(nearest, 1))
            << " from not quantized.\n"
            << "  GPTQ: " << verdict(lossy && by_gptq >= point) << ", " << points(by_gptq)
            << " from round to nearest.\n"
            << "  AWQ: " << verdict(lossy && by_awq >= point) << ", " << points(by_awq) << " from round to nearest.\n";
  for (std::size_t b = 1; b < widths.size(); ++b) {
    double without = 0, with = 0;
    for (std::size_t m = 0; m < methods.size(); ++m) {
      double& best = m < qat ? without : with;
      best = std::max(best, at(m, b));
    }
    const double gain = with - without;
    const bool needed = loses(without - full.fresh) && gain >= point;
    std::cout << widths[b] << " bits, QAT is " << (widths[b] > 3 ? "not needed: " : "needed: ")
              << verdict(needed == (widths[b] <= 3)) << ", the best of QAT " << points(gain)
              << " from the best without it.\n";
  }
  std::cout << "Fine-tuning, QLoRA: " << verdict(of_adapted >= of_float - point && of_adapted >= frozen + point) << ", "
            << percent(of_adapted, 0) << " where fine-tuning in float at the same rates has " << percent(of_float, 0)
            << ".\n  What it saves is in the example qlora.\n";
}
