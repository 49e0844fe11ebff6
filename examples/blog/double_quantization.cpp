// Double quantization: what scales take before and after they are quantized themselves, and what a model of 65 billion
// weights takes while it is fine-tuned.
#include <fewbit/fewbit.hpp>

#include <array>
#include <iostream>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

namespace {

using example::fixed;
using example::joined;

// Scales alone: what is held beyond the codes.
double bits_of_scales(const fewbit::QuantizedMatrix& q) { return q.bits_per_weight() - q.bits(); }

std::string gigabytes(double bytes) { return joined(fixed(bytes / 1e9, 1), " GB"); }

// LLaMA 65B (arXiv 2302.13971): 80 layers, each with four square matrices and three between 8192 and 22016.
constexpr double layers = 80, width = 8192, inner = 22016, vocabulary = 32000;
constexpr double linear_weights = layers * (4 * width * width + 3 * width * inner), embeddings = 2 * vocabulary * width;
// An adapter of rank r beside a matrix [out, in] has r (in + out) parameters; QLoRA trains all of them, r = 64.
constexpr double rank = 64;
constexpr double adapters = layers * rank * (4 * (width + width) + 3 * (width + inner));

}  // namespace

int main() {
  example::Figures figures(
      "Blog, \"Double Quantization and QLoRA\": scales of 8 bits, and 65 billion weights in 48 GB");

  const example::Matrix weights = example::NumpyRandom(42).normals(1024, 1024);
  const auto nf4 = [&](fewbit::ScaleType type) {
    return fewbit::quantize(weights, fewbit::nf4, fewbit::per_group(64, type));
  };
  const auto f16 = nf4(fewbit::ScaleType::f16), f32 = nf4(fewbit::ScaleType::f32), dq = fewbit::double_quantize(f32);
  const double groups = static_cast<double>(weights.size()) / 64;

  figures.published("a float16 scale per group", "2 bytes",
                    joined(fixed(bits_of_scales(f16) * static_cast<double>(weights.size()) / 8 / groups, 0), " bytes"));
  figures.published("extra bits per weight", "0.25", fixed(bits_of_scales(f16), 2));
  figures.published("extra bits per weight, double-quantized", "0.127", fixed(bits_of_scales(dq), 3));

  const double base = linear_weights * dq.bits_per_weight() / 8, frozen = base + 2 * embeddings,
               half_adapters = 2 * adapters, gradients = 2 * adapters, adam = 8 * adapters,
               training = frozen + half_adapters + gradients + adam;
  figures.published("65B with adapters, gradients and Adam, within", "48 GB",
                    training < 48e9 ? "48 GB" : gigabytes(training));

  figures.corrected("bits per weight in all, as they are held", "", "4.127", fixed(dq.bits_per_weight(), 3));
  figures.corrected("extra bits per weight of QLoRA's own scales, float32", "0.25", "0.50",
                    fixed(bits_of_scales(f32), 2), "QLoRA's scales are float32 before: .373 bits are saved, not .123.");
  const double at_70 = 70e9 / 8;
  figures.corrected("70B: saved against float16 scales", "gigabytes", "1.1 GB",
                    gigabytes(at_70 * (bits_of_scales(f16) - bits_of_scales(dq))));
  figures.corrected("70B: saved against float32 scales", "gigabytes", "3.3 GB",
                    gigabytes(at_70 * (bits_of_scales(f32) - bits_of_scales(dq))));

  const double before = fewbit::compare(weights, fewbit::dequantize(f32)).mse,
               after = fewbit::compare(weights, fewbit::dequantize(dq)).mse;
  figures.corrected("MSE with float32 scales", "", "0.008458", fixed(before, 6));
  figures.corrected("MSE, double-quantized", "", "0.008459", fixed(after, 6));
  figures.corrected("MSE, the price", "", "0.02%", example::percent(after / before - 1, 2));

  // The adapters as the library holds them, beside a matrix of its own.
  const fewbit::LoraLinear<Eigen::half> layer(dq, 64, 16);
  figures.corrected("float16 adapters of rank 64 beside 1024 x 1024, bytes", "", "262144",
                    std::to_string(layer.bytes() - dq.bytes()));
  figures.corrected("the same matrix at 4.127 bits, bytes", "", "540932", std::to_string(dq.bytes()));

  figures.corrected("65B: weights in 80 layers, billions", "65", "64.8", fixed(linear_weights / 1e9, 1));
  figures.corrected("  frozen at 4.127 bits", "", "33.4 GB", gigabytes(base));
  figures.corrected("  embeddings and output, float16", "", "1.0 GB", gigabytes(2 * embeddings));
  figures.corrected("  adapters of rank 64, float16", "", "1.6 GB", gigabytes(half_adapters));
  figures.corrected("  their gradients, float16", "", "1.6 GB", gigabytes(gradients));
  figures.corrected("  Adam's two moments of them, float32", "", "6.4 GB", gigabytes(adam));
  figures.corrected("  all of these", "48 GB", "44.1 GB", gigabytes(training));
  figures.corrected("  with float32 scales instead", "48 GB", "47.1 GB",
                    gigabytes(training + linear_weights * (bits_of_scales(f32) - bits_of_scales(dq)) / 8));
  figures.corrected("  all weights trained, in float16 with Adam", "", "783.4 GB",
                    gigabytes((linear_weights + embeddings) * (2 + 2 + 8)),
                    "Activations come on top: 4 GB are left for them. Norms, 1.3 million numbers, are not counted.");
  return figures.close();
}
