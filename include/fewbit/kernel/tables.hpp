#pragma once
// The tables of all instruction sets, best first. Rule: to add an instruction set, write kernel/<isa>.hpp and name its
// table here; dispatch.hpp chooses.

#include <array>

#include <fewbit/kernel/avx2.hpp>
#include <fewbit/kernel/avx512.hpp>
#include <fewbit/kernel/neon.hpp>
#include <fewbit/kernel/scalar.hpp>

namespace fewbit::kernel {

inline constexpr std::array tables {
#if FEWBIT_X86_64
  &avx512::table_vbmi, &avx512::table_vnni, &avx512::table, &avx2::table,
#endif
#if FEWBIT_ARM64
      &neon::table_dot, &neon::table,
#endif
      &scalar::table,
};

}  // namespace fewbit::kernel
