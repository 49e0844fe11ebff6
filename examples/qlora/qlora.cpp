// QLoRA on a small scale: a network learns a task in float, is frozen at 4 bits, and learns a changed task through thin
// adapters. Prints the loss as it falls, and what each stage holds in memory.
//
// The task: points in 128 dimensions around eight centres, two for each of four classes. Then the sensors are turned:
// four mirrors, each exchanging a centre of one class and a centre of another. Weights that know the old sensors are
// wrong about nearly all points; a change of rank 4 mends them.
#include <fewbit/fewbit.hpp>

#include <array>
#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "../support/numpy_random.hpp"
#include "../support/table.hpp"

namespace {

using Eigen::MatrixXf;
using example::fixed;
using example::joined;
using example::percent;
using fewbit::Index;

constexpr Index inputs = 128, hidden = 256, classes = 4, centres = 8, rank = 4, batch = 128, held_out = 2000;

struct Samples {
  MatrixXf x;                // [inputs, n]
  std::vector<Index> label;  // n
};

class Task {
 public:
  explicit Task(example::NumpyRandom& random) : centre_(random.normals(inputs, centres) * 0.3f) {}

  Samples draw(example::NumpyRandom& random, Index n, bool turned) const {
    Samples s{random.normals(inputs, n), std::vector<Index>(static_cast<std::size_t>(n))};
    for (Index c = 0; c < n; ++c) {
      const Index k = static_cast<Index>(random.uniform() * centres);
      s.x.col(c) += centre_.col(k), s.label[static_cast<std::size_t>(c)] = k % classes;
    }
    for (Index k = 0; turned && k < centres; k += 2) {
      const Eigen::VectorXf across = (centre_.col(k) - centre_.col(k + 1)).normalized();
      s.x -= 2 * across * (across.transpose() * s.x);
    }
    return s;
  }

 private:
  MatrixXf centre_;
};

struct Score {
  double loss = 0, accuracy = 0;
};

// Softmax and cross-entropy. Replaces the outputs of the network by the gradient of the mean loss.
Score judge(MatrixXf& y, const std::vector<Index>& label) {
  Score score;
  const auto n = static_cast<float>(y.cols());
  for (Index c = 0; c < y.cols(); ++c) {
    const Index right = label[static_cast<std::size_t>(c)];
    Index best = 0;
    const float most = y.col(c).maxCoeff(&best);
    y.col(c) = (y.col(c).array() - most).exp();
    y.col(c) /= y.col(c).sum();
    score.loss -= std::log(static_cast<double>(y(right, c)) + 1e-30);
    score.accuracy += best == right;
    y(right, c) -= 1;
    y.col(c) /= n;
  }
  score.loss /= static_cast<double>(n), score.accuracy /= static_cast<double>(n);
  return score;
}

// Gradient descent with momentum, one object for each matrix that learns.
class Momentum {
 public:
  void step(MatrixXf& w, const MatrixXf& gradient, float rate) {
    if (velocity_.size() == 0) velocity_ = MatrixXf::Zero(w.rows(), w.cols());
    velocity_ = 0.9f * velocity_ - rate * gradient;
    w += velocity_;
  }

 private:
  MatrixXf velocity_;
};

MatrixXf mask(const MatrixXf& before) { return (before.array() > 0).cast<float>(); }

struct FloatNetwork {
  MatrixXf w1, w2;
  Momentum m1, m2;

  Score test(const Samples& s) const {
    MatrixXf y = w2 * (w1 * s.x).cwiseMax(0.f);
    return judge(y, s.label);
  }
  void train(const Samples& s, float rate) {
    const MatrixXf before = w1 * s.x, h = before.cwiseMax(0.f);
    MatrixXf y = w2 * h;
    judge(y, s.label);
    const MatrixXf back = (w2.transpose() * y).cwiseProduct(mask(before));
    m2.step(w2, y * h.transpose(), rate), m1.step(w1, back * s.x.transpose(), rate);
  }
};

struct AdaptedNetwork {
  fewbit::LoraLinear<> first, second;
  std::array<Momentum, 4> m{};

