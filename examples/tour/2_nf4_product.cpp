// NF4 with a scale for every 64 weights, multiplied straight from the codes.
#include <fewbit/fewbit.hpp>

#include <iostream>

int main() {
  const Eigen::MatrixXf W = Eigen::MatrixXf::Random(1024, 4096);
  const Eigen::VectorXf x = Eigen::VectorXf::Random(4096);
  const Eigen::MatrixXf X = Eigen::MatrixXf::Random(4096, 32);
  const auto q = fewbit::quantize(W, fewbit::nf4, fewbit::per_group(64));
  const Eigen::VectorXf y = q * x;
  const Eigen::MatrixXf Y = q * X;
  std::cout << q.bits_per_weight() << " bits per weight\n"  // 4.5
            << fewbit::compare(W * x, y) << "\n"
            << fewbit::compare(W * X, Y) << "\n";
}
