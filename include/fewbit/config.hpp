#pragma once
// Compiler facts: the version, the floating-point contract the compiler must keep, and the macros that
// fence a region of code for one instruction set.
//
// Rule: nothing is #included inside a fenced region. A header first seen there would compile its inline
// functions with the region's instructions and leak them, as weak symbols, into programs for older machines.

#define FEWBIT_VERSION_MAJOR 0
#define FEWBIT_VERSION_MINOR 1
#define FEWBIT_VERSION_PATCH 0

// Codes are defined by IEEE division and by rounding half to even, and NaN must stay visible: each of these
// options would give other codes than the next machine's, silently.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__RECIPROCAL_MATH__) || defined(__ASSOCIATIVE_MATH__)
#error \
    "fewbit: -ffast-math (or -Ofast, -ffinite-math-only, -freciprocal-math, -fassociative-math) breaks the stated arithmetic; compile this file without it"
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define FEWBIT_X86_64 1
#else
#define FEWBIT_X86_64 0
#endif

// Little-endian, as byte tables over floats need it; __ARM_NEON is missing where vector registers are forbidden.
#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__)
#define FEWBIT_ARM64 1
#else
#define FEWBIT_ARM64 0
#endif

#define FEWBIT_PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define FEWBIT_TARGET_BEGIN(isa) FEWBIT_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define FEWBIT_TARGET_END FEWBIT_PRAGMA(clang attribute pop)
#define FEWBIT_GCC_PRAGMA(x)
#elif defined(__GNUC__)
#define FEWBIT_TARGET_BEGIN(isa) FEWBIT_PRAGMA(GCC push_options) FEWBIT_PRAGMA(GCC target(isa))
#define FEWBIT_TARGET_END FEWBIT_PRAGMA(GCC pop_options)
#define FEWBIT_GCC_PRAGMA(x) FEWBIT_PRAGMA(x)
#else
#error "fewbit: g++ 12 or newer, or clang 14 or newer, is needed"
#endif
#define FEWBIT_AVX2_BEGIN FEWBIT_TARGET_BEGIN("avx2,fma,f16c")
#define FEWBIT_AVX2_END FEWBIT_TARGET_END
// g++ 12 takes the don't-care operands of its own AVX-512 intrinsics for uninitialized variables; at -O0 they are
// macros whose masks change sign.
#define FEWBIT_AVX512_BEGIN                                         \
  FEWBIT_PRAGMA(GCC diagnostic push)                                \
  FEWBIT_PRAGMA(GCC diagnostic ignored "-Wuninitialized")           \
  FEWBIT_PRAGMA(GCC diagnostic ignored "-Wsign-conversion")         \
  FEWBIT_GCC_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized") \
  FEWBIT_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#define FEWBIT_AVX512_END \
  FEWBIT_TARGET_END       \
  FEWBIT_PRAGMA(GCC diagnostic pop)

// GCC on Windows keeps its stack aligned to 16 bytes, and yet moves registers of 32 and 64 to it as if it were aligned
// to them (GCC bug 54412): whatever spills one dies. So in a file that includes fewbit, every aligned move is assembled
// as the unaligned one, which takes no longer: these macros do what the assembler's -muse-unaligned-vector-move does.
// They are text, which link-time optimization keeps in one part of the program only. With -flto the option itself is
// needed (-Wa,-muse-unaligned-vector-move, binutils 2.38), and FEWBIT_UNALIGNED_MOVES defined to say so; without it a
// part that has kernels and no macros is refused by the assembler, at the line that FEWBIT_ON_THE_STACK puts there.
#if FEWBIT_X86_64 && (defined(_WIN32) || defined(__CYGWIN__)) && !defined(__clang__) && !defined(FEWBIT_UNALIGNED_MOVES)
#define FEWBIT_MOVE(aligned, unaligned) ".macro " aligned " operands:vararg\n" unaligned " \\operands\n.endm\n"
asm(".ifndef fewbit_moves\n.set fewbit_moves, 1\n"  // a part may hold many files
    FEWBIT_MOVE("vmovaps", "vmovups") FEWBIT_MOVE("vmovapd", "vmovupd") FEWBIT_MOVE("vmovdqa", "vmovdqu")
        FEWBIT_MOVE("vmovdqa32", "vmovdqu32") FEWBIT_MOVE("vmovdqa64", "vmovdqu64")
            FEWBIT_MOVE("fewbit_with_lto_needs_wa_muse_unaligned_vector_move", "") ".endif\n");
#undef FEWBIT_MOVE
#define FEWBIT_ON_THE_STACK asm("fewbit_with_lto_needs_wa_muse_unaligned_vector_move")
#else
#define FEWBIT_ON_THE_STACK static_cast<void>(0)
#endif

// A program of many source files may compile the kernels once: with FEWBIT_KERNELS_ELSEWHERE defined for all of them,
// and FEWBIT_KERNELS_HERE before the includes of one, which needs <fewbit/kernel/product_dispatch.hpp>. With neither,
// each file brings its own and the linker keeps one. All files of a program must do the same.
#if defined(FEWBIT_KERNELS_HERE)
#define FEWBIT_COMPILES_KERNELS 1
#define FEWBIT_KERNELS_INLINE
#elif defined(FEWBIT_KERNELS_ELSEWHERE)
#define FEWBIT_COMPILES_KERNELS 0
#else
#define FEWBIT_COMPILES_KERNELS 1
#define FEWBIT_KERNELS_INLINE inline
#endif
