#pragma once
// GPTQ (arXiv 2210.17323): columns are rounded one after the other, and each one's error is made up for by those still
// to come, as far as samples of the layer's inputs say that they can. Rule: it always ends with codes and a report; a
// Hessian that cannot be factored is damped until it can.

#include <fewbit/estimate/minmax.hpp>
#include <fewbit/estimate/mse.hpp>
#include <fewbit/quantize/calibration.hpp>
#include <fewbit/quantize/column_coder.hpp>
#include <fewbit/quantize/quantize.hpp>
#include <fewbit/quantize/row_losses.hpp>

namespace fewbit {

// A range that may be cut where levels are so few that weights must be given up for the sake of others: 3 bits and
// fewer. Others have it whole.
struct GptqRange {
  MseSearch search{.exponent = 2.4};
  template <class G>
  Affine operator()(const Block& block, const G& grid) const {
    return grid.levels().count() <= 8 ? search(block, grid) : MinMax{}(block.weights, grid);
  }
  GptqRange reordered(std::span<const Index> inputs) const { return {search.reordered(inputs)}; }
};

inline namespace FEWBIT_ABI {

// What fits groups of columns, in the order of the inputs and in any other.
struct GptqFitters {
  const Fitter& original;
  bool can_reorder;
  FunctionRef<void(std::span<const Index> inputs, FunctionRef<void(const Fitter&)> f)> with_reordered;
};

// What gptq makes of weights that are in memory.
inline QuantizedMatrix gptq_rows(const Strided<const void>& w, const Hessian& hessian, Granularity granularity,
                                 const GptqFitters& fitters, const GptqOptions& options) {
  if (hessian.inputs() != w.cols)
    fail_argument("gptq: W is ", w.rows, " x ", w.cols, " and the Hessian has ", hessian.inputs(),
                  " inputs; W is [out, in], and a column of X a sample");
  QuantizedMatrix q(w.rows, w.cols, fitters.original.levels(), granularity);
  const Levels& levels = q.levels();
  const Tiling& tiling = q.tiling();
  const Index rows = q.rows(), n = q.cols(), across = tiling.blocks_across(), width = tiling.block_cols;
  check_options(options);
  hessian.require_samples();
  // Groups of a row only: what spans all columns is fitted before any of them has moved. Groups of one column are the
  // same in any order.
  const bool refit = options.scales != GroupScales::from_original && across > 1;
  const bool in_order_taken = refit && width > 1 && options.act_order;
  if (in_order_taken && !fitters.can_reorder)
    fail_argument(
        "gptq: this estimator asks where its block lies, and groups are of columns in another order; give it "
        "reordered(inputs), or leave act_order or the scales as they are by default");

  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Door door("weight", "repair it");
  const Rows source{w};
  Buffer<float> copy(room_for(rows, n));
  for_each_slice(rows, row_grain(w), [&](Index first, Index last) {
    CheckedRows(source, tiling, door).each(first, last, [&](Index i, const Row& row, const std::vector<Range>&) {
      std::copy_n(row.in, n, copy.data() + i * n);
    });
  });

  GptqReport report;
  Progress progress(options.progress, static_cast<double>(n) / static_cast<double>(std::max<Index>(1, n + 3 * rows)));
  const Calibration c(hessian, options, report, progress);
  const auto input_at = [&](Index k) { return c.inputs[static_cast<std::size_t>(n - 1 - k)]; };  // the k-th to be taken

  Eigen::Map<RowMajor> weights(copy.data(), rows, n);
  for (const Index j : report.dead_inputs) weights.col(j).setZero();
  std::vector<Affine> affines(tiling.blocks());
  const Strided<const void> in_memory = writable(weights).as<const void>();
  fit_rows({in_memory}, tiling, fitters.original, door, affines,
           [](Index, const Row&, const float*, const kernel::Row&) {});

  const auto code_column = [&](Index a) { return in_order_taken ? n - 1 - a : c.inputs[static_cast<std::size_t>(a)]; };
  const auto block_of = [&](Index row, Index group) {
    return static_cast<std::size_t>(row / tiling.block_rows * across + group);
  };

  // Fits the groups that begin among the next columns, end - 1 .. begin, to weights that have made up for all errors so
  // far.
  const auto refit_groups = [&](const Fitter& fitter, ColumnCoder& coder, Index top, FeedbackRows& tile, Index begin,
                                Index end) {
    const Index from = (n - end + width - 1) / width, to = (n - begin + width - 1) / width;
    if (from == to) return;
    const FeedbackErrors e = c.unrounded(tile, std::max<Index>(0, n - to * width), end);
    std::vector<float> block, scratch;
    for (Index i = 0; i < tile.rows; i += tiling.block_rows)
      for (Index g = from; g < to; ++g) {
        block.clear();
        const Index columns = std::min(width, n - g * width), bottom = std::min(tile.rows, i + tiling.block_rows);
        for (Index r = i; r < bottom; ++r)
          for (Index k = g * width; k < g * width + columns; ++k) block.push_back(e.target(r, n - 1 - k));
        Range range;
        kernel::active().ranges(block.data(), block.size(), block.size(), &range);
        const Index group = code_column(n - 1 - g * width) / width;
        const auto gather = [&](std::vector<float>& to_fit) { to_fit = block; };
        const Affine a = fitter.fit(top + i, group * width, columns, range, gather, scratch);
        affines[block_of(top + i, group)] = a;
        for (Index r = i; r < bottom; ++r) coder.set(r, group, a);
      }
  };

  const Index grain = refit ? tiling.block_rows : 16, height = (256 + grain - 1) / grain * grain;
  const auto round_rows = [&](const Fitter& fitter, Index first, Index last) {
    FeedbackRows tile(std::min(height, last - first), n);
    ColumnCoder coder(levels, tile.rows, across, n);
    for (Index top = first; top < last; top += height) {
      tile.rows = std::min(height, last - top);
      for (Index i = 0; i < tile.rows; ++i) {
        const float* const row = copy.data() + (top + i) * n;
        for (Index a = 0; a < n; ++a) tile.set(i, a, row[c.inputs[static_cast<std::size_t>(a)]]);
        for (Index g = 0; g < across; ++g) coder.set(i, g, affines[block_of(top + i, g)]);
      }
      for (Index end = n, begin = n; end > 0; end = begin) {
        begin = std::max<Index>(0, end - options.block);
        // A block ends where a group does if that is to be fitted to all that came before.
        if (refit && options.scales == GroupScales::fresh) begin = std::max(begin, n - ((n - end) / width + 1) * width);
        if (refit) refit_groups(fitter, coder, top, tile, begin, end);
        c.round_block(tile, begin, end, [&](const ColumnPart& part) {
          const Index k = code_column(part.column);
          coder.round(part, k / width, k);
        });
        progress.rounded(static_cast<double>(tile.rows * (end - begin)) / static_cast<double>(rows * n));
      }
      coder.each_row(tile.rows, [&](Index i, const std::uint16_t* codes) {
        CodeWriter write(q.codes(top + i), q.bits());
        for (Index k = 0; k < n; ++k) write(codes[k]);
        write.finish();
      });
    }
  };
  const auto round_all = [&](const Fitter& fitter) {
    for_each_slice(rows, grain, [&](Index first, Index last) { round_rows(fitter, first, last); });
  };
  if (in_order_taken) {
    std::vector<Index> order;
    for (Index k = 0; k < n; ++k) order.push_back(input_at(k));
    fitters.with_reordered(order, round_all);
  } else {
    round_all(fitters.original);
  }
  q.set_params(affines);
  if (in_order_taken) {
    InputMap map;
    for (Index k = 0; k < n; ++k) map.order.push_back(static_cast<std::uint32_t>(input_at(k)));
    q.set_input_map(std::move(map));
  }
  if (options.report != nullptr) {
    const auto of = [&](const QuantizedMatrix& m, std::vector<double>& losses, double& sum) {
      const Eigen::VectorXd found = row_losses_of(in_memory, m, hessian);
      losses.assign(found.begin(), found.end()), sum = found.sum();
    };
    of(quantize_rows(in_memory, granularity, fitters.original, door), report.row_loss_before, report.loss_before);
    of(q, report.row_loss_after, report.loss_after);
    *options.report = std::move(report);
  }
  progress.finish();
  return q;
}

// W[out, in] to codes of grid.levels() that keep W x for the inputs x that the Hessian has seen. Any grid, granularity
// and estimator.
//
// By default columns are taken by descending H_ii, scales are fitted to the original weights in the original groups, so
// the result is stored like any other; with GroupScales::fresh or stale, groups are of columns as they are taken, and
// the matrix keeps that order in its input_map. Threads split the rows and change nothing; codes may differ between
// instruction sets, as sums of floats do. Time: in^3 / 6 + out in^2 / 2 multiply-adds. Memory: in x in doubles,
// and W as floats.
//
// An estimator that asks where its block lies is asked in the order of the inputs; with groups in another order it must
// have reordered(inputs), as MseSearch has.
//
// Throws std::invalid_argument unless the Hessian has samples and as many inputs as W, std::domain_error as quantize
// does, Cancelled if options.progress says so; a report is written at the end only.
template <class Derived, Grid G, Estimator<G> E>
QuantizedMatrix gptq(const Eigen::MatrixBase<Derived>& w, const Hessian& hessian, const G& grid,
                     Granularity granularity, const E& estimate, const GptqOptions& options = {}) {
  constexpr bool has_order = requires(std::span<const Index> order) { estimate.reordered(order); };
  const auto fitter_of = [&](const E& e) { return BlockFitter<G, E>(grid, e, granularity.scale, NonFinite::strict); };
  const BlockFitter<G, E> original = fitter_of(estimate);
  const auto with_reordered = [&](std::span<const Index> inputs, FunctionRef<void(const Fitter&)> f) {
    if constexpr (has_order) {
      const E reordered = estimate.reordered(inputs);
      f(fitter_of(reordered));
    } else {
      f(original);
    }
  };
  return gptq_rows(Evaluated<Derived>(w), hessian, granularity,
                   {original, has_order || !PlacedEstimator<E, G>, with_reordered}, options);
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
