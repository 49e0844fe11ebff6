// expect: constraints not satisfied
// expect: UnplacedEstimator
#include <fewbit/fewbit.hpp>

fewbit::QuantizedMatrix f(const Eigen::MatrixXf& w) {
  const auto first_weight = [](std::span<const float> block, const auto& grid) {
#ifdef FEWBIT_BAD
    return block[0] + grid.levels().last();
#else
    return grid.fit(fewbit::Range{block[0], block[0]});
#endif
  };
  return fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel(), first_weight);
}
