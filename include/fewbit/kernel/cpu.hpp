#pragma once
// What this processor can run. Rule: asked of the processor and of the operating system at run time, never of
// the compiler's flags.

#include <fewbit/config.hpp>

namespace fewbit::kernel::cpu {

#if FEWBIT_X86_64
inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
inline bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace fewbit::kernel::cpu
