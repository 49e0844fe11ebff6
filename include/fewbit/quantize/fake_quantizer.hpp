#pragma once
// Training with quantization in the loop: the forward pass sees quantized weights, and gradients go straight through
// the rounding. Rule: what forward gives is what the exported matrix decodes to, to the last bit.

#include <bit>
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

// to[k] = from[k] where bit k of the mask is set, and 0 elsewhere.
inline void keep_masked(const float* from, const std::uint8_t* mask, std::size_t n, float* to) {
  const auto keep = [](float x, unsigned bit) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & (0u - bit));
  };
  std::size_t k = 0;
  for (; k + 8 <= n; k += 8)
    for (std::size_t j = 0; j < 8; ++j) to[k + j] = keep(from[k + j], (mask[k / 8] >> j) & 1u);
  for (; k < n; ++k) to[k] = keep(from[k], (mask[k / 8] >> (k % 8)) & 1u);
}

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
  // std::invalid_argument if frozen ranges are of another number of blocks.
  template <class Derived>
  typename Derived::PlainObject forward(const Eigen::DenseBase<Derived>& w) const {
    return with_ranges(w, [&](const auto& estimate) { return fake_quantize(w, grid_, granularity_, estimate); });
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
    if (gradient.rows() != w.rows() || gradient.cols() != w.cols())
      fail_argument("backward: W is ", w.rows(), " x ", w.cols(), " and its gradient ", gradient.rows(), " x ",
                    gradient.cols(), "; they must have one shape");
    if (gradient_ == StraightThrough::identity) return gradient;
    const Rows<Gradient> gradients(gradient);
    const kernel::Table& table = kernel::active();
    return with_ranges(w, [&](const auto& estimate) {
      return made_from_rows<typename Gradient::PlainObject>(
          Rows<Derived>(w), grid_, granularity_, estimate, {},
          [&](Index, const JoinedRow& row, const float*, const kernel::Row& coding) {
            keep_inside(table, row, coding);
          },
          &gradients);
    });
  }

  // What forward(w) decodes from. Throws as forward does.
  template <class Derived>
  QuantizedMatrix quantize(const Eigen::DenseBase<Derived>& w) const {
    return with_ranges(w, [&](const auto& estimate) { return fewbit::quantize(w, grid_, granularity_, estimate); });
  }

  // From now on ranges are w's, whatever comes; the number of blocks must stay the same.
  template <class Derived>
  void freeze(const Eigen::DenseBase<Derived>& w) {
    const Tiling tiling(w.rows(), w.cols(), granularity_);
    std::vector<Affine> affines(tiling.blocks());
    const Levels levels = grid_.levels();
    fit_rows(Rows<Derived>(w), tiling, levels, grid_, granularity_.scale, estimate_, {}, affines,
             [](Index, const float*, const float*, const kernel::Row&) {});
    frozen_ = std::move(affines);
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
    const Tiling whole(x.rows(), x.cols(), per_tensor());
    Range range = empty_range;
    const Rows<Derived> rows(x);
    CheckedRows(rows, whole, NonFinite::strict).each(0, x.rows(), [&](Index, auto, const std::vector<Range>& ranges) {
      range = join(range, ranges[0]);
    });
    estimate_.observe(range);
  }

  const G& grid() const { return grid_; }
  Granularity granularity() const { return granularity_; }
  const E& estimator() const { return estimate_; }

 private:
  static void keep_inside(const kernel::Table& table, const JoinedRow& row, const kernel::Row& coding) {
    std::vector<std::uint8_t> mask((coding.n + 7) / 8);
    table.fake_quantize(row.in, coding, row.out, mask.data());
    keep_masked(row.second, mask.data(), coding.n, row.out);
  }

  // Calls f with the estimator, or with what it has said once and for all.
  template <class Derived, class F>
  auto with_ranges(const Eigen::DenseBase<Derived>& w, F&& f) const {
    if (!frozen_) return f(estimate_);
    const Tiling tiling(w.rows(), w.cols(), granularity_);
    if (tiling.blocks() != frozen_->size())
      fail_argument("frozen ranges of ", frozen_->size(), " blocks do not fit a matrix of ", w.rows(), " x ", w.cols(),
                    ", which has ", tiling.blocks(), "; unfreeze() or freeze() it again");
    return f(KnownAffines{tiling, *frozen_});
  }

  G grid_;
  Granularity granularity_;
  StraightThrough gradient_;
  E estimate_;
  std::optional<std::vector<Affine>> frozen_;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
