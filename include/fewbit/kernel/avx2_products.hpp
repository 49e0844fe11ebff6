#pragma once
// Products for avx2.
#include <fewbit/kernel/avx2.hpp>
#include <fewbit/kernel/scalar_products.hpp>

#if FEWBIT_X86_64
namespace fewbit::kernel::avx2 {
inline constexpr Table table{"avx2",   supported,  ranges,        absolute_sum,     widen_scales, widen_coded_scales,
                             quantize, dequantize, fake_quantize, &scalar::products};
}  // namespace fewbit::kernel::avx2
#endif
