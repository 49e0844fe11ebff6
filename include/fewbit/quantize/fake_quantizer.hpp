#pragma once
// Training with quantization in the loop: the forward pass sees quantized weights, and gradients go straight through
// the rounding. Rule: what forward gives is what the exported matrix decodes to, to the last bit.

#include <optional>
#include <utility>
#include <vector>

#include <fewbit/estimate/moving_average.hpp>
#include <fewbit/quantize/fake_quantize.hpp>

namespace fewbit {

// How the rounding is taken in the backward pass, where its own gradient is 0 almost everywhere. identity: as if it
// were not there (arXiv 1308.3432). clipped: the same, but nothing passes where a weight lies outside the range of the
// levels; one that is rounded to the first or the last code lies inside.
enum class StraightThrough { identity, clipped };

inline namespace FEWBIT_ABI {

// Fake quantization of a layer's weights or inputs in a training loop.
//
//   const FakeQuantizer fq(Symmetric(4), per_channel());
//   y = fq.forward(W) * x;
//   W -= rate * fq.backward(gradient_of_y * x.transpose());   // backward(gradient, W) if gradients are clipped
//
// Ranges are those of the matrix at hand, unless freeze() has fixed them. For activations, the estimator MovingAverage
// follows their range: observe(x) in training, and forward(x) then uses the average.
template <class G, class E = MinMax>
class FakeQuantizer {
  static_assert(Grid<G>, "fewbit: a FakeQuantizer needs a grid, such as Symmetric(4)");

 public:
  explicit FakeQuantizer(G grid, Granularity granularity = per_tensor(),
                         StraightThrough gradient = StraightThrough::identity, E estimate = {})
      : grid_(std::move(grid)), granularity_(granularity), gradient_(gradient), estimate_(std::move(estimate)) {}

  // W[out, in] with quantized weights, in its own type and storage order. Throws as quantize does, and
  // std::invalid_argument if frozen ranges are of other blocks.
  template <class Derived>
  typename Derived::PlainObject forward(const Eigen::DenseBase<Derived>& w) const {
    typename Derived::PlainObject seen;
    forward(w, seen);
    return seen;
  }
  // The same into a matrix of the caller's, which is resized and may not share memory with W.
  template <class Derived, class Result>
  void forward(const Eigen::DenseBase<Derived>& w, Eigen::PlainObjectBase<Result>& seen) const {
    const Evaluated<Derived> weights(w);
    with_ranges(weights, [&](const Fitter& fitter) {
      give_shape(seen, w.rows(), w.cols());
      fake_quantize_rows({.in = weights, .out = writable(seen)}, granularity_, fitter, door());
    });
  }

  // The gradient by W from that by forward(W), for StraightThrough::identity: the same. Throws std::invalid_argument
  // for clipped gradients, which depend on W.
  template <class Derived>
  typename Derived::PlainObject backward(const Eigen::DenseBase<Derived>& gradient) const {
    if (gradient_ == StraightThrough::clipped)
      fail_argument("backward: which gradients are clipped depends on W; call backward(gradient, W)");
    return gradient;
  }
  // The same for any StraightThrough. Throws std::invalid_argument unless the two have one shape.
  template <class Gradient, class Derived>
  typename Gradient::PlainObject backward(const Eigen::DenseBase<Gradient>& gradient,
                                          const Eigen::DenseBase<Derived>& w) const {
    typename Gradient::PlainObject by_weights;
    backward(gradient, w, by_weights);
    return by_weights;
  }
  // The same into a matrix of the caller's, which is resized and may not share memory with the two.
  template <class Gradient, class Derived, class Result>
  void backward(const Eigen::DenseBase<Gradient>& gradient, const Eigen::DenseBase<Derived>& w,
                Eigen::PlainObjectBase<Result>& by_weights) const {
    if (gradient.rows() != w.rows() || gradient.cols() != w.cols())
      fail_argument("backward: W is ", w.rows(), " x ", w.cols(), " and its gradient ", gradient.rows(), " x ",
                    gradient.cols(), "; they must have one shape");
    if (gradient_ == StraightThrough::identity) {
      give_shape(by_weights, gradient.rows(), gradient.cols());
      by_weights = gradient.derived().template cast<typename Result::Scalar>();
      return;
    }
    const Evaluated<Derived> weights(w);
    const Evaluated<Gradient> gradients(gradient);
    const kernel::Table& table = kernel::active();
    with_ranges(weights, [&](const Fitter& fitter) {
      give_shape(by_weights, w.rows(), w.cols());
      make_rows({weights, gradients, writable(by_weights)}, granularity_, fitter, door(),
                [&](Index, const Row& row, const float*, const kernel::Row& coding) {
                  table.straight_through(row.in, coding, row.second, row.out);
                });
    });
  }

  // What forward(w) decodes from. Throws as forward does.
  template <class Derived>
  QuantizedMatrix quantize(const Eigen::DenseBase<Derived>& w) const {
    const Evaluated<Derived> weights(w);
    std::optional<QuantizedMatrix> q;
    with_ranges(weights, [&](const Fitter& fitter) { q = quantize_rows(weights, granularity_, fitter, door()); });
    return *std::move(q);
  }

  // From now on ranges are w's, whatever comes. There must be as many blocks down and across as w has: an extent that
  // is not cut into blocks may change, as a batch does under per_tensor().
  template <class Derived>
  void freeze(const Eigen::DenseBase<Derived>& w) {
    const Tiling tiling(w.rows(), w.cols(), granularity_);
    std::vector<Affine> affines(tiling.blocks());
    const Evaluated<Derived> weights(w);
    fit_rows({weights}, tiling, live(), door(), affines, [](Index, const Row&, const float*, const kernel::Row&) {});
    frozen_ = Frozen{tiling.blocks_down(), tiling.blocks_across(), std::move(affines)};
  }
  void unfreeze() { frozen_.reset(); }
  bool is_frozen() const { return frozen_.has_value(); }

  // Shows activations to an estimator that follows them, such as MovingAverage. Throws std::domain_error if a number is
  // not finite.
  template <class Derived>
  void observe(const Eigen::DenseBase<Derived>& x) requires requires(E& e, Range r) {
    e.observe(r);
  }
  {
    if (x.size() == 0) return;
    const StatedArithmetic stated;
    const Tiling whole(x.rows(), x.cols(), per_tensor());
    Range range = empty_range;
    const Evaluated<Derived> values(x);
    const Door watched("observed value", "leave the batch out");
    CheckedRows({values}, whole, watched).each(0, x.rows(), [&](Index, const Row&, const std::vector<Range>& ranges) {
      range = join(range, ranges[0]);
    });
    estimate_.observe(range);
  }

  const G& grid() const { return grid_; }
  Granularity granularity() const { return granularity_; }
  const E& estimator() const { return estimate_; }

 private:
  struct Frozen {
    Index down, across;
    std::vector<Affine> affines;
  };

  static Door door() { return {"number", "training takes finite numbers: repair it, or use a smaller rate"}; }

  BlockFitter<G, E> live() const { return {grid_, estimate_, granularity_.scale, NonFinite::strict}; }

  // Calls f with what fits, or with what it has said once and for all.
  void with_ranges(const Strided<const void>& w, FunctionRef<void(const Fitter&)> f) const {
    if (!frozen_) return f(live());
    const Tiling tiling(w.rows, w.cols, granularity_);
    if (tiling.blocks_down() != frozen_->down || tiling.blocks_across() != frozen_->across)
      fail_argument("frozen ranges of ", frozen_->down, " x ", frozen_->across, " blocks do not fit a matrix of ",
                    w.rows, " x ", w.cols, ", which has ", tiling.blocks_down(), " x ", tiling.blocks_across(),
                    "; unfreeze() or freeze() it again");
    f(KnownAffines(grid_.levels(), granularity_.scale, tiling, frozen_->affines));
  }

  G grid_;
  Granularity granularity_;
  StraightThrough gradient_;
  E estimate_;
  std::optional<Frozen> frozen_;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
