#pragma once
// Double quantization: the scales of blocks are quantized in their turn (QLoRA, arXiv 2305.14314, section 3). Rule: the
// codes of the weights stay as they are.

#include <algorithm>
#include <cmath>
#include <limits>

#include <fewbit/storage/quantized_matrix.hpp>

namespace fewbit {

// Whether all codes of a block stand for zero, so that any scale will do.
inline bool is_zero_block(const QuantizedMatrix& q, Index down, Index across, float zero) {
  for (Index i = down * q.block_rows(); i < std::min(q.rows(), (down + 1) * q.block_rows()); ++i)
    for (Index j = across * q.block_cols(); j < std::min(q.cols(), (across + 1) * q.block_cols()); ++j)
      if (q.levels()[static_cast<int>(q.code(i, j))] != zero) return false;
  return true;
}

// The same matrix with scales of 8 bits: less their mean, 256 at a time under one float. For groups of 64 that is .127
// bits a weight in place of .5 (f32) or .25 (f16). A matrix that has such scales comes back as it is.
//
// The scales move by at most 1/254 of the largest distance from the mean among their 256, and by the rounding of a
// float; by twice that where a scale would come out as 0 or a weight as infinite. Throws std::invalid_argument if q
// holds no weights.
inline QuantizedMatrix double_quantize(QuantizedMatrix q) {
  const StatedArithmetic stated;
  q.require_complete();
  if (q.params().is_coded() || q.params().size() == 0) return q;
  const std::size_t n = q.params().size();
  std::vector<Affine> blocks(n);
  q.params().read(0, n, blocks.data(), kernel::active());
  // The scale of a block of zeros is 1 by convention, which can be far from all others. It takes no part in the mean,
  // and then takes the mean: its zeros stay zeros.
  const auto across = static_cast<std::size_t>(q.blocks_across());
  std::vector<bool> is_free(n);
  double sum = 0;
  std::size_t counted = 0;
  for (std::size_t b = 0; b < n; ++b) {
    is_free[b] = blocks[b].scale == 1 &&
                 is_zero_block(q, static_cast<Index>(b / across), static_cast<Index>(b % across), blocks[b].zero);
    if (!is_free[b]) sum += static_cast<double>(blocks[b].scale), ++counted;
  }
  const auto is_finite_under = [&](float scale, float zero) {
    return std::isfinite(weight(q.levels().first(), {scale, zero})) &&
           std::isfinite(weight(q.levels().last(), {scale, zero}));
  };
  CodedScales to;
  to.mean = counted == 0 ? 1.f : static_cast<float>(sum / static_cast<double>(counted));
  to.codes.assign(n, 128);
  for (std::size_t first = 0; first < n; first += CodedScales::per_scale) {
    const std::size_t last = std::min(n, first + CodedScales::per_scale);
    double far = 0;
    for (std::size_t b = first; b < last; ++b)
      if (!is_free[b])
        far = std::max(far, std::fabs(static_cast<double>(blocks[b].scale) - static_cast<double>(to.mean)));
    // Scales that are all the mean come out as it, exactly: their step is 0, and the mean over it is not finite.
    const float second = round_scale(far / 127, ScaleType::f32), mean = std::fabs(to.mean);
    to.second.push_back(std::isfinite(to.mean / second) ? second : mean > 0 ? mean : 1.f);
    const auto code_run = [&] {
      bool good = true;
      const Affine a = to.affine(first);
      for (std::size_t b = first; b < last; ++b) {
        if (is_free[b]) continue;
        const float s = blocks[b].scale, zero = blocks[b].zero;
        auto code = static_cast<int>(std::clamp(std::nearbyint(s / a.scale + a.zero), 1.f, 255.f));
        const auto take = [&](int c) { to.codes[b] = static_cast<std::uint8_t>(code = c); };
        take(code);
        if (to[b] == 0) take((s < 0) == (a.scale < 0) && code < 255 ? code + 1 : code - 1);
        if (!is_finite_under(s, zero)) continue;
        // A scale that rounding has brought too close to the largest float gives way, as it does in quantize.
        if (!is_finite_under(to[b], zero) && code > 1 && code < 255) take(code + (s < 0 ? 1 : -1));
        good = good && is_finite_under(to[b], zero);
      }
      return good;
    };
    // The outermost code cannot give way, but the step can.
    for (int tries = 0; !code_run() && tries < 16; ++tries) to.second.back() *= 1.001f;
    for (std::size_t b = first; b < last; ++b)  // a free block whose mean came to nothing
      if (to[b] == 0) to.codes[b] = 255;
    for (std::size_t b = first; b < last; ++b)
      if (to[b] == 0) to.codes[b] = 254;
  }
  q.set_coded_scales(std::move(to));
  return q;
}

}  // namespace fewbit
