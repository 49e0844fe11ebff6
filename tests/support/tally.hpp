#pragma once
// Counts checks in loops too hot for one assertion each. Rule: it keeps the first failure in words, and knows how
// much was checked, so that a loop that never ran fails too.

#include <cstdint>
#include <sstream>
#include <string>
#include <type_traits>

#include <support/catch.hpp>

namespace support {

class Tally {
 public:
  // The parts say what failed. A part that can be called is asked only then.
  template <class... Parts>
  void check(bool good, const Parts&... parts) {
    ++checked_;
    if (good) return;
    if (failed_++ == 0) {
      std::ostringstream os;
      os.precision(9);
      (print(os, parts), ...);
      first_ = os.str();
    }
  }
  // At least this many checks were made, and none failed.
  void require(std::uint64_t at_least) const {
    INFO(failed_ << " of " << checked_ << " failed; the first: " << first_);
    CHECK(failed_ == 0);
    CHECK(checked_ >= at_least);
  }

 private:
  template <class Part>
  static void print(std::ostringstream& os, const Part& part) {
    if constexpr (std::is_invocable_v<const Part&>) os << part();
    else os << part;
  }

  std::uint64_t checked_ = 0, failed_ = 0;
  std::string first_;
};

}  // namespace support
