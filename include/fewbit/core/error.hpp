#pragma once
// How the library says no. Rule: every message starts with "fewbit:" and names the thing, its value and the
// remedy, so that it can be acted on without reading our source.

#include <sstream>
#include <stdexcept>
#include <string>

namespace fewbit {

// Streams the parts into one message. Only ever called on the way to a throw.
template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream os;
  os << "fewbit: ";
  (os << ... << parts);
  return os.str();
}

// A shape, bit width or group size that makes no sense.
template <class... Parts>
[[noreturn]] void fail_argument(const Parts&... parts) {
  throw std::invalid_argument(message(parts...));
}

// Numbers that cannot be worked with.
template <class... Parts>
[[noreturn]] void fail_domain(const Parts&... parts) {
  throw std::domain_error(message(parts...));
}

}  // namespace fewbit
