#pragma once
// From a Hessian to what rounding in turn needs: an order of columns, a factor that exists, and what one column means
// to the others. Rule: whatever the Hessian, there is an answer, and the report says what it took.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
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
  double damping = 0;              // what was added to the diagonal of H, over its mean
  int damping_steps = 0;           // how often it had to be raised to get a factor
  std::vector<Index> dead_inputs;  // inputs that were always 0: their weights count as 0
  // (w - q) H (w - q)^T of each row, rounded to nearest and in the result, and their sums.
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

// Parts of the work, from any thread, on their way to the progress function.
class Progress {
 public:
  // `ahead`: the part of the factorization in the whole.
  Progress(const std::function<bool(double)>& tell, double ahead) : tell_(tell), ahead_(ahead) {}

  void factored(double part) { add(part * ahead_); }
  void rounded(double part) { add(part * (1 - ahead_)); }

 private:
  void add(double part) {
    if (!tell_) return;
    const std::lock_guard lock(mutex_);
    done_ = std::min(1., done_ + part);
    if (cancelled_ || (cancelled_ = !tell_(done_))) throw Cancelled();
  }

  const std::function<bool(double)>& tell_;
  double ahead_, done_ = 0;
  bool cancelled_ = false;
  std::mutex mutex_;
};

inline namespace FEWBIT_ABI {

struct Calibration {
  std::vector<Index> inputs;  // column a of the feedback is this input; the last one is rounded first
  std::vector<bool> is_dead;  // column a
  Feedback feedback;
  std::optional<PaddedSquare<float>> drift;
  double damping = 0;  // added to the diagonal, in units of H / unit
  double unit = 1;     // of H, a power of two: no number of H overflows on its way

  Calibration(const Hessian& hessian, const GptqOptions& options, GptqReport& report, Progress& progress)
      : feedback(hessian.inputs()) {
    if (options.block < 1) fail_argument("gptq: a block of ", options.block, " columns is not possible; 128 is usual");
    if (!(options.damping >= 0 && options.damping <= 1e6))
      fail_argument("gptq: a damping of ", options.damping, " is not possible; .01 is usual");
    if (!std::isfinite(options.asymmetry))
      fail_argument("gptq: an asymmetry of ", options.asymmetry, " is not possible");
    report = {};
    Eigen::MatrixXd h = hessian.matrix();
    const Index n = h.rows();
    if (const double most = h.size() == 0 ? 0 : h.cwiseAbs().maxCoeff(); most > 0) {
      unit = std::ldexp(1., std::max(std::ilogb(most), -1022));
      h /= unit;
    }
    for (Index j = 0; j < n; ++j) {
      if (h(j, j) > 0) continue;
      report.dead_inputs.push_back(j);
      h.row(j).setZero(), h.col(j).setZero();
      h(j, j) = 1;
    }
    inputs.resize(static_cast<std::size_t>(n));
    std::iota(inputs.begin(), inputs.end(), Index{0});
    if (options.act_order)
      std::stable_sort(inputs.begin(), inputs.end(), [&](Index a, Index b) { return h(a, a) > h(b, b); });
    std::reverse(inputs.begin(), inputs.end());
    is_dead.resize(inputs.size());
    for (std::size_t a = 0; a < inputs.size(); ++a)
      is_dead[a] = std::binary_search(report.dead_inputs.begin(), report.dead_inputs.end(), inputs[a]);

    const PaddedSquare<double> factor = damped_factor(h, options.damping, report, progress);
    feedback = feedback_of(factor);
    if (options.asymmetry != 0) drift = drift_of(factor, hessian.deviation(), options.asymmetry);
  }

  // Rounds columns end - 1 .. begin of the tile by calls of pick(ColumnPart), and tells the columns before. Adds what
  // that costs each row to loss[row], unless it is null.
  template <class Pick>
  void round_block(FeedbackRows& tile, Index begin, Index end, double* loss, Pick&& pick) const {
    FeedbackErrors e(begin, end, tile.rows);
    round_columns(feedback, drift ? &*drift : nullptr, tile, e, [&](const ColumnPart& part) {
      pick(part);
      if (loss != nullptr) add_cost(part, loss);
    });
    push_errors(feedback.weights, e, e.errors, tile, tile.targets);
    if (!drift) return;
    push_errors(*drift, e, e.targets, tile, tile.targets);
    push_errors(*drift, e, e.targets, tile, tile.weights);
  }

  // What columns end - 1 .. begin become if none of them is rounded, but all that came before is made up for.
  FeedbackErrors unrounded(FeedbackRows& tile, Index begin, Index end) const {
    FeedbackErrors e(begin, end, tile.rows), before(begin, end, tile.rows);
    const auto swap = [&](Buffer<float>& kept, Buffer<float>& held) {
      for (Index i = 0; i < tile.rows; ++i)
        std::swap_ranges(kept.data() + i * e.width(), kept.data() + (i + 1) * e.width(),
                         held.data() + i * tile.stride + begin);
    };
    const auto copy = [&](Buffer<float>& kept, const Buffer<float>& held) {
      for (Index i = 0; i < tile.rows; ++i)
        std::copy_n(held.data() + i * tile.stride + begin, e.width(), kept.data() + i * e.width());
    };
    copy(before.targets, tile.targets), copy(before.errors, tile.weights);
    round_columns(feedback, drift ? &*drift : nullptr, tile, e,
                  [](const ColumnPart& part) { std::copy_n(part.targets, part.rows, part.chosen); });
    swap(before.targets, tile.targets), swap(before.errors, tile.weights);
    return e;
  }

  // Adds to loss[row] what it costs to choose what pick(ColumnPart) does, whatever the targets.
  template <class Pick>
  void losses(FeedbackRows& tile, double* loss, Pick&& pick) const {
    const Index step = 128;
    for (Index end = tile.n; end > 0; end -= std::min(end, step)) {
      FeedbackErrors e(std::max<Index>(0, end - step), end, tile.rows);
      round_columns(feedback, nullptr, tile, e, [&](const ColumnPart& part) {
        pick(part);
        add_cost(part, loss);
      });
      push_errors(feedback.weights, e, e.errors, tile, tile.targets);
    }
  }

 private:
  // What a column adds to (w - q) H (w - q)^T, without the damping; less than 0 where others make up for it.
  void add_cost(const ColumnPart& part, double* loss) const {
    const auto a = static_cast<std::size_t>(part.column);
    if (is_dead[a]) return;
    for (Index i = 0; i < part.rows; ++i) {
      const double chosen = part.chosen[i], error = part.weights[i] - chosen,
                   missed = feedback.pivots[a] * (part.targets[i] - chosen);
      loss[part.first_row + i] += unit * (missed * missed - damping * error * error);
    }
  }

  // Adds more and more to the diagonal until there is a factor. It ends: at last the diagonal outweighs all the rest.
  PaddedSquare<double> damped_factor(const Eigen::MatrixXd& h, double wanted, GptqReport& report, Progress& progress) {
    const Index n = h.rows();
    const double mean = n == 0 ? 1 : h.diagonal().mean();
    PaddedSquare<double> factor(n);
    for (report.damping = wanted;; ++report.damping_steps) {
      damping = report.damping * mean;
      for_each_slice(n, 64, [&](Index first, Index last) {
        for (Index a = first; a < last; ++a) {
          const auto from = h.col(inputs[static_cast<std::size_t>(a)]);
          for (Index b = 0; b <= a; ++b) factor.row(a)[b] = from[inputs[static_cast<std::size_t>(b)]];
          factor.row(a)[a] += damping;
        }
      });
      if (cholesky(factor, [&](double part) { progress.factored(report.damping_steps == 0 ? part : 0); }))
        return factor;
      report.damping = std::max(1e-4, 4 * report.damping);
    }
  }

  // alpha * striu(D U^T) U with U = R^-1 and R the factor of H in the order of rounding, R R^T = H (GPTAQ,
  // theorem 4.2).
  PaddedSquare<float> drift_of(const PaddedSquare<double>& factor, const Eigen::MatrixXd& deviation,
                               double alpha) const {
    const Index n = factor.n;
    Eigen::MatrixXd r = Eigen::MatrixXd::Zero(n, n), d(n, n);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        const auto a = static_cast<std::size_t>(n - 1 - i), b = static_cast<std::size_t>(n - 1 - j);
        if (i <= j) r(i, j) = factor.row(n - 1 - i)[n - 1 - j];
        d(i, j) = is_dead[a] || is_dead[b] ? 0 : deviation(inputs[a], inputs[b]) / unit;
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
