#pragma once
// AWQ (arXiv 2306.00978): inputs that are large on average have their weights scaled up before rounding, so that these
// lose less; then ranges are cut where that helps the output. Rule: every choice is judged by |Q(W s) (x / s) - W x|^2,
// and doing nothing is one of the choices.

#include <cmath>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <fewbit/quantize/fake_quantize.hpp>
#include <fewbit/quantize/output_error.hpp>
#include <fewbit/quantize/smooth_quant.hpp>

namespace fewbit {

struct AwqReport {
  double ratio = 0;  // s = mean|x|^ratio, 0 being no scale at all
  // What the output loses over all samples (on average for one, by statistics): rounded to nearest; scaled; and with
  // ranges cut.
  double loss_nearest = 0, loss_scaled = 0, loss = 0;
};

struct AwqOptions {
  int ratios = 20;            // i / ratios for i < ratios are tried
  int clips = 20;             // ranges of 1 - i / clips are tried,
  double most_clipped = 0.5;  // for i < most_clipped * clips; 0 leaves ranges whole
  Index clip_samples = 512;   // of which every so many-th sample is used
  AwqReport* report = nullptr;
};

inline namespace FEWBIT_ABI {

// Cuts the range of a block where its own part of the output gains by it.
class ClipSearch {
 public:
  ClipSearch(const OutputError& inputs, const AwqOptions& options)
      : inputs_(&inputs), clips_(options.clips), tries_(static_cast<int>(options.most_clipped * options.clips)) {}

  template <class G>
  Affine operator()(const Block& block, const G& grid) const {
    Range range;
    const std::size_t n = block.weights.size();
    kernel::active().ranges(block.weights.data(), n, n, &range);
    const Affine whole = grid.fit(range);
    if (range.lo == range.hi || tries_ < 2) return whole;
    const auto tries = static_cast<std::size_t>(tries_), width = static_cast<std::size_t>(block.width);
    std::vector<Affine> affines(tries, whole);
    for (std::size_t i = 1; i < tries; ++i) {
      const float p = 1 - static_cast<float>(i) / static_cast<float>(clips_);
      affines[i] = grid.fit({p * range.lo, p * range.hi});
    }
    const Levels levels = grid.levels();
    const std::size_t stride = (width + 15) / 16 * 16;
    std::vector<float> errors(tries * stride);
    std::vector<double> loss(tries);
    for (std::size_t k = 0; k < n; k += width) {
      const float* const row = block.weights.data() + k;
      for (std::size_t i = 0; i < tries; ++i) {
        float* const error = errors.data() + i * stride;
        kernel::active().fake_quantize(row, {width, width, &affines[i], &levels}, error, nullptr);
        for (std::size_t j = 0; j < width; ++j) error[j] -= row[j];
      }
      inputs_->add({tries_, block.col, block.width, static_cast<Index>(stride), errors.data()}, loss.data());
    }
    std::size_t best = 0;
    for (std::size_t i = 1; i < tries; ++i)
      if (loss[i] < loss[best] && std::isfinite(affines[i].scale) && affines[i].scale != 0) best = i;
    return affines[best];
  }

 private:
  const OutputError* inputs_;
  int clips_, tries_;
};

// What the output loses with the weights `rounded` in place of w s, both by rows.
template <class RowMajor>
double output_loss(const OutputError& inputs, const RowMajor& w, const RowMajor& rounded, const Eigen::VectorXf& s) {
  std::vector<double> loss(static_cast<std::size_t>(w.rows()));
  for_each_slice(w.rows(), 16, [&](Index first, Index last) {
    constexpr Index tall = 16;
    const Index stride = (w.cols() + 15) / 16 * 16 + 16;
    std::vector<float> errors(room_for(tall, stride));
    for (Index i = first; i < last; i += tall) {
      const Index rows = std::min(tall, last - i);
      for (Index r = 0; r < rows; ++r)
        for (Index j = 0; j < w.cols(); ++j)
          errors[static_cast<std::size_t>(r * stride + j)] = rounded(i + r, j) / s[j] - w(i + r, j);
      inputs.add({rows, 0, w.cols(), stride, errors.data()}, loss.data() + i);
    }
  });
  return std::accumulate(loss.begin(), loss.end(), 0.);
}

// s = max(a^ratio, 1e-4) / sqrt(max s min s) for the mean magnitudes a; empty if that is not finite.
inline Eigen::VectorXf awq_scale(const Eigen::VectorXd& mean_absolute, double ratio) {
  const Eigen::VectorXd s = mean_absolute.array().pow(ratio).max(1e-4);
  Eigen::VectorXf scale = (s / std::sqrt(s.maxCoeff() * s.minCoeff())).template cast<float>();
  if (!scale.allFinite() || !(scale.array() > 0).all()) return {};
  return scale;
}

template <class Derived, Grid G>
QuantizedMatrix awq_search(const Eigen::MatrixBase<Derived>& w, const OutputError& inputs,
                           const OutputError& clip_inputs, const Eigen::VectorXd& mean_absolute, const G& grid,
                           Granularity granularity, const AwqOptions& options) {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  if (options.ratios < 1 || options.clips < 0)
    fail_argument("awq: ", options.ratios, " ratios and ", options.clips, " clips are not possible; 20 are usual");
  if (!(options.most_clipped >= 0 && options.most_clipped < 1))
    fail_argument("awq: a range cannot be cut by ", options.most_clipped, "; use 0 to less than 1");
  AwqReport report;
  if (w.size() == 0) return quantize(w, grid, granularity);
  require_finite_weights(w);
  const RowMajor weights = w.template cast<float>();
  const auto scaled = [&](const Eigen::VectorXf& s) -> RowMajor { return weights * s.asDiagonal(); };

  Eigen::VectorXf best = Eigen::VectorXf::Ones(w.cols());
  for (int i = 0; i < options.ratios; ++i) {
    const double ratio = static_cast<double>(i) / options.ratios;
    const Eigen::VectorXf s = i == 0 ? best : awq_scale(mean_absolute, ratio);
    if (s.size() == 0) continue;
    RowMajor rounded = scaled(s);
    try {
      fake_quantize_in_place(rounded, grid, granularity);
    } catch (const std::domain_error&) {  // scaled out of a float, or of the type of its scales: not a choice
      if (i == 0) throw;
      continue;
    }
    const double loss = output_loss(inputs, weights, rounded, s);
    if (i == 0) report.loss_nearest = report.loss_scaled = loss;
    if (i == 0 || !(loss < report.loss_scaled)) continue;
    best = s, report.ratio = ratio, report.loss_scaled = loss;
  }

  QuantizedMatrix q = quantize(scaled(best), grid, granularity);
  report.loss = report.loss_scaled;
  if (options.most_clipped * options.clips >= 2) {
    const OutputError divided = clip_inputs.divided(best);
    QuantizedMatrix clipped = quantize(scaled(best), grid, granularity, ClipSearch(divided, options));
    RowMajor rounded(w.rows(), w.cols());
    for (Index i = 0; i < w.rows(); ++i)
      for (Index j = 0; j < w.cols(); ++j) rounded(i, j) = clipped(i, j);
    // Groups were judged apart; together they may not be better.
    if (const double loss = output_loss(inputs, weights, rounded, best); loss < report.loss)
      report.loss = loss, q = std::move(clipped);
  }
  q.set_input_map(inverse_scale(best));
  if (options.report != nullptr) *options.report = report;
  return q;
}

// W[out, in] to codes that keep W x for samples x[in, samples]: W diag(s) is rounded to nearest, s = mean|x|^r for the
// best r, and then the range of each block is cut as far as its part of the output gains by it. The matrix keeps 1 / s
// as its input_map. Any grid and granularity.
//
// Throws std::invalid_argument unless there are samples of as many inputs as W has, std::domain_error if a weight or a
// sample is not finite. Time: 30 out in samples multiply-adds.
template <class Derived, class Samples, Grid G>
QuantizedMatrix awq(const Eigen::MatrixBase<Derived>& w, const Eigen::MatrixBase<Samples>& x, const G& grid,
                    Granularity granularity = per_group(128), const AwqOptions& options = {}) {
  if (x.rows() != w.cols())
    fail_argument("awq: W is ", w.rows(), " x ", w.cols(), " and the samples have ", x.rows(),
                  " inputs; W is [out, in], and a column of X a sample");
  const Eigen::VectorXd mean_absolute = InputStatistics::of(x).mean_absolute();
  const Eigen::MatrixXf samples = x.template cast<float>();
  if (options.clip_samples < 1)
    fail_argument("awq: ", options.clip_samples, " samples are too few to cut ranges by; 512 are usual");
  const Index every = (samples.cols() + options.clip_samples - 1) / options.clip_samples;
  const Eigen::MatrixXf some = samples(Eigen::all, Eigen::seq(0, samples.cols() - 1, every));
  return awq_search(w, OutputError(samples), OutputError(some), mean_absolute, grid, granularity, options);
}

// The same from statistics alone, which take inputs to be independent of each other.
template <class Derived, Grid G>
QuantizedMatrix awq(const Eigen::MatrixBase<Derived>& w, const InputStatistics& inputs, const G& grid,
                    Granularity granularity = per_group(128), const AwqOptions& options = {}) {
  if (inputs.inputs() != w.cols())
    fail_argument("awq: W is ", w.rows(), " x ", w.cols(), " and there are statistics of ", inputs.inputs(), " inputs");
  const OutputError error(inputs);
  return awq_search(w, error, error, inputs.mean_absolute(), grid, granularity, options);
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
