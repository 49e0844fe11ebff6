#pragma once
// Quantize with a grid known at run time. Rule: three instantiations serve every test that has a column-major matrix.

#include <variant>

#include <fewbit/quantize/fake_quantize.hpp>
#include <fewbit/quantize/quantize.hpp>

#include <support/grids.hpp>

namespace support {

template <class Derived>
fewbit::QuantizedMatrix quantize(const Eigen::DenseBase<Derived>& w, const AnyGrid& grid, fewbit::Granularity g,
                                 fewbit::QuantizeOptions options = {}) {
  return std::visit([&](const auto& one) { return fewbit::quantize(w, one, g, fewbit::MinMax{}, options); }, grid);
}

template <class Derived>
typename Derived::PlainObject fake_quantize(const Eigen::DenseBase<Derived>& w, const AnyGrid& grid,
                                            fewbit::Granularity g, fewbit::QuantizeOptions options = {}) {
  return std::visit([&](const auto& one) { return fewbit::fake_quantize(w, one, g, fewbit::MinMax{}, options); }, grid);
}

inline constexpr fewbit::QuantizeOptions saturating{fewbit::NonFinite::saturating};

}  // namespace support
