#pragma once
// From a Hessian to what rounding in turn needs: an order of columns, a factor that exists, and what one column means
// to the others. Rule: whatever the Hessian, there is an answer, and the report says what it took.

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <vector>

#include <fewbit/quantize/feedback.hpp>
#include <fewbit/quantize/hessian.hpp>

namespace fewbit {

// Thrown when the progress function returns false.
struct Cancelled : std::runtime_error {
  Cancelled() : std::runtime_error("fewbit: cancelled by the progress function; there is no result") {}
};

// Which weights the scales of a row's groups are fitted to: those of W before anything is rounded (static groups); what
// they have become when their group is reached (fresh), or the block of columns in which it begins (stale: what the
// reference implementation reads).
enum class GroupScales { from_original, fresh, stale };

struct GptqReport {
  double damping = 0;              // what was added to the diagonal of H, over its mean (of inputs that are not dead)
  int damping_steps = 0;           // how often it had to be raised to get a factor
  std::vector<Index> dead_inputs;  // inputs whose H_ii is not above 0: their weights count as 0
  // row_losses of round to nearest and of the result, and their sums. H carries the rounding of floats: where almost
  // nothing is lost, a loss can come out below 0.
  std::vector<double> row_loss_before, row_loss_after;
  double loss_before = 0, loss_after = 0;
};

struct GptqOptions {
  double damping = 0.01;  // added to the diagonal of H, in units of its mean
  bool act_order = true;  // columns of large inputs first, while many others can make up for them
  GroupScales scales = GroupScales::from_original;
  Index block = 128;  // columns whose errors reach the others together
  // GPTAQ (arXiv 2504.02692): how much of what the layers before have done to the inputs is made up for; .25 in the
  // paper. Needs a Hessian of pairs of samples.
  double asymmetry = 0;
  std::function<bool(double)> progress = {};  // told the part that is done, by one thread at a time; false cancels
  GptqReport* report = nullptr;               // asking for one takes another matrix product
};

// How far the work has come, told to the progress function by one thread at a time.
class Progress {
 public:
  // `ahead`: the part of the factorization in the whole.
  Progress(const std::function<bool(double)>& tell, double ahead) : tell_(tell), ahead_(ahead) {}

  void factored(double part) { reach(part * ahead_); }  // of one try; another one starts again
  void rounded(double part) {
    if (!tell_) return;
    const std::lock_guard lock(mutex_);
    rounded_ += part;
    reach_locked(std::min(1., ahead_ + rounded_ * (1 - ahead_)));
  }
  void finish() { reach(1); }

 private:
  void reach(double done) {
    if (!tell_) return;
    const std::lock_guard lock(mutex_);
    reach_locked(done);
  }
  void reach_locked(double done) {
    done_ = std::max(done_, done);
    if (cancelled_ || (cancelled_ = !tell_(done_))) throw Cancelled();
  }

