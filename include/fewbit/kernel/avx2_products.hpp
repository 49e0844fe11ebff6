#pragma once
// Dot products on AVX2 and FMA. Leans on vpshufb, which looks up one byte of the levels of 32 codes at a time; on
// vpmaddubsw, whose 16-bit sums are added for as long as they cannot overflow; and on activations arranged so that
// nothing brings the codes back into their order. Rules: a lane of an integer sum belongs to one group; tiles are
// small, because there are sixteen registers, and compilers spill before they are full.

#include <fewbit/kernel/avx2_float_products.hpp>
#include <fewbit/kernel/avx2_integer_products.hpp>

#if FEWBIT_X86_64
namespace fewbit::kernel::avx2 {

inline constexpr Products products{arranged,           arrange,       dot,          dense,   transposed<float>,
                                   transposed<double>, arranged_int8, arrange_int8, dot_int8};

}  // namespace fewbit::kernel::avx2
#endif
