#pragma once
// Training a Parameters: the gradient of the loss by hand, AdamW, the course of the rate. Rule: nothing here depends on
// the machine or on how often training was interrupted; what is drawn in a step is a function of seed and step.

#include <algorithm>
#include <numbers>

#include "model.hpp"

namespace example {

// SplitMix64: any 64 bits to well mixed ones. Two numbers name a place in the stream.
inline std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15u + b;
  for (int k = 0; k < 2; ++k) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
  }
  return z;
}

// Even numbers between -1 and 1, one after the other.
class EvenNumbers {
 public:
  explicit EvenNumbers(std::uint64_t seed) : seed_(seed) {}
  double operator()() { return static_cast<double>(mixed(seed_, count_++) >> 11) * 0x1p-52 - 1; }

 private:
  std::uint64_t seed_, count_ = 0;
};

// Weights between -1 / sqrt(in) and 1 / sqrt(in); those that write into the sum of all blocks are the smaller the more
// blocks there are. With a head of zeros all bytes are equally likely at first.
template <class Scalar>
Parameters<Scalar> first_parameters(const Shape& s, std::uint64_t seed) {
  EvenNumbers even(seed);
  Parameters<Scalar> p = zero_parameters<Scalar>(s);
  const auto fill = [&](Matrix<Scalar>& m, double most) {
    for (Scalar& w : m.reshaped()) w = static_cast<Scalar>(most * even());
  };
  const auto most = [](Index in) { return 1 / std::sqrt(static_cast<double>(in)); };
  const double share = most(2 * s.layers);
  fill(p.embedding, 0.1);
  for (auto& block : p.blocks) {
    block.attention_gain.setOnes(), block.mlp_gain.setOnes();
    fill(block.qkv, most(s.width)), fill(block.out, share * most(s.width));
    fill(block.up, most(s.width)), fill(block.down, share * most(s.hidden));
  }
  p.gain.setOnes();
  return p;
}

// The gradient by the input of normalize from that by its output; adds that by the gain.
template <class Scalar>
Matrix<Scalar> normalize_back(const Matrix<Scalar>& x, const Matrix<Scalar>& gain, const Row<Scalar>& inverse,
                              const Matrix<Scalar>& by_y, Matrix<Scalar>& by_gain) {
  const Matrix<Scalar> unit = x.array().rowwise() * inverse.array();  // x / rms
  by_gain += by_y.cwiseProduct(unit).rowwise().sum();
  Matrix<Scalar> by_x = by_y.array().colwise() * gain.col(0).array();
  const Row<Scalar> along = by_x.cwiseProduct(unit).colwise().sum() / static_cast<Scalar>(x.rows());
  by_x.array() -= unit.array().rowwise() * along.array();
  by_x.array().rowwise() *= inverse.array();
  return by_x;
}

// From the gradient by `attended` to that by `qkv` before positions were turned into it.
template <class Scalar>
Matrix<Scalar> attend_back(const Shape& s, const Rotation<Scalar>& rotation, Index length, const Tape<Scalar>& t,
                           const Matrix<Scalar>& by_attended) {
  const Index columns = t.qkv.cols(), d = s.head_width();
  const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(d));
  Matrix<Scalar> by_qkv = Matrix<Scalar>::Zero(3 * s.width, columns), by_w(length, query_run);
  for (Index h = 0; h < s.heads; ++h) {
    const auto q = t.qkv.middleRows(h * d, d), k = t.qkv.middleRows(s.width + h * d, d),
               v = t.qkv.middleRows(2 * s.width + h * d, d);
    auto by_q = by_qkv.middleRows(h * d, d), by_k = by_qkv.middleRows(s.width + h * d, d),
         by_v = by_qkv.middleRows(2 * s.width + h * d, d);
    each_query_run(columns, length, [&](Index start, Index before, Index n, Index keys) {
      const auto w = t.weights[static_cast<std::size_t>(h)].block(0, start + before, keys, n);
      const auto by_a = by_attended.block(h * d, start + before, d, n);
      by_v.middleCols(start, keys).noalias() += by_a * w.transpose();
      auto by_s = by_w.topLeftCorner(keys, n);
      by_s.noalias() = v.middleCols(start, keys).transpose() * by_a;
      // Softmax: each product loses the mean of all, as the weights take it. Where a weight is 0 nothing comes back.
      for (Index c = 0; c < n; ++c) {
        const Scalar mean = w.col(c).dot(by_s.col(c));
        by_s.col(c) = scale * w.col(c).array() * (by_s.col(c).array() - mean);
      }
      by_q.middleCols(start + before, n).noalias() = k.middleCols(start, keys) * by_s;
      by_k.middleCols(start, keys).noalias() += q.middleCols(start + before, n) * by_s.transpose();
    });
  }
  for (Index start = 0; start < columns; start += length)
    rotation.turn(by_qkv.block(0, start, 2 * s.width, length), 0, Scalar(-1));
  return by_qkv;
}

