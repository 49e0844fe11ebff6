// Training that knows of the rounding to come: the page's network trained in full precision and with fake quantization;
// how far its three figures carry; and what fewer bits, clipped gradients, learned scales and a scale for each output
// make of it.
#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "../support/figures.hpp"
#include "qat_network.hpp"

namespace {

using example::fixed;
using example::Index;
using example::joined;
using example::MatrixXd;
using example::Network;
using example::percent;
using example::Samples;
using fewbit::FakeQuantizer;
using fewbit::Granularity;
using fewbit::Lsq;
using fewbit::Symmetric;

constexpr int epochs = 500;
constexpr double rate = 0.02;

// The page's scale is a double, the library's a float. Weights that are divided by the page's have one of exactly 1, so
// that the library rounds them to the page's codes.
struct DoubleScale {
  FakeQuantizer<Symmetric> fq;
  MatrixXd forward(const MatrixXd& w) const {
    const double scale = (w.cwiseAbs().maxCoeff() + 1e-10) / static_cast<double>(fq.grid().levels().last());
    return scale * fq.forward(w / scale);
  }
};
void step(DoubleScale&, MatrixXd& w, const MatrixXd& gradient, double by) { w -= by * gradient; }

Network trained_in_full(const Samples& s, std::uint32_t seed = 123) {
  Network w(seed);
  example::Exact exact;
  example::train(w, s, exact, exact, epochs, rate);
  return w;
}

// Trains from the page's first weights, or those of another seed, with one object for each matrix.
template <class Q>
Network trained_with(Q& q1, Q& q2, const Samples& s, std::uint32_t seed = 123) {
  Network w(seed);
  example::train(w, s, q1, q2, epochs, rate);
  return w;
}

// How far weights lie from the nearest level, in steps: 1/4 on average if they fall anywhere.
double distance_from_levels(const MatrixXd& w, const FakeQuantizer<Symmetric>& fq) {
  const auto scale = static_cast<double>(fq.quantize(w).affine(0, 0).scale);
  return (w - fq.forward(w)).cwiseAbs().mean() / scale;
}

struct Pair {
  double ptq, qat;  // accuracy of rounding what was trained in full, and of training with the rounding
};

// make(w) makes what a matrix is quantized by, from the values that it starts with.
template <class Make>
Pair measure(const Samples& s, const Network& full, const Make& make) {
  const Network start;
  auto q1 = make(start.first), q2 = make(start.second);
  const Network qat = trained_with(q1, q2, s);
  return {seen(full, make(full.first), make(full.second)).accuracy(s), seen(qat, q1, q2).accuracy(s)};
}

}  // namespace

