#pragma once
// How large a layer's inputs are, each for itself: what scaling them needs to know. Rule: batches of any size and type,
// sums in double; nothing is answered before the first sample.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <fewbit/eigen/rows.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

class InputStatistics {
 public:
  // Throws std::invalid_argument for a negative number of inputs.
  explicit InputStatistics(Index inputs) : inputs_(inputs) {
    if (inputs < 0) fail_argument("statistics of ", inputs, " inputs are not possible");
    absolute_ = square_ = most_ = Eigen::VectorXd::Zero(inputs);
  }
  // Of all the samples there are, x[in, samples].
  template <class Derived>
  static InputStatistics of(const Eigen::MatrixBase<Derived>& x) {
    InputStatistics s(x.rows());
    s.add(x);
    return s;
  }

  // A batch of samples x[in, samples]. Throws std::invalid_argument unless it has inputs() rows, std::domain_error if a
  // number is not finite; nothing is added then.
  template <class Derived>
  void add(const Eigen::MatrixBase<Derived>& x) {
    if (x.rows() != inputs_)
      fail_argument("a calibration batch is ", x.rows(), " x ", x.cols(), " where the layer has ", inputs_,
                    " inputs; a column is a sample");
    const StatedArithmetic stated;
    Eigen::VectorXd absolute = absolute_, square = square_, most = most_;
    const Evaluated<Derived> samples(x);
    Rows{samples}.each(0, inputs_, [&](Index i, const Row& row) {
      for (Index j = 0; j < x.cols(); ++j) {
        if (!std::isfinite(row.in[j]))
          fail_domain("calibration input ", i, " of sample ", j, " is ", row.in[j], "; leave it out");
        const double a = std::fabs(static_cast<double>(row.in[j]));
        absolute[i] += a, square[i] += a * a, most[i] = std::max(most[i], a);
      }
    });
    absolute_.swap(absolute), square_.swap(square), most_.swap(most);
    samples_ += x.cols();
  }

  // Takes in the samples of another shard.
  void merge(const InputStatistics& other) {
    if (other.inputs_ != inputs_)
      fail_argument("statistics of ", inputs_, " inputs cannot take in those of ", other.inputs_);
    absolute_ += other.absolute_, square_ += other.square_, most_ = most_.cwiseMax(other.most_);
    samples_ += other.samples_;
  }

  Index inputs() const { return inputs_; }
  Index samples() const { return samples_; }

  // For each input: mean |x|, mean x^2, max |x|. Throw std::invalid_argument if there was no sample.
  Eigen::VectorXd mean_absolute() const { return absolute_ / count(); }
  Eigen::VectorXd mean_square() const { return square_ / count(); }
  Eigen::VectorXd max_absolute() const { return count(), most_; }

  // mean x^2 as MseSearch::importance takes it.
  std::vector<float> importance() const {
    const Eigen::VectorXf mean = mean_square().cast<float>().cwiseMin(std::numeric_limits<float>::max());
    return {mean.begin(), mean.end()};
  }

 private:
  double count() const {
    if (samples_ == 0) fail_argument("calibration never ran: there are no samples; add() some first");
    return static_cast<double>(samples_);
  }

  Index inputs_, samples_ = 0;
  Eigen::VectorXd absolute_, square_, most_;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