  const std::function<bool(double)>& tell_;
  double ahead_, done_ = 0, rounded_ = 0;
  bool cancelled_ = false;
  std::mutex mutex_;
};

inline namespace FEWBIT_ABI {

// What is asked of GPTQ must make sense before anything is computed.
inline void check_options(const GptqOptions& o) {
  if (o.block < 1) fail_argument("gptq: a block of ", o.block, " columns is not possible; 128 is usual");
  if (!(o.damping >= 0 && o.damping <= 1e6))
    fail_argument("gptq: a damping of ", o.damping, " is not possible; use 0 to 1e6, .01 is usual");
  if (!(o.asymmetry >= 0 && o.asymmetry <= 1))
    fail_argument("gptq: an asymmetry of ", o.asymmetry, " is not possible; use 0 to 1, .25 is usual");
}

struct Calibration {
  std::vector<Index> inputs;  // column a of the feedback is this input; the last one is rounded first
  Feedback feedback;
  std::optional<PaddedSquare<float>> drift;

  Calibration(const Hessian& hessian, const GptqOptions& options, GptqReport& report, Progress& progress)
      : feedback(hessian.inputs()) {
    double unit = 1;
    hessian.with_lower([&](const LowerTriangle& h) {
      const Diagonal d(h, report);
      unit = d.unit;
      inputs.resize(static_cast<std::size_t>(h.size()));
      std::iota(inputs.begin(), inputs.end(), Index{0});
      if (options.act_order)
        std::stable_sort(inputs.begin(), inputs.end(), [&](Index a, Index b) { return d.at(a) > d.at(b); });
      std::reverse(inputs.begin(), inputs.end());
      factor_damped(h, d, options.damping, report, progress);
    });
    if (options.asymmetry != 0)
      drift = drift_of(feedback.factor, hessian.deviation() / unit, report.dead_inputs, options.asymmetry);
    feedback.take_factor();
  }

  // Rounds columns end - 1 .. begin of the tile by calls of pick(ColumnPart), and tells the columns before.
  template <class Pick>
  void round_block(FeedbackRows& tile, Index begin, Index end, Pick&& pick) const {
    FeedbackErrors e(begin, end, tile.rows, drift.has_value());
    round_columns(feedback, drift ? &*drift : nullptr, tile, e, pick);
    push_errors(feedback, e, e.errors, tile, tile.targets);
    if (!drift) return;
    push_errors(*drift, e, e.targets, tile, tile.targets);
    push_errors(*drift, e, e.targets, tile, tile.weights);
  }

  // What columns end - 1 .. begin become if none of them is rounded, but all that came before is made up for. They move
  // no weights: drift comes from columns that have been rounded.
  FeedbackErrors unrounded(FeedbackRows& tile, Index begin, Index end) const {
    FeedbackErrors e(begin, end, tile.rows, true);
    Buffer<float> before(e.targets.size());
    for (Index i = 0; i < tile.rows; ++i)
      std::copy_n(tile.targets.data() + i * tile.stride + begin, e.width(), before.data() + i * e.width());
    round_columns(feedback, nullptr, tile, e,
                  [](const ColumnPart& part) { std::copy_n(part.targets, part.rows, part.chosen); });
    for (Index i = 0; i < tile.rows; ++i)
      std::copy_n(before.data() + i * e.width(), e.width(), tile.targets.data() + i * tile.stride + begin);
    return e;
  }

 private:
  // The diagonal of H, the numbers of H over `unit`: a power of two with which none overflows on its way.
  struct Diagonal {
    double unit = 1, mean = 0;
    std::vector<double> elements;
    std::vector<bool> is_dead;

    Diagonal(const LowerTriangle& h, GptqReport& report) {
      const Index n = h.size();
      for (Index j = 0; j < n; ++j) elements.push_back(h.diagonal(j));
      double most = h.largest;
      if (most > 0) unit = std::ldexp(1., std::max(std::ilogb(most), -1022)), most /= unit;
      for (Index j = 0; j < n; ++j) {
        double& x = elements[static_cast<std::size_t>(j)];
        x /= unit;
        is_dead.push_back(!(x > 0));
        if (x > 0) mean += x;
        else report.dead_inputs.push_back(j);
      }
      mean /= static_cast<double>(std::max<Index>(1, n - static_cast<Index>(report.dead_inputs.size())));
      // No H of samples is larger off its diagonal than on it: this is for others.
      mean = most == 0 ? 1 : std::max(mean, most / static_cast<double>(n));
      for (const Index j : report.dead_inputs) elements[static_cast<std::size_t>(j)] = mean;
    }
    double at(Index j) const { return elements[static_cast<std::size_t>(j)]; }
  };

  // H below its diagonal, in the order of rounding.
  void reorder(const LowerTriangle& h, const Diagonal& d, PaddedSquare<double>& to) const {
    std::vector<Index> place(inputs.size());
    std::vector<double> unit;  // of each column of the result
    for (Index a = 0; a < to.n; ++a) {
      const auto j = static_cast<std::size_t>(inputs[static_cast<std::size_t>(a)]);
      place[j] = a, unit.push_back(d.is_dead[j] ? 0 : 1 / d.unit);
    }
    // One input after the other: what is read of columns before lies beside what the last one read.
    for_each_slice(to.n, 64, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        const Index a = place[static_cast<std::size_t>(i)];
        const double alive = d.is_dead[static_cast<std::size_t>(i)] ? 0 : 1;
        double* const row = to.row(a);
        for (Index b = 0; b < a; ++b)
          row[b] = h.at(i, inputs[static_cast<std::size_t>(b)]) * alive * unit[static_cast<std::size_t>(b)];
        row[a] = d.at(i);
      }
    });
  }

  // Adds more and more to the diagonal until there is a factor. It ends: at last the diagonal outweighs all the rest.
  void factor_damped(const LowerTriangle& h, const Diagonal& d, double wanted, GptqReport& report, Progress& progress) {
    PaddedSquare<double>& factor = feedback.factor;
    for (report.damping = wanted;; ++report.damping_steps) {
      reorder(h, d, factor);
      for (Index a = 0; a < factor.n; ++a) factor.row(a)[a] += report.damping * d.mean;
      if (cholesky(factor, [&](double part) { progress.factored(part); })) return;
      report.damping = std::max(1e-4, 4 * report.damping);
    }
  }

  // alpha * striu(D U^T) U with U = R^-1 and R the factor of H in the order of rounding, R R^T = H (GPTAQ,
  // theorem 4.2).
  PaddedSquare<float> drift_of(const PaddedSquare<double>& factor, const Eigen::MatrixXd& deviation,
                               const std::vector<Index>& dead, double alpha) const {
    const auto is_dead = [&](Index j) { return std::binary_search(dead.begin(), dead.end(), j); };
    const Index n = factor.n;
    Eigen::MatrixXd r = Eigen::MatrixXd::Zero(n, n), d(n, n);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        const auto a = static_cast<std::size_t>(n - 1 - i), b = static_cast<std::size_t>(n - 1 - j);
        if (i <= j) r(i, j) = factor.row(n - 1 - i)[n - 1 - j];
        d(i, j) = is_dead(inputs[a]) || is_dead(inputs[b]) ? 0 : deviation(inputs[a], inputs[b]);
      }
    Eigen::MatrixXd y = r.template triangularView<Eigen::Upper>().solve(d.transpose()).transpose();
    y.template triangularView<Eigen::Lower>().setZero();
    const Eigen::MatrixXd p = r.transpose().template triangularView<Eigen::Lower>().solve(y.transpose()).transpose();
    PaddedSquare<float> result(n);
    for (Index b = 0; b < n; ++b) {
      std::fill(result.row(b), result.row(b) + result.stride, 0.f);
      for (Index a = 0; a < b; ++a) result.row(b)[a] = static_cast<float>(alpha * p(n - 1 - b, n - 1 - a));
    }
    return result;
  }
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
