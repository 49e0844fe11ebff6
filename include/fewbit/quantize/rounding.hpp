#pragma once
// Which of the levels beside a weight its code is. Rule: what decides is the weight, its block, and for chance the seed
// and the weight's place, so the same codes come out whatever the storage order, instruction set, number of threads and
// compiler; and no product is followed by a sum, which a compiler might contract.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fewbit/core/error.hpp>
#include <fewbit/core/packing.hpp>
#include <fewbit/kernel/scalar.hpp>

namespace fewbit {

// half_even: to the nearest level, ties as in kernel/scalar.hpp; the kernels' own, and the fast one. half_away: to the
// nearest, ties away from zero. stochastic: to one of the two levels beside the weight, the nearer with the greater
// chance, so that errors are 0 on average (Gupta et al., arXiv 1502.02551, section 3.1). A weight on a level stays
// there, and one beyond the levels takes the last on its side, under each of them.
//
// Ties and chances are those of w / scale + zero as the contract has it, in floats. On integers `away from zero` is
// that of w / scale and the fraction of the zero-point, on a table that of the level; a tie of -l and l is -l.
enum class Rounding { half_even, half_away, stochastic };

// The last mix of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, with Stafford's constants): a bijection of 64 bits,
// each depending on all.
constexpr std::uint64_t mix_bits(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// One number in [0, 1) for each place of a matrix: SplitMix64's sequence, started for each row anew at a place that is
// mixed itself, so that neither rows nor seeds that follow each other share a part of it.
class Chances {
 public:
  constexpr Chances(std::uint64_t seed, Index row)
      : start_(mix_bits(mix_bits(seed + step) + (static_cast<std::uint64_t>(row) + 1) * step)) {}

  constexpr double operator()(std::size_t col) const {
    return static_cast<double>(mix_bits(start_ + (col + 1) * step) >> 11) * 0x1p-53;
  }

 private:
  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15u;  // 2^64 over the golden ratio
  std::uint64_t start_;
};

// Whether u lies halfway between a and b, exactly: in double a + b is what it should be, or there is no tie, for then
// it has more digits than any float.
constexpr bool is_tie(float u, float a, float b) {
  const double x = static_cast<double>(a), y = static_cast<double>(b), sum = x + y;
  return sum - x == y && sum - y == x && static_cast<double>(u) + static_cast<double>(u) == sum;
}

// A code on consecutive integers: `round` makes a whole number of w / scale and the fraction of the zero-point.
template <class Round>
unsigned integer_code(float w, Affine a, const Levels& l, Round&& round) {
  const float whole = kernel::scalar::round_even(a.zero), rest = a.zero - whole;
  // Clamped as a float: the quotient may be infinite.
  const float level = kernel::scalar::clamp(round(w / a.scale + rest) + whole, l.first(), l.last());
  return static_cast<unsigned>(level - l.first());
}

// To the nearest whole number, halves away from zero: what std::round should be, which mingw's is not for the float
// below a half, nor for odd numbers from 2^23 on. What is behind the point of a float is a float; that of an infinity
// is a NaN, and it stays.
inline float round_away(float t) {
  const float toward = std::trunc(t);
  return std::fabs(t - toward) >= 0.5f ? toward + std::copysign(1.f, t) : toward;
}

// The code of weight k of a row under half_away.
struct HalfAway {
  unsigned operator()(float w, Affine a, const Levels& l, std::size_t) const {
    if (l.uniform()) return integer_code(w, a, l, round_away);
    const float u = w / a.scale + a.zero;
    const unsigned code = kernel::scalar::nearest_entry(u, l);
    const auto lower = static_cast<int>(code);
    if (lower + 1 == l.count() || !is_tie(u, l[lower], l[lower + 1])) return code;
    return std::fabs(l[lower + 1]) > std::fabs(l[lower]) ? code + 1 : code;
  }
};

// The code of weight k of a row under stochastic rounding: of two levels a <= u < b the upper one with the chance
// (u - a) / (b - a), in double, where the distance from a level to a float just below the next is a number.
class Stochastic {
 public:
  explicit Stochastic(const Chances& chance) : chance_(chance) {}

  unsigned operator()(float w, Affine a, const Levels& l, std::size_t k) const {
    // A weight that is a level's may have a quotient that is not quite the level.
    const unsigned nearest = kernel::scalar::nearest(w, a, l);
    if (weight(l[static_cast<int>(nearest)], a) == w) return nearest;
    return l.uniform() ? integer_code(w, a, l, [&](float t) { return integer(t, k); })
                       : entry(w / a.scale + a.zero, l, k);
  }

 private:
  float integer(float t, std::size_t k) const {
    const float lower = std::floor(t);
    const bool up = chance_(k) < static_cast<double>(t) - static_cast<double>(lower);  // no number if t is infinite
    return up ? lower + 1 : lower;
  }
  unsigned entry(float u, const Levels& l, std::size_t k) const {
    auto lower = static_cast<int>(kernel::scalar::nearest_entry(u, l));
    if (l[lower] > u && lower > 0) --lower;
    if (l[lower] > u || lower + 1 == l.count()) return static_cast<unsigned>(lower);
    const double x = static_cast<double>(l[lower]), y = static_cast<double>(l[lower + 1]);
    return static_cast<unsigned>(lower) + (chance_(k) < (static_cast<double>(u) - x) / (y - x));
  }

  Chances chance_;
};

// Codes rows under a rounding: through the kernels, or weight by weight.
class RowCoder {
 public:
  // Throws std::invalid_argument for a rounding there is not.
  RowCoder(Rounding rounding, std::uint64_t seed, const kernel::Table& table)
      : rounding_(rounding), seed_(seed), table_(table) {
    if (rounding != Rounding::half_even && rounding != Rounding::half_away && rounding != Rounding::stochastic)
      fail_argument("rounding ", static_cast<int>(rounding),
                    " is not possible; use Rounding::half_even, half_away or stochastic");
  }

  // kernel::Table's quantize and fake_quantize, for row i of a matrix.
  void quantize(Index i, const float* x, const kernel::Row& r, std::uint8_t* packed) const {
    if (rounding_ == Rounding::half_even) return table_.quantize(x, r, packed);
    const int bits = r.levels->bits();
    std::fill_n(packed, packed_bytes(r.n, bits), std::uint8_t{0});
    each_code(i, x, r, [&](std::size_t k, unsigned code, float) { put_code(packed, k, bits, code); });
  }
  void fake_quantize(Index i, const float* x, const kernel::Row& r, float* out) const {
    if (rounding_ == Rounding::half_even) return table_.fake_quantize(x, r, out, nullptr);
    each_code(i, x, r, [&](std::size_t k, unsigned, float w) { out[k] = w; });
  }

 private:
  // Calls f(k, code, weight) for every weight of row i, the weight being the code's. No x[k] is read after f(k, ..).
  template <class F>
  void each_code(Index i, const float* x, const kernel::Row& r, F&& f) const {
    if (rounding_ == Rounding::half_away) return each_code_by(HalfAway{}, x, r, f);
    each_code_by(Stochastic(Chances(seed_, i)), x, r, f);
  }
  template <class Code, class F>
  static void each_code_by(const Code& code, const float* x, const kernel::Row& r, F&& f) {
    const Levels& l = *r.levels;
    kernel::scalar::each_group(r, [&](std::size_t k, std::size_t end, Affine a) {
      for (; k < end; ++k) {
        const unsigned chosen = code(x[k], a, l, k);
        const float w = weight(l[static_cast<int>(chosen)], a);
        if (std::isfinite(w)) {
          f(k, chosen, w);
        } else {  // a scale near the end of the floats is kept safe for half_even's level, not for its neighbours
          const unsigned nearest = kernel::scalar::nearest(x[k], a, l);
          f(k, nearest, weight(l[static_cast<int>(nearest)], a));
        }
      }
    });
  }

  Rounding rounding_;
  std::uint64_t seed_;
  const kernel::Table& table_;
};

}  // namespace fewbit
