#pragma once
// From rows of weights to one Affine per block, and on to whatever is made of them. Rule: every weight is checked
// here and every scale is settled here, so no algorithm below has to ask whether its numbers make sense. Only
// BlockFitter knows what the grid and the estimator are; the rest is compiled once for all.

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

// Rows, the first matrix of which is checked, with the range of each block's part of it.
class CheckedRows {
 public:
  CheckedRows(const Rows& rows, const Tiling& tiling, const Door& door) : rows_(rows), tiling_(tiling), door_(door) {}

  // Calls f(i, row, ranges) for rows first .. last - 1, one range for each block across.
  void each(Index first, Index last, FunctionRef<void(Index, const Row&, const std::vector<Range>&)> f) const {
    const kernel::Table& table = kernel::active();
    const auto cols = static_cast<std::size_t>(tiling_.cols), group = static_cast<std::size_t>(tiling_.block_cols);
    std::vector<Range> ranges(static_cast<std::size_t>(tiling_.blocks_across()));
    rows_.each(first, last, [&](Index i, const Row& row) {
      table.ranges(row.in, cols, group, ranges.data());
      for (std::size_t g = 0; g < ranges.size(); ++g)
        if (!finite(ranges[g])) {
          const std::size_t from = g * group;
          ranges[g] = finite_range(i, from, {row.in + from, std::min(group, cols - from)});
        }
      f(i, row, ranges);
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
        const double w = rows_.in.element->at(rows_.in, i, j);  // before it became a float
        fail_domain(door_.number, " at row ", i, ", column ", j, " is ", w,
                    std::isfinite(w) ? ", beyond the range of a float" : "", "; ", door_.remedy);
      }
    }
    return r;
  }

  const Rows& rows_;
  const Tiling& tiling_;
  const Door& door_;
};

// Throws std::domain_error, naming the first, if a number of w is not finite.
template <class Derived>
void require_finite_weights(const Eigen::DenseBase<Derived>& w, const Door& door = {"weight", "repair it"}) {
  const Tiling whole(w.rows(), w.cols(), per_tensor());
  const Evaluated<Derived> weights(w);
  CheckedRows({weights}, whole, door).each(0, w.rows(), [](Index, const Row&, const std::vector<Range>&) {});
}

// Fits an Affine to a block, as it will be stored. What it does that depends on no grid and no estimator is here.
class Fitter {
 public:
  // Fills an empty vector with a block's weights, row by row.
  using Gather = FunctionRef<void(std::vector<float>&)>;

  // Throws if what fits and a matrix of this shape do not belong together.
  virtual void check(Index rows, Index cols) const = 0;
  // Of a block `width` weights wide that starts at row i and column j, with the range of its finite weights. `gather`
  // is only called if the range alone will not do, with the vector `block`, which each thread has for itself.
  virtual Affine fit(Index i, Index j, Index width, Range r, Gather gather, std::vector<float>& block) const = 0;
  // Of all blocks of a row that is one block high: one virtual call for all.
  virtual void fit_row(Index i, const float* row, const std::vector<Range>& ranges, const Tiling& tiling, Affine* to,
                       std::vector<float>& block) const = 0;

  const Levels& levels() const { return levels_; }

 protected:
  Fitter(const Levels& levels, ScaleType type, NonFinite nonfinite)
      : levels_(levels), type_(type), nonfinite_(nonfinite), ordinary_(ordinary(levels_)) {}
  Fitter(const Fitter&) = default;
  Fitter& operator=(const Fitter&) = delete;
  ~Fitter() = default;

  NonFinite nonfinite() const { return nonfinite_; }

  // As it will be stored. `any_gather` need not be of the type Gather: of each block one would have to be made.
  template <class F>
  Affine settled(Affine a, Range r, Index i, Index j, const F& any_gather, std::vector<float>& block) const {
    // Nearly all are as they will be stored, and far from the end of the floats.
    if (is_stored_scale(a.scale, type_) && std::fabs(a.scale) < ordinary_ && std::fabs(a.zero) <= 0x1p24f)
      return {a.scale, a.zero + 0.f};  // + 0 makes -0 a 0
    return settled_far_out(a, r, i, j, any_gather, block);
  }

  // Fits the blocks of a row with fit_one(i, j, width, range, gather, block).
  template <class F>
  static void each_block(Index i, const float* row, const std::vector<Range>& ranges, const Tiling& tiling, Affine* to,
                         std::vector<float>& block, const F& fit_one) {
    const Index width = tiling.block_cols, cols = tiling.cols;
    for (Index g = 0, j = 0; g < tiling.blocks_across(); ++g, j += width) {
      const Index n = std::min(width, cols - j);
      to[g] = fit_one(
          i, j, n, ranges[static_cast<std::size_t>(g)],
          [&](std::vector<float>& all) { all.assign(row + j, row + j + n); }, block);
    }
  }

