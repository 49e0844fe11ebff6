// What the language model leans on: the gradient by hand is the one that small steps measure, training goes on as if it
// had not been interrupted, and reading byte by byte with kept keys gives what reading all at once does.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <limits>

#include "trainer.hpp"

namespace {

using example::Index;
using example::Matrix;
using example::Parameters;
using example::Shape;
using example::Text;

const Shape small{2, 16, 2, 24, 80};  // longer than one run of queries
constexpr std::uint8_t letters[] =
    "In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness was "
    "upon the face of the deep. And the Spirit of God moved upon the face of the waters.";
const Text text(letters, sizeof letters - 1);

int failed = 0;
void check(bool holds, const char* what) {
  if (holds) return;
  std::cout << "FAILED: " << what << '\n';
  ++failed;
}

// Every tensor with numbers of its own, gains and the head too.
template <class Scalar>
Parameters<Scalar> random_parameters() {
  auto p = example::zero_parameters<Scalar>(small);
  example::EvenNumbers even(7);
  each_tensor(p, [&](const std::string&, Matrix<Scalar>& m) {
    for (Scalar& w : m.reshaped()) w = static_cast<Scalar>((m.cols() == 1 ? 1 : 0) + 0.4 * even());
  });
  return p;
}

// Two sequences of a length that no run of queries divides; for some numbers of each tensor the slope between two
// points.
void gradients() {
  const Index length = 73;
  const auto n = static_cast<std::size_t>(2 * length);
  auto p = random_parameters<double>();
  auto gradient = example::zero_parameters<double>(small), unused = gradient;
  example::Differentiator<double> differentiate(small);
  const auto loss = [&](Parameters<double>& to) {
    return differentiate(p, text.first(n), text.subspan(1, n), length, 1, to);
  };
  loss(gradient);
  std::vector<const Matrix<double>*> by_hand;
  each_tensor(gradient, [&](const std::string&, const Matrix<double>& m) { by_hand.push_back(&m); });
  std::size_t k = 0;
  Index compared = 0;
  each_tensor(p, [&](const std::string& name, Matrix<double>& m) {
    const Matrix<double>& g = *by_hand[k++];
    double worst = 0;
    const Index every = std::max<Index>(1, m.size() / 40);
    for (Index i = 0; i < m.size(); i += every, ++compared) {
      // The embedding of a byte that is not there has no gradient: look at one that is.
      double& w = name == "embedding" ? m(i % m.rows(), text[static_cast<std::size_t>(i / every)]) : m.data()[i];
      const double old = w, step = 1e-5, expected = g.data()[&w - m.data()];
      w = old + step;
      const double above = loss(unused);
      w = old - step;
      const double below = loss(unused);
      w = old;
      worst = std::max(worst, std::abs((above - below) / (2 * step) - expected));
    }
    const double most = g.cwiseAbs().maxCoeff();
    check(most > 1e-4, "no gradient");
    check(worst < 1e-6 * most, name.c_str());
  });
  std::cout << compared << " numbers of the gradient compared\n";
}

// A step's batch does not depend on what came before it, nor does AdamW, given its moments.
void interruption() {
  Shape s = small;
  s.context = 64;
  const auto start = example::first_parameters<float>(s, 3);
  const auto train = [&](Parameters<float>& p, example::AdamW<float>& adam, Index from, Index to) {
    example::Differentiator<float> differentiate(s);
    auto gradient = example::zero_parameters<float>(s);
    for (Index step = from; step < to; ++step) {
      batch_gradient(differentiate, p, text, 11, step, 2, gradient);
      example::clip(gradient, 1.);
      adam.step(p, gradient, example::rate_at(step, 20, 5, 0.01));
    }
  };
  auto straight = start, halted = start;
  example::AdamW<float> one(s), first(s), second(s);
  train(straight, one, 0, 12);
  train(halted, first, 0, 5);
  second.mean = first.mean, second.square = first.square;
  second.continue_from(5);
  train(halted, second, 5, 12);
  bool equal = true;
  std::vector<const Matrix<float>*> others;
  each_tensor(halted, [&](const std::string&, const Matrix<float>& m) { others.push_back(&m); });
  std::size_t k = 0;
  each_tensor(straight, [&](const std::string&, const Matrix<float>& m) { equal = equal && m == *others[k++]; });
  check(equal, "training that was interrupted ends elsewhere");

  const double before = example::nats_per_byte(start, text), after = example::nats_per_byte(straight, text);
  check(std::abs(before - std::log(256.)) < 1e-3, "an untrained model does not find all bytes equally likely");
  check(after < 4.5, "training does not lower the loss");
}

void reading() {
  const auto p = random_parameters<float>();
  const Text part = text.first(static_cast<std::size_t>(small.context));
  Matrix<float> x = embed(p, part);
  const example::Rotation<float> rotation(small);
  example::Tape<float> tape;
  for (const auto& block : p.blocks) pass(block, small, rotation, small.context, x, tape);
  const Matrix<float> all = predict(p, x);
  example::Reader reader(p);
  float worst = 0;
  for (std::size_t c = 0; c < part.size(); ++c) {
    const Eigen::VectorXf logits = reader.read(part[c]);
    worst = std::max(worst, (logits - all.col(static_cast<Index>(c))).cwiseAbs().maxCoeff());
  }
  check(reader.room() == 0, "room is left after the whole context");
  check(worst < 1e-4f * all.cwiseAbs().maxCoeff(), "byte by byte other logits come out than all at once");
}

}  // namespace

int main() {
  gradients();
  interruption();
  reading();
  if (failed == 0) std::cout << "all hold\n";
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
