#pragma once
// Products for neon.
#include <fewbit/kernel/neon.hpp>
#include <fewbit/kernel/scalar_products.hpp>

#if FEWBIT_ARM64
namespace fewbit::kernel::neon {
inline constexpr Table table{"neon",   supported,  ranges,        absolute_sum,     widen_scales, widen_coded_scales,
                             quantize, dequantize, fake_quantize, &scalar::products};
}  // namespace fewbit::kernel::neon
#endif
