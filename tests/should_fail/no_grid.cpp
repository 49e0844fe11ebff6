// expect: constraints not satisfied
// expect: g.fit(r)
#include <fewbit/fewbit.hpp>

struct Ternary {
  constexpr fewbit::Levels levels() const { return fewbit::Levels::integers(2, -1, 3); }
#ifdef FEWBIT_BAD
  constexpr float fit(fewbit::Range r) const { return r.hi; }  // a scale alone does not decode a block
#else
  constexpr fewbit::Affine fit(fewbit::Range r) const { return {r.hi > 0 ? r.hi : 1, 0}; }
#endif
};

fewbit::QuantizedMatrix f(const Eigen::MatrixXf& w) { return fewbit::quantize(w, Ternary{}); }
