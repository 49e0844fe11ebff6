#pragma once
// The range that keeps most of what the weights' histogram tells. Rule: TensorRT's; meant for activations, where a few
// outliers would take the levels away from all others.

#include <algorithm>
#include <cmath>
#include <vector>

#include <fewbit/estimate/estimate.hpp>
#include <fewbit/estimate/minmax.hpp>

namespace fewbit {

// Cuts the range to [-t, t]. Of the histogram of |w| with `bins` bins up to the largest |w|, every cut behind bin i is
// tried, i = levels .. bins. P is bins 0 .. i - 1, with all that lies beyond added to the last one. Q is the same bins
// without that, bin b merged into run b * levels / i, and each run spread evenly over its bins that are not empty. The
// cut with the least divergence sum P log(P / Q) is kept, of equal ones the widest; t is i + 1/2 bins. A cut whose last
// bin holds nothing of its own has Q = 0 where P is not, and an infinite divergence; one that keeps fewer filled bins
// than levels is left out, for it merges nothing, and of a few weights the smallest alone would do best. The levels are
// half of the grid's, rounded up, where there are weights on both sides of zero, and all of them where there are not. A
// block of one value, or no more bins than levels: the plain fit. (Migacz, 8-bit inference with TensorRT, GTC 2017.)
//
// An outlier so far out that all other weights fill fewer bins than there are levels is therefore not cut: take more
// bins. Throws std::invalid_argument unless 1 <= bins <= 2^20. O(n + bins * levels) per block.
struct KlDivergence {
  int bins = 2048;

  template <class G>
  Affine operator()(std::span<const float> block, const G& grid) const {
    if (bins < 1 || bins > 1 << 20) fail_argument("a histogram of ", bins, " bins is not possible; use 1 to 1048576");
    Range r;
    kernel::active().ranges(block.data(), block.size(), block.size(), &r);
    const int count = grid.levels().count(), levels = r.lo < 0 && r.hi > 0 ? (count + 1) / 2 : count;
    if (r.lo == r.hi || bins <= levels) return grid.fit(r);
    const double most = static_cast<double>(std::max(-r.lo, r.hi));
    const Histogram histogram(block, most, static_cast<std::size_t>(bins));
    const double t = most * (histogram.least_divergent_cut(static_cast<std::size_t>(levels)) + 0.5) / bins;
    const auto end = static_cast<float>(std::min(t, static_cast<double>(std::numeric_limits<float>::max())));
    return grid.fit({std::max(r.lo, -end), std::min(r.hi, end)});
  }

 private:
  // Sums over bins 0 .. b - 1 for every b, so that a run of bins costs the same however long it is.
  class Histogram {
   public:
    Histogram(std::span<const float> block, double most, std::size_t n) : count_(n), until_(n + 1) {
      for (const float w : block) {
        const double bin = std::fabs(static_cast<double>(w)) * static_cast<double>(n) / most;
        ++count_[std::min(static_cast<std::size_t>(bin), n - 1)];
      }
      for (std::size_t b = 0; b < n; ++b)
        until_[b + 1] = {until_[b].weights + count_[b], until_[b].filled + (count_[b] > 0),
                         until_[b].entropy + x_log(count_[b], count_[b])};
    }

    // With whole numbers c in the bins before i, T beyond, C = sum c and N = C + T:
    //   N * divergence = sum_bins c' log c' - sum_runs c' log(mean of the run's filled bins) - N log N + N log C,
    // where c' is c, and c + T in bin i - 1.
    int least_divergent_cut(std::size_t levels) const {
      const double all = until_.back().weights;
      double least = std::numeric_limits<double>::infinity();
      std::size_t best = count_.size();  // no cut
      for (std::size_t i = best; i >= levels; --i) {
        const double last = count_[i - 1], beyond = all - until_[i].weights;
        if (last == 0 || until_[i].filled < static_cast<double>(levels)) continue;
        double divergence = until_[i - 1].entropy + x_log(last + beyond, last + beyond) - x_log(all, all) +
                            x_log(all, until_[i].weights);
        for (std::size_t run = 0, from = 0, to = 0; run < levels; ++run, from = to) {
          to = ((run + 1) * i + levels - 1) / levels;  // b * levels / i is `run` before this
          const double merged = until_[to].weights - until_[from].weights;
          if (merged > 0)
            divergence -= x_log(to == i ? merged + beyond : merged, merged / (until_[to].filled - until_[from].filled));
        }
        divergence /= all;
        if (divergence < least - 1e-12) least = divergence, best = i;  // a difference below that is rounding
      }
      return static_cast<int>(best);
    }

   private:
    struct Sums {
      double weights = 0, filled = 0, entropy = 0;
    };
    // x log y. Divided, because a product could be contracted with the sum it goes into, and cuts be chosen otherwise.
    static double x_log(double x, double y) { return x > 0 ? std::log(y) / (1 / x) : 0; }

    std::vector<double> count_;
    std::vector<Sums> until_;
  };
};

static_assert(Estimator<KlDivergence, Symmetric>);

}  // namespace fewbit
