#pragma once
// Memory for rows: not cleared when it is made, and starting on a cache line. Rule: whoever makes it writes every
// element; clearing the codes first would cost a tenth of the time of quantizing.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace fewbit {

template <class T>
struct Uninitialized {
  using value_type = T;
  static constexpr std::align_val_t line{64};

  Uninitialized() = default;
  template <class U>
  constexpr Uninitialized(const Uninitialized<U>&) noexcept {}

  T* allocate(std::size_t n) {
    if (n > static_cast<std::size_t>(-1) / 2 / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(::operator new(n * sizeof(T), line));
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
