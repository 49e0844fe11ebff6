#pragma once
// What this processor can run. Rule: asked of the processor and of the operating system at run time, never of
// the compiler's flags.

#include <fewbit/config.hpp>

namespace fewbit::kernel::cpu {

#if FEWBIT_X86_64
inline bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }
#else
inline bool has_avx2() { return false; }
#endif

}  // namespace fewbit::kernel::cpu
