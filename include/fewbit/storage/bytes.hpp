#pragma once
// Bytes that are not cleared when they are made. Rule: whoever makes them writes every one; clearing the codes
// first would cost a tenth of the time of quantizing.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace fewbit {

template <class T>
struct Uninitialized : std::allocator<T> {
  Uninitialized() = default;
  template <class U>
  constexpr Uninitialized(const Uninitialized<U>&) noexcept {}
  template <class U>
  struct rebind {
    using other = Uninitialized<U>;
  };
  template <class U>
  void construct(U* p) noexcept {
    ::new (static_cast<void*>(p)) U;
  }
  template <class U, class... Args>
  void construct(U* p, Args&&... args) {
    ::new (static_cast<void*>(p)) U(std::forward<Args>(args)...);
  }
};

using Bytes = std::vector<std::uint8_t, Uninitialized<std::uint8_t>>;

}  // namespace fewbit
