// The Memory Wall: what the weights of a model take at 16 and at 4 bits, without and with their scales.
#include <fewbit/fewbit.hpp>

#include <iostream>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

namespace {

constexpr std::size_t billion = 1'000'000'000;

std::string gigabytes(double bytes, int digits) {
  return example::joined(example::general(bytes / 1e9, digits), " GB");
}

std::string codes_alone(std::size_t weights, int bits) {
  return gigabytes(static_cast<double>(fewbit::packed_bytes(weights, bits)), 3);
}

}  // namespace

int main() {
  example::Figures figures("Blog, \"The Memory Wall\": the bytes of the weights");

  figures.published("float16, one parameter", "2 bytes", example::joined(fewbit::packed_bytes(1, 16), " bytes"));
  figures.published("7B at 16 bits", "14 GB", codes_alone(7 * billion, 16));
  figures.published("70B at 16 bits", "140 GB", codes_alone(70 * billion, 16));
  figures.published("7B at 4 bits", "3.5 GB", codes_alone(7 * billion, 4));
  figures.published("70B at 4 bits", "35 GB", codes_alone(70 * billion, 4));

  // A layer of a 7B model has 4096 inputs. How many of its bytes are scales does not depend on the weights.
  const example::Matrix layer = example::NumpyRandom(42).normals(64, 4096) * 0.02f;
  const auto with_scales = [&](double billions, const auto& grid, fewbit::Granularity granularity) {
    return gigabytes(billions * 1e9 * fewbit::quantize(layer, grid, granularity).bits_per_weight() / 8, 3);
  };
  const auto channel = fewbit::per_channel(fewbit::ScaleType::f16),
             group = fewbit::per_group(128, fewbit::ScaleType::f16);
  const fewbit::Symmetric int4(4);
  figures.corrected("7B at 4 bits, a float16 scale per row of 4096", "3.5 GB", "3.5 GB", with_scales(7, int4, channel));
  figures.corrected("7B at 4 bits, a float16 scale per 128 weights", "3.5 GB", "3.61 GB", with_scales(7, int4, group));
  figures.corrected("70B at 4 bits, a float16 scale per 128 weights", "35 GB", "36.1 GB", with_scales(70, int4, group));
  figures.corrected("7B as NF4, a float32 scale per 64 weights", "3.5 GB", "3.94 GB",
                    with_scales(7, fewbit::nf4, fewbit::per_group(64)),
                    "The page counts codes alone; these are the bytes that are held, scales included.");
  return figures.close();
}
