// Asymmetric Quantization: a zero-point moves the grid to where the values are.
#include <fewbit/fewbit.hpp>

#include <cmath>
#include <iostream>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

namespace {

using example::fixed;

template <class Grid>
double mse(const example::Matrix& values, const Grid& grid) {
  return fewbit::compare(values, fewbit::dequantize(fewbit::quantize(values, grid))).mse;
}

}  // namespace

int main() {
  example::Figures figures("Blog, \"Asymmetric Quantization\": 1000 values that are never negative, seed 42");
  const example::Matrix values = (example::NumpyRandom(42).normals(1, 1000) * 0.5f).cwiseAbs();

  const double symmetric = mse(values, fewbit::Symmetric(4)), asymmetric = mse(values, fewbit::Asymmetric(4));
  const double saved = 1 - asymmetric / symmetric;
  figures.published("INT4 symmetric MSE", "0.006299", fixed(symmetric, 6));
  figures.published("INT4 asymmetric MSE", "0.001297", fixed(asymmetric, 6));
  figures.published("improvement", "79.4%", example::percent(saved, 1));
  figures.published("improvement, rounded", "~80%", example::joined("~", fixed(10 * std::round(10 * saved), 0), "%"));

  const auto int8 = fewbit::quantize(values, fewbit::Symmetric(8));
  unsigned lowest = int8.code(0, 0), highest = lowest;
  for (fewbit::Index j = 0; j < int8.cols(); ++j) {
    lowest = std::min(lowest, int8.code(0, j));
    highest = std::max(highest, int8.code(0, j));
  }
  figures.published("INT8 symmetric, bits of the codes from lowest to highest", "7",
                    fixed(std::log2(highest - lowest + 1), 0));

  // The formula stretches no range and clamps no zero-point. On values far from zero the difference is large.
  const example::Matrix shifted = values.array() + 5;
  const auto q = fewbit::quantize(shifted, fewbit::Asymmetric(4)),
             plain = fewbit::quantize(shifted, fewbit::Symmetric(4));
  figures.corrected("values + 5: zero-point, codes being 0 to 15", "", "-39",
                    fixed(static_cast<double>(q.affine(0, 0).zero), 0));
  figures.corrected("values + 5: MSE with that zero-point", "", "0.001279",
                    fixed(mse(shifted, fewbit::Asymmetric(4)), 6));
  figures.corrected("values + 5: MSE with the range stretched to zero", "", "0.016706",
                    fixed(mse(shifted, fewbit::Asymmetric(4).including_zero()), 6),
                    "The page's zero-point is free to leave the codes; grids that keep zero exact pay for it here.");
  figures.corrected("values + 5: bytes of the zero-point", "one integer", "4",
                    std::to_string(q.bytes() - plain.bytes()));
  const auto near = fewbit::quantize((shifted.array() - 5.5f).matrix(), fewbit::Asymmetric(4));
  figures.corrected(
      "values - 0.5: bytes of the zero-point", "one integer", "1", std::to_string(near.bytes() - plain.bytes()),
      "A zero-point among the codes is stored in as many bits as a code; one outside them needs a number of its own.");
  return figures.close();
}
