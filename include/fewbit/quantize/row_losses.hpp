#pragma once
// What a quantized matrix loses at its output, (w - q) H (w - q)^T of each row. Rule: in double and from the errors
// alone, for what GPTQ and refinement leave is a small difference of large terms.

#include <cmath>
#include <vector>

#include <fewbit/eigen/rows.hpp>
#include <fewbit/kernel/scalar.hpp>
#include <fewbit/quantize/hessian.hpp>
#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Throws std::invalid_argument unless W, its quantized matrix and the Hessian have one shape.
inline void require_one_shape(const char* who, const QuantizedMatrix& q, const Strided<const void>& w,
                              const Hessian& hessian) {
  q.require_complete();
  if (q.rows() != w.rows || q.cols() != w.cols || hessian.inputs() != w.cols)
    fail_argument(who, ": W is ", w.rows, " x ", w.cols, ", its quantized matrix ", q.rows(), " x ", q.cols(),
                  ", and the Hessian has ", hessian.inputs(), " inputs; they must have one shape");
}

// How the columns of a quantized matrix belong to its inputs, and what they decode to.
class InputColumns {
 public:
  explicit InputColumns(const QuantizedMatrix& q)
      : q_(q), map_(q.input_map()), affines_(static_cast<std::size_t>(q.blocks_across())) {}

  void read_row(Index i) {
    row_ = i;
    q_.params().read(static_cast<std::size_t>(i / q_.block_rows()) * affines_.size(), affines_.size(), affines_.data(),
                     kernel::active());
  }
  Index input(Index k) const {
    return map_.order.empty() ? k : static_cast<Index>(map_.order[static_cast<std::size_t>(k)]);
  }
  double scale(Index k) const {
    return map_.scale.empty() ? 1 : static_cast<double>(map_.scale[static_cast<std::size_t>(k)]);
  }
  Affine affine(Index k) const { return affines_[static_cast<std::size_t>(k / q_.block_cols())]; }
  double decoded(Index k) const {
    return static_cast<double>(weight(q_.levels()[static_cast<int>(q_.code(row_, k))], affine(k)));
  }

 private:
  const QuantizedMatrix& q_;
  const InputMap& map_;
  std::vector<Affine> affines_;
  Index row_ = 0;
};

// w - q of rows first .. first + rows - 1, by rows and in the order of inputs. Throws std::domain_error if a weight is
// not finite.
inline void input_errors(const Rows& w, const QuantizedMatrix& q, Index first, Index rows, double* to) {
  const Index n = q.cols();
  InputColumns columns(q);
  w.each(first, first + rows, [&](Index i, const Row& row) {
    columns.read_row(i);
    for (Index k = 0; k < n; ++k) {
      const Index j = columns.input(k);
      const float from = row.in[j];
      if (!std::isfinite(from)) fail_domain("weight at row ", i, ", column ", j, " is ", from, "; repair it");
      to[(i - first) * n + j] = static_cast<double>(from) - columns.decoded(k) * columns.scale(k);
    }
  });
}

// to += errors H for rows of errors; of H only what lies below the diagonal if that is all that is wanted.
inline void add_times_hessian(const Eigen::MatrixXd& h, const double* errors, Index rows, bool below, double* to) {
  constexpr Index block = 128, strip = 32;
  const kernel::Products& products = kernel::products_of(kernel::active());
  const auto size = [](Index i) { return static_cast<std::size_t>(i); };
  const Index n = h.rows();
  std::vector<double> factors(size(block * strip));
  for (Index r = 0; r < n; r += block)
    for (Index c = 0; c < n; c += strip) {
      const Index tall = std::min(block, n - r), wide = std::min(strip, n - c);
      if (below && r + tall <= c) continue;
      for (Index i = 0; i < tall; ++i)
        for (Index j = 0; j < wide; ++j) factors[size(i * strip + j)] = below && r + i <= c + j ? 0 : h(c + j, r + i);
      products.transposed_double(size(wide), size(tall), factors.data(), size(strip), {size(rows), size(n), errors + r},
                                 to + c, size(n));
    }
}

// What row_losses makes of weights that are in memory.
inline Eigen::VectorXd row_losses_of(const Strided<const void>& w, const QuantizedMatrix& q, const Hessian& hessian) {
  require_one_shape("row_losses", q, w, hessian);
  const Eigen::MatrixXd h = hessian.matrix();
  const Index n = q.cols();
  Eigen::VectorXd losses(q.rows());
  const Rows source{w};
  constexpr Index height = 64;
  for_each_slice(q.rows(), 16, [&](Index first, Index last) {
    std::vector<double> errors(room_for(height, n)), by_others(errors.size());
    for (Index top = first; top < last; top += height) {
      const Index rows = std::min(height, last - top);
      input_errors(source, q, top, rows, errors.data());
      std::fill(by_others.begin(), by_others.end(), 0.);
      add_times_hessian(h, errors.data(), rows, true, by_others.data());
      for (Index i = 0; i < rows; ++i) {
        double sum = 0;
        for (Index j = 0; j < n; ++j) {
          const double e = errors[static_cast<std::size_t>(i * n + j)];
          sum += e * (2 * by_others[static_cast<std::size_t>(i * n + j)] + h(j, j) * e);
        }
        losses[top + i] = sum;
      }
    }
  });
  return losses;
}

// (w - q) H (w - q)^T for each row of W[out, in]: |W x - Q x|^2, twice its mean over the samples. Whatever made q; an
// input map is taken in. Throws std::invalid_argument unless all have one shape and the Hessian has samples,
// std::domain_error if a weight is not finite. Time: out in^2 / 2 multiply-adds.
template <class Derived>
Eigen::VectorXd row_losses(const Eigen::MatrixBase<Derived>& w, const QuantizedMatrix& q, const Hessian& hessian) {
  return row_losses_of(Evaluated<Derived>(w), q, hessian);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
