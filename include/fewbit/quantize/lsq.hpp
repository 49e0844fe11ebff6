#pragma once
// Scales that are learned like any other weight. Rule: the forward pass is fake quantization under these scales, and
// what is exported decodes to it, to the last bit.

#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/quantize/fake_quantizer.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Learned step size quantization (arXiv 1902.08153) of weights or activations on any grid, without zero-points. For a
// weight w of a block with scale s, that is rounded to a level q,
//
//   d forward / d s = q - w / s where w lies in the range of the levels, and the first or last level outside
//
// and gradients of s are multiplied by 1 / sqrt(N qmax), N weights to a block and qmax the last level (the largest
// magnitude if that is not positive), so that a scale learns as fast as a weight. Gradients of weights pass inside the
// range. For activations that are never negative take Asymmetric(bits): its levels 0 .. 2^bits - 1.
template <class G>
class Lsq {
  static_assert(Grid<G>, "fewbit: Lsq needs a grid, such as Symmetric(4)");

 public:
  // Gradients by the weights and by the scales.
  template <class Matrix>
  struct Gradients {
    Matrix weights;
    Eigen::VectorXf scales;
  };

  // Starts at s = 2 mean|w| / sqrt(qmax) for each block of w[out, in]. Throws as quantize does.
  template <class Derived>
  Lsq(G grid, Granularity granularity, const Eigen::DenseBase<Derived>& w)
      : grid_(std::move(grid)), granularity_(granularity) {
    const StatedArithmetic stated;
    const Levels levels = grid_.levels();
    most_ = levels.last() > 0 ? levels.last() : std::fmax(std::fabs(levels.first()), std::fabs(levels.last()));
    const Tiling tiling(w.rows(), w.cols(), granularity);
    std::vector<Affine> affines(tiling.blocks());
    const float root = std::sqrt(most_);
    const auto start = [&](std::span<const float> block, const auto& stored) -> Affine {
      const double sum = kernel::active().absolute_sum(block.data(), block.size());
      if (sum == 0) return {};
      const double scale = 2 * sum / static_cast<double>(block.size()) / static_cast<double>(root);
      const float rounded = round_scale(scale, stored.scale_type());
      return {std::isfinite(rounded) ? rounded : float_scale(scale), 0};  // the latter is refused by its value
    };
    const Evaluated<Derived> weights(w);
    const BlockFitter<G, decltype(start)> fitter(grid_, start, granularity.scale, NonFinite::strict);
    fit_rows({weights}, tiling, fitter, door(), affines, [](Index, const Row&, const float*, const kernel::Row&) {});
    down_ = tiling.blocks_down(), across_ = tiling.blocks_across();
    scales_.resize(static_cast<Index>(affines.size()));
    for (std::size_t b = 0; b < affines.size(); ++b) scales_[static_cast<Index>(b)] = affines[b].scale;
  }

  // One for each block, row by row of blocks. A step may be written straight into them, scales() -= rate * gradient; a
  // scale that is not above 0 is used, and exported, as the smallest number of its type.
  Eigen::VectorXf& scales() { return scales_; }
  const Eigen::VectorXf& scales() const { return scales_; }

  // W[out, in] with quantized weights, in its own type and storage order. Throws as quantize does, and
  // std::invalid_argument if W has other blocks than there are scales for.
  template <class Derived>
  typename Derived::PlainObject forward(const Eigen::DenseBase<Derived>& w) const {
    const Evaluated<Derived> weights(w);
    typename Derived::PlainObject seen;
    give_shape(seen, w.rows(), w.cols());
    with_scales(weights, [&](const Fitter& fitter) {
      fake_quantize_rows({.in = weights, .out = writable(seen)}, granularity_, fitter, door());
    });
    return seen;
  }

  // The gradients by W and by the scales from that by forward(W).
  template <class Gradient, class Derived>
  Gradients<typename Gradient::PlainObject> backward(const Eigen::DenseBase<Gradient>& gradient,
                                                     const Eigen::DenseBase<Derived>& w) const {
    if (gradient.rows() != w.rows() || gradient.cols() != w.cols())
      fail_argument("backward: W is ", w.rows(), " x ", w.cols(), " and its gradient ", gradient.rows(), " x ",
                    gradient.cols(), "; they must have one shape");
    const StatedArithmetic stated;
    const Evaluated<Derived> weights(w);
    const Evaluated<Gradient> gradients(gradient);
    Gradients<typename Gradient::PlainObject> result;
    give_shape(result.weights, w.rows(), w.cols());
    result.scales = backward_rows({weights, gradients, writable(result.weights)});
    return result;
  }

