#pragma once
// Arrays with forbidden memory around them. Rule: one element too far on the guarded side is a crash at the line
// that did it, and one too far on the other side is found by intact().

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>

// WebAssembly's memory has no pages that could be forbidden. Of Windows two functions are enough: its header makes
// macros of words like "near".
#if defined(__EMSCRIPTEN__)
#include <vector>
#define FEWBIT_TEST_PAGES 0
#elif defined(_WIN32)
extern "C" __declspec(dllimport) void* __stdcall VirtualAlloc(void*, std::size_t, unsigned long, unsigned long);
extern "C" __declspec(dllimport) int __stdcall VirtualFree(void*, std::size_t, unsigned long);
#define FEWBIT_TEST_PAGES 1
#else
#include <sys/mman.h>
#include <unistd.h>
#define FEWBIT_TEST_PAGES 1
#endif

namespace support {

#if defined(_WIN32)
// n bytes of the program's own between two pages that it may not touch; null if there is no more.
inline std::uint8_t* forbidding_pages(std::size_t n, std::size_t page) {
  constexpr unsigned long commit = 0x1000, reserve = 0x2000, no_access = 1, read_write = 4;
  auto* all = static_cast<std::uint8_t*>(VirtualAlloc(nullptr, n + 2 * page, reserve, no_access));
  if (all == nullptr || VirtualAlloc(all + page, n, commit, read_write) == nullptr) return nullptr;
  return all;
}
inline void forget_pages(std::uint8_t* all, std::size_t) {
  constexpr unsigned long release = 0x8000;
  VirtualFree(all, 0, release);
}
#elif FEWBIT_TEST_PAGES
inline std::uint8_t* forbidding_pages(std::size_t n, std::size_t page) {
  void* map = mmap(nullptr, n + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return nullptr;
  auto* all = static_cast<std::uint8_t*>(map);
  const bool forbidden = mprotect(all, page, PROT_NONE) == 0 && mprotect(all + page + n, page, PROT_NONE) == 0;
  return forbidden ? all : nullptr;
}
inline void forget_pages(std::uint8_t* all, std::size_t size) { munmap(all, size); }
#endif

// Which end of the array touches the forbidden page.
enum class Flush { back, front };

// Room for up to `most` elements, handed out in slices of any smaller length that end (or begin) at a page no
// program may touch. As the length varies, a slice begins at every alignment its type allows.
template <class T>
class Guarded {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit Guarded(std::size_t most) {
    const std::size_t page = page_size();
    room_ = (most * sizeof(T) + margin + page - 1) / page * page;
#if FEWBIT_TEST_PAGES
    map_ = forbidding_pages(room_, page);
    if (map_ == nullptr) throw std::bad_alloc();
    begin_ = map_ + page;
#else
    store_.resize(room_ + 2 * margin, pattern);
    begin_ = store_.data() + margin;
#endif
  }
  ~Guarded() {
#if FEWBIT_TEST_PAGES
    forget_pages(map_, room_ + 2 * page_size());
#endif
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  // n elements, every byte of them and around them set to a pattern.
  std::span<T> slice(std::size_t n, Flush flush = Flush::back) {
    flush_ = flush, used_ = n * sizeof(T);
    std::uint8_t* start = flush == Flush::back ? begin_ + room_ - used_ : begin_;
    std::memset(flush == Flush::back ? start - margin : start, pattern, used_ + margin);
    return {reinterpret_cast<T*>(start), n};
  }
  std::span<T> slice_of(std::span<const T> source, Flush flush = Flush::back) {
    const std::span<T> s = slice(source.size(), flush);
    if (!s.empty()) std::memcpy(s.data(), source.data(), s.size_bytes());
    return s;
  }
  // Whether the bytes on the unguarded side of the last slice are as they were; on both sides, where no page is
  // forbidden.
  bool intact() const {
    const std::uint8_t* side = flush_ == Flush::back ? begin_ + room_ - used_ - margin : begin_ + used_;
    bool same = untouched(side);
#if !FEWBIT_TEST_PAGES
    same = same && untouched(flush_ == Flush::back ? begin_ + room_ : begin_ - margin);
#endif
    return same;
  }

 private:
  static constexpr std::size_t margin = 64;
  static constexpr std::uint8_t pattern = 0xa5;
  static bool untouched(const std::uint8_t* side) {
    for (std::size_t i = 0; i < margin; ++i)
      if (side[i] != pattern) return false;
    return true;
  }
  static std::size_t page_size() {
#if FEWBIT_TEST_PAGES && !defined(_WIN32)
    return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
#else
    return 4096;
#endif
  }

  std::uint8_t *map_ = nullptr, *begin_ = nullptr;
  std::size_t room_ = 0, used_ = 0;
  Flush flush_ = Flush::back;
#if !FEWBIT_TEST_PAGES
  std::vector<std::uint8_t> store_;
#endif
};

}  // namespace support
