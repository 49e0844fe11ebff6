#pragma once
// Inputs of a layer that tell about each other, as a network's do. Rule: drawn in one fixed order from NumPy's stream,
// so that a program in Python gets the same.

#include <cmath>

#include "numpy_random.hpp"

namespace example {

// Every input is a sum of common causes and of something of its own. The faster causes lose their weight, exp(-j /
// decay), the fewer count, and the more one input tells about others. `heavy` makes some much larger than the rest.
class CorrelatedInputs {
 public:
  CorrelatedInputs(NumpyRandom& random, Eigen::Index inputs, double decay, double heavy)
      : causes_(random.doubles(inputs, inputs)), size_((heavy * random.doubles(inputs, 1)).array().exp()) {
    for (Eigen::Index j = 0; j < inputs; ++j) causes_.col(j) *= std::exp(-static_cast<double>(j) / decay);
  }

  // X[inputs, samples]
  Eigen::MatrixXd draw(NumpyRandom& random, Eigen::Index samples) const {
    const Eigen::MatrixXd common = random.doubles(size_.size(), samples), own = random.doubles(size_.size(), samples);
    return size_.asDiagonal() * (0.3 * (causes_ * common + own));
  }

 private:
  Eigen::MatrixXd causes_;
  Eigen::VectorXd size_;
};

}  // namespace example
