#pragma once
// The narrow waist. Above it: grids, estimators, algorithms, Eigen. Below it: raw pointers. Rule: a kernel works
// on one row cut into groups, so that the indirect call is paid once for thousands of weights.

#include <cstddef>
#include <cstdint>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/granularity.hpp>
#include <fewbit/core/levels.hpp>

namespace fewbit::kernel {

// How one row of n weights is coded: weight k by affine[k / group]; the last group may be short. A group of 0 is
// not allowed; n may be 0. Scales are finite and not 0, zero-points finite and never -0.
struct Row {
  std::size_t n, group;
  const Affine* affine;
  const Levels* levels;
  // `out` is apart from all that is read, and part of something larger than the cache, so it is best written around it.
  bool streamed = false;
};

struct Table {
  const char* name;
  bool (*supported)();

  // out[g] = {min, max} of group g, for ceil(n / group) groups; a zero comes out as +0. Both are NaN for a group
  // that holds a NaN.
  void (*ranges)(const float* x, std::size_t n, std::size_t group, Range* out);

  // The sum of |x|, in double and in one order everywhere (scalar::sum_lanes); no NaN.
  double (*absolute_sum)(const float* x, std::size_t n);

  // out[i] = {scale i, 0}, for n scales as they are stored.
  void (*widen_scales)(ScaleType, const std::uint8_t* stored, std::size_t n, Affine* out);

  // The same for scales that are codes of 8 bits themselves: {scale * (code - zero), 0}.
  void (*widen_coded_scales)(const std::uint8_t* codes, Affine second, std::size_t n, Affine* out);

  // Weights to codes; no NaN, and an infinity is the end of the range on its side. Writes packed_bytes(n, bits) bytes,
  // padding bits zero.
  void (*quantize)(const float* x, const Row&, std::uint8_t* packed);

  // Codes to weights.
  void (*dequantize)(const std::uint8_t* packed, const Row&, float* out);

  // What dequantize makes of quantize's codes, without the codes. `out` may be x. Unless mask is null, bit k of its
  // ceil(n / 8) bytes, lowest first, tells whether weight k lies in the range that the levels cover (scalar::inside);
  // bits past n are zero.
  void (*fake_quantize)(const float* x, const Row&, float* out, std::uint8_t* mask);

  // The gradient that passes straight through: out[k] = gradient[k] where that mask has weight k inside, else +0. `out`
  // may be the gradient.
  void (*straight_through)(const float* x, const Row&, const float* gradient, float* out);
};

}  // namespace fewbit::kernel
