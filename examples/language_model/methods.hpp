#pragma once
// Formats and the ways to bring weights into them: what the table compares and what text is generated with. Rule: at
// one width all methods share a grid, groups and the type of scales, unless a method is about just that.

#include <fewbit/fewbit.hpp>

#include "fine_tune.hpp"
#include "quantized.hpp"

namespace example {

struct Named {
  std::string format, method;
  Method quantize;
};

// Groups of 64 along a row, scales in 16 bits.
inline fewbit::Granularity groups() { return fewbit::per_group(64, fewbit::ScaleType::f16); }

// Without samples of the inputs.
template <class Quantize>
Method from_weights(Quantize quantize) {
  return [=](const Matrix<float>& w, const LayerInputs&) -> AnyWeights { return quantize(w); };
}

// For integers and tables: round to nearest, and what calibration makes of it. `finish` is the last to touch a matrix.
template <class Grid, class Finish>
void add_methods(std::vector<Named>& all, const std::string& format, const Grid& grid, fewbit::Granularity g,
                 Finish finish) {
  const auto add = [&](const char* name, Method method) { all.push_back({format, name, std::move(method)}); };
  add("MSE range", from_weights([=](const auto& w) { return finish(quantize(w, grid, g, fewbit::MseSearch{})); }));
  add("  by mean x^2", [=](const auto& w, const LayerInputs& x) -> AnyWeights {
    const auto importance = fewbit::InputStatistics::of(x.samples()).importance();
    return finish(quantize(w, grid, g, fewbit::MseSearch{.importance = importance}));
  });
  // Every fourth sample will do for a search that multiplies with all of them thirty times.
  add("AWQ", [=](const auto& w, const LayerInputs& x) -> AnyWeights { return finish(awq(w, x.some(4), grid, g)); });
  add("GPTQ", [=](const auto& w, const LayerInputs& x) -> AnyWeights { return finish(gptq(w, x.hessian(), grid, g)); });
  add("GPTQ, refined", [=](const auto& w, const LayerInputs& x) -> AnyWeights {
    return finish(refine(gptq(w, x.hessian(), grid, g), w, x.hessian()));
  });
}

inline std::vector<Named> all_methods() {
  using fewbit::Asymmetric, fewbit::Symmetric;
  std::vector<Named> all;
  const auto add = [&](const std::string& format, const char* name, Method method) {
    all.push_back({format, name, std::move(method)});
  };
  add("FP32", "as trained", from_weights([](const auto& w) { return w; }));
  add("FP16", "round to nearest",
      from_weights([](const auto& w) { return Matrix<Eigen::half>(w.template cast<Eigen::half>()); }));
  add("BF16", "round to nearest",
      from_weights([](const auto& w) { return Matrix<Eigen::bfloat16>(w.template cast<Eigen::bfloat16>()); }));

  const auto as_it_is = [](fewbit::QuantizedMatrix q) { return q; };
  const auto rows = fewbit::per_channel(fewbit::ScaleType::f16), g = groups();
  add("INT8", "round to nearest", from_weights([=](const auto& w) { return quantize(w, Symmetric(8), rows); }));
  add("INT8", "GPTQ",
      [=](const auto& w, const LayerInputs& x) -> AnyWeights { return gptq(w, x.hessian(), Symmetric(8), rows); });

  add("NF4", "round to nearest", from_weights([=](const auto& w) { return quantize(w, fewbit::nf4, g); }));
  add("NF4", "  scales in 8 bits",
      from_weights([=](const auto& w) { return double_quantize(quantize(w, fewbit::nf4, g)); }));
  add_methods(all, "NF4", fewbit::nf4, g, as_it_is);

  for (const int bits : {4, 3, 2}) {
    const std::string format = "INT" + std::to_string(bits);
    const Asymmetric grid = Asymmetric(bits).including_zero();
    add(format, "round to nearest", from_weights([=](const auto& w) { return quantize(w, grid, g); }));
    add(format, "  scales in 8 bits",
        from_weights([=](const auto& w) { return double_quantize(quantize(w, grid, g)); }));
    add(format, "HQQ", from_weights([=](const auto& w) {  // its zero-points are real numbers
          return quantize(w, Asymmetric(bits), g, fewbit::Hqq{.in_scales = true});
        }));
    add_methods(all, format, grid, g, as_it_is);
  }

  const auto packed = [](fewbit::QuantizedMatrix q) { return pack_ternary(q); };
  add("ternary", "scale mean|w|",
      from_weights([=](const auto& w) { return packed(quantize(w, Symmetric(2), g, fewbit::AbsMean{})); }));
  add_methods(all, "ternary", Symmetric(2), g, packed);
  return all;
}

// Fine-tuned from the format's refined GPTQ on, under its ranges. In double, as where training through rounded weights
// ends hangs on every digit.
template <class Grid, class Finish>
QuantizedModel trained(const Parameters<float>& model, const std::vector<LayerInputs>& inputs, Text text,
                       const Grid& grid, const FineTuning& course, Finish&& finish) {
  std::vector<fewbit::FakeQuantizer<Grid, fewbit::GptqRange>> quantizers;
  Parameters<float> start = model;
  auto input = inputs.begin();
  each_matrix(start, [&](Matrix<float>& w) {
    quantizers.emplace_back(grid, groups(), fewbit::StraightThrough::clipped);
    quantizers.back().freeze(w);
    const fewbit::Hessian& hessian = input++->hessian();
    w = dequantize(refine(gptq(w, hessian, grid, groups()), w, hessian));
  });
  return fine_tuned<double>(start, quantizers, text, course, finish);
}

inline QuantizedModel trained(const Parameters<float>& model, const std::vector<LayerInputs>& inputs, Text text,
                              const std::string& format, const FineTuning& course = {}) {
  const auto as_it_is = [](fewbit::QuantizedMatrix q) { return q; };
  const auto packed = [](const fewbit::QuantizedMatrix& q) { return pack_ternary(q); };
  if (format == "ternary") return trained(model, inputs, text, fewbit::Symmetric(2), course, packed);
  return trained(model, inputs, text, fewbit::Asymmetric(format == "INT3" ? 3 : 2).including_zero(), course, as_it_is);
}

}  // namespace example
