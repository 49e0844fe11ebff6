#pragma once
// How a fuzz target says that a law is broken. Rule: a sentence on stderr, and abort(), which libFuzzer and replay.cpp
// both take for a finding and answer with the input.

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <type_traits>

namespace fuzz {

// Takes the place of the tests' Tally: the first failure is the last. A part that can be called is asked only then.
class Law {
 public:
  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    if (good) return;
    std::ostringstream os;
    os.precision(9);
    (print(os, parts), ...);
    std::fprintf(stderr, "broken: %s\n", os.str().c_str());
    std::abort();
  }

 private:
  template <class Part>
  static void print(std::ostringstream& os, const Part& part) {
    if constexpr (std::is_invocable_v<const Part&>) os << part();
    else os << part;
  }
};

}  // namespace fuzz