  Score test(const Samples& s) const {
    MatrixXf y = second.forward(first.forward(s.x).cwiseMax(0.f));
    return judge(y, s.label);
  }
  void train(const Samples& s, float rate) {
    const MatrixXf before = first.forward(s.x), h = before.cwiseMax(0.f);
    MatrixXf y = second.forward(h);
    judge(y, s.label);
    const fewbit::LoraGradients g2 = second.backward(h, y), g1 = first.backward(s.x, g2.x.cwiseProduct(mask(before)));
    m[0].step(second.a(), g2.a, rate), m[1].step(second.b(), g2.b, rate);
    m[2].step(first.a(), g1.a, rate), m[3].step(first.b(), g1.b, rate);
  }
};

}  // namespace

int main() {
  example::NumpyRandom random(42);
  const Task task(random);
  const Samples old_test = task.draw(random, held_out, false), new_test = task.draw(random, held_out, true);

  FloatNetwork full{random.normals(hidden, inputs) * 0.09f, random.normals(classes, hidden) * 0.06f, {}, {}};
  for (int step = 0; step < 200; ++step) full.train(task.draw(random, batch, false), 0.05f);

  const auto frozen = [](const MatrixXf& w) {
    return fewbit::double_quantize(fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64)));
  };
  AdaptedNetwork adapted{{frozen(full.w1), rank, 8, 1}, {frozen(full.w2), rank, 8, 2}};
  const Score full_old = full.test(old_test), full_new = full.test(new_test);
  const Score frozen_old = adapted.test(old_test), frozen_new = adapted.test(new_test);

  std::cout << "A network of " << inputs << " -> " << hidden << " -> " << classes
            << ", frozen as NF4, adapters of rank " << rank << "\n\n";
  example::Table course({"step", "loss, new task", "accuracy"});
  for (int step = 0; step <= 300; ++step) {
    if (step % 50 == 0) {
      const Score now = adapted.test(new_test);
      course.row({std::to_string(step), fixed(now.loss, 2), percent(now.accuracy, 0)});
    }
    adapted.train(task.draw(random, batch, true), 0.02f);
  }
  std::cout << course << '\n';

  const FloatNetwork merged{adapted.first.merge(), adapted.second.merge(), {}, {}};
  const auto row = [](const char* name, const Score& before, const Score& after) {
    return std::vector<std::string>{name, percent(before.accuracy, 0), percent(after.accuracy, 0)};
  };
  example::Table accuracy({"accuracy", "old task", "new task"});
  accuracy.row(row("float, trained on the old task", full_old, full_new));
  accuracy.row(row("the same as NF4", frozen_old, frozen_new));
  accuracy.row(row("NF4 and adapters, trained on the new task", adapted.test(old_test), adapted.test(new_test)));
  accuracy.row(row("merged to floats", merged.test(old_test), merged.test(new_test)));
  std::cout << accuracy << '\n';

  // Gradient and momentum are a float each for every number that learns.
  const auto weights = static_cast<std::size_t>(full.w1.size() + full.w2.size()),
             learning = static_cast<std::size_t>(adapted.first.parameters() + adapted.second.parameters()),
             base = adapted.first.base().bytes() + adapted.second.base().bytes();
  example::Table memory({"bytes while training", "weights", "adapters", "gradients", "momentum", "in all"});
  const auto held = [&](const char* name, std::size_t w, std::size_t a, std::size_t each) {
    memory.row({name, std::to_string(w), std::to_string(a), std::to_string(each), std::to_string(each),
                std::to_string(w + a + 2 * each)});
  };
  held("all weights in float", 4 * weights, 0, 4 * weights);
  held("NF4 and adapters", base, adapted.first.bytes() + adapted.second.bytes() - base, 4 * learning);
  std::cout << memory;
}
