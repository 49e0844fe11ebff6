#pragma once
// How one block of weights decodes, and the range it was fitted to. Rule: plain numbers and the one formula that
// everything else is about.

namespace fewbit {

// The smallest and the largest weight of a block.
struct Range {
  float lo = 0, hi = 0;
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

// The scale is finite and not 0, and may be negative; the zero-point may be any finite number, integers being the
// usual ones.
struct Affine {
  float scale = 1, zero = 0;
  friend constexpr bool operator==(const Affine&, const Affine&) = default;
};

// scale * (level - zero). A difference of 0 gives +0 under a negative scale too: the difference is turned round
// instead of the product's sign. No compiler can contract it, since the product comes last.
constexpr float weight(float level, Affine a) {
  return a.scale < 0 ? -a.scale * (a.zero - level) : a.scale * (level - a.zero);
}

}  // namespace fewbit
