// Symmetric Quantization: one scale, a grid centred at zero, 8, 4 and 2 bits.
#include <fewbit/fewbit.hpp>

#include <iostream>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

int main() {
  using example::fixed, example::joined;
  example::Figures figures("Blog, \"Symmetric Quantization\": 1000 weights, seed 42");
  const example::Matrix weights = example::NumpyRandom(42).normals(1, 1000) * 0.5f;

  const struct {
    int bits;
    const char *mse, *max_error, *levels, *reachable, *compression, *true_compression, *signed_mse;
  } rows[] = {{8, "0.000019", "0.0076", "256", "255", "4x", "3.98x", "0.000019"},
              {4, "0.006299", "0.1376", "16", "15", "8x", "7.94x", "0.004830"},
              {2, "0.204871", "0.9594", "4", "3", "16x", "15.75x", "0.075512"}};

  for (const auto& row : rows) {
    const std::string name = joined("INT", row.bits);
    const auto q = fewbit::quantize(weights, fewbit::Symmetric(row.bits));
    const auto error = fewbit::compare(weights, fewbit::dequantize(q));
    figures.published(name + " MSE", row.mse, fixed(error.mse, 6));
    figures.published(name + " max error", row.max_error, fixed(error.max_error, 4));
    figures.published(name + " levels", row.levels, std::to_string(1 << q.bits()));
    figures.published(name + " compression", row.compression, joined(32 / q.bits(), "x"));
  }
  for (const auto& row : rows) {
    const auto q = fewbit::quantize(weights, fewbit::Symmetric(row.bits));
    figures.corrected(
        joined("INT", row.bits, " levels that a weight can reach"), row.levels, row.reachable,
        std::to_string(q.levels().count()),
        row.bits == 2 ? "The formula clamps to -2^(b-1), the listing to -(2^(b-1) - 1): one code is never used." : "");
  }
  for (const auto& row : rows) {
    const auto q = fewbit::quantize(weights, fewbit::Symmetric(row.bits).signed_scale());
    figures.corrected(
        joined("INT", row.bits, " MSE when that code is used too"), row.mse, row.signed_mse,
        fixed(fewbit::compare(weights, fewbit::dequantize(q)).mse, 6),
        row.bits == 2
            ? "The weight of largest magnitude sits at -2^(b-1), and the scale takes whatever sign that needs."
            : "");
  }
  for (const auto& row : rows) {
    const auto q = fewbit::quantize(weights, fewbit::Symmetric(row.bits));
    const double full = 4.0 * static_cast<double>(q.size());
    figures.corrected(joined("INT", row.bits, " compression of these weights"), row.compression, row.true_compression,
                      joined(fixed(full / static_cast<double>(q.bytes()), 2), "x"),
                      row.bits == 2 ? "32 / bits leaves out the scale: 4 bytes, even for 1000 weights." : "");
  }
  return figures.close();
}
