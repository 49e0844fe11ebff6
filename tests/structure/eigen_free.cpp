// Everything above the Eigen line, at work on a plain array: fit, code and decode rows, and hold the levels.
#include <lower.hpp>

#include <array>
#include <cmath>
#include <iostream>
#include <vector>

int main() {
  std::array<float, 100> x{};
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) / 50 - 1;
  const fewbit::kernel::Table& kernel = fewbit::kernel::active();
  const fewbit::Symmetric grid(4);
  constexpr std::size_t group = 32;
  std::array<fewbit::Range, 4> ranges;
  kernel.ranges(x.data(), x.size(), group, ranges.data());
  std::array<fewbit::Affine, 4> affine;
  for (std::size_t g = 0; g < affine.size(); ++g) affine[g] = grid.fit(ranges[g]);

  const fewbit::Levels levels = grid.levels();
  const fewbit::kernel::Row row{x.size(), group, affine.data(), &levels};
  std::vector<std::uint8_t> packed(fewbit::packed_bytes(x.size(), levels.bits()));
  kernel.quantize(x.data(), row, packed.data());
  std::array<float, 100> back{};
  kernel.dequantize(packed.data(), row, back.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float step = affine[i / group].scale;
    if (!(std::abs(x[i] - back[i]) <= step * 0.5001f)) {
      std::cerr << "weight " << i << " is " << x[i] << ", came back as " << back[i] << "\n";
      return 1;
    }
  }
  const fewbit::QuantizedMatrix empty;
  return empty.rows() == 0 && empty.bytes() == 0 ? 0 : 1;
}