  // What forward(w) decodes from. Throws as forward does.
  template <class Derived>
  QuantizedMatrix quantize(const Eigen::DenseBase<Derived>& w) const {
    const Evaluated<Derived> weights(w);
    std::optional<QuantizedMatrix> q;
    with_scales(weights, [&](const Fitter& fitter) { q = quantize_rows(weights, granularity_, fitter, door()); });
    return *std::move(q);
  }

 private:
  static Door door() { return {"weight", "training takes finite numbers: repair it, or use a smaller rate"}; }

  // Writes the gradient by the weights; returns that by the scales.
  Eigen::VectorXf backward_rows(const Rows& rows) const {
    const StatedArithmetic stated;
    const Tiling tiling(rows.in.rows, rows.in.cols, granularity_);
    const Index across = tiling.blocks_across();
    const kernel::Table& table = kernel::active();
    // One sum for each row and block: joined in the order of the rows, whatever thread they were on.
    std::vector<double> sums(static_cast<std::size_t>(tiling.rows * across));
    with_scales(rows.in, [&](const Fitter& fitter) {
      make_rows(rows, granularity_, fitter, door(),
                [&](Index i, const Row& row, const float*, const kernel::Row& coding) {
                  std::vector<float> quantized(coding.n);
                  std::vector<std::uint8_t> mask((coding.n + 7) / 8);
                  table.fake_quantize(row.in, coding, quantized.data(), mask.data());
                  double* sum = sums.data() + i * across;
                  kernel::scalar::each_group(coding, [&](std::size_t k, std::size_t end, Affine a) {
                    for (; k < end; ++k) {
                      const bool inside = (mask[k / 8] >> (k % 8) & 1) != 0;
                      const double by_scale =
                          static_cast<double>(quantized[k]) - (inside ? static_cast<double>(row.in[k]) : 0);
                      *sum += static_cast<double>(row.second[k]) * by_scale;
                      row.out[k] = inside ? row.second[k] : 0.f;
                    }
                    *sum++ /= static_cast<double>(a.scale);
                  });
                });
    });
    Eigen::VectorXd all = Eigen::VectorXd::Zero(scales_.size());
    Eigen::VectorXd count = all;
    for (Index i = 0; i < tiling.rows; ++i)
      for (Index g = 0; g < across; ++g) {
        const Index b = i / tiling.block_rows * across + g;
        all[b] += sums[static_cast<std::size_t>(i * across + g)];
        count[b] += static_cast<double>(std::min(tiling.block_cols, tiling.cols - g * tiling.block_cols));
      }
    return (all.array() / (count.array() * static_cast<double>(most_)).sqrt()).template cast<float>();
  }

  // Calls f with what gives every block of w its learned scale.
  void with_scales(const Strided<const void>& w, FunctionRef<void(const Fitter&)> f) const {
    const StatedArithmetic stated;
    const Tiling tiling(w.rows, w.cols, granularity_);
    if (tiling.blocks_down() != down_ || tiling.blocks_across() != across_ || scales_.size() != down_ * across_)
      fail_argument(scales_.size(), " learned scales, for ", down_, " x ", across_, " blocks, do not fit a matrix of ",
                    w.rows, " x ", w.cols, ", which has ", tiling.blocks_down(), " x ", tiling.blocks_across(),
                    "; make another Lsq for it");
    std::vector<Affine> affines(tiling.blocks());
    for (std::size_t b = 0; b < affines.size(); ++b) {
      const float s = scales_[static_cast<Index>(b)];
      if (!std::isfinite(s)) fail_domain("learned scale ", b, " is ", s, "; use a smaller rate");
      affines[b] = {round_scale(s > 0 ? s : std::numeric_limits<float>::denorm_min(), granularity_.scale), 0};
    }
    f(KnownAffines(grid_.levels(), granularity_.scale, tiling, affines));
  }

  G grid_;
  Granularity granularity_;
  Index down_ = 0, across_ = 0;  // blocks
  Eigen::VectorXf scales_;
  float most_ = 1;
};

