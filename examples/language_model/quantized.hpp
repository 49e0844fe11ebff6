#pragma once
// The language model with weights in few bits. Rule: what is held is what is multiplied with, and nothing else; bytes
// are counted from it.

#include <functional>
#include <optional>
#include <variant>

#include <fewbit/ops/product.hpp>
#include <fewbit/ops/ternary.hpp>
#include <fewbit/quantize/hessian.hpp>

#include "model.hpp"

namespace example {

template <class T>
inline constexpr bool is_matrix = requires(const T& m) {
  m.template cast<float>();
};

// A matrix of weights [out, in] in any format. 16-bit floats are widened for each product: processors multiply none.
class AnyWeights {
 public:
  using Held = std::variant<Matrix<float>, Matrix<Eigen::half>, Matrix<Eigen::bfloat16>, fewbit::QuantizedMatrix,
                            fewbit::TernaryMatrix>;

  AnyWeights() = default;
  template <class Weights>
  AnyWeights(Weights weights) : held_(std::move(weights)) {}

  friend Matrix<float> operator*(const AnyWeights& w, const Matrix<float>& x) { return w.times(x); }

  Index size() const {
    return std::visit([](const auto& held) -> Index { return held.size(); }, held_);
  }
  std::size_t bytes() const {
    return std::visit(
        [](const auto& held) -> std::size_t {
          if constexpr (is_matrix<decltype(held)>) return sizeof(*held.data()) * static_cast<std::size_t>(held.size());
          else return held.bytes();
        },
        held_);
  }

 private:
  Matrix<float> times(const Matrix<float>& x) const {
    return std::visit(
        [&](const auto& held) -> Matrix<float> {
          if constexpr (is_matrix<decltype(held)>) return held.template cast<float>() * x;
          else return held * x;
        },
        held_);
  }
  Held held_;
};

// The matrices of the blocks are quantized; embedding, gains and head stay floats.
using QuantizedModel = Model<AnyWeights, float>;

struct Held {
  std::size_t bytes = 0;       // of everything
  double bits_per_weight = 0;  // of the matrices in the blocks, scales and zero-points included
};

inline Held held(const QuantizedModel& model) {
  const auto floats = [](const Matrix<float>& m) { return sizeof(float) * static_cast<std::size_t>(m.size()); };
  std::size_t coded = 0, others = floats(model.embedding) + floats(model.gain) + floats(model.head);
  Index weights = 0;
  for (const auto& block : model.blocks) {
    others += floats(block.attention_gain) + floats(block.mlp_gain);
    for (const AnyWeights* w : {&block.qkv, &block.out, &block.up, &block.down})
      coded += w->bytes(), weights += w->size();
  }
  return {coded + others, 8 * static_cast<double>(coded) / static_cast<double>(weights)};
}

// The inputs that one matrix meets in the calibration text, x[in, samples], and what methods ask of them.
class LayerInputs {
 public:
  explicit LayerInputs(Matrix<float> x) : x_(std::move(x)) {}

  const Matrix<float>& samples() const { return x_; }
  // Of every so many-th sample, for what need not see all.
  Matrix<float> some(Index every) const { return x_(Eigen::all, Eigen::seq(0, Eigen::last, every)); }
  // Made when it is first asked for.
  const fewbit::Hessian& hessian() const {
    if (!hessian_) hessian_ = fewbit::Hessian::of(x_);
    return *hessian_;
  }

 private:
  Matrix<float> x_;
  mutable std::optional<fewbit::Hessian> hessian_;
};

// What makes weights W[out, in] small.
using Method = std::function<AnyWeights(const Matrix<float>& W, const LayerInputs&)>;

// Lets the calibration text through the model, block by block and matrix by matrix, and calls f(matrix, inputs) for
// each on its way, with the inputs that it meets there; what f returns is what the text goes on with.
template <class Weights, class F>
Model<Weights, float> passed(const Parameters<float>& model, Text text, F&& f) {
  const Shape& s = model.shape;
  Model<Weights, float> to{s, model.embedding, {}, model.gain, model.head};
  const auto whole = static_cast<Index>(text.size()) / s.context * s.context;
  Matrix<float> x = embed(model, text.first(static_cast<std::size_t>(whole)));
  const Rotation<float> rotation(s);
  Tape<float> t;
  for (const auto& from : model.blocks) {
    Block<Weights, float> b{from.attention_gain, {}, {}, from.mlp_gain, {}, {}};
    enter_attention(b, x, t);
    b.qkv = f(from.qkv, t.attention_input);
    attend(b, s, rotation, s.context, t);
    b.out = f(from.out, t.attended);
    enter_mlp(b, t);
    b.up = f(from.up, t.mlp_input);
    activate(b, t);
    b.down = f(from.down, t.activated);
    leave(b, t, x);
    to.blocks.push_back(std::move(b));
  }
  return to;
}

// The inputs of all matrices while none is quantized, in the order of the text's way.
inline std::vector<LayerInputs> inputs_of(const Parameters<float>& model, Text text) {
  std::vector<LayerInputs> inputs;
  passed<Matrix<float>>(model, text, [&](const Matrix<float>& w, const Matrix<float>& x) {
    inputs.emplace_back(x);
    return w;
  });
  return inputs;
}

// The model with f(matrix) for each matrix of its blocks, called in the order of the text's way.
template <class F>
QuantizedModel with_matrices(const Parameters<float>& model, F&& f) {
  QuantizedModel q{model.shape, model.embedding, {}, model.gain, model.head};
  for (const auto& b : model.blocks)  // an initializer list keeps its order
    q.blocks.push_back({b.attention_gain, f(b.qkv), f(b.out), b.mlp_gain, f(b.up), f(b.down)});
  return q;
}

// Every matrix by itself, on the inputs that it meets while none is quantized.
inline QuantizedModel quantized(const Parameters<float>& model, const std::vector<LayerInputs>& inputs,
                                const Method& method) {
  auto input = inputs.begin();
  return with_matrices(model, [&](const Matrix<float>& w) { return method(w, *input++); });
}

// One matrix after the other, on the inputs that the quantized ones before it leave.
inline QuantizedModel quantized_in_turn(const Parameters<float>& model, Text text, const Method& method) {
  return passed<AnyWeights>(model, text,
                            [&](const Matrix<float>& w, const Matrix<float>& x) { return method(w, LayerInputs(x)); });
}

}  // namespace example
