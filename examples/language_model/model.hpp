#pragma once
// A transformer that reads text byte by byte and says what it expects next: RMS norms, rotary positions, causal
// attention, an MLP with GELU. Rule: a column is a byte of the text, a matrix of weights is [out, in] and is met only
// as `weights * columns`, so that floats and quantized matrices run through the same code.

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <Eigen/Core>

namespace example {

using Eigen::Index;
template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
template <class Scalar>
using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
using Text = std::span<const std::uint8_t>;

inline constexpr Index byte_values = 256;

struct Shape {
  Index layers = 4, width = 128, heads = 4, hidden = 512;
  Index context = 256;  // bytes that a prediction can look back on, itself included

  Index head_width() const { return width / heads; }
};

template <class Weights, class Scalar>
struct Block {
  Matrix<Scalar> attention_gain;  // [width, 1]
  Weights qkv;                    // [3 width, width]: queries, keys, values, each head by head
  Weights out;                    // [width, width]
  Matrix<Scalar> mlp_gain;        // [width, 1]
  Weights up;                     // [hidden, width]
  Weights down;                   // [width, hidden]
};

template <class Weights, class Scalar>
struct Model {
  Shape shape;
  Matrix<Scalar> embedding;  // [width, bytes]
  std::vector<Block<Weights, Scalar>> blocks;
  Matrix<Scalar> gain;  // [width, 1]
  Matrix<Scalar> head;  // [bytes, width]
};

// What is trained, and everything of the same shape: gradients, moments.
template <class Scalar>
using Parameters = Model<Matrix<Scalar>, Scalar>;

// Calls f(name, tensor) for all tensors, in one fixed order.
template <class AnyModel, class F>
void each_tensor(AnyModel& model, F&& f) {
  f("embedding", model.embedding);
  for (std::size_t k = 0; k < model.blocks.size(); ++k) {
    auto& block = model.blocks[k];
    const std::string at = "block" + std::to_string(k) + ".";
    f(at + "attention_gain", block.attention_gain);
    f(at + "qkv", block.qkv);
    f(at + "out", block.out);
    f(at + "mlp_gain", block.mlp_gain);
    f(at + "up", block.up);
    f(at + "down", block.down);
  }
  f("gain", model.gain);
  f("head", model.head);
}

// All zero.
template <class Scalar>
Parameters<Scalar> zero_parameters(const Shape& s) {
  const auto zero = [](Index rows, Index cols) -> Matrix<Scalar> { return Matrix<Scalar>::Zero(rows, cols); };
  Parameters<Scalar> p{s, zero(s.width, byte_values), {}, zero(s.width, 1), zero(byte_values, s.width)};
  for (Index k = 0; k < s.layers; ++k)
    p.blocks.push_back({zero(s.width, 1), zero(3 * s.width, s.width), zero(s.width, s.width), zero(s.width, 1),
                        zero(s.hidden, s.width), zero(s.width, s.hidden)});
  return p;
}

// Rotary positions (arXiv 2104.09864): at position t, feature i of a head and its partner in the other half turn by the
// angle t 10000^(-2 i / width). A product of a query and a key then depends on how far apart they are, and on nothing
// else of where they stand.
template <class Scalar>
class Rotation {
 public:
  explicit Rotation(const Shape& s) : cosine_(s.head_width() / 2, s.context), sine_(s.head_width() / 2, s.context) {
    for (Index t = 0; t < s.context; ++t)
      for (Index i = 0; i < cosine_.rows(); ++i) {
        const double angle = static_cast<double>(t) *
                             std::pow(10000., -2 * static_cast<double>(i) / static_cast<double>(s.head_width()));
        cosine_(i, t) = static_cast<Scalar>(std::cos(angle)), sine_(i, t) = static_cast<Scalar>(std::sin(angle));
      }
  }

  // Turns rows of heads, columns at positions first, first + 1, ..; back again with direction -1, which is what
  // gradients need.
  template <class Derived>
  void turn(Eigen::MatrixBase<Derived>&& heads, Index first, Scalar direction = 1) const {
    const Index half = cosine_.rows(), n = heads.cols();
    const auto c = cosine_.middleCols(first, n).array(), s = sine_.middleCols(first, n).array();
    for (Index top = 0; top < heads.rows(); top += 2 * half) {
      auto a = heads.middleRows(top, half).array(), b = heads.middleRows(top + half, half).array();
      const Matrix<Scalar> old = a;
      a = old.array() * c - direction * (b * s);
      b = direction * (old.array() * s) + b * c;
    }
  }