// From the gradient by a block's output to that by its input; adds those by its weights.
template <class Scalar>
void pass_back(const Block<Matrix<Scalar>, Scalar>& block, const Shape& s, const Rotation<Scalar>& rotation,
               Index length, const Tape<Scalar>& t, Matrix<Scalar>& by_x, Block<Matrix<Scalar>, Scalar>& gradient) {
  gradient.down.noalias() += by_x * t.activated.transpose();
  Matrix<Scalar> by_before = block.down.transpose() * by_x;
  const auto x = t.before.array();
  const Matrix<Scalar> tanh = gelu_tanh(x);
  by_before.array() *= Scalar(0.5) * (1 + tanh.array()) + Scalar(0.5 * 0.7978845608) * x * (1 - tanh.array().square()) *
                                                              (1 + Scalar(3 * 0.044715) * x.square());
  gradient.up.noalias() += by_before * t.mlp_input.transpose();
  by_x += normalize_back<Scalar>(t.middle, block.mlp_gain, t.mlp_inverse, block.up.transpose() * by_before,
                                 gradient.mlp_gain);

  gradient.out.noalias() += by_x * t.attended.transpose();
  const Matrix<Scalar> by_qkv = attend_back<Scalar>(s, rotation, length, t, block.out.transpose() * by_x);
  gradient.qkv.noalias() += by_qkv * t.attention_input.transpose();
  by_x += normalize_back<Scalar>(t.input, block.attention_gain, t.attention_inverse, block.qkv.transpose() * by_qkv,
                                 gradient.attention_gain);
}

// The mean of -ln p over the bytes of `next`, each following its column of `text`: sequences of `length` bytes one
// after the other. Adds `share` times its gradient.
template <class Scalar>
class Differentiator {
 public:
  explicit Differentiator(const Shape& s) : rotation_(s), tapes_(static_cast<std::size_t>(s.layers)) {}

  double operator()(const Parameters<Scalar>& model, Text text, Text next, Index length, Scalar share,
                    Parameters<Scalar>& gradient) {
    const Shape& s = model.shape;
    Matrix<Scalar> x = embed(model, text);
    for (std::size_t k = 0; k < tapes_.size(); ++k) pass(model.blocks[k], s, rotation_, length, x, tapes_[k]);
    Matrix<Scalar> normed;
    Row<Scalar> inverse;
    normalize(x, model.gain, normed, inverse);
    Matrix<Scalar> logits = model.head * normed;
    const auto n = static_cast<double>(text.size());
    const double loss = surprise(logits, next) / n;

    // The gradient by the logits is p less the truth.
    for (Index c = 0; c < logits.cols(); ++c) {
      softmax(logits.col(c), byte_values);
      logits(next[static_cast<std::size_t>(c)], c) -= 1;
    }
    logits *= share / static_cast<Scalar>(n);
    gradient.head.noalias() += logits * normed.transpose();
    Matrix<Scalar> by_x =
        normalize_back<Scalar>(x, model.gain, inverse, model.head.transpose() * logits, gradient.gain);
    for (std::size_t k = tapes_.size(); k-- > 0;)
      pass_back(model.blocks[k], s, rotation_, length, tapes_[k], by_x, gradient.blocks[k]);
    for (std::size_t c = 0; c < text.size(); ++c) gradient.embedding.col(text[c]) += by_x.col(static_cast<Index>(c));
    return loss;
  }

 private:
  Rotation<Scalar> rotation_;
  std::vector<Tape<Scalar>> tapes_;
};

