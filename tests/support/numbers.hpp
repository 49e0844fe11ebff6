#pragma once
// Streams of numbers that are the same on every machine, and weights chosen to hurt. Rule: no distribution of the
// standard library (each library has its own), no Eigen.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <support/oracle.hpp>

namespace support {

// numpy.random.RandomState: what the documents' listings call.
class NumPy {
 public:
  explicit NumPy(std::uint32_t seed) : engine_(seed) {}

  double random_sample() {
    const std::uint32_t high = bits() >> 5, low = bits() >> 6;
    return (high * 67108864. + low) / 9007199254740992.;
  }
  // The polar method; the second number of each pair is kept for the next call.
  double randn() {
    if (waiting_) {
      waiting_ = false;
      return next_;
    }
    double x, y, r;
    do {
      x = 2 * random_sample() - 1, y = 2 * random_sample() - 1;
      r = x * x + y * y;
    } while (r >= 1 || r == 0);
    const double f = std::sqrt(-2 * std::log(r) / r);
    next_ = f * x, waiting_ = true;
    return f * y;
  }
  std::uint32_t bits() { return static_cast<std::uint32_t>(engine_()); }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_sample() * static_cast<double>(n)); }

 private:
  std::mt19937 engine_;
  double next_ = 0;
  bool waiting_ = false;
};

inline std::vector<float> normal_weights(std::size_t n, std::uint32_t seed) {
  NumPy random(seed);
  std::vector<float> w(n);
  for (float& x : w) x = static_cast<float>(random.randn());
  return w;
}

inline float next_up(float x) { return std::nextafterf(x, std::numeric_limits<float>::infinity()); }
inline float next_down(float x) { return std::nextafterf(x, -std::numeric_limits<float>::infinity()); }

// One weight for a block with this affine: exact levels, ties and their two neighbours, the ends of the range,
// zeros of both signs, weights far outside and infinite, subnormals, and ordinary ones between.
inline float planted_weight(NumPy& random, oracle::Affine a, const oracle::Grid& g) {
  constexpr float huge = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();
  const auto at = [&](double level) {
    const double w = static_cast<double>(a.scale) * (level - static_cast<double>(a.zero));
    return oracle::to_float(std::clamp(w, -oracle::f32.most, oracle::f32.most));
  };
  const auto count = static_cast<std::size_t>(g.count());
  const int i = static_cast<int>(random.below(count)), j = i + 1 < g.count() ? i + 1 : i - 1;
  const double level = g.level(i), tie = (level + static_cast<double>(g.level(j))) / 2;
  switch (random.below(16)) {
    case 0: return at(level);
    case 1:
    case 2:
    case 3: return at(tie);
    case 4: return next_up(at(tie));
    case 5: return next_down(at(tie));
    case 6: return at(random.below(2) ? g.first() : g.last());
    case 7: return at(random.below(2) ? g.first() - 0.5f : g.last() + 0.5f);
    case 8: return random.below(2) ? 0.f : -0.f;
    case 9: {
      const float far = random.below(2) ? huge : std::numeric_limits<float>::infinity();
      return random.below(2) ? far : -far;
    }
    case 10: return random.below(2) ? tiny * static_cast<float>(random.below(9)) : -tiny;
    default: {
      const double low = g.first(), high = g.last();
      return at(low + (high - low) * (1.2 * random.random_sample() - 0.1));
    }
  }
}

}  // namespace support