template <class G, class Derived>
Lsq(G, Granularity, const Eigen::DenseBase<Derived>&) -> Lsq<G>;

// PACT (arXiv 1805.06085): activations are clipped to 0 .. alpha and rounded to 2^bits levels in it; alpha is learned.
class Pact {
 public:
  template <class Matrix>
  struct Gradients {
    Matrix inputs;
    float alpha;
  };

  // Throws std::invalid_argument unless 1 <= bits <= 16 and alpha is finite and at least 1e-30.
  Pact(int bits, float alpha) : grid_(bits), alpha_(alpha) { check(); }

  float& alpha() { return alpha_; }
  float alpha() const { return alpha_; }

  // alpha / (2^bits - 1) * rint(clip(x, 0, alpha) * (2^bits - 1) / alpha), in x's own type and storage order. Throws
  // std::domain_error for a number that is not finite.
  template <class Derived>
  typename Derived::PlainObject forward(const Eigen::DenseBase<Derived>& x) const {
    const Evaluated<Derived> inputs(x);
    typename Derived::PlainObject seen;
    give_shape(seen, x.rows(), x.cols());
    with_step(inputs, [&](const Fitter& fitter) {
      fake_quantize_rows({.in = inputs, .out = writable(seen)}, per_tensor(), fitter, door());
    });
    return seen;
  }

  // The gradients by x, which pass where 0 <= x < alpha, and by alpha: those of all x >= alpha.
  template <class Gradient, class Derived>
  Gradients<typename Gradient::PlainObject> backward(const Eigen::DenseBase<Gradient>& gradient,
                                                     const Eigen::DenseBase<Derived>& x) const {
    if (gradient.rows() != x.rows() || gradient.cols() != x.cols())
      fail_argument("backward: x is ", x.rows(), " x ", x.cols(), " and its gradient ", gradient.rows(), " x ",
                    gradient.cols(), "; they must have one shape");
    check();
    const StatedArithmetic stated;
    const Evaluated<Derived> inputs(x);
    const Evaluated<Gradient> gradients(gradient);
    std::vector<double> sums(static_cast<std::size_t>(x.rows()));
    Gradients<typename Gradient::PlainObject> result{};
    give_shape(result.inputs, x.rows(), x.cols());
    with_step(inputs, [&](const Fitter& fitter) {
      make_rows({inputs, gradients, writable(result.inputs)}, per_tensor(), fitter, door(),
                [&](Index i, const Row& row, const float*, const kernel::Row& coding) {
                  for (std::size_t k = 0; k < coding.n; ++k) {
                    const bool clipped = row.in[k] >= alpha_;
                    if (clipped) sums[static_cast<std::size_t>(i)] += static_cast<double>(row.second[k]);
                    row.out[k] = row.in[k] >= 0 && !clipped ? row.second[k] : 0.f;
                  }
                });
    });
    double sum = 0;
    for (const double s : sums) sum += s;
    result.alpha = static_cast<float>(sum);
    return result;
  }

  // What forward(x) decodes from.
  template <class Derived>
  QuantizedMatrix quantize(const Eigen::DenseBase<Derived>& x) const {
    const Evaluated<Derived> inputs(x);
    std::optional<QuantizedMatrix> q;
    with_step(inputs, [&](const Fitter& fitter) { q = quantize_rows(inputs, per_tensor(), fitter, door()); });
    return *std::move(q);
  }

 private:
  static Door door() { return {"activation", "leave it out, or use a smaller rate"}; }

  void check() const {
    if (!(std::isfinite(alpha_) && alpha_ >= 1e-30f))
      fail_argument("PACT's alpha is ", alpha_, "; it must be finite and at least 1e-30: use a smaller rate");
  }
  Affine step() const {
    check();
    const StatedArithmetic stated;
    return {stated(float_scale(alpha_, grid_.levels().last())), 0};
  }
  void with_step(const Strided<const void>& x, FunctionRef<void(const Fitter&)> f) const {
    const std::vector<Affine> affine = {step()};
    const Tiling tiling(x.rows, x.cols, per_tensor());
    f(KnownAffines(grid_.levels(), ScaleType::f32, tiling, affine));
  }

  Asymmetric grid_;
  float alpha_;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
