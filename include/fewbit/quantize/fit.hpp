#pragma once
// From rows of weights to one Affine per block, and on to whatever is made of them. Rule: every weight is checked
// here and every scale is settled here, so no algorithm below has to ask whether its numbers make sense.

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include <fewbit/eigen/rows.hpp>
#include <fewbit/estimate/estimate.hpp>
#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/kernel/scalar.hpp>
#include <fewbit/quantize/rounding.hpp>

namespace fewbit {

// What becomes of a weight that is not a number or not finite. strict: std::domain_error, naming it. saturating: a NaN
// is coded as a weight of 0, which is the zero-point where that is a code, and an infinity as the last code on its
// side; ranges come from the finite weights.
enum class NonFinite { strict, saturating };

struct QuantizeOptions {
  NonFinite nonfinite = NonFinite::strict;
  Rounding rounding = Rounding::half_even;
  std::uint64_t seed = 0;  // of stochastic rounding
};

// Whom a message speaks to, and of what: not everyone who has numbers quantized can be told to saturate.
struct Door : QuantizeOptions {
  const char *number = "weight", *remedy = "repair it, or quantize with NonFinite::saturating";

  Door(const QuantizeOptions& options) : QuantizeOptions(options) {}
  // Of an algorithm that has no such options.
  Door(const char* what_it_is, const char* what_to_do) : number(what_it_is), remedy(what_to_do) {}
};

inline namespace FEWBIT_ABI {

// The range of no weights at all: joining it to another changes nothing.
inline constexpr Range empty_range{std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};

inline Range join(Range a, Range b) { return {b.lo < a.lo ? b.lo : a.lo, b.hi > a.hi ? b.hi : a.hi}; }

// The rows of Rows, MutableRows or JoinedRows, checked, with the range of each block's part of them.
template <class Source>
class CheckedRows {
 public:
  CheckedRows(const Source& source, const Tiling& tiling, const Door& door)
      : source_(source), tiling_(tiling), door_(door) {}

  // Calls f(i, row, ranges) for rows first .. last - 1, one range for each block across.
  template <class F>
  void each(Index first, Index last, F&& f) const {
    const kernel::Table& table = kernel::active();
    const auto cols = static_cast<std::size_t>(tiling_.cols), group = static_cast<std::size_t>(tiling_.block_cols);
    std::vector<Range> ranges(static_cast<std::size_t>(tiling_.blocks_across()));
    source_.each(first, last, [&](Index i, auto row) {
      table.ranges(row, cols, group, ranges.data());
      for (std::size_t g = 0; g < ranges.size(); ++g)
        if (!finite(ranges[g])) {
          const std::size_t from = g * group;
          ranges[g] = finite_range(i, from, {row + from, std::min(group, cols - from)});
        }
      f(i, row, std::as_const(ranges));
    });
  }

  // The row as kernels want it: without a NaN. They take an infinity for the end of the range that it is.
  const float* cleaned(const float* row, std::vector<float>& scratch) const {
    if (door_.nonfinite == NonFinite::strict) return row;
    scratch.assign(row, row + tiling_.cols);
    for (float& w : scratch) w = std::isnan(w) ? 0.f : w;
    return scratch.data();
  }

 private:
  static bool finite(Range r) { return std::isfinite(r.lo) && std::isfinite(r.hi); }

  Range finite_range(Index i, std::size_t from, std::span<const float> block) const {
    Range r = empty_range;
    for (std::size_t k = 0; k < block.size(); ++k) {
      if (std::isfinite(block[k])) {
        r = join(r, {block[k], block[k]});
      } else if (door_.nonfinite == NonFinite::strict) {
        const auto j = static_cast<Index>(from + k);
        const auto w = static_cast<double>(source_.memory().at(i, j));  // before it became a float
        fail_domain(door_.number, " at row ", i, ", column ", j, " is ", w,
                    std::isfinite(w) ? ", beyond the range of a float" : "", "; ", door_.remedy);
      }
    }
    return r;
  }

  const Source& source_;
  const Tiling& tiling_;
  const Door& door_;
};

// Throws std::domain_error, naming the first, if a number of w is not finite.
template <class Derived>
void require_finite_weights(const Eigen::DenseBase<Derived>& w, const Door& door = {"weight", "repair it"}) {
  const Tiling whole(w.rows(), w.cols(), per_tensor());
  const Rows<Derived> rows(w);
  CheckedRows(rows, whole, door).each(0, w.rows(), [](Index, auto, const std::vector<Range>&) {});
}

// An estimator whose answers are known, one Affine for each block.
struct KnownAffines {
  const Tiling& tiling;
  std::span<const Affine> affines;

  Affine at(Index i, Index j) const {
    return affines[static_cast<std::size_t>(i / tiling.block_rows * tiling.blocks_across() + j / tiling.block_cols)];
  }
  template <class G>
  Affine operator()(const Block& block, const G&) const {
    return at(block.row, block.col);
  }
};

// Fits an Affine to one block after another.
template <Grid G, Estimator<G> E>
class BlockFitter {
 public:
  BlockFitter(const G& grid, const E& estimate, ScaleType scale, NonFinite nonfinite)
      : grid_(grid, scale), estimate_(estimate), nonfinite_(nonfinite), ordinary_(ordinary(grid.levels())) {}

  // Of a block `width` weights wide that starts at row i and column j, with the range of its finite weights. `gather`
  // fills an empty vector with its weights, row by row, and is only called if the range alone will not do.
  template <class Gather>
  Affine operator()(Index i, Index j, Index width, Range r, Gather&& gather) {
    if (!(r.lo <= r.hi)) r = {0, 0};  // not one finite weight
    if constexpr (RangeEstimator<E, G>) {
      return settled(estimate_(r, grid_), r, i, j, gather);
    } else if constexpr (std::is_same_v<E, KnownAffines>) {
      return settled(estimate_.at(i, j), r, i, j, gather);
    } else if constexpr (PlacedEstimator<E, G>) {
      block_.clear();
      gather(block_);
      if (nonfinite_ == NonFinite::saturating)
        for (float& w : block_) w = finite_in_place(w, r);
      return settled(estimate_(Block{block_, i, j, width}, grid_), r, i, j, gather);
    } else {
      block_.clear();
      gather(block_);
      if (nonfinite_ == NonFinite::saturating) std::erase_if(block_, [](float w) { return !std::isfinite(w); });
      if (block_.empty()) block_.push_back(0);
      return settled(estimate_(std::span<const float>(block_), grid_), r, i, j, gather);
    }
  }

 private:
  // What stands in for a weight that is not finite where the others must keep their places: of the block's range, the
  // end on an infinity's side, and for a NaN what is nearest to 0.
  static float finite_in_place(float w, Range r) {
    return std::isnan(w) ? kernel::scalar::clamp(0, r.lo, r.hi) : kernel::scalar::clamp(w, r.lo, r.hi);
  }
  // With scales below this and zero-points up to 2^24, all levels decode to finite weights.
  static float ordinary(const Levels& l) {
    return 0x1p104f / std::fmax(0x1p24f, std::fmax(std::fabs(l.first()), std::fabs(l.last())));
  }
  // As it will be stored.
  template <class Gather>
  Affine settled(Affine a, Range r, Index i, Index j, Gather& gather) {
    // Nearly all are as they will be stored, and far from the end of the floats.
    if (is_stored_scale(a.scale, grid_.scale_type()) && std::fabs(a.scale) < ordinary_ && std::fabs(a.zero) <= 0x1p24f)
      return {a.scale, a.zero + 0.f};  // + 0 makes -0 a 0
    const float scale = round_scale(a.scale, grid_.scale_type());
    if (!std::isfinite(scale) || scale == 0 || !std::isfinite(a.zero)) reject(a, i, j);
    const Affine stored{scale, a.zero + 0.f};
    const Levels& l = grid_.levels();
    const float reach = std::fmax(std::fabs(l.first() - stored.zero), std::fabs(l.last() - stored.zero));
    // Exactly, as largest_scale has it: a product that is rounded down to the largest float is beyond it too.
    if (static_cast<double>(std::fabs(scale)) * static_cast<double>(reach) <= double{std::numeric_limits<float>::max()})
      return stored;
    const auto has_infinity = [&] {
      if (nonfinite_ == NonFinite::strict) return false;
      block_.clear();
      gather(block_);
      return std::any_of(block_.begin(), block_.end(), [](float w) { return std::isinf(w); });
    };
    return finite_weights(stored, r.lo == r.hi && !has_infinity(), r.lo, l, reach);
  }
  // Near the end of what a float holds, rounding can put the outermost levels beyond it: the scale gives way. A block
  // of one value uses one level only, or mostly the next if the scale had to give way; in f32 it is exact and stays so.
  // (An infinity beside it would use the last one.)
  Affine finite_weights(Affine a, bool one_value, float value, const Levels& levels, float reach) const {
    const auto within = [&](float far) {
      const float most = largest_scale(far, grid_.scale_type());
      return Affine{std::copysign(std::fmin(std::fabs(a.scale), most), a.scale), a.zero};
    };
    const auto level_of = [&](Affine by) {
      return levels[static_cast<int>(kernel::scalar::nearest(value, by, levels))];
    };
    if (one_value) {
      const Affine kept = within(std::fabs(level_of(a) - a.zero) + (grid_.scale_type() == ScaleType::f32 ? 0.f : 1.f));
      if (std::isfinite(weight(level_of(kept), kept))) return kept;
    }
    return within(reach);
  }
  [[noreturn]] void reject(Affine a, Index i, Index j) const {
    if (std::isfinite(a.scale) && a.scale != 0 && std::isfinite(a.zero))
      fail_domain(
          "scale ", a.scale, " of the block at row ", i, ", column ", j, " does not fit ", name(grid_.scale_type()),
          ", which ends at ",
          grid_.scale_type() == ScaleType::f16 ? "65504; store scales as bf16 or f32" : "3.39e38; store scales as f32");
    fail_domain("scale ", a.scale, " and zero-point ", a.zero, " of the block at row ", i, ", column ", j,
                " cannot be stored as ", name(grid_.scale_type()),
                "; scales must be finite and not 0, zero-points finite");
  }

  Stored<G> grid_;
  const E& estimate_;
  NonFinite nonfinite_;
  float ordinary_;
  std::vector<float> block_;
};

// How rows are coded once every block has its Affine.
struct Coding {
  const Tiling& tiling;
  const Levels& levels;
  std::span<const Affine> affines;

  kernel::Row row(Index i) const {
    return {static_cast<std::size_t>(tiling.cols), static_cast<std::size_t>(tiling.block_cols),
            affines.data() + i / tiling.block_rows * tiling.blocks_across(), &levels};
  }
};

// Rows that a thread takes at a time: whole panels, and some 64 KiB at least, for less is done before a thread has
// woken.
template <class Source>
Index row_grain(const Source& source, Index cols) {
  const Index panel = source.memory().panel();
  return (std::max<Index>(1, 16384 / std::max<Index>(1, cols)) + panel - 1) / panel * panel;
}

// Calls apply(i, row, clean, coding) once for every row of a source whose blocks have been fitted, on any thread: `row`
// is the source's pointer, `clean` the same weights without a NaN, and `coding` how the row is to be coded.
template <class Source, class Apply>
void apply_rows(const Source& source, const Coding& coding, const Door& door, Apply&& apply) {
  const CheckedRows<Source> checked(source, coding.tiling, door);
  for_each_slice(coding.tiling.rows, row_grain(source, coding.tiling.cols), [&](Index first, Index last) {
    std::vector<float> scratch;
    source.each(first, last, [&](Index i, auto row) { apply(i, row, checked.cleaned(row, scratch), coding.row(i)); });
  });
}

// What is only to be read.
template <class Source>
const auto& input_of(const Source& source) {
  if constexpr (requires { source.input(); }) return source.input();
  else return source;
}

// Fits every block of the source's rows, sets affines[b] for each, and calls apply as apply_rows does. A block inside
// one row is fitted and applied while the row is in cache.
template <class Source, Grid G, Estimator<G> E, class Apply>
void fit_rows(const Source& source, const Tiling& tiling, const Levels& levels, const G& grid, ScaleType scale,
              const E& estimate, const Door& door, std::span<Affine> affines, Apply&& apply) {
  const CheckedRows<Source> checked(source, tiling, door);
  const Coding coding{tiling, levels, affines};
  const Index across = tiling.blocks_across(), height = tiling.block_rows, width = tiling.block_cols,
              cols = tiling.cols;
  const Index grain = row_grain(source, cols);
  kernel::active();  // may throw: do it on this thread
  check_shape(estimate, tiling.rows, cols);

  if (height == 1) {
    return for_each_slice(tiling.rows, grain, [&](Index first, Index last) {
      BlockFitter<G, E> fit(grid, estimate, scale, door.nonfinite);
      std::vector<float> scratch;
      checked.each(first, last, [&](Index i, auto row, const std::vector<Range>& ranges) {
        for (Index g = 0, j = 0; g < across; ++g, j += width)
          affines[static_cast<std::size_t>(i * across + g)] =
              fit(i, j, std::min(width, cols - j), ranges[static_cast<std::size_t>(g)],
                  [&](std::vector<float>& block) { block.assign(row + j, row + std::min(j + width, cols)); });
        apply(i, row, checked.cleaned(row, scratch), coding.row(i));
      });
    });
  }

  // Blocks that span rows: first their ranges, each slice of rows its own, joined in the end.
  std::vector<Range> range(tiling.blocks(), empty_range);
  std::mutex joining;
  const CheckedRows reader(input_of(source), tiling, door);
  for_each_slice(tiling.rows, grain, [&](Index first, Index last) {
    const Index top = first / height, down = (last - 1) / height + 1 - top;
    std::vector<Range> mine(static_cast<std::size_t>(down * across), empty_range);
    reader.each(first, last, [&](Index i, auto, const std::vector<Range>& ranges) {
      Range* to = mine.data() + (i / height - top) * across;
      for (std::size_t g = 0; g < ranges.size(); ++g) to[g] = join(to[g], ranges[g]);
    });
    const std::lock_guard lock(joining);
    Range* to = range.data() + top * across;
    for (const Range& r : mine) *to = join(*to, r), ++to;
  });
  for_each_slice(tiling.blocks_down(), 1, [&](Index first, Index last) {
    BlockFitter<G, E> fit(grid, estimate, scale, door.nonfinite);
    for (Index down = first; down < last; ++down)
      for (Index g = 0; g < across; ++g) {
        const Index i = down * height, j = g * width, n = std::min(width, cols - j);
        const auto b = static_cast<std::size_t>(down * across + g);
        affines[b] = fit(i, j, n, range[b], [&](std::vector<float>& block) {
          source.memory().gather(i, j, std::min(height, tiling.rows - i), n, block);
        });
      }
  });
  apply_rows(source, coding, door, apply);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
