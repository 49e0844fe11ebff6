#pragma once
// AVX-512: codes of any width put together and taken apart. Eight codes fill exactly `bits` bytes, so sixteen codes
// always start and end on a byte, and so does their middle. Rule: nothing past the bytes of a row is read or written.

#include <fewbit/kernel/avx512_levels.hpp>

#if FEWBIT_X86_64
#include <cstring>
#include <immintrin.h>

namespace fewbit::kernel::avx512 {
// Where the first n bytes of each eight lie.
struct ByteOrder {
  std::uint8_t at[64];
};
template <unsigned n>
inline constexpr ByteOrder low_bytes = [] {
  ByteOrder order{};
  for (unsigned i = 0; i < 8 * n; ++i) order.at[i] = static_cast<std::uint8_t>(i / n * 8 + i % n);
  return order;
}();
}  // namespace fewbit::kernel::avx512

FEWBIT_AVX512_BEGIN
namespace fewbit::kernel::avx512 {

// Two halves of 16 bytes, the lower one in lanes 0 and 1, the upper one in 2 and 3.
inline __m512i in_halves(__m128i lower, __m128i upper) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_broadcastsi128_si256(lower)),
                            _mm256_broadcastsi128_si256(upper), 1);
}

struct Packing {
  unsigned bits;
  __m512i bytes, shifts, mask;  // to take apart: for each lane, the four bytes its code lies in, and where in them

  explicit Packing(int width) : bits(static_cast<unsigned>(width)) {
    alignas(64) std::uint8_t at[64];
    alignas(64) std::uint32_t by[16];
    for (unsigned j = 0; j < 16; ++j) {
      const unsigned first = j % 8 * bits / 8;
      by[j] = j * bits % 8;
      for (unsigned i = 0; i < 4; ++i) at[4 * j + i] = static_cast<std::uint8_t>(first + i < 16 ? first + i : 0x80);
    }
    bytes = _mm512_load_si512(at), shifts = _mm512_load_si512(by), mask = _mm512_set1_epi32((1 << bits) - 1);
  }

  // Sixteen codes of any width, of which n lie in memory.
  __m512i load(const std::uint8_t* p, std::size_t n) const {
    const auto last = static_cast<unsigned>(packed_bytes(n, static_cast<int>(bits)));  // at most 32
    const unsigned middle = last < bits ? last : bits;
    const __m128i lower = _mm_maskz_loadu_epi8(first_lanes(middle), p);
    const __m128i upper = _mm_maskz_loadu_epi8(first_lanes(last - middle), p + middle);
    return unpack(lower, upper);
  }
  __m512i unpack(__m128i lower, __m128i upper) const {
    return _mm512_and_si512(_mm512_srlv_epi32(_mm512_shuffle_epi8(in_halves(lower, upper), bytes), shifts), mask);
  }

  // n <= 16 codes of any width to memory; those past n are written as zero bits.
  void store(std::uint8_t* p, std::size_t n, __m512i codes) const {
    codes = _mm512_maskz_mov_epi32(first_lanes(n), codes);
    // Each step brings the upper of two fields down onto the lower: 32, then 64 bits apart. Four codes are at most 64
    // bits.
    const __m512i low = _mm512_set1_epi64(0xffffffff);
    const auto by = [](unsigned count) { return _mm_cvtsi32_si128(static_cast<int>(count)); };
    const __m512i pairs =
        _mm512_or_si512(_mm512_and_si512(codes, low), _mm512_srl_epi64(_mm512_andnot_si512(low, codes), by(32 - bits)));
    const __m512i quads = _mm512_or_si512(pairs, _mm512_sll_epi64(_mm512_bsrli_epi128(pairs, 8), by(2 * bits)));
    // Eight codes: the upper four go 4 * bits bits up, which may straddle the middle. A shift by 64 leaves nothing.
    const __m512i even = _mm512_setr_epi64(0, 8, 4, 8, 0, 0, 0, 0), odd = _mm512_setr_epi64(2, 2, 6, 6, 0, 0, 0, 0);
    const __m256i lower = _mm512_castsi512_si256(_mm512_permutex2var_epi64(quads, even, _mm512_setzero_si512()));
    const __m256i upper = _mm512_castsi512_si256(_mm512_permutexvar_epi64(odd, quads));
    const long long up = 4 * static_cast<long long>(bits);
    const __m256i eights =
        _mm256_or_si256(lower, _mm256_or_si256(_mm256_sllv_epi64(upper, _mm256_setr_epi64x(up, 64, up, 64)),
                                               _mm256_srlv_epi64(upper, _mm256_setr_epi64x(64, 64 - up, 64, 64 - up))));
    const auto last = static_cast<unsigned>(packed_bytes(n, static_cast<int>(bits))),
               middle = last < bits ? last : bits;
    _mm_mask_storeu_epi8(p, first_lanes(middle), _mm256_castsi256_si128(eights));
    _mm_mask_storeu_epi8(p + middle, first_lanes(last - middle), _mm256_extracti128_si256(eights, 1));
  }
};

