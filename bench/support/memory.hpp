#pragma once
// The memory that works share, and the two yardsticks that are memory alone: memcpy, and a plain read in the widest
// registers there are. Rule: 64-byte aligned, so that no work is favoured by where its floats happen to lie.

#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <string>

#include <fewbit/kernel/cpu.hpp>
#include <support/ratios.hpp>

#if FEWBIT_X86_64
#include <immintrin.h>
#endif
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

namespace bench {

// n zeros for this use, made when first asked for and kept to the end. Peers may load some bytes past the last.
//
// Huge pages are asked for: where small ones come to lie is different in each process, and so is what a cache and a
// prefetcher make of them.
template <class T>
T* memory(const std::string& use, std::size_t n) {
  static std::map<std::pair<std::string, std::size_t>, T*> made;
  T*& p = made[{use, n}];
  if (p != nullptr) return p;
  constexpr std::size_t line = 64, huge = std::size_t{2} << 20;
  const std::size_t bytes = n * sizeof(T) + line, unit = bytes < huge ? line : huge,
                    whole = (bytes + unit - 1) / unit * unit;
  void* raw = std::aligned_alloc(unit, whole);
  if (raw == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (unit == huge) madvise(raw, whole, MADV_HUGEPAGE);
#endif
  return p = static_cast<T*>(std::memset(raw, 0, whole));
}

// Rows of 4096 weights, small enough for the first or second level of cache together with whatever is made of them, or
// too large for most.
constexpr std::size_t row_length = 4096;
struct Size {
  const char* name;
  std::size_t rows;
  std::size_t weights() const { return rows * row_length; }
};
// Whether results of this size are written past the cache, as whole matrices of it are.
inline bool is_streamed(const Size& size) { return size.weights() >= std::size_t{32} * 1024 * 1024 / sizeof(float); }
inline std::vector<Size> row_sizes() { return {{"L1", 1}, {"L2", 16}, {"DRAM", checking() ? std::size_t{32} : 16384}}; }
constexpr const char* row_sizes_in_words = "L1, L2, DRAM: 16 KiB, 256 KiB, 256 MiB of floats";

// Bell-shaped and quickly made. All rows hold the same weights, so that scales that fit one row fit all.
inline const float* weights(const Size& size) {
  float* w = memory<float>("weights", size.weights());
  if (w[0] != 0) return w;
  std::uint32_t state = 1;  // sums of three bytes of a linear congruence
  for (std::size_t i = 0; i < row_length; ++i) {
    state = state * 1664525u + 1013904223u;
    w[i] = (static_cast<float>((state >> 8 & 255) + (state >> 16 & 255) + (state >> 24)) - 382.5f) * 0.0001f;
  }
  for (std::size_t r = 1; r < size.rows; ++r) std::memcpy(w + r * row_length, w, row_length * sizeof(float));
  return w;
}
inline float* floats_out(const Size& size) { return memory<float>("floats out", size.weights()); }
inline std::uint8_t* bytes_out(const Size& size) { return memory<std::uint8_t>("bytes out", 2 * size.weights()); }

// ------------------------------------------------------------------------------------------- a plain read
// The sum of the floats' bits as integers: it may be formed in any order, so that nothing but loading takes time. n is
// a multiple of 64.

// In registers of 16 bytes, which every processor has.
inline std::uint64_t read_plainly(const float* x, std::size_t n) {
  using Lanes = std::uint64_t __attribute__((vector_size(16)));
  Lanes a{}, b{}, c{}, d{};
  const auto at = [x](std::size_t k) {
    Lanes lanes;
    std::memcpy(&lanes, x + k, sizeof lanes);
    return lanes;
  };
  for (std::size_t k = 0; k < n; k += 16) a += at(k), b += at(k + 4), c += at(k + 8), d += at(k + 12);
  a += b, c += d, a += c;
  return a[0] + a[1];
}

#if FEWBIT_X86_64
FEWBIT_TARGET_BEGIN("avx2")
inline std::uint64_t read_avx2(const float* x, std::size_t n) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  const auto at = [x](std::size_t k) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + k)); };
  for (std::size_t k = 0; k < n; k += 32) {
    a = _mm256_add_epi64(a, at(k)), b = _mm256_add_epi64(b, at(k + 8));
    c = _mm256_add_epi64(c, at(k + 16)), d = _mm256_add_epi64(d, at(k + 24));
  }
  alignas(32) std::uint64_t sum[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(sum), _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d)));
  return sum[0] + sum[1] + sum[2] + sum[3];
}
FEWBIT_TARGET_END

FEWBIT_TARGET_BEGIN("avx512f")
inline std::uint64_t read_avx512(const float* x, std::size_t n) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (std::size_t k = 0; k < n; k += 64) {
    a = _mm512_add_epi64(a, _mm512_loadu_si512(x + k)), b = _mm512_add_epi64(b, _mm512_loadu_si512(x + k + 16));
    c = _mm512_add_epi64(c, _mm512_loadu_si512(x + k + 32)), d = _mm512_add_epi64(d, _mm512_loadu_si512(x + k + 48));
  }
  alignas(64) std::uint64_t sum[8];
  _mm512_store_si512(sum, _mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d)));
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}
FEWBIT_TARGET_END
#endif

inline auto widest_read() {
#if FEWBIT_X86_64
  if (fewbit::kernel::cpu::has_avx512()) return read_avx512;
  if (fewbit::kernel::cpu::has_avx2()) return read_avx2;
#endif
  return read_plainly;
}

inline void add_memory_alone() {
  for (const Size& size : row_sizes()) {
    add("memcpy", size.name, [=](benchmark::State& state) {
      const float* from = weights(size);
      float* to = floats_out(size);
      for (auto _ : state) {
        std::memcpy(to, from, size.weights() * sizeof(float));
        benchmark::ClobberMemory();
      }
      count(state, size.weights(), 8);
    });
    add("plain read", size.name, [=](benchmark::State& state) {
      const float* from = weights(size);
      const auto read = widest_read();
      for (auto _ : state) {
        benchmark::DoNotOptimize(read(from, size.weights()));
        benchmark::ClobberMemory();
      }
      count(state, size.weights(), 4);
    });
  }
}

}  // namespace bench
