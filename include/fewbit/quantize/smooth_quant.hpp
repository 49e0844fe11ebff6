#pragma once
// SmoothQuant (arXiv 2211.10438): outliers of the inputs are moved into the weights, where 8 bits have room for them.
// Rule: the product is the same before anything is rounded.

#include <fewbit/grid/symmetric.hpp>
#include <fewbit/quantize/input_statistics.hpp>
#include <fewbit/quantize/quantize.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// W diag(s) and x / s for an input scale s. A matrix of scaled weights keeps 1 / s, with which it meets its inputs.
template <class Derived>
Eigen::MatrixXf scaled_inputs(const Eigen::MatrixBase<Derived>& w, const Eigen::VectorXf& s) {
  return w.template cast<float>() * s.asDiagonal();
}
inline InputMap inverse_scale(const Eigen::VectorXf& s) {
  InputMap map;
  if ((s.array() == 1).all()) return map;
  for (const float x : s) map.scale.push_back(1 / x);
  return map;
}

// W[out, in] for products with inputs that are rounded to 8 bits, product(q, x, Activations::int8): s_j =
// max|x_j|^alpha / max|w_j|^(1 - alpha), W diag(s) is quantized and x / s is what it meets. An input or a column of W
// that is all 0 keeps its scale.
//
// Throws std::invalid_argument unless there are statistics of as many inputs as W has and 0 <= alpha <= 1, and as
// quantize does.
template <class Derived, Grid G = Symmetric>
QuantizedMatrix smooth_quant(const Eigen::MatrixBase<Derived>& w, const InputStatistics& inputs, double alpha = 0.5,
                             const G& grid = Symmetric(8), Granularity granularity = per_channel()) {
  if (inputs.inputs() != w.cols())
    fail_argument("smooth_quant: W is ", w.rows(), " x ", w.cols(), " and there are statistics of ", inputs.inputs(),
                  " inputs");
  if (!(alpha >= 0 && alpha <= 1)) fail_argument("smooth_quant: alpha is ", alpha, "; use 0 to 1, .5 is usual");
  if (w.size() == 0) return quantize(w, grid, granularity);
  require_finite_weights(w);
  const Eigen::MatrixXf weights = w.template cast<float>();
  const Eigen::VectorXd x = inputs.max_absolute();
  Eigen::VectorXf s(w.cols());
  for (Index j = 0; j < w.cols(); ++j) {
    const double most = weights.col(j).cwiseAbs().maxCoeff();
    const double scale = std::pow(x[j], alpha) / std::pow(most, 1 - alpha);
    const double scaled = scale * most;  // all within what floats hold with room to spare; false for a NaN
    const bool is_usable = x[j] > 0 && most > 0 && scale >= 1e-30 && scale <= 1e30 && scaled >= 1e-30 && scaled <= 1e30;
    s[j] = is_usable ? static_cast<float>(scale) : 1.f;
  }
  QuantizedMatrix q = quantize(scaled_inputs(weights, s), grid, granularity);
  q.set_input_map(inverse_scale(s));
  return q;
}
template <class Derived, class Samples, Grid G = Symmetric>
QuantizedMatrix smooth_quant(const Eigen::MatrixBase<Derived>& w, const Eigen::MatrixBase<Samples>& x,
                             double alpha = 0.5, const G& grid = Symmetric(8),
                             Granularity granularity = per_channel()) {
  return smooth_quant(w, InputStatistics::of(x), alpha, grid, granularity);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
