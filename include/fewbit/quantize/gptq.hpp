#pragma once
// GPTQ (arXiv 2210.17323): columns are rounded one after the other, and each one's error is made up for by those still
// to come, as far as samples of the layer's inputs say that they can. Rule: it always ends with codes and a report; a
// Hessian that cannot be factored is damped until it can.

#include <fewbit/estimate/minmax.hpp>
#include <fewbit/estimate/mse.hpp>
#include <fewbit/kernel/scalar.hpp>
#include <fewbit/quantize/calibration.hpp>
#include <fewbit/quantize/fit.hpp>
#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {

// A range that may be cut where levels are so few that weights must be given up for the sake of others: 3 bits and
// fewer. Others have it whole.
struct GptqRange {
  MseSearch search{.exponent = 2.4};
  template <class G>
  Affine operator()(const Block& block, const G& grid) const {
    return grid.levels().count() <= 8 ? search(block, grid) : MinMax{}(block.weights, grid);
  }
};

inline namespace FEWBIT_ABI {

// W[out, in] to codes of grid.levels() that keep W x for the inputs x that the Hessian has seen. Any grid, granularity
// and estimator.
//
// By default columns are taken by descending H_ii, scales are fitted to the original weights in the original groups, so
// the result is stored like any other; with GroupScales::fresh or stale, groups are of columns as they are taken, and
// the matrix keeps that order in its input_map. Threads split the rows and change nothing; codes may differ between
// instruction sets, as sums of floats do. Time: in^3 / 3 + out in^2 / 2 multiply-adds. Memory: three times in x in
// doubles.
//
// Throws std::invalid_argument unless the Hessian has samples and as many inputs as W, std::domain_error as quantize
// does, Cancelled if options.progress says so.
template <class Derived, Grid G, Estimator<G> E>
QuantizedMatrix gptq(const Eigen::MatrixBase<Derived>& w, const Hessian& hessian, const G& grid,
                     Granularity granularity, const E& estimate, const GptqOptions& options = {}) {
  if (hessian.inputs() != w.cols())
    fail_argument("gptq: W is ", w.rows(), " x ", w.cols(), " and the Hessian has ", hessian.inputs(),
                  " inputs; W is [out, in], and a column of X a sample");
  QuantizedMatrix q(w.rows(), w.cols(), grid.levels(), granularity);
  const Levels& levels = q.levels();
  const Tiling& tiling = q.tiling();
  const Index rows = q.rows(), n = q.cols(), across = tiling.blocks_across(), width = tiling.block_cols;
  GptqReport unasked, &report = options.report != nullptr ? *options.report : unasked;
  Progress progress(options.progress, static_cast<double>(n) / static_cast<double>(std::max<Index>(1, n + 3 * rows)));
  const Calibration c(hessian, options, report, progress);

  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  RowMajor weights = w.template cast<float>();
  for (const Index j : report.dead_inputs) weights.col(j).setZero();
  std::vector<Affine> affines(tiling.blocks());
  fit_rows(Rows<RowMajor>(weights), tiling, levels, grid, granularity.scale, estimate, {}, affines,
           [](Index, const float*, const float*, const kernel::Row&) {});
  const std::vector<Affine> nearest_affines = affines;  // of round to nearest

  // Groups of a row only: what spans all columns is fitted before any of them has moved.
  const bool refit = options.scales != GroupScales::from_original && across > 1;
  // Groups of one column are the same in any order.
  const bool in_order_taken = refit && width > 1;
  const auto code_column = [&](Index a) { return in_order_taken ? n - 1 - a : c.inputs[static_cast<std::size_t>(a)]; };
  const auto block_of = [&](Index row, Index column) {
    return static_cast<std::size_t>(row / tiling.block_rows * across + column / width);
  };

  // Fits the groups that begin among the next columns, end - 1 .. begin, to weights that have made up for all errors so
  // far.
  const auto refit_groups = [&](BlockFitter<G, E>& fit, Index top, FeedbackRows& tile, Index begin, Index end) {
    const Index from = (n - end + width - 1) / width, to = (n - begin + width - 1) / width;
    if (from == to) return;
    const FeedbackErrors e = c.unrounded(tile, std::max<Index>(0, n - to * width), end);
    std::vector<float> block;
    for (Index i = 0; i < tile.rows; i += tiling.block_rows)
      for (Index g = from; g < to; ++g) {
        block.clear();
        const Index columns = std::min(width, n - g * width);
        for (Index r = i; r < std::min(tile.rows, i + tiling.block_rows); ++r)
          for (Index k = g * width; k < g * width + columns; ++k) block.push_back(e.target(r, n - 1 - k));
        Range range;
        kernel::active().ranges(block.data(), block.size(), block.size(), &range);
        affines[block_of(top + i, code_column(n - 1 - g * width))] =
            fit(top + i, g * width, columns, range, [&](std::vector<float>& to_fit) { to_fit = block; });
      }
  };

  report.row_loss_before.assign(static_cast<std::size_t>(rows), 0), report.row_loss_after = report.row_loss_before;
  const Index grain = refit ? tiling.block_rows : 16, height = (256 + grain - 1) / grain * grain;
  for_each_slice(rows, grain, [&](Index first, Index last) {
    BlockFitter<G, E> fit(grid, estimate, granularity.scale, NonFinite::strict);
    for (Index top = first; top < last; top += height) {
      FeedbackRows tile(std::min(height, last - top), n);
      const auto start = [&] {
        for (Index i = 0; i < tile.rows; ++i)
          for (Index a = 0; a < n; ++a) tile.set(i, a, weights(top + i, c.inputs[static_cast<std::size_t>(a)]));
      };
      start();
      std::vector<std::uint16_t> codes(static_cast<std::size_t>(tile.rows * n));  // by rows, as they will be packed
      double* const before = report.row_loss_before.data() + top;
      double* const after = report.row_loss_after.data() + top;
      for (Index end = n, begin = n; end > 0; end = begin) {
        begin = std::max<Index>(0, end - options.block);
        // A block ends where a group does if that is to be fitted to all that came before.
        if (refit && options.scales == GroupScales::fresh) begin = std::max(begin, n - ((n - end) / width + 1) * width);
        if (refit) refit_groups(fit, top, tile, begin, end);
        c.round_block(tile, begin, end, c.drift ? nullptr : after, [&](const ColumnPart& part) {
          const Index k = code_column(part.column);
          for (Index i = 0; i < part.rows; ++i) {
            const Affine affine = affines[block_of(top + part.first_row + i, k)];
            const unsigned code = kernel::scalar::nearest(part.targets[i], affine, levels);
            codes[static_cast<std::size_t>((part.first_row + i) * n + k)] = static_cast<std::uint16_t>(code);
            part.chosen[i] = weight(levels[static_cast<int>(code)], affine);
          }
        });
        progress.rounded(static_cast<double>(tile.rows * (end - begin)) / static_cast<double>(rows * n));
      }
      for (Index i = 0; i < tile.rows; ++i) {
        CodeWriter write(q.codes(top + i), q.bits());
        for (Index k = 0; k < n; ++k) write(codes[static_cast<std::size_t>(i * n + k)]);
        write.finish();
      }
      if (options.report == nullptr) continue;
      start();
      c.losses(tile, before, [&](const ColumnPart& part) {
        const Index k = c.inputs[static_cast<std::size_t>(part.column)];
        for (Index i = 0; i < part.rows; ++i) {
          const Affine affine = nearest_affines[block_of(top + part.first_row + i, k)];
          const unsigned code = kernel::scalar::nearest(part.weights[i], affine, levels);
          part.chosen[i] = weight(levels[static_cast<int>(code)], affine);
        }
      });
      if (!c.drift) continue;  // the weights have moved on the way
      start();
      c.losses(tile, after, [&](const ColumnPart& part) {
        const Index k = code_column(part.column);
        for (Index i = 0; i < part.rows; ++i)
          part.chosen[i] = weight(levels[codes[static_cast<std::size_t>((part.first_row + i) * n + k)]],
                                  affines[block_of(top + part.first_row + i, k)]);
      });
    }
  });
  report.loss_before = std::accumulate(report.row_loss_before.begin(), report.row_loss_before.end(), 0.);
  report.loss_after = std::accumulate(report.row_loss_after.begin(), report.row_loss_after.end(), 0.);
  q.set_params(affines);
  if (in_order_taken && options.act_order) {
    InputMap map;
    for (Index k = 0; k < n; ++k)
      map.order.push_back(static_cast<std::uint32_t>(c.inputs[static_cast<std::size_t>(n - 1 - k)]));
    q.set_input_map(std::move(map));
  }
  return q;
}

// With the range that suits the number of levels.
template <class Derived, Grid G>
QuantizedMatrix gptq(const Eigen::MatrixBase<Derived>& w, const Hessian& hessian, const G& grid,
                     Granularity granularity = per_channel(), const GptqOptions& options = {}) {
  return gptq(w, hessian, grid, granularity, GptqRange{}, options);
}

// From all the samples there are, x[in, samples].
template <class Derived, class Samples, Grid G>
QuantizedMatrix gptq(const Eigen::MatrixBase<Derived>& w, const Eigen::MatrixBase<Samples>& x, const G& grid,
                     Granularity granularity = per_channel(), const GptqOptions& options = {}) {
  return gptq(w, Hessian::of(x), grid, granularity, GptqRange{}, options);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
