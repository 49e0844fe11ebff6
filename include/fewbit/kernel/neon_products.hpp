#pragma once
// Dot products on NEON. Leans on tbl, which looks up one byte of the levels of sixteen codes at a time; on products of
// bytes that are added in 16 bits for as long as those suffice, or on sdot, four of them in a lane at once, where the
// processor has it; and on activations arranged so that nothing brings the codes back into their order. Compilers for
// this machine may fuse a product and a sum: a bound allows it.

#include <fewbit/kernel/neon_float_products.hpp>
#include <fewbit/kernel/neon_integer_products.hpp>

#if FEWBIT_ARM64
namespace fewbit::kernel::neon {

template <bool has_dot>
inline constexpr Products products_with{
    arranged,         arrange, dot, dense, transposed<float>, transposed<double>, arranged_int8, arrange_int8<has_dot>,
    dot_int8<has_dot>};
inline constexpr Products products = products_with<false>, products_dot = products_with<true>;

}  // namespace fewbit::kernel::neon
#endif
