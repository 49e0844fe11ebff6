#pragma once
// How the library's refusals are read. Rule: a message begins with "fewbit:" and says the thing, its value and what to
// do; the type of what is thrown is asked for exactly.

#include <cctype>
#include <exception>
#include <optional>
#include <string>
#include <typeinfo>
#include <vector>

#include <support/catch.hpp>

namespace support {

// The message of the E that f throws, which must be of that very type; nothing if nothing was thrown.
template <class E, class F>
std::optional<std::string> thrown(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    CHECK(typeid(e) == typeid(E));
    return e.what();
  }
  return std::nullopt;
}

// Whether the message begins as ours do, and says each of the words, a number standing by itself.
inline bool says(const std::optional<std::string>& message, const std::vector<std::string>& words) {
  if (!message || message->rfind("fewbit: ", 0) != 0) return false;
  const auto digit = [&](std::size_t at) {
    return at < message->size() && std::isdigit(static_cast<unsigned char>((*message)[at]));
  };
  for (const std::string& word : words) {
    std::size_t at = message->find(word);
    const bool number = std::isdigit(static_cast<unsigned char>(word[0])) != 0;
    while (number && at != std::string::npos && ((at > 0 && digit(at - 1)) || digit(at + word.size())))
      at = message->find(word, at + 1);
    if (at == std::string::npos) return false;
  }
  return true;
}

}  // namespace support
