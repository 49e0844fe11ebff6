#pragma once
// How the library's refusals are read. Rule: a message begins with "fewbit:" and says the thing, its value and what to
// do; the type of what is thrown is asked for exactly.

#include <cctype>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include <support/catch.hpp>
#include <support/tally.hpp>

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

// What must come of a request: an answer, which is judged by who asked, or an error of one type with these words.
struct Outcome {
  enum class Kind { judged, domain_error, invalid_argument } kind = Kind::judged;
  std::vector<std::string> words{}, unsaid{};  // what the message holds, and what would be wrong advice
};
inline const Outcome judged{};
inline Outcome refused(std::vector<std::string> words, std::vector<std::string> unsaid = {}) {
  return {Outcome::Kind::domain_error, std::move(words), std::move(unsaid)};
}
inline Outcome impossible(std::vector<std::string> words) {
  return {Outcome::Kind::invalid_argument, std::move(words)};
}

template <class F>
void check_refusal(Tally& tally, const std::string& place, const Outcome& o, F&& ask) {
  const std::optional<std::string> message =
      o.kind == Outcome::Kind::domain_error ? thrown<std::domain_error>(ask) : thrown<std::invalid_argument>(ask);
  tally.check(says(message, o.words), place, "said: ", message.value_or("nothing was thrown"));
  for (const std::string& wrong : o.unsaid)
    tally.check(!message || message->find(wrong) == std::string::npos, place, "said: ", message.value_or(""));
}

// A concrete request, by the number of its class. What is judged is checked where it is asked for.
struct Request {
  int number;
  std::string name;
  Outcome outcome;
  std::function<void()> ask;
};

inline void run(const Request& r) {
  INFO("class " << r.number << ": " << r.name);
  if (r.outcome.kind == Outcome::Kind::judged) return r.ask();
  Tally tally;
  check_refusal(tally, r.name + " ", r.outcome, r.ask);
  tally.require(1);
}

// That requests have names of their own, and that there are so many in all and of each class. `count` has what other
// tables hold of the classes.
inline void check_counts(const std::vector<Request>& requests, std::size_t in_all,
                         const std::vector<std::pair<int, std::size_t>>& at_least,
                         std::map<int, std::size_t> count = {}) {
  std::set<std::string> names;
  for (const Request& r : requests) {
    INFO(r.number << ": " << r.name);
    CHECK(names.insert(std::to_string(r.number) + r.name).second);
    ++count[r.number];
  }
  CHECK(requests.size() >= in_all);
  for (const auto& [number, n] : at_least) {
    INFO("class " << number << " has " << count[number]);
    CHECK(count[number] >= n);
  }
}

}  // namespace support
