#pragma once
// Arrays with forbidden memory around them. Rule: one element too far on the guarded side is a crash at the line
// that did it, and one too far on the other side is found by intact().

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#define FEWBIT_TEST_PAGES 1
#else
#include <vector>
#define FEWBIT_TEST_PAGES 0
#endif

namespace support {

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
    void* map = mmap(nullptr, room_ + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<std::uint8_t*>(map);
    if (mprotect(map_, page, PROT_NONE) != 0 || mprotect(map_ + page + room_, page, PROT_NONE) != 0)
      throw std::bad_alloc();
    begin_ = map_ + page;
#else
    store_.resize(room_);
    begin_ = store_.data();
#endif
  }
  ~Guarded() {
#if FEWBIT_TEST_PAGES
    munmap(map_, room_ + 2 * page_size());
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
  // Whether the bytes on the unguarded side of the last slice are as they were.
  bool intact() const {
    const std::uint8_t* side = flush_ == Flush::back ? begin_ + room_ - used_ - margin : begin_ + used_;
    for (std::size_t i = 0; i < margin; ++i)
      if (side[i] != pattern) return false;
    return true;
  }

 private:
  static constexpr std::size_t margin = 64;
  static constexpr std::uint8_t pattern = 0xa5;
  static std::size_t page_size() {
#if FEWBIT_TEST_PAGES
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
