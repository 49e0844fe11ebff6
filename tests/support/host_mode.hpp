#pragma once
// A host program that has set the processor's mode of arithmetic, as audio code and what was linked with -ffast-math do
// at their start. Rule: results are compared after the mode is gone, and by their bits, for in it subnormals equal 0.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <fewbit/config.hpp>

#include <support/matrices.hpp>

#if FEWBIT_X86_64 || FEWBIT_ARM64

namespace support {

// The mode for a scope, in this thread.
class HostMode {
 public:
#if FEWBIT_X86_64
  static constexpr std::uint64_t flush = 0x8040, upward = 0x4000, toward_zero = 0x6000;
  static std::uint64_t now() { return __builtin_ia32_stmxcsr() & 0xe040; }
  static void set(std::uint64_t bits) {
    __builtin_ia32_ldmxcsr((__builtin_ia32_stmxcsr() & ~0xe040u) | static_cast<unsigned>(bits));
  }
#else
  static constexpr std::uint64_t flush = 1u << 24, upward = 1u << 22, toward_zero = 3u << 22;
  static std::uint64_t now() {
    std::uint64_t w;
    __asm__ volatile("mrs %0, fpcr" : "=r"(w));
    return w & (flush | toward_zero);
  }
  static void set(std::uint64_t bits) { __asm__ volatile("msr fpcr, %0" : : "r"(bits) : "memory"); }
#endif
  explicit HostMode(std::uint64_t bits) : before_(now()) { set(bits); }
  ~HostMode() { set(before_); }
  HostMode(const HostMode&) = delete;
  HostMode& operator=(const HostMode&) = delete;

 private:
  std::uint64_t before_;
};

// To the last bit.
inline bool same_floats(const MatrixXf& a, const MatrixXf& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

}  // namespace support

#endif
