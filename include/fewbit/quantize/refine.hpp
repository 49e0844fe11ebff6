#pragma once
// Codes made better one at a time, given all others. Rule: scales stay as they are, and no step makes the output worse.

#include <cmath>
#include <vector>

#include <fewbit/quantize/row_losses.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// What refine makes of weights that are in memory.
inline QuantizedMatrix refine_rows(QuantizedMatrix q, const Strided<const void>& w, const Hessian& hessian,
                                   int passes) {
  require_one_shape("refine", q, w, hessian);
  if (passes < 0) fail_argument("refine: ", passes, " passes are not possible; 3 is usual");
  const Eigen::MatrixXd h = hessian.matrix();
  const Index n = q.cols();
  const kernel::Products& products = kernel::products_of(kernel::active());
  const Levels& levels = q.levels();
  const Rows source{w};

  constexpr Index height = 64;
  for_each_slice(q.rows(), 16, [&](Index first, Index last) {
    std::vector<double> errors(room_for(height, n)), gradient(errors.size());
    InputColumns columns(q);
    for (Index top = first; top < last; top += height) {
      const Index rows = std::min(height, last - top);
      input_errors(source, q, top, rows, errors.data());
      std::fill(gradient.begin(), gradient.end(), 0.);
      add_times_hessian(h, errors.data(), rows, false, gradient.data());
      for (Index i = top; i < top + rows; ++i) {
        double* const g = gradient.data() + (i - top) * n;
        columns.read_row(i);
        for (int pass = 0; pass < passes; ++pass) {
          bool moved = false;
          for (Index k = 0; k < n; ++k) {
            const Index j = columns.input(k);
            const double curvature = h(j, j), unit = columns.scale(k), old = columns.decoded(k);
            if (!(curvature > 0)) continue;  // an input that was always 0
            const auto target = static_cast<float>(old + g[j] / curvature / unit);
            if (!std::isfinite(target)) continue;
            const unsigned code = kernel::scalar::nearest(target, columns.affine(k), levels);
            const double step =
                (static_cast<double>(weight(levels[static_cast<int>(code)], columns.affine(k))) - old) * unit;
            // What the step takes off the loss; one that rounding alone could bring about is not taken.
            if (!(step * (2 * g[j] - step * curvature) > 1e-12 * step * step * curvature)) continue;
            put_code(q.codes(i), static_cast<std::size_t>(k), q.bits(), code);
            const double down = -step;
            products.transposed_double(static_cast<std::size_t>(n), 1, h.data() + j * n, static_cast<std::size_t>(n),
                                       {1, 1, &down}, g, static_cast<std::size_t>(n));
            moved = true;
          }
          if (!moved) break;
        }
      }
    }
  });
  return q;
}

// Coordinate descent on (w - q) H (w - q)^T for each row of W[out, in], on the grid that q has (QuantEase, arXiv
// 2309.01885): weight j moves to the level nearest to q_j + ((w - q) H)_j / H_jj, for all j in turn, in `passes` passes
// or until none moves. Takes what any algorithm made, an input map included. Threads change nothing.
//
// Throws std::invalid_argument unless q, W and the Hessian have one shape and the Hessian has samples,
// std::domain_error if a weight is not finite. Time: out in^2 multiply-adds, and `in` for each weight that moves.
// Memory: in x in doubles.
template <class Derived>
QuantizedMatrix refine(QuantizedMatrix q, const Eigen::MatrixBase<Derived>& w, const Hessian& hessian, int passes = 3) {
  return refine_rows(std::move(q), Evaluated<Derived>(w), hessian, passes);
}

// From all the samples there are, x[in, samples].
template <class Derived, class Samples>
QuantizedMatrix refine(QuantizedMatrix q, const Eigen::MatrixBase<Derived>& w, const Eigen::MatrixBase<Samples>& x,
                       int passes = 3) {
  return refine(std::move(q), w, Hessian::of(x), passes);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