// Mean loss and gradient of a step's sequences, each a random piece of the text.
template <class Scalar>
double batch_gradient(Differentiator<Scalar>& differentiate, const Parameters<Scalar>& model, Text text,
                      std::uint64_t seed, Index step, Index sequences, Parameters<Scalar>& gradient) {
  each_tensor(gradient, [](const std::string&, Matrix<Scalar>& m) { m.setZero(); });
  const auto length = static_cast<std::size_t>(model.shape.context);
  double loss = 0;
  for (Index k = 0; k < sequences; ++k) {
    const auto draw = mixed(seed, static_cast<std::uint64_t>(step * sequences + k));
    const auto start = static_cast<std::size_t>(draw % (text.size() - length));
    loss += differentiate(model, text.subspan(start, length), text.subspan(start + 1, length), model.shape.context,
                          1 / static_cast<Scalar>(sequences), gradient);
  }
  return loss / static_cast<double>(sequences);
}

// The gradient's length over all tensors. Longer than `most`, it is cut down to that.
template <class Scalar>
double clip(Parameters<Scalar>& gradient, double most) {
  double square = 0;
  each_tensor(gradient, [&](const std::string&, const Matrix<Scalar>& m) {
    for (const Scalar g : m.reshaped()) square += static_cast<double>(g) * static_cast<double>(g);
  });
  const double length = std::sqrt(square);
  if (length > most)
    each_tensor(gradient, [&](const std::string&, Matrix<Scalar>& m) { m *= static_cast<Scalar>(most / length); });
  return length;
}

// AdamW (arXiv 1711.05101). Matrices decay, gains do not.
template <class Scalar>
struct AdamW {
  Parameters<Scalar> mean, square;
  Index steps = 0;
  double decay = 0.1, keep_mean = 0.9, keep_square = 0.98;

  explicit AdamW(const Shape& s) : mean(zero_parameters<Scalar>(s)), square(mean) {}

  void step(Parameters<Scalar>& model, const Parameters<Scalar>& gradient, double rate) {
    ++steps;
    power_mean_ *= keep_mean, power_square_ *= keep_square;
    std::vector<const Matrix<Scalar>*> gradients;
    std::vector<Matrix<Scalar>*> means, squares;
    each_tensor(gradient, [&](const std::string&, const Matrix<Scalar>& m) { gradients.push_back(&m); });
    each_tensor(mean, [&](const std::string&, Matrix<Scalar>& m) { means.push_back(&m); });
    each_tensor(square, [&](const std::string&, Matrix<Scalar>& m) { squares.push_back(&m); });
    std::size_t k = 0;
    each_tensor(model, [&](const std::string&, Matrix<Scalar>& w) {
      move(w, *gradients[k], *means[k], *squares[k], rate, w.cols() > 1 ? rate * decay : 0.), ++k;
    });
  }

  // After so many steps that were taken before.
  void continue_from(Index taken) {
    for (steps = 0; steps < taken; ++steps) power_mean_ *= keep_mean, power_square_ *= keep_square;
  }

 private:
  void move(Matrix<Scalar>& w, const Matrix<Scalar>& gradient, Matrix<Scalar>& m, Matrix<Scalar>& v, double rate,
            double decayed) const {
    const auto keep_m = static_cast<Scalar>(keep_mean), keep_v = static_cast<Scalar>(keep_square),
               unbias_v = static_cast<Scalar>(1 / (1 - power_square_)), kept = static_cast<Scalar>(1 - decayed),
               by = static_cast<Scalar>(rate / (1 - power_mean_));
    const Scalar* const g = gradient.data();
    for (Index i = 0; i < w.size(); ++i) {
      Scalar &mean_i = m.data()[i], &square_i = v.data()[i], &w_i = w.data()[i];
      mean_i = keep_m * mean_i + (1 - keep_m) * g[i];
      square_i = keep_v * square_i + (1 - keep_v) * (g[i] * g[i]);
      w_i = kept * w_i - by * mean_i / (std::sqrt(square_i * unbias_v) + Scalar(1e-8));
    }
  }

  double power_mean_ = 1, power_square_ = 1;
};

// Rises to `peak` in `warm_up` steps and falls along half a cosine to 0.
inline double rate_at(Index step, Index steps, Index warm_up, double peak) {
  if (step < warm_up) return peak * static_cast<double>(step + 1) / static_cast<double>(warm_up);
  const double done = static_cast<double>(step - warm_up) / static_cast<double>(std::max<Index>(1, steps - warm_up));
  return peak * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

}  // namespace example
