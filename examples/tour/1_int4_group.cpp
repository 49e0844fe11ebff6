// Quantize a matrix to 4 bits in groups of 128, and see what it cost.
#include <fewbit/fewbit.hpp>

#include <iostream>

int main() {
  const Eigen::MatrixXf W = Eigen::MatrixXf::Random(512, 4096);  // [out, in], any storage order
  const auto q = fewbit::quantize(W, fewbit::Symmetric(4), fewbit::per_group(128, fewbit::ScaleType::f16));
  std::cout << fewbit::compare(W, fewbit::dequantize(q)) << "\n"  // mse, max error, SQNR in dB, ...
            << q.bits_per_weight() << " bits per weight\n";       // 4.125
  for (int bits : {8, 4, 3, 2}) {                                 // bits are values, not types
    std::cout << bits << ": " << fewbit::compare(W, fewbit::dequantize(fewbit::quantize(W, fewbit::Asymmetric(bits))))
              << "\n";
  }
}
