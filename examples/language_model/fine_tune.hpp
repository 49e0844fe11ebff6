#pragma once
// Quantization-aware training of the language model: for some hundred steps the text meets the weights as they will be
// rounded, and gradients go straight through the rounding. Rule: what is returned decodes to what was trained.

#include "quantized.hpp"
#include "trainer.hpp"

namespace example {

struct FineTuning {
  Index steps = 200, sequences = 1, warm_up = 10;
  double rate = 3e-4;  // falls along half a cosine to 0
  std::uint64_t seed = 1;
};

template <class To, class From>
Parameters<To> converted(const Parameters<From>& from) {
  auto to = zero_parameters<To>(from.shape);
  std::vector<const Matrix<From>*> tensors;
  each_tensor(from, [&](const std::string&, const Matrix<From>& m) { tensors.push_back(&m); });
  std::size_t k = 0;
  each_tensor(to, [&](const std::string&, Matrix<To>& m) { m = tensors[k++]->template cast<To>(); });
  return to;
}

// Calls f(matrix) for the matrices that are quantized, in one fixed order.
template <class AnyModel, class F>
void each_matrix(AnyModel& model, F&& f) {
  for (auto& b : model.blocks) f(b.qkv), f(b.out), f(b.up), f(b.down);
}

// Trains all weights, those of embedding, gains and head as floats, from `start` on. There is a quantizer for each
// matrix of the blocks: a FakeQuantizer, or anything with its forward, backward and quantize; `finish` is the last to
// touch what comes out. Adam's steps are without decay: the weights have had it.
template <class Scalar, class Quantizer, class Finish>
QuantizedModel fine_tuned(const Parameters<float>& start, const std::vector<Quantizer>& quantizers, Text text,
                          const FineTuning& course, Finish&& finish) {
  Parameters<Scalar> model = converted<Scalar>(start), seen = model, gradient = model;
  std::vector<const Matrix<Scalar>*> weights;
  each_matrix(model, [&](const Matrix<Scalar>& w) { weights.push_back(&w); });
  Differentiator<Scalar> differentiate(start.shape);
  AdamW<Scalar> adam(start.shape);
  adam.decay = 0;
  for (Index step = 0; step < course.steps; ++step) {
    seen = model;
    std::size_t k = 0;
    each_matrix(seen, [&](Matrix<Scalar>& w) { w = quantizers[k++].forward(w); });
    batch_gradient(differentiate, seen, text, course.seed, step, course.sequences, gradient);
    k = 0;
    each_matrix(gradient, [&](Matrix<Scalar>& g) { g = quantizers[k].backward(g, *weights[k]), ++k; });
    clip(gradient, 1.);
    adam.step(model, gradient, rate_at(step, course.steps, course.warm_up, course.rate));
  }
  std::size_t k = 0;
  return with_matrices(converted<float>(model),
                       [&](const Matrix<float>& w) { return AnyWeights(finish(quantizers[k++].quantize(w))); });
}

}  // namespace example