int main() {
  example::Figures figures(
      "Blog, \"Quantization-Aware Training\": 16 -> 64 -> 4, 500 samples, 500 epochs, seeds 42, 123");
  example::NumpyRandom random(42);
  const Samples s = example::draw(random, 500), fresh = example::draw(random, 10'000);

  const FakeQuantizer int4(Symmetric(4));
  const Network full = trained_in_full(s);
  DoubleScale page{int4};
  const Network qat = trained_with(page, page, s);
  const double of_full = full.accuracy(s), of_ptq = seen(full, int4, int4).accuracy(s),
               of_qat = seen(qat, int4, int4).accuracy(s);
  figures.published("Full precision (FP32)", "68.6%", percent(of_full, 1));
  figures.published("PTQ (INT4)", "59.0%", percent(of_ptq, 1));
  figures.published("QAT (INT4)", "65.2%", percent(of_qat, 1));

  auto in_float = int4;
  const Network qat_float = trained_with(in_float, in_float, s);
  figures.corrected(
      "QAT (INT4), its scale rounded to float in each epoch", "65.2%", "60.2%",
      percent(seen(qat_float, int4, int4).accuracy(s), 1),
      "The eighth digit of a scale moves the figure by five points: what the page prints is one draw of many.");

  // Other ways to train, all from the page's first weights.
  const Granularity whole = fewbit::per_tensor(), columns = fewbit::per_column();
  const std::vector<int> widths{4, 3, 2};
  std::vector<std::vector<Pair>> measured;
  example::Table table(
      {"Measured, no figure of the page", "4 bits: PTQ", "QAT", "3 bits: PTQ", "QAT", "2 bits: PTQ", "QAT"});
  const auto row = [&](const std::string& name, const auto& make) {
    std::vector<std::string> cells{name};
    measured.emplace_back();
    for (const int bits : widths) {
      const Pair p = measure(s, full, [&](const MatrixXd& w) { return make(Symmetric(bits), w); });
      measured.back().push_back(p);
      cells.push_back(percent(p.ptq, 1)), cells.push_back(percent(p.qat, 1));
    }
    table.row(cells);
  };
  row("one scale, from the largest weight",
      [&](Symmetric grid, const MatrixXd&) { return FakeQuantizer(grid, whole); });
  row("one scale of least error, gradients clipped", [&](Symmetric grid, const MatrixXd&) {
    return FakeQuantizer(grid, whole, fewbit::StraightThrough::clipped, fewbit::MseSearch{});
  });
  row("one scale, learned (LSQ)", [&](Symmetric grid, const MatrixXd& w) { return Lsq(grid, whole, w); });
  row("a scale per output, from the largest weight",
      [&](Symmetric grid, const MatrixXd&) { return FakeQuantizer(grid, columns); });
  row("a scale per output, learned (LSQ)", [&](Symmetric grid, const MatrixXd& w) { return Lsq(grid, columns, w); });

  // Each closing claim of the page, and what is measured of it.
  const FakeQuantizer int8(Symmetric(8));
  table.note(joined("  \"For 8-bit quantization, PTQ is almost always sufficient\": one scale leaves ",
                    percent(seen(full, int8, int8).accuracy(s), 1), " of ", percent(of_full, 1), "."));
  for (std::size_t b = 1; b < widths.size(); ++b) {
    double ptq = 0, best = 0, worst = 1;
    for (const auto& pairs : measured) {
      ptq = std::max(ptq, pairs[b].ptq);
      best = std::max(best, pairs[b].qat), worst = std::min(worst, pairs[b].qat);
    }
    table.note(joined("  \"Below 4 bits, QAT becomes essential\": at ", widths[b], " bits the best PTQ has ",
                      percent(ptq, 1), ", QAT ", percent(worst, 1), " to ", percent(best, 1), "."));
  }
  figures.measured(table);

  example::Table seeds({"First weights of seed", "FP32", "PTQ (INT4)", "QAT (INT4)", "of the loss won back"});
  double lost = 0, won = 0;
  for (const std::uint32_t seed : {123u, 124u, 125u, 126u, 127u}) {
    const Network w = seed == 123 ? full : trained_in_full(s, seed);
    DoubleScale fq{int4};
    const Network trained = seed == 123 ? qat : trained_with(fq, fq, s, seed);
    const double exact = w.accuracy(s), ptq = seen(w, int4, int4).accuracy(s),
                 with = seen(trained, int4, int4).accuracy(s);
    lost += exact - ptq, won += with - ptq;
    seeds.row({std::to_string(seed), percent(exact, 1), percent(ptq, 1), percent(with, 1),
               percent((with - ptq) / (exact - ptq), 0)});
  }
  seeds.note(
      joined("  \"QAT recovers most of the accuracy lost\": ", percent((of_qat - of_ptq) / (of_full - of_ptq), 0),
             " of it from the page's weights, ", percent(won / lost, 0), " over these five."));
  seeds.note(joined("  \"They land near quantization grid lines\": .25 of a step from one is chance. Without QAT ",
                    fixed(distance_from_levels(full.first, int4), 3), ", with it ",
                    fixed(distance_from_levels(qat.first, int4), 3), "."));
  std::vector<double> share(example::classes);
  for (const Index label : fresh.label) share[static_cast<std::size_t>(label)] += 1. / 10'000;
  seeds.note(joined("  All figures are of the samples trained on. Of 10,000 others FP32 has ",
                    percent(full.accuracy(fresh), 1), ", QAT ", percent(seen(qat, int4, int4).accuracy(fresh), 1),
                    ",\n  and who always answers with the commonest class ",
                    percent(*std::max_element(share.begin(), share.end()), 1), "."));
  figures.measured(seeds);
  return figures.close();
}
