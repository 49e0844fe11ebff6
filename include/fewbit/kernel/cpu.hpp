#pragma once
// What this processor can run. Rule: asked of the processor and of the operating system at run time, never of
// the compiler's flags.

#include <fewbit/config.hpp>

#if FEWBIT_X86_64
#include <cpuid.h>
#endif
#if FEWBIT_ARM64 && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace fewbit::kernel::cpu {

#if FEWBIT_X86_64
// clang 14 does not know the name "f16c".
inline bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
inline bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
inline bool has_vnni() { return __builtin_cpu_supports("avx512vnni"); }
inline bool has_vbmi() { return __builtin_cpu_supports("avx512vbmi"); }
#endif

#if FEWBIT_ARM64
// sdot. Elsewhere than on Linux nobody is asked, and it is not used.
inline bool has_dot_products() {
#if defined(__linux__)
  constexpr unsigned long asimddp = 1ul << 20;  // HWCAP_ASIMDDP, which old headers lack
  return (getauxval(AT_HWCAP) & asimddp) != 0;
#else
  return false;
#endif
}
#endif

}  // namespace fewbit::kernel::cpu
