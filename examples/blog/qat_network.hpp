#pragma once
// The network of the page's section on training, its task and its loop. Rule: double arithmetic and the page's layout,
// a row to a sample and W[in, out], so that a column of W holds an output's weights; only what goes through the library
// is rounded to float on the way.

#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../support/numpy_random.hpp"

namespace example {

using Eigen::Index;
using Eigen::MatrixXd;

constexpr Index inputs = 16, hidden = 64, classes = 4;

struct Samples {
  MatrixXd x;                // [n, inputs]
  std::vector<Index> label;  // n
};

// np.random.randn(n, n_in).astype(np.float32), and labels from sums and products of floats.
inline Samples draw(NumpyRandom& random, Index n) {
  const Matrix x = random.normals(n, inputs);
  Samples s{x.cast<double>(), {}};
  for (Index i = 0; i < n; ++i)
    s.label.push_back(
        std::min<Index>((x(i, 0) * x(i, 1) > 0) + (x(i, 2) + x(i, 3) > 0.5f) + (x(i, 4) > 0), classes - 1));
  return s;
}

// How often the largest logit[n, classes] is that of the label.
inline double accuracy(const MatrixXd& logits, const std::vector<Index>& label) {
  Index right = 0;
  for (Index i = 0; i < logits.rows(); ++i) {
    Index best = 0;
    logits.row(i).maxCoeff(&best);
    right += best == label[static_cast<std::size_t>(i)];
  }
  return static_cast<double>(right) / static_cast<double>(logits.rows());
}

// Logits to the gradient by them of the mean cross-entropy.
inline void to_gradient(MatrixXd& logits, const std::vector<Index>& label) {
  for (Index i = 0; i < logits.rows(); ++i) {
    auto row = logits.row(i);
    row = (row.array() - row.maxCoeff()).exp().matrix().eval();
    row /= row.sum();
    row[label[static_cast<std::size_t>(i)]] -= 1;
  }
  logits /= static_cast<double>(logits.rows());
}

struct Network {
  MatrixXd first, second;

  explicit Network(std::uint32_t seed = 123) {
    NumpyRandom random(seed);
    first = random.doubles(inputs, hidden) * 0.5;
    second = random.doubles(hidden, classes) * 0.5;
  }
  Network(MatrixXd w1, MatrixXd w2) : first(std::move(w1)), second(std::move(w2)) {}

  MatrixXd hidden_outputs(const MatrixXd& x) const { return (x * first).cwiseMax(0.); }

  double accuracy(const Samples& s) const { return example::accuracy(hidden_outputs(s.x) * second, s.label); }
};

// What stands between a matrix and the forward pass, and how a step is taken behind it.
struct Exact {
  const MatrixXd& forward(const MatrixXd& w) const { return w; }
};
inline void step(Exact&, MatrixXd& w, const MatrixXd& gradient, double rate) { w -= rate * gradient; }

template <class G, class E>
void step(fewbit::FakeQuantizer<G, E>& fq, MatrixXd& w, const MatrixXd& gradient, double rate) {
  w -= rate * fq.backward(gradient, w);
}

template <class G>
void step(fewbit::Lsq<G>& lsq, MatrixXd& w, const MatrixXd& gradient, double rate) {
  const auto by = lsq.backward(gradient, w);
  w -= rate * by.weights;
  // In two steps: a machine with fused multiply-add would skip a rounding to float, and one is enough to end elsewhere.
  const Eigen::VectorXf change = static_cast<float>(rate) * by.scales;
  lsq.scales() -= change;
}

// The network as the forward pass sees it.
template <class Q>
Network seen(const Network& w, const Q& q1, const Q& q2) {
  return {q1.forward(w.first), q2.forward(w.second)};
}

// Gradient descent on the mean cross-entropy of all samples at once.
template <class Q>
void train(Network& w, const Samples& s, Q& q1, Q& q2, int epochs, double rate) {
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const Network now = seen(w, q1, q2);
    const MatrixXd before = s.x * now.first, h = before.cwiseMax(0.);
    MatrixXd gradient = h * now.second;
    to_gradient(gradient, s.label);
    const MatrixXd back = (before.array() > 0).select(gradient * now.second.transpose(), 0.);
    step(q2, w.second, h.transpose() * gradient, rate);
    step(q1, w.first, s.x.transpose() * back, rate);
  }
}

}  // namespace example