 private:
  // With scales below this and zero-points up to 2^24, all levels decode to finite weights.
  static float ordinary(const Levels& l) {
    return 0x1p104f / std::fmax(0x1p24f, std::fmax(std::fabs(l.first()), std::fabs(l.last())));
  }
  Affine settled_far_out(Affine a, Range r, Index i, Index j, Gather gather, std::vector<float>& block) const {
    const float scale = round_scale(a.scale, type_);
    if (!std::isfinite(scale) || scale == 0 || !std::isfinite(a.zero)) reject(a, i, j);
    const Affine stored{scale, a.zero + 0.f};
    const float reach = std::fmax(std::fabs(levels_.first() - stored.zero), std::fabs(levels_.last() - stored.zero));
    // Exactly, as largest_scale has it: a product that is rounded down to the largest float is beyond it too.
    if (static_cast<double>(std::fabs(scale)) * static_cast<double>(reach) <= double{std::numeric_limits<float>::max()})
      return stored;
    const auto has_infinity = [&] {
      if (nonfinite_ == NonFinite::strict) return false;
      block.clear();
      gather(block);
      return std::any_of(block.begin(), block.end(), [](float w) { return std::isinf(w); });
    };
    return finite_weights(stored, r.lo == r.hi && !has_infinity(), r.lo, reach);
  }
  // Near the end of what a float holds, rounding can put the outermost levels beyond it: the scale gives way. A block
  // of one value uses one level only, or mostly the next if the scale had to give way; in f32 it is exact and stays so.
  // (An infinity beside it would use the last one.)
  Affine finite_weights(Affine a, bool one_value, float value, float reach) const {
    const auto within = [&](float far) {
      const float most = largest_scale(far, type_);
      return Affine{std::copysign(std::fmin(std::fabs(a.scale), most), a.scale), a.zero};
    };
    const auto level_of = [&](Affine by) {
      return levels_[static_cast<int>(kernel::scalar::nearest(value, by, levels_))];
    };
    if (one_value) {
      const Affine kept = within(std::fabs(level_of(a) - a.zero) + (type_ == ScaleType::f32 ? 0.f : 1.f));
      if (std::isfinite(weight(level_of(kept), kept))) return kept;
    }
    return within(reach);
  }
  [[noreturn]] void reject(Affine a, Index i, Index j) const {
    if (std::isfinite(a.scale) && a.scale != 0 && std::isfinite(a.zero))
      fail_domain("scale ", a.scale, " of the block at row ", i, ", column ", j, " does not fit ", name(type_),
                  ", which ends at ",
                  type_ == ScaleType::f16 ? "65504; store scales as bf16 or f32" : "3.39e38; store scales as f32");
    fail_domain("scale ", a.scale, " and zero-point ", a.zero, " of the block at row ", i, ", column ", j,
                " cannot be stored as ", name(type_), "; scales must be finite and not 0, zero-points finite");
  }

  Levels levels_;
  ScaleType type_;
  NonFinite nonfinite_;
  float ordinary_;
};

// By an estimator, on a grid.
template <Grid G, Estimator<G> E>
class BlockFitter final : public Fitter {
 public:
  BlockFitter(const G& grid, const E& estimate, ScaleType scale, NonFinite nonfinite)
      : Fitter(grid.levels(), scale, nonfinite), grid_(grid, scale), estimate_(estimate) {}

  void check(Index rows, Index cols) const override { check_shape(estimate_, rows, cols); }
  Affine fit(Index i, Index j, Index width, Range r, Gather gather, std::vector<float>& block) const override {
    return fit_one(i, j, width, r, gather, block);
  }
  void fit_row(Index i, const float* row, const std::vector<Range>& ranges, const Tiling& tiling, Affine* to,
               std::vector<float>& block) const override {
    each_block(i, row, ranges, tiling, to, block, [this](auto&&... of) { return this->fit_one(of...); });
  }

 private:
  template <class F>
  Affine fit_one(Index i, Index j, Index width, Range r, const F& gather, std::vector<float>& block) const {
    if (!(r.lo <= r.hi)) r = {0, 0};  // not one finite weight
    if constexpr (RangeEstimator<E, G>) {
      return settled(estimate_(r, grid_), r, i, j, gather, block);
    } else if constexpr (PlacedEstimator<E, G>) {
      block.clear();
      gather(block);
      if (nonfinite() == NonFinite::saturating)
        for (float& w : block) w = finite_in_place(w, r);
      return settled(estimate_(Block{block, i, j, width}, grid_), r, i, j, gather, block);
    } else {
      block.clear();
      gather(block);
      if (nonfinite() == NonFinite::saturating) std::erase_if(block, [](float w) { return !std::isfinite(w); });
      if (block.empty()) block.push_back(0);
      return settled(estimate_(std::span<const float>(block), grid_), r, i, j, gather, block);
    }
  }
  // What stands in for a weight that is not finite where the others must keep their places: of the block's range, the
  // end on an infinity's side, and for a NaN what is nearest to 0.
  static float finite_in_place(float w, Range r) {
    return std::isnan(w) ? kernel::scalar::clamp(0, r.lo, r.hi) : kernel::scalar::clamp(w, r.lo, r.hi);
  }

