#pragma once
// Codes made better one at a time, given all others. Rule: scales stay as they are, and no step makes the output worse.

#include <cmath>
#include <numeric>
#include <vector>

#include <fewbit/kernel/scalar.hpp>
#include <fewbit/quantize/feedback.hpp>
#include <fewbit/quantize/hessian.hpp>
#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// Coordinate descent on (w - q) H (w - q)^T for each row of W[out, in], on the grid that q has (QuantEase, arXiv
// 2309.01885): weight j moves to the level nearest to q_j + ((w - q) H)_j / H_jj, for all j in turn, in `passes` passes
// or until none moves. Takes what any algorithm made, an input map included. Threads change nothing.
//
// Throws std::invalid_argument unless q, W and the Hessian have one shape and the Hessian has samples,
// std::domain_error if a weight is not finite. Time: out in^2 multiply-adds, and `in` for each weight that moves.
// Memory: in x in doubles.
template <class Derived>
QuantizedMatrix refine(QuantizedMatrix q, const Eigen::MatrixBase<Derived>& w, const Hessian& hessian, int passes = 3) {
  q.require_complete();
  if (q.rows() != w.rows() || q.cols() != w.cols() || hessian.inputs() != w.cols())
    fail_argument("refine: W is ", w.rows(), " x ", w.cols(), ", its quantized matrix ", q.rows(), " x ", q.cols(),
                  ", and the Hessian has ", hessian.inputs(), " inputs; they must have one shape");
  if (passes < 0) fail_argument("refine: ", passes, " passes are not possible; 3 is usual");
  const Eigen::MatrixXd h = hessian.matrix();
  const Index n = q.cols(), across = q.blocks_across();
  const auto size = [](Index i) { return static_cast<std::size_t>(i); };
  const InputMap& map = q.input_map();
  const auto input = [&](Index k) { return map.order.empty() ? k : static_cast<Index>(map.order[size(k)]); };
  const auto input_scale = [&](Index k) { return map.scale.empty() ? 1. : static_cast<double>(map.scale[size(k)]); };
  const kernel::Products& products = kernel::products_of(kernel::active());
  const Levels& levels = q.levels();
  const Rows<Derived> source(w);

  constexpr Index height = 64, block = 128, strip = 32;
  for_each_slice(q.rows(), 16, [&](Index first, Index last) {
    std::vector<double> error(size(height * n)), gradient(error.size()), factors(size(block * strip));
    std::vector<Affine> affines(size(across));
    const auto affine = [&](Index k) { return affines[size(k / q.block_cols())]; };
    const auto decoded = [&](Index i, Index k) { return weight(levels[static_cast<int>(q.code(i, k))], affine(k)); };
    const auto read_affines = [&](Index i) {
      q.params().read(size(i / q.block_rows() * across), affines.size(), affines.data(), kernel::active());
    };
    for (Index top = first; top < last; top += height) {
      const Index rows = std::min(height, last - top);
      source.each(top, top + rows, [&](Index i, const float* row) {
        read_affines(i);
        for (Index k = 0; k < n; ++k) {
          const float x = row[input(k)];
          if (!std::isfinite(x)) fail_domain("weight at row ", i, ", column ", input(k), " is ", x, "; repair it");
          error[size((i - top) * n + input(k))] =
              static_cast<double>(x) - static_cast<double>(decoded(i, k)) * input_scale(k);
        }
      });
      std::fill(gradient.begin(), gradient.end(), 0.);  // errors times H
      for (Index r = 0; r < n; r += block)
        for (Index c = 0; c < n; c += strip) {
          const Index tall = std::min(block, n - r), wide = std::min(strip, n - c);
          for (Index i = 0; i < tall; ++i)
            for (Index j = 0; j < wide; ++j) factors[size(i * strip + j)] = h(c + j, r + i);
          products.transposed_double(size(wide), size(tall), factors.data(), size(strip),
                                     {size(rows), size(n), error.data() + r}, gradient.data() + c, size(n));
        }
      for (Index i = top; i < top + rows; ++i) {
        double* const g = gradient.data() + (i - top) * n;
        read_affines(i);
        for (int pass = 0; pass < passes; ++pass) {
          bool moved = false;
          for (Index k = 0; k < n; ++k) {
            const Index j = input(k);
            const double curvature = h(j, j), unit = input_scale(k), old = decoded(i, k);
            if (!(curvature > 0)) continue;  // an input that was always 0
            const auto target = static_cast<float>(old + g[j] / curvature / unit);
            if (!std::isfinite(target)) continue;
            const unsigned code = kernel::scalar::nearest(target, affine(k), levels);
            const double step = (static_cast<double>(weight(levels[static_cast<int>(code)], affine(k))) - old) * unit;
            // What the step takes off the loss; one that rounding alone could bring about is not taken.
            if (!(step * (2 * g[j] - step * curvature) > 1e-12 * step * step * curvature)) continue;
            put_code(q.codes(i), size(k), q.bits(), code);
            const double down = -step;
            products.transposed_double(size(n), 1, h.data() + j * n, size(n), {1, 1, &down}, g, size(n));
            moved = true;
          }
          if (!moved) break;
        }
      }
    }
  });
  return q;
}

// From all the samples there are, x[in, samples].
template <class Derived, class Samples>
QuantizedMatrix refine(QuantizedMatrix q, const Eigen::MatrixBase<Derived>& w, const Eigen::MatrixBase<Samples>& x,
                       int passes = 3) {
  return refine(std::move(q), w, Hessian::of(x), passes);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
