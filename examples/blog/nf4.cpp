// NormalFloat: sixteen levels where normally distributed weights are, and whether the page's are the best ones.
#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <array>
#include <iostream>
#include <span>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

namespace {

using example::fixed;
using example::joined;
using example::percent;

double mse(const example::Matrix& weights, const fewbit::Codebook& grid) {
  return fewbit::compare(weights, fewbit::dequantize(fewbit::quantize(weights, grid))).mse;
}

std::string with_sign(float level) { return joined(level < 0 ? "" : "+", fixed(static_cast<double>(level), 4)); }

}  // namespace

int main() {
  example::Figures figures("Blog, \"NormalFloat\": 10000 weights from N(0,1), 4 bits, one scale, seed 42");
  const example::Matrix weights = example::NumpyRandom(42).normals(1, 10000);

  // The page's "INT4" is np.linspace(-1, 1, 16).
  std::array<float, 16> evenly{};
  for (std::size_t k = 0; k < evenly.size(); ++k)
    evenly[k] = static_cast<float>(-1 + static_cast<double>(k) * (2. / 15));
  const fewbit::Codebook uniform(evenly);

  const double uniform_mse = mse(weights, uniform), blog_mse = mse(weights, fewbit::nf4_blog);
  const double blog_gain = 1 - blog_mse / uniform_mse;
  figures.published("INT4 MSE", "0.023122", fixed(uniform_mse, 6));
  figures.published("NF4 MSE", "0.013969", fixed(blog_mse, 6));
  figures.published("NF4 improvement", "39.6%", percent(blog_gain, 1));
  figures.published("NF4 improvement, rounded", "~40%", joined("~", percent(blog_gain, 0)));

  const char* const blog_levels[] = {"-1.0000", "-0.7076", "-0.5422", "-0.4168", "-0.3109", "-0.2159",
                                     "-0.1273", "-0.0421", "+0.0000", "+0.1273", "+0.2159", "+0.3109",
                                     "+0.4168", "+0.5422", "+0.7076", "+1.0000"};
  const char* const uniform_levels[] = {"-1.0000", "-0.8667", "-0.7333", "-0.6000", "-0.4667", "-0.3333",
                                        "-0.2000", "-0.0667", "+0.0667", "+0.2000", "+0.3333", "+0.4667",
                                        "+0.6000", "+0.7333", "+0.8667", "+1.0000"};
  for (int k = 0; k < 16; ++k)
    figures.listing(joined("NF4 level ", k), blog_levels[k], with_sign(fewbit::nf4_blog.levels()[k]));
  for (int k = 0; k < 16; ++k)
    figures.listing(joined("INT4 level ", k), uniform_levels[k], with_sign(uniform.levels()[k]));

  const double nf4_mse = mse(weights, fewbit::nf4);
  figures.corrected("NF4 MSE", "0.013969", "0.012389", fixed(nf4_mse, 6));
  figures.corrected("NF4 improvement", "39.6%", "46.4%", percent(1 - nf4_mse / uniform_mse, 1),
                    "The page's table is not QLoRA's NF4 but another set of quantiles; QLoRA's own is better.");

  const auto codes = fewbit::quantize(weights, fewbit::nf4_blog);
  std::array<int, 16> count{};
  for (fewbit::Index j = 0; j < codes.cols(); ++j) ++count[codes.code(0, j)];
  const auto [fewest, most] = std::minmax_element(count.begin(), count.end());
  const double n = static_cast<double>(weights.size());
  figures.corrected("weights in the fullest bin of the page's table", "1/16", "15.10%", percent(*most / n, 2));
  figures.corrected(
      "weights in the emptiest bin of the page's table", "1/16", "0.04%", percent(*fewest / n, 2),
      "Bins that are quantiles of N(0,1) are stretched by max|w|, 3.9 sigma here, and hold equal shares no longer.");

  const std::span<const float> samples(weights.data(), static_cast<std::size_t>(weights.size()));
  const double fitted_mse = mse(weights, fewbit::lloyd_max(samples, 16));
  figures.corrected("16 levels fitted to these weights (Lloyd-Max)", "0.013969", "0.009477", fixed(fitted_mse, 6));
  // Levels in units of sigma, so the scale is sigma itself, which these weights have by their making.
  const auto unit_sigma = [](std::span<const float>, const auto&) { return fewbit::Affine{1, 0}; };
  const auto normal = fewbit::quantize(weights, fewbit::lloyd_max_normal(16), fewbit::per_tensor(), unit_sigma);
  figures.corrected(
      "16 levels fitted to N(0,1), without seeing them", "0.013969", "0.009572",
      fixed(fewbit::compare(weights, fewbit::dequantize(normal)).mse, 6),
      "Equal shares per bin do not minimise the expected error, as the page claims; Lloyd and Max show what does.");

  const auto int4 = fewbit::quantize(weights, fewbit::Symmetric(4));
  figures.corrected("levels of \"-7, -6, ..., 0, ..., 6, 7\"", "16", "15", std::to_string(int4.levels().count()));
  figures.corrected("MSE of those, the page's own symmetric INT4", "0.023122", "0.026293",
                    fixed(fewbit::compare(weights, fewbit::dequantize(int4)).mse, 6),
                    "The listing compares with np.linspace(-1, 1, 16), which has one level more and no zero.");
  return figures.close();
}
