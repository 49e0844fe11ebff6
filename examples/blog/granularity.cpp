// Granularity: what one outlier row costs its neighbours, and what more scales cost in bits.
#include <fewbit/fewbit.hpp>

#include <cmath>
#include <iostream>
#include <string>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

int main() {
  using example::fixed;
  const auto times = [](double ratio, int digits) { return example::joined(fixed(ratio, digits), "x"); };
  example::Figures figures("Blog, \"Granularity\": 64 x 512 weights, row 13 fifty times as large, INT4, seed 42");

  constexpr fewbit::Index outlier = 13;
  example::Matrix W = example::NumpyRandom(42).normals(64, 512) * 0.02f;
  W.row(outlier) *= 50;
  example::Matrix others(W.rows() - 1, W.cols());
  const auto without_outlier = [&](const example::Matrix& m) {
    others << m.topRows(outlier), m.bottomRows(m.rows() - outlier - 1);
    return others;
  };

  const struct {
    std::string name;
    fewbit::Granularity granularity;
    const char *mse, *scales;
  } rows[] = {{"per tensor", fewbit::per_tensor(), "0.00071684", "1"},
              {"per channel", fewbit::per_channel(), "0.00033108", "64"},
              {"per group of 128", fewbit::per_group(128), "0.00024366", "256"}};

  double all_rows[3], other_rows[3];
  for (int k = 0; k < 3; ++k) {
    const auto q = fewbit::quantize(W, fewbit::Symmetric(4), rows[k].granularity);
    const auto back = fewbit::dequantize<example::Matrix>(q);
    all_rows[k] = fewbit::compare(W, back).mse;
    other_rows[k] = fewbit::compare(without_outlier(W), without_outlier(back)).mse;
    figures.published(rows[k].name + ", MSE", rows[k].mse, fixed(all_rows[k], 8));
    figures.published(rows[k].name + ", scale factors", rows[k].scales,
                      std::to_string(q.blocks_down() * q.blocks_across()));
  }
  const double group_gain = all_rows[0] / all_rows[2];
  const double other_channel_gain = other_rows[0] / other_rows[1], other_group_gain = other_rows[0] / other_rows[2];
  figures.published("per tensor / per group", "~3x", example::joined("~", times(group_gain, 0)));
  figures.published("per tensor / per group, the other rows", "over 50x",
                    other_group_gain > 50 ? "over 50x" : times(other_group_gain, 1));

  const auto f16 = fewbit::quantize(W, fewbit::Symmetric(4), fewbit::per_group(128, fewbit::ScaleType::f16));
  const auto groups = static_cast<std::size_t>(f16.blocks_down() * f16.blocks_across());
  figures.published("bytes of a group's codes", "64", std::to_string(f16.codes().size() / groups));
  figures.published("bytes of a float16 scale", "2", std::to_string((f16.bytes() - f16.codes().size()) / groups));
  figures.published("bits per weight that the scales add", "0.125", example::general(f16.bits_per_weight() - 4, 3));

  figures.corrected("per tensor / per group", "~3x", "2.94x", times(group_gain, 2));
  figures.corrected("per tensor / per channel, the other rows", "over 50x", "53.5x", times(other_channel_gain, 1));
  figures.corrected("per tensor / per group, the other rows", "over 50x", "71.7x", times(other_group_gain, 1),
                    "The page rounds; a scale per row is enough to pass 50, a scale per group does better.");
  const auto f32 = fewbit::quantize(W, fewbit::Symmetric(4), fewbit::per_group(128));
  figures.corrected("bits per weight that the listing's own scales add", "0.125", "0.25",
                    example::general(f32.bits_per_weight() - 4, 3));
  figures.corrected(
      "per group of 128, MSE with float16 scales", "0.00024366", "0.00024386",
      fixed(fewbit::compare(W, fewbit::dequantize(f16)).mse, 8),
      "The listing keeps float32 scales, twice the overhead it states; float16 scales cost 0.08% of the MSE.");
  return figures.close();
}
