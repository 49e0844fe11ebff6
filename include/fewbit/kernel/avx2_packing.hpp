#pragma once
// AVX2: codes of any width put together and taken apart. Eight codes fill exactly `bits` bytes, so eight codes always
// start and end on a byte. Rule: nothing past the bytes of a row is read or written.

#include <fewbit/kernel/avx2_levels.hpp>

#if FEWBIT_X86_64
#include <cstring>
#include <immintrin.h>

FEWBIT_AVX2_BEGIN
namespace fewbit::kernel::avx2 {

struct Packing {
  unsigned bits;
  __m256i bytes, shifts, mask;  // to take apart: for each lane, the four bytes its code lies in, and where in them
  __m256i fields;               // where in the first 32 bits, for widths up to 4

  explicit Packing(int width) : bits(static_cast<unsigned>(width)) {
    alignas(32) std::uint8_t at[32];
    alignas(32) std::uint32_t by[8];
    for (unsigned j = 0; j < 8; ++j) {
      const unsigned first = j * bits / 8;
      by[j] = j * bits % 8;
      for (unsigned i = 0; i < 4; ++i) at[4 * j + i] = static_cast<std::uint8_t>(first + i < 16 ? first + i : 0x80);
    }
    bytes = _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
    shifts = _mm256_load_si256(reinterpret_cast<const __m256i*>(by));
    mask = _mm256_set1_epi32((1 << bits) - 1);
    fields = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(width));
  }

  // How many of a row's n weights, a multiple of 8, can be packed and unpacked with 16 bytes at a time.
  std::size_t whole_registers(std::size_t n) const {
    const std::size_t held = packed_bytes(n, static_cast<int>(bits));
    return held < 16 ? 0 : ((held - 16) / bits + 1) * 8;
  }

  __m256i unpack(__m128i eight) const {
    const __m256i spread = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(eight), bytes);
    return _mm256_and_si256(_mm256_srlv_epi32(spread, shifts), mask);
  }

  // The `bits` bytes of eight codes, in the low bytes of the register.
  __m128i pack(__m256i codes) const {
    // In each 64 bits: c1 comes down to lie on top of c0.
    const __m128i down = _mm_cvtsi32_si128(static_cast<int>(32 - bits));
    const __m256i low = _mm256_and_si256(codes, _mm256_set1_epi64x(0xffffffff));
    const __m256i pairs =
        _mm256_or_si256(low, _mm256_srl_epi64(_mm256_andnot_si256(_mm256_set1_epi64x(0xffffffff), codes), down));
    // In each 128 bits: the upper pair comes down onto the lower one. Four codes are at most 64 bits.
    const __m128i two = _mm_cvtsi32_si128(static_cast<int>(2 * bits)),
                  four = _mm_cvtsi32_si128(static_cast<int>(4 * bits));
    const __m256i quads = _mm256_or_si256(pairs, _mm256_sll_epi64(_mm256_srli_si256(pairs, 8), two));
    // The upper four codes go 4 * bits bits up, which may straddle the middle of the register.
    const __m128i lower = _mm_move_epi64(_mm256_castsi256_si128(quads)),
                  upper = _mm_move_epi64(_mm256_extracti128_si256(quads, 1));
    const __m128i straddle = _mm_srl_epi64(upper, _mm_cvtsi32_si128(static_cast<int>(64 - 4 * bits)));
    return _mm_or_si128(_mm_or_si128(lower, _mm_sll_epi64(upper, four)), _mm_slli_si128(straddle, 8));
  }

  // n <= 8 codes from memory that may end right behind them.
  __m256i load(const std::uint8_t* p, std::size_t n) const {
    __m128i v = _mm_setzero_si128();
    std::memcpy(&v, p, packed_bytes(n, static_cast<int>(bits)));
    return unpack(v);
  }
  // 16 bytes, of which the eight codes fill the first `bits`.
  void store_wide(std::uint8_t* p, __m256i codes) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), pack(codes));
  }

  // n <= 8 codes; those past n are written as zero bits.
  void store(std::uint8_t* p, std::size_t n, __m256i codes) const {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i kept = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
    const __m128i v = pack(_mm256_and_si256(codes, kept));
    std::memcpy(p, &v, packed_bytes(n, static_cast<int>(bits)));
  }
};

// 32 codes of up to 8 bits, a byte each and in order.
inline __m256i to_bytes(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i v = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
  return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// 32 codes of `bits` bits, as bytes, to memory.
template <int bits>
inline void store32(std::uint8_t* p, __m256i codes) {
  if constexpr (bits == 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), codes);
  } else if constexpr (bits == 4 || bits == 2) {  // pairs of codes to 16 bits: even + 16 * odd, or even + 4 * odd
    const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(bits == 4 ? 0x1001 : 0x0401));
    if constexpr (bits == 4) {
      const __m256i v = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0x08);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(v));
    } else {
      const __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00100001));
      const __m128i v = _mm_packus_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(v, v));
    }
  } else if constexpr (bits == 1) {  // the lowest bit of each byte becomes its sign, and signs become a mask
    const int mask = _mm256_movemask_epi8(_mm256_slli_epi16(codes, 7));
    std::memcpy(p, &mask, sizeof mask);
  } else {  // each step brings the upper of two fields down onto the lower: 8, 16, then 32 bits apart
    const __m256i two = _mm256_or_si256(_mm256_and_si256(codes, _mm256_set1_epi16(0xff)),
                                        _mm256_slli_epi16(_mm256_srli_epi16(codes, 8), bits));
    const __m256i four = _mm256_or_si256(_mm256_and_si256(two, _mm256_set1_epi32(0xffff)),
                                         _mm256_slli_epi32(_mm256_srli_epi32(two, 16), 2 * bits));
    const __m256i eight = _mm256_or_si256(_mm256_and_si256(four, _mm256_set1_epi64x(0xffffffff)),
                                          _mm256_slli_epi64(_mm256_srli_epi64(four, 32), 4 * bits));
    const long long part[4] = {_mm256_extract_epi64(eight, 0), _mm256_extract_epi64(eight, 1),
                               _mm256_extract_epi64(eight, 2), _mm256_extract_epi64(eight, 3)};
    for (std::size_t i = 0; i < 4; ++i) std::memcpy(p + i * bits, &part[i], bits);
  }
}

// Eight codes of a width known to the compiler.
template <int bits>
inline __m256i load8(const std::uint8_t* p, const Packing& packing) {
  if constexpr (bits == 8) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (bits == 16) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (bits == 4 || bits == 2) {
    std::uint32_t word = 0;
    std::memcpy(&word, p, bits);
    return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), packing.fields), packing.mask);
  } else {
    return packing.unpack(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
}

}  // namespace fewbit::kernel::avx2
FEWBIT_AVX2_END
#endif
