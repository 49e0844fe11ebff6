#pragma once
// Codebooks fitted by Lloyd and Max: centroids and midpoints in turn until the mean squared error stops falling.
// Rule: levels come in the units of what they were fitted to.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include <fewbit/core/normal.hpp>
#include <fewbit/grid/codebook.hpp>

namespace fewbit {

// Levels that minimise the mean squared error on N(0,1), in units of sigma: pair them with an estimator that
// knows sigma. Throws std::invalid_argument unless 2 <= count <= 256. Milliseconds for 16 levels,
// seconds for 256. (Max 1960, Lloyd 1982.)
inline Codebook lloyd_max_normal(int count) {
  if (count < 2 || count > Levels::max_table)
    fail_argument("a codebook of ", count, " levels is not possible; use 2 to 256");
  const auto n = static_cast<std::size_t>(count);
  std::vector<double> level(n), edge(n + 1);
  edge.front() = -std::numeric_limits<double>::infinity(), edge.back() = -edge.front();
  for (std::size_t i = 0; i < n; ++i) {  // the density's cube root spreads the levels almost as the optimum does
    level[i] = std::sqrt(3.) * normal_quantile((static_cast<double>(i) + 0.5) / static_cast<double>(n));
  }
  for (double moved = 1; moved > 1e-9;) {
    moved = 0;
    for (std::size_t i = 1; i < n; ++i) edge[i] = (level[i - 1] + level[i]) / 2;
    for (std::size_t i = 0; i < n; ++i) {
      const double mass = normal_probability(edge[i + 1]) - normal_probability(edge[i]);
      if (!(mass > 0)) continue;
      const double centroid = (normal_density(edge[i]) - normal_density(edge[i + 1])) / mass;
      moved = std::max(moved, std::abs(centroid - level[i])), level[i] = centroid;
    }
  }
  for (std::size_t i = 0; i < n / 2; ++i) {  // the optimum is symmetric: remove what rounding left of the difference
    level[i] = (level[i] - level[n - 1 - i]) / 2, level[n - 1 - i] = -level[i];
  }
  if (n % 2 == 1) level[n / 2] = 0;
  const std::vector<float> rounded(level.begin(), level.end());
  return Codebook(rounded);
}

// Levels that are a local minimum of the mean squared error on the samples, in the samples' units, starting from
// their quantiles; the largest |w| of a block will map to the largest |sample|. At most `count` levels: fewer
// when the samples take fewer values. Throws std::invalid_argument for a count outside 2 to 256 or fewer than two
// distinct samples, std::domain_error for a sample that is not finite. O(n log n), then O(n) per pass.
inline Codebook lloyd_max(std::span<const float> samples, int count) {
  if (count < 2 || count > Levels::max_table)
    fail_argument("a codebook of ", count, " levels is not possible; use 2 to 256");
  std::vector<float> sorted(samples.begin(), samples.end());
  for (std::size_t i = 0; i < sorted.size(); ++i)
    if (!std::isfinite(sorted[i])) fail_domain("sample ", i, " is ", sorted[i], "; fit a codebook to finite samples");
  std::sort(sorted.begin(), sorted.end());
  if (sorted.empty() || sorted.front() == sorted.back())
    fail_argument("a codebook cannot be fitted to ", sorted.size(),
                  " samples of one value; give two distinct values or more");

  const auto n = static_cast<std::size_t>(count);
  std::vector<double> level;
  for (std::size_t i = 0; i < n; ++i)
    level.push_back(static_cast<double>(sorted[(2 * i + 1) * sorted.size() / (2 * n)]));

  std::vector<std::size_t> edge, before;  // level i stands for sorted[edge[i]] .. sorted[edge[i + 1] - 1]
  do {
    level.erase(std::unique(level.begin(), level.end()), level.end());
    before = edge;
    edge.assign(1, 0);
    for (std::size_t i = 1; i < level.size(); ++i) {
      const auto above = std::upper_bound(sorted.begin(), sorted.end(), (level[i - 1] + level[i]) / 2,
                                          [](double m, float x) { return m < static_cast<double>(x); });
      edge.push_back(static_cast<std::size_t>(above - sorted.begin()));
    }
    edge.push_back(sorted.size());
    for (std::size_t i = 0; i < level.size(); ++i)
      if (edge[i + 1] >
          edge[i])  // summed anew: a difference of running sums would lose small samples beside large ones
        level[i] = std::accumulate(sorted.data() + edge[i], sorted.data() + edge[i + 1], 0.) /
                   static_cast<double>(edge[i + 1] - edge[i]);
  } while (edge != before);

  std::vector<float> rounded(level.begin(), level.end());
  rounded.erase(std::unique(rounded.begin(), rounded.end()), rounded.end());
  if (rounded.size() == 1) rounded = {sorted.front(), sorted.back()};  // nearly all samples are one value
  return Codebook(rounded, std::max(std::abs(sorted.front()), std::abs(sorted.back())));
}

}  // namespace fewbit
