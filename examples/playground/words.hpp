#pragma once
// Numbers in the words of the page. Rule: rounded here, once, for whoever shows them.

#include <fewbit/fewbit.hpp>

#include <cmath>
#include <string>

#include "../support/numpy_random.hpp"
#include "json.hpp"
#include "view.hpp"

namespace example {

using fewbit::Index;

// Weights as people read them: six decimals, as the documents have, unless all would be zeros or there are too many.
inline std::string weight_text(double x, double most) {
  return most == 0 || (most >= 1e-2 && most < 1e5) ? fixed(x, 6) : scientific(x, 4);
}
inline std::string mse_text(double mse) { return mse == 0 || mse >= 1e-5 ? fixed(mse, 6) : scientific(mse, 2); }
inline std::string decibels(double db) { return std::isfinite(db) ? joined(fixed(db, 2), " dB") : "no error"; }
inline std::string times(double ratio, int digits) { return joined(fixed(ratio, digits), "x"); }
inline double as_double(float x) { return static_cast<double>(x); }
inline double most_of(const Matrix& m) { return m.size() == 0 ? 0 : as_double(m.cwiseAbs().maxCoeff()); }

// One weight and what became of it.
inline std::string weight_json(const Matrix& W, const fewbit::QuantizedMatrix& q, Index i, Index j, double most) {
  const auto number = [most](float x) { return weight_text(as_double(x), most); };
  const unsigned code = q.code(i, j);
  const float w = W(i, j), back = q(i, j);
  return JsonObject()
      .text("place", joined("row ", i, ", column ", j))
      .text("weight", number(w))
      .text("code", std::to_string(code))
      .text("level", general(as_double(q.levels()[static_cast<int>(code)]), 6))
      .text("back", number(back))
      .text("error", number(back - w))
      .str();
}

inline fewbit::ScaleType scale_type(const View& view) {
  constexpr fewbit::ScaleType types[] = {fewbit::ScaleType::f32, fewbit::ScaleType::f16, fewbit::ScaleType::bf16};
  return types[view.choice("scales", {"f32", "f16", "bf16"})];
}

}  // namespace example
