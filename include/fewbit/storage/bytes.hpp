#pragma once
// Memory for rows: not cleared when it is made, starting on a cache line, and in large pages where it is large. Rule:
// whoever makes it writes every element; clearing the codes first would cost a tenth of the time of quantizing.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fewbit {

// Linux gives large pages to those who ask: 128 MiB are there in a third of the time, and rows that lie far apart are
// found in the page table.
inline void ask_for_large_pages([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  constexpr std::size_t page = std::size_t{1} << 21;
  if (bytes < 2 * page) return;
  const std::size_t before = (page - reinterpret_cast<std::uintptr_t>(p) % page) % page;
  madvise(static_cast<std::uint8_t*>(p) + before, (bytes - before) / page * page, MADV_HUGEPAGE);  // it may fail
#endif
}

template <class T>
struct Uninitialized {
  using value_type = T;
  static constexpr std::align_val_t line{64};

  Uninitialized() = default;
  template <class U>
  constexpr Uninitialized(const Uninitialized<U>&) noexcept {}

  T* allocate(std::size_t n) {
    if (n > static_cast<std::size_t>(-1) / 2 / sizeof(T)) throw std::bad_array_new_length();
    void* const p = ::operator new(n * sizeof(T), line);
    ask_for_large_pages(p, n * sizeof(T));
    return static_cast<T*>(p);
  }
  void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, line); }

  template <class U>
  void construct(U* p) noexcept {
    ::new (static_cast<void*>(p)) U;
  }
  template <class U, class... Args>
  void construct(U* p, Args&&... args) {
    ::new (static_cast<void*>(p)) U(std::forward<Args>(args)...);
  }
  friend bool operator==(const Uninitialized&, const Uninitialized&) { return true; }
};

template <class T>
using Buffer = std::vector<T, Uninitialized<T>>;
using Bytes = Buffer<std::uint8_t>;

}  // namespace fewbit
