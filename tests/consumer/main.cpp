#include <fewbit/fewbit.hpp>

#include <iostream>

int main() {
  Eigen::MatrixXf w(2, 4);
  w << 1, 2, 3, 4, -1, -2, -3, -7;
  const auto q = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel());
  std::cout << FEWBIT_VERSION_MAJOR << '.' << FEWBIT_VERSION_MINOR << '.' << FEWBIT_VERSION_PATCH << ' ' << q(1, 3)
            << "\n";
}