  Stored<G> grid_;
  const E& estimate_;
};

// With Affines that are known, one for each block.
class KnownAffines final : public Fitter {
 public:
  KnownAffines(const Levels& levels, ScaleType scale, const Tiling& tiling, std::span<const Affine> affines)
      : Fitter(levels, scale, NonFinite::strict), tiling_(tiling), affines_(affines) {}

  void check(Index, Index) const override {}
  Affine fit(Index i, Index j, Index, Range r, Gather gather, std::vector<float>& block) const override {
    return fit_one(i, j, r, gather, block);
  }
  void fit_row(Index i, const float* row, const std::vector<Range>& ranges, const Tiling& tiling, Affine* to,
               std::vector<float>& block) const override {
    each_block(i, row, ranges, tiling, to, block,
               [this](Index down, Index across, Index, Range r, const auto& gather, std::vector<float>& scratch) {
                 return fit_one(down, across, r, gather, scratch);
               });
  }

 private:
  template <class F>
  Affine fit_one(Index i, Index j, Range r, const F& gather, std::vector<float>& block) const {
    const Index b = i / tiling_.block_rows * tiling_.blocks_across() + j / tiling_.block_cols;
    return settled(affines_[static_cast<std::size_t>(b)], r, i, j, gather, block);
  }

  const Tiling& tiling_;
  std::span<const Affine> affines_;
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
inline Index row_grain(const Strided<const void>& w) {
  return (std::max<Index>(1, 16384 / std::max<Index>(1, w.cols)) + w.panel() - 1) / w.panel() * w.panel();
}

// What is made of a row whose blocks have been fitted: `clean` is row.in without a NaN, and `coding` says how the row
// is to be coded.
using Apply = FunctionRef<void(Index i, const Row& row, const float* clean, const kernel::Row& coding)>;

// Calls apply once for every row, on any thread.
inline void apply_rows(const Rows& rows, const Coding& coding, const Door& door, Apply apply) {
  const CheckedRows checked(rows, coding.tiling, door);
  for_each_slice(coding.tiling.rows, row_grain(rows.in), [&](Index first, Index last) {
    std::vector<float> scratch;
    rows.each(first, last,
              [&](Index i, const Row& row) { apply(i, row, checked.cleaned(row.in, scratch), coding.row(i)); });
  });
}

// Fits every block of rows.in, sets affines[b] for each, and calls apply as apply_rows does. A block inside one row is
// fitted and applied while the row is in cache.
inline void fit_rows(const Rows& rows, const Tiling& tiling, const Fitter& fitter, const Door& door,
                     std::span<Affine> affines, Apply apply) {
  const CheckedRows checked(rows, tiling, door);
  const Coding coding{tiling, fitter.levels(), affines};
  const Index across = tiling.blocks_across(), height = tiling.block_rows, width = tiling.block_cols,
              cols = tiling.cols;
  const Index grain = row_grain(rows.in);
  kernel::active();  // may throw: do it on this thread
  fitter.check(tiling.rows, cols);

  if (height == 1) {
    return for_each_slice(tiling.rows, grain, [&](Index first, Index last) {
      std::vector<float> scratch, block;
      checked.each(first, last, [&](Index i, const Row& row, const std::vector<Range>& ranges) {
        fitter.fit_row(i, row.in, ranges, tiling, affines.data() + i * across, block);
        apply(i, row, checked.cleaned(row.in, scratch), coding.row(i));
      });
    });
  }

  // Blocks that span rows: first their ranges, each slice of rows its own, joined in the end.
  std::vector<Range> range(tiling.blocks(), empty_range);
  std::mutex joining;
  const Rows read{rows.in};
  const CheckedRows reader(read, tiling, door);
  for_each_slice(tiling.rows, grain, [&](Index first, Index last) {
    const Index top = first / height, down = (last - 1) / height + 1 - top;
    std::vector<Range> mine(static_cast<std::size_t>(down * across), empty_range);
    reader.each(first, last, [&](Index i, const Row&, const std::vector<Range>& ranges) {
      Range* to = mine.data() + (i / height - top) * across;
      for (std::size_t g = 0; g < ranges.size(); ++g) to[g] = join(to[g], ranges[g]);
    });
    const std::lock_guard lock(joining);
    Range* to = range.data() + top * across;
    for (const Range& r : mine) *to = join(*to, r), ++to;
  });
  for_each_slice(tiling.blocks_down(), 1, [&](Index first, Index last) {
    std::vector<float> block;
    for (Index down = first; down < last; ++down)
      for (Index g = 0; g < across; ++g) {
        const Index i = down * height, j = g * width, n = std::min(width, cols - j);
        const auto b = static_cast<std::size_t>(down * across + g);
        const auto gather = [&](std::vector<float>& all) {
          rows.in.element->gather(rows.in, i, j, std::min(height, tiling.rows - i), n, all);
        };
        affines[b] = fitter.fit(i, j, n, range[b], gather, block);
      }
  });
  apply_rows(rows, coding, door, apply);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