 private:
  Matrix<Scalar> cosine_, sine_;  // [half a head, positions]
};

// y = gain x / rms(x) for each column (arXiv 1910.07467); keeps 1 / rms for the way back. The root is std::sqrt's,
// which is exact: Eigen's own starts from an estimate that differs between makers of processors.
template <class Scalar>
void normalize(const Matrix<Scalar>& x, const Matrix<Scalar>& gain, Matrix<Scalar>& y, Row<Scalar>& inverse) {
  inverse = x.colwise().squaredNorm();
  const auto width = static_cast<Scalar>(x.rows());
  for (Scalar& r : inverse) r = 1 / std::sqrt(r / width + Scalar(1e-5));
  y = (x.array().rowwise() * inverse.array()).colwise() * gain.col(0).array();
}

// GELU by its usual formula with tanh (arXiv 1606.08415), x (1 + tanh u) / 2.
template <class Derived>
auto gelu_tanh(const Eigen::ArrayBase<Derived>& x) {
  using Scalar = typename Derived::Scalar;
  return (Scalar(0.7978845608) * (x + Scalar(0.044715) * x * x * x)).tanh();
}

// Replaces each column's first n numbers by their softmax, whole registers at a time, so that each exp is the same
// wherever it stands; what lies beyond becomes 0.
template <class Derived>
void softmax(Eigen::DenseBase<Derived>&& column, Index n) {
  using Scalar = typename Derived::Scalar;
  const Scalar most = column.head(n).maxCoeff();
  const Index whole = std::min<Index>((n + 15) / 16 * 16, column.size());
  column.segment(n, whole - n).setConstant(most);
  auto part = column.head(whole).array();
  part = (part - most).exp();
  column.tail(column.size() - n).setZero();
  part *= 1 / part.sum();
}

// What a block computes on its way: kept for the way back, and what calibration looks at.
template <class Scalar>
struct Tape {
  Matrix<Scalar> input, attention_input, qkv, attended, middle, mlp_input, before, activated;
  Row<Scalar> attention_inverse, mlp_inverse;
  std::vector<Matrix<Scalar>> weights;  // by head, [keys, queries]: how much a query takes of a key's value
};

// Queries are taken some at a time, so that few of the products with keys that lie ahead of them are made in vain.
inline constexpr Index query_run = 64;

// Calls f(first, n, rows, keys) for runs of n queries of each sequence: of all columns the queries are first ..
// first + n - 1, the sequence starts at column first - before, and keys = before + n of it may be looked at.
template <class F>
void each_query_run(Index columns, Index length, F&& f) {
  for (Index start = 0; start < columns; start += length)
    for (Index before = 0; before < length; before += query_run) {
      const Index n = std::min(query_run, length - before);
      f(start, before, n, before + n);
    }
}

// The way through a block, cut where a matrix of weights is applied: each function ends with the input of the next
// matrix. Columns are sequences of `length` bytes, one after the other.
template <class Weights, class Scalar>
void enter_attention(const Block<Weights, Scalar>& block, const Matrix<Scalar>& x, Tape<Scalar>& t) {
  t.input = x;
  normalize(x, block.attention_gain, t.attention_input, t.attention_inverse);
}

template <class Weights, class Scalar>
void attend(const Block<Weights, Scalar>& block, const Shape& s, const Rotation<Scalar>& rotation, Index length,
            Tape<Scalar>& t) {
  t.qkv = block.qkv * t.attention_input;
  const Index columns = t.qkv.cols(), d = s.head_width();
  for (Index start = 0; start < columns; start += length) rotation.turn(t.qkv.block(0, start, 2 * s.width, length), 0);
  const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(d));
  t.attended.resize(s.width, columns);
  t.weights.resize(static_cast<std::size_t>(s.heads));
  for (Index h = 0; h < s.heads; ++h) {
    const auto q = t.qkv.middleRows(h * d, d), k = t.qkv.middleRows(s.width + h * d, d),
               v = t.qkv.middleRows(2 * s.width + h * d, d);
    Matrix<Scalar>& weights = t.weights[static_cast<std::size_t>(h)];
    weights.resize(length, columns);
    each_query_run(columns, length, [&](Index start, Index before, Index n, Index keys) {
      auto w = weights.block(0, start + before, keys, n);
      w.noalias() = scale * k.middleCols(start, keys).transpose() * q.middleCols(start + before, n);
      for (Index c = 0; c < n; ++c) softmax(w.col(c), before + c + 1);
      t.attended.block(h * d, start + before, d, n).noalias() = v.middleCols(start, keys) * w;
    });
  }
}

template <class Weights, class Scalar>
void enter_mlp(const Block<Weights, Scalar>& block, Tape<Scalar>& t) {
  t.middle = block.out * t.attended;
  t.middle += t.input;
  normalize(t.middle, block.mlp_gain, t.mlp_input, t.mlp_inverse);
}

template <class Weights, class Scalar>
void activate(const Block<Weights, Scalar>& block, Tape<Scalar>& t) {
  t.before = block.up * t.mlp_input;
  const auto x = t.before.array();
  t.activated = Scalar(0.5) * x * (1 + gelu_tanh(x));
}

template <class Weights, class Scalar>
void leave(const Block<Weights, Scalar>& block, const Tape<Scalar>& t, Matrix<Scalar>& x) {
  x = block.down * t.activated;
  x += t.middle;
}