// 64 codes of up to 8 bits, a byte each and in order.
inline __m512i to_bytes(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i v = _mm512_packus_epi16(_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d));
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}

// Bytes in another order. In assembly, because an instruction chosen at run time (VBMI) cannot be had from an intrinsic
// inside a template that does without.
[[gnu::always_inline]] inline __m512i permuted_bytes(__m512i order, __m512i v) {
  __m512i moved;
  asm("vpermb {%2, %1, %0|%0, %1, %2}" : "=v"(moved) : "v"(order), "v"(v));
  return moved;
}

// The first 64 or 32 codes of `bits` bits, given as bytes, to memory.
template <int bits, int count, bool vbmi>
inline void store_bytes(std::uint8_t* p, __m512i codes) {
  constexpr bool all = count == 64;
  if constexpr (bits == 8) {
    if constexpr (all) _mm512_storeu_si512(p, codes);
    else _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(codes));
  } else if constexpr (bits == 4) {  // pairs of codes to 16 bits: even + 16 * odd
    const __m256i v = _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x1001)));
    if constexpr (all) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
    else _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
  } else if constexpr (bits == 2) {
    const __m512i quads =
        _mm512_madd_epi16(_mm512_maddubs_epi16(codes, _mm512_set1_epi16(0x0401)), _mm512_set1_epi32(0x00100001));
    const __m128i v = _mm512_cvtepi32_epi8(quads);
    if constexpr (all) _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
    else _mm_storel_epi64(reinterpret_cast<__m128i*>(p), v);
  } else if constexpr (bits == 1) {
    const __mmask64 mask = _mm512_test_epi8_mask(codes, codes);
    std::memcpy(p, &mask, count / 8);
  } else {  // each step brings the upper of two fields down onto the lower: 8, 16, then 32 bits apart
    const __m512i two = _mm512_or_si512(_mm512_and_si512(codes, _mm512_set1_epi16(0xff)),
                                        _mm512_slli_epi16(_mm512_srli_epi16(codes, 8), bits));
    const __m512i four = _mm512_or_si512(_mm512_and_si512(two, _mm512_set1_epi32(0xffff)),
                                         _mm512_slli_epi32(_mm512_srli_epi32(two, 16), 2 * bits));
    const __m512i eight = _mm512_or_si512(_mm512_and_si512(four, _mm512_set1_epi64(0xffffffff)),
                                          _mm512_slli_epi64(_mm512_srli_epi64(four, 32), 4 * bits));
    if constexpr (vbmi) {  // the first `bits` bytes of each eight, one behind the other
      constexpr __mmask64 some = ~std::uint64_t{0} >> (64 - count / 8 * bits);
      _mm512_mask_storeu_epi8(p, some, permuted_bytes(_mm512_loadu_si512(&low_bytes<bits>), eight));
      return;
    }
    alignas(64) std::uint8_t parts[64];
    _mm512_store_si512(parts, eight);
    for (std::size_t i = 0; i < count / 8; ++i) std::memcpy(p + i * bits, parts + 8 * i, bits);
  }
}

// Sixteen codes of a width known to the compiler; 0 is any other width.
template <int bits>
inline __m512i load16(const std::uint8_t* p, const Packing& packing) {
  if constexpr (bits == 8) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (bits == 16) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  } else if constexpr (bits == 4) {
    std::uint64_t word;
    std::memcpy(&word, p, sizeof word);  // bytes to lanes of 64 bits, their nibbles to the two halves
    const __m512i pairs = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(static_cast<long long>(word)));
    return _mm512_and_si512(_mm512_or_si512(pairs, _mm512_slli_epi64(pairs, 28)), packing.mask);
  } else if constexpr (bits == 2) {
    std::uint32_t word;
    std::memcpy(&word, p, sizeof word);
    const __m512i by = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int>(word)), by), packing.mask);
  } else {
    return packing.unpack(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)),
                          _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + packing.bits)));
  }
}

}  // namespace fewbit::kernel::avx512
FEWBIT_AVX512_END
#endif
