#pragma once
// One Affine per block, in the bytes it really takes: scales in their stored type, or as codes of 8 bits with scales of
// their own; zero-points not at all when there are none, in as many bits as a code when they are codes, as floats
// otherwise. Rule: what goes in comes out; rounding has happened before.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/arithmetic.hpp>
#include <fewbit/core/granularity.hpp>
#include <fewbit/core/half.hpp>
#include <fewbit/core/levels.hpp>
#include <fewbit/core/packing.hpp>
#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/kernel/scalar.hpp>

namespace fewbit {

// Scales that are codes themselves, a number of them sharing one scale of the second level (QLoRA, section 3): block b
// has the scale second[b / per_scale] * (code[b] - zero), where zero = -mean / second[b / per_scale] puts the mean of
// all scales at code 128.
struct CodedScales {
  static constexpr std::size_t per_scale = 256;
  std::vector<std::uint8_t> codes;
  std::vector<float> second;
  float mean = 0;

  Affine affine(std::size_t b) const {
    const float s = second[b / per_scale];
    return {s, 128 - mean / s};
  }
  float operator[](std::size_t b) const { return weight(static_cast<float>(codes[b]), affine(b)); }
  std::size_t bytes() const { return codes.size() + second.size() * sizeof(float) + sizeof mean; }
  friend bool operator==(const CodedScales&, const CodedScales&) = default;
};

class Params {
 public:
  Params() = default;

  // `bits` is the width of the codes. Every scale must be a finite value of the type `scale`, and not 0; every
  // zero-point finite. Throws std::invalid_argument otherwise.
  Params(std::span<const Affine> blocks, ScaleType scale, int bits)
      : count_(blocks.size()), scale_(scale), bits_(bits), scales_(count_ * scale_bytes(scale)) {
    if (bits < 1 || bits > max_bits) fail_argument("bit width ", bits, " is not possible; use 1 to 16");
    const StatedArithmetic stated;
    const float last_code = static_cast<float>((1 << bits) - 1);
    for (std::size_t b = 0; b < count_; ++b) {
      const Affine a = blocks[b];
      write_scale(b, a.scale);
      if (!is_stored_scale(a.scale, scale) && (!std::isfinite(a.scale) || a.scale == 0 || read_scale(b) != a.scale))
        fail_argument("scale ", a.scale, " of block ", b, " cannot be stored as ", name(scale),
                      "; round it with round_scale first");
      if (a.zero == 0) continue;
      if (!std::isfinite(a.zero))
        fail_argument("zero-point ", a.zero, " of block ", b, " cannot be stored; it must be finite");
      const bool is_code = a.zero > 0 && a.zero <= last_code && static_cast<float>(static_cast<int>(a.zero)) == a.zero;
      zeros_held_ = is_code && zeros_held_ != Zeros::floats ? Zeros::codes : Zeros::floats;
    }
    if (zeros_held_ == Zeros::codes) {
      zeros_.resize(packed_bytes(count_, bits));
      for (std::size_t b = 0; b < count_; ++b) put_code(zeros_.data(), b, bits, static_cast<unsigned>(blocks[b].zero));
    } else if (zeros_held_ == Zeros::floats) {
      zeros_.resize(count_ * sizeof(float));
      for (std::size_t b = 0; b < count_; ++b) {
        const float zero = blocks[b].zero + 0.f;  // -0 is not a zero-point
        std::memcpy(zeros_.data() + b * sizeof zero, &zero, sizeof zero);
      }
    }
  }

  std::size_t size() const { return count_; }
  ScaleType scale_type() const { return scale_; }
  int bits() const { return bits_; }
  std::size_t bytes() const { return scales_.size() + zeros_.size() + (is_coded() ? coded_.bytes() : 0); }

  // Whether scales are codes, and which.
  bool is_coded() const { return !coded_.codes.empty(); }
  const CodedScales& coded() const { return coded_; }

  // The same zero-points with coded scales. Throws std::invalid_argument unless there is a code for each block, and
  // every scale comes out finite and not 0.
  Params with_coded(CodedScales scales) const {
    const std::size_t seconds = (count_ + CodedScales::per_scale - 1) / CodedScales::per_scale;
    if (scales.codes.size() != count_ || scales.second.size() != seconds)
      fail_argument(scales.codes.size(), " coded scales in ", scales.second.size(), " runs for ", count_,
                    " blocks; there must be a code for each and a second scale for ", CodedScales::per_scale,
                    " of them");
    for (std::size_t b = 0; b < count_; ++b)
      if (!std::isfinite(scales[b]) || scales[b] == 0)
        fail_argument("the coded scale of block ", b, " is ", scales[b], "; it must be finite and not 0");
    Params p = *this;
    p.scales_.clear(), p.scales_.shrink_to_fit();
    p.coded_ = std::move(scales);
    return p;
  }

  Affine operator[](std::size_t b) const { return {read_scale(b), read_zero(b)}; }

  // The Affines of blocks first .. first + n - 1, widened by the kernels of a table.
  void read(std::size_t first, std::size_t n, Affine* out, const kernel::Table& table) const {
    if (!is_coded()) {
      table.widen_scales(scale_, scales_.data() + first * scale_bytes(scale_), n, out);
    } else {
      for (std::size_t b = first, end = 0; b < first + n; b = end) {
        end = std::min(first + n, (b / CodedScales::per_scale + 1) * CodedScales::per_scale);
        table.widen_coded_scales(coded_.codes.data() + b, coded_.affine(b), end - b, out + (b - first));
      }
    }
    if (zeros_held_ == Zeros::none) return;
    for (std::size_t b = 0; b < n; ++b) out[b].zero = read_zero(first + b);
  }

  friend bool operator==(const Params&, const Params&) = default;

 private:
  enum class Zeros { none, codes, floats };

  void write_scale(std::size_t b, float s) {
    if (scale_ == ScaleType::f32) {
      std::memcpy(scales_.data() + 4 * b, &s, 4);
    } else {
      const std::uint16_t h = scale_ == ScaleType::f16 ? float_to_half(s) : float_to_bfloat16(s);
      std::memcpy(scales_.data() + 2 * b, &h, 2);
    }
  }
  float read_scale(std::size_t b) const {
    return is_coded() ? coded_[b] : kernel::scalar::scale_at(scale_, scales_.data(), b);
  }
  float read_zero(std::size_t b) const {
    if (zeros_held_ == Zeros::none) return 0;
    if (zeros_held_ == Zeros::codes) return static_cast<float>(get_code(zeros_.data(), b, bits_));
    float z;
    std::memcpy(&z, zeros_.data() + 4 * b, 4);
    return z;
  }

  std::size_t count_ = 0;
  ScaleType scale_ = ScaleType::f32;
  int bits_ = 1;
  Zeros zeros_held_ = Zeros::none;
  std::vector<std::uint8_t> scales_, zeros_;
  CodedScales coded_;
};

}  // namespace fewbit