template <class Weights, class Scalar>
void pass(const Block<Weights, Scalar>& block, const Shape& s, const Rotation<Scalar>& rotation, Index length,
          Matrix<Scalar>& x, Tape<Scalar>& t) {
  enter_attention(block, x, t);
  attend(block, s, rotation, length, t);
  enter_mlp(block, t);
  activate(block, t);
  leave(block, t, x);
}

template <class Weights, class Scalar>
Matrix<Scalar> embed(const Model<Weights, Scalar>& model, Text text) {
  Matrix<Scalar> x(model.shape.width, static_cast<Index>(text.size()));
  for (std::size_t c = 0; c < text.size(); ++c) x.col(static_cast<Index>(c)) = model.embedding.col(text[c]);
  return x;
}

// Logits [bytes, columns] of the byte that follows each column.
template <class Weights, class Scalar>
Matrix<Scalar> predict(const Model<Weights, Scalar>& model, const Matrix<Scalar>& x) {
  Matrix<Scalar> normed;
  Row<Scalar> inverse;
  normalize(x, model.gain, normed, inverse);
  return model.head * normed;
}

// The sum of -ln p(next byte) over the columns, in double.
template <class Scalar>
double surprise(const Matrix<Scalar>& logits, Text next) {
  double sum = 0;
  for (Index c = 0; c < logits.cols(); ++c) {
    const Scalar most = logits.col(c).maxCoeff();
    const double total = static_cast<double>((logits.col(c).array() - most).exp().sum());
    sum += std::log(total) - static_cast<double>(logits(next[static_cast<std::size_t>(c)], c) - most);
  }
  return sum;
}

// Nats per byte of a text, read in windows of the whole context that know nothing of each other: the second byte of a
// window is predicted from one byte, the one behind its end from all. Windows are spread over the text; if there are
// fewer than it holds, what lies between is not read.
template <class Weights>
double nats_per_byte(const Model<Weights, float>& model, Text text, std::size_t most_windows = 1'000'000) {
  constexpr std::size_t at_once = 8;
  const auto length = static_cast<std::size_t>(model.shape.context);
  const std::size_t windows = std::min(most_windows, (text.size() - 1) / length), apart = (text.size() - 1) / windows;
  const Rotation<float> rotation(model.shape);
  Tape<float> tape;
  double sum = 0;
  for (std::size_t first = 0; first < windows; first += at_once) {
    std::vector<std::uint8_t> read, next;
    for (std::size_t w = first; w < std::min(windows, first + at_once); ++w) {
      const Text window = text.subspan(w * apart, length + 1);
      read.insert(read.end(), window.begin(), window.end() - 1);
      next.insert(next.end(), window.begin() + 1, window.end());
    }
    Matrix<float> x = embed(model, read);
    for (const auto& block : model.blocks) pass(block, model.shape, rotation, model.shape.context, x, tape);
    sum += surprise(predict(model, x), next);
  }
  return sum / static_cast<double>(windows * length);
}

// Reads one byte after the other and keeps the keys and values of those before, so that each costs one column.
template <class Weights>
class Reader {
 public:
  explicit Reader(const Model<Weights, float>& model) : model_(&model), rotation_(model.shape), read_(0) {
    const Shape& s = model.shape;
    keys_.assign(model.blocks.size(), Matrix<float>(s.width, s.context));
    values_ = keys_;
  }

  Index room() const { return model_->shape.context - read_; }

  // Logits of what follows; there must be room.
  Eigen::VectorXf read(std::uint8_t byte) {
    Matrix<float> x = embed(*model_, Text(&byte, 1));
    for (std::size_t k = 0; k < model_->blocks.size(); ++k) {
      const auto& block = model_->blocks[k];
      enter_attention(block, x, tape_);
      attend_to_all(block.qkv * tape_.attention_input, keys_[k], values_[k]);
      enter_mlp(block, tape_);
      activate(block, tape_);
      leave(block, tape_, x);
    }
    ++read_;
    return predict(*model_, x).col(0);
  }

 private:
  void attend_to_all(Matrix<float> qkv, Matrix<float>& keys, Matrix<float>& values) {
    const Shape& s = model_->shape;
    const Index d = s.head_width(), n = read_ + 1;
    rotation_.turn(qkv.topRows(2 * s.width), read_);
    keys.col(read_) = qkv.middleRows(s.width, s.width), values.col(read_) = qkv.bottomRows(s.width);
    tape_.attended.resize(s.width, 1);
    for (Index h = 0; h < s.heads; ++h) {
      Eigen::VectorXf w = keys.block(h * d, 0, d, n).transpose() * qkv.block(h * d, 0, d, 1);
      w *= 1 / std::sqrt(static_cast<float>(d));
      softmax(w.head(n), n);
      tape_.attended.middleRows(h * d, d).noalias() = values.block(h * d, 0, d, n) * w;
    }
  }

  const Model<Weights, float>* model_;
  Rotation<float> rotation_;
  Tape<float> tape_;
  std::vector<Matrix<float>> keys_, values_;  // by block, [width, context]
  Index read_;
};

}  // namespace example
