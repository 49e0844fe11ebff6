#pragma once
// The processor's mode of arithmetic. Rule: what the library computes does not depend on how the host program has set
// it; the program finds its mode as it left it.

#include <cstdint>

#include <fewbit/config.hpp>

namespace fewbit {

// While one of these lives, the thread rounds to nearest even and keeps subnormals. Audio code, some runtimes and
// whatever was linked with -ffast-math flush them to zero: a scale that is one would vanish, and weights below 2^-126
// all be 0. Flags that operations raise stay raised.
class StatedArithmetic {
 public:
  StatedArithmetic() : before_(read()) {
    if ((before_ & other_modes) != 0) write(before_ & ~other_modes);
  }
  ~StatedArithmetic() {
    if ((before_ & other_modes) != 0) write(read() | before_);
  }
  StatedArithmetic(const StatedArithmetic&) = delete;
  StatedArithmetic& operator=(const StatedArithmetic&) = delete;

  // A number that comes from outside or leaves by value. Those in memory stay on their side of the scope's ends by
  // themselves; what a compiler has in a register it may use, or make, on the other one (clang 14 does).
  float operator()(float x) const {
    __asm__ volatile("" : "+m"(x) : : "memory");
    return x;
  }

 private:
  // The clobber keeps loads and stores of numbers, and so what is done between them, from moving out of the scope.
#if FEWBIT_X86_64
  using Word = std::uint32_t;
  static constexpr Word other_modes = 0xe040;  // flush to zero, two bits of rounding, denormals are zero
  static Word read() {
    Word w;
    __asm__ volatile("stmxcsr %0" : "=m"(w) : : "memory");
    return w;
  }
  static void write(Word w) { __asm__ volatile("ldmxcsr %0" : : "m"(w) : "memory"); }
#elif FEWBIT_ARM64
  using Word = std::uint64_t;
  static constexpr Word other_modes = 0x1c80000;  // flush to zero, two bits of rounding, flush halves to zero
  static Word read() {
    Word w;
    __asm__ volatile("mrs %0, fpcr" : "=r"(w) : : "memory");
    return w;
  }
  static void write(Word w) { __asm__ volatile("msr fpcr, %0" : : "r"(w) : "memory"); }
#else
  using Word = std::uint32_t;
  static constexpr Word other_modes = 0;  // nothing is known of this processor's modes
  static Word read() { return 0; }
  static void write(Word) {}
#endif

  Word before_;
};

}  // namespace fewbit
