#pragma once
// Dot products on AVX-512. Leans on vpermps, which turns a code of up to four bits into its level in one instruction,
// zero-point included; on vpdpbusd, four byte products in one lane, where the processor has it (VNNI); and on 32
// registers, so that four rows of codes share each activation. Rule: a lane of an integer sum belongs to one group.

#include <fewbit/kernel/avx512_float_products.hpp>
#include <fewbit/kernel/avx512_integer_products.hpp>

#if FEWBIT_X86_64
namespace fewbit::kernel::avx512 {

template <bool vnni>
inline constexpr Products products_with{
    arranged, arrange, dot, dense, transposed<float>, transposed<double>, arranged_int8, arrange_int8, dot_int8<vnni>};
inline constexpr Products products = products_with<false>, products_vnni = products_with<true>;

}  // namespace fewbit::kernel::avx512
#endif
