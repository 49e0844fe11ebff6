// The Quick and Dirty Way: round the weights of two layers to the nearest level, and watch the output.
#include <fewbit/fewbit.hpp>

#include <iostream>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

int main() {
  using example::fixed, example::joined;
  example::Figures figures("Blog, \"Post-Training Quantization\": round to nearest through two layers, seed 0");

  example::NumpyRandom random(0);
  const example::Matrix W1 = random.normals(32, 16) * 0.3f;
  const example::Matrix W2 = random.normals(4, 32) * 0.3f;
  const Eigen::MatrixXf X = random.normals(200, 16).transpose();  // inputs x samples
  const Eigen::MatrixXf reference = W2 * (W1 * X).cwiseMax(0);

  const struct {
    int bits;
    const char *mse, *max_deviation;
  } rows[] = {
      {8, "0.000178", "0.0543"}, {4, "0.054342", "0.9069"}, {3, "0.273438", "2.0356"}, {2, "1.565282", "4.4790"}};

  for (const auto& row : rows) {
    const fewbit::Symmetric grid(row.bits);
    const auto q1 = fewbit::quantize(W1, grid), q2 = fewbit::quantize(W2, grid);
    const Eigen::MatrixXf hidden = (q1 * X).cwiseMax(0);  // both products read the packed codes
    const auto error = fewbit::compare(reference, q2 * hidden);
    const std::string name = joined("INT", row.bits);
    figures.published(name + " output MSE", row.mse, fixed(error.mse, 6));
    figures.published(name + " max deviation", row.max_deviation, fixed(error.max_error, 4));
  }
  return figures.close();
}
