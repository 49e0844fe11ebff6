#pragma once
// The weights of the demo, whose page names no data. Rule: formed in double, so that every machine rounds them to the
// same floats.

#include <cmath>
#include <numbers>

#include "../support/numpy_random.hpp"

namespace example {

// Three waves, so that banding shows, a little noise, and a mean that is not zero, so that schemes differ.
inline Matrix demo_weights(Eigen::Index side = 24) {
  NumpyRandom random(42);
  Eigen::MatrixXd W = Eigen::MatrixXd::Constant(side, side, 0.25);
  for (int wave = 0; wave < 3; ++wave) {
    const double down = 2.5 * random.uniform() - 1.25, across = 2.5 * random.uniform() - 1.25, phase = random.uniform();
    for (Eigen::Index i = 0; i < side; ++i)
      for (Eigen::Index j = 0; j < side; ++j) {
        const auto turn = (down * static_cast<double>(i) + across * static_cast<double>(j)) / static_cast<double>(side);
        W(i, j) += 0.25 * std::cos(2 * std::numbers::pi * (turn + phase));
      }
  }
  return (W + 0.01 * random.normals(side, side).cast<double>()).cast<float>();
}

}  // namespace example
