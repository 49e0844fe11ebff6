// What one unit makes, the other reads, both ways round; and both must make the same bytes.
#include <cmath>
#include <cstring>
#include <iostream>

#include "unit.hpp"

namespace {

int failures = 0;

void expect(bool good, const char* what) {
  if (good) return;
  std::cerr << "differs: " << what << "\n";
  ++failures;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return !a.empty() && a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Sums may be formed in another order, or with fused multiply-adds.
bool close(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.empty() || a.size() != b.size()) return false;
  double distance = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    distance += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(a[i]), 2);
  }
  return distance <= 1e-10 * size;
}

}  // namespace

int main() {
  const fewbit::QuantizedMatrix a = first::make(), b = second::make();
  expect(a == b, "quantize");
  expect(same(first::decode(b), second::decode(a)), "dequantize");
  expect(same(first::decode(a), first::fake(b)), "fake_quantize in the first unit");
  expect(same(second::decode(b), second::fake(a)), "fake_quantize in the second unit");
  expect(close(first::multiply(b), second::multiply(a)), "product");
  expect(close(first::round_trips(b), second::round_trips(a)), "many round trips");
  return failures;
}
