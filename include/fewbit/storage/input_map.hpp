#pragma once
// What happens to the inputs of a quantized matrix before they meet its codes: GPTQ's order of columns and AWQ's scale
// are one thing. Rule: it belongs to the matrix, and is counted in its bytes.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <fewbit/core/error.hpp>

namespace fewbit {

// Column k of the codes is for input order[k], multiplied by scale[k]: W[i, order[k]] = decoded[i, k] * scale[k]. Each
// of the two may be empty: the inputs in their order, a scale of 1.
struct InputMap {
  std::vector<std::uint32_t> order;
  std::vector<float> scale;

  bool empty() const { return order.empty() && scale.empty(); }
  std::size_t bytes() const { return order.size() * sizeof(std::uint32_t) + scale.size() * sizeof(float); }

  // Throws std::invalid_argument unless this maps n inputs, each once, with finite scales other than 0.
  void check(std::size_t n) const {
    if (!order.empty() && order.size() != n) fail_argument("an order of ", order.size(), " inputs for ", n, " columns");
    if (!scale.empty() && scale.size() != n) fail_argument(scale.size(), " input scales for ", n, " columns");
    std::vector<bool> seen(order.size());
    for (std::size_t k = 0; k < order.size(); ++k) {
      if (order[k] >= n || seen[order[k]])
        fail_argument("the order of inputs names ", order[k], " at ", k, ", which is ",
                      order[k] >= n ? "not an input" : "there already");
      seen[order[k]] = true;
    }
    for (std::size_t k = 0; k < scale.size(); ++k)
      if (!std::isfinite(scale[k]) || scale[k] == 0)
        fail_argument("input scale ", k, " is ", scale[k], "; it must be finite and not 0");
  }

  friend bool operator==(const InputMap&, const InputMap&) = default;
};

}  // namespace fewbit
