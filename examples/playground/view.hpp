#pragma once
// The address of a view, "key=value&key=value", read by those who know the keys. Rule: what is missing has a default,
// and what nobody knows is named.

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fewbit/core/error.hpp>

namespace example {

class View {
 public:
  explicit View(std::string_view text) {
    while (!text.empty()) {
      const std::string_view pair = text.substr(0, text.find('&'));
      text.remove_prefix(std::min(pair.size() + 1, text.size()));
      const std::size_t equals = pair.find('=');
      if (equals == pair.npos) fewbit::fail_argument("'", pair, "' in the address is not key=value; remove it");
      values_.push_back({std::string(pair.substr(0, equals)), std::string(pair.substr(equals + 1))});
    }
  }

  // Throws std::invalid_argument if the view has a key that is not among these.
  void allow(std::initializer_list<std::string_view> keys) const {
    for (const auto& [key, value] : values_)
      if (std::find(keys.begin(), keys.end(), key) == keys.end())
        fewbit::fail_argument("key '", key, "' in the address is unknown; remove it");
  }

  std::string text(std::string_view key, std::string_view otherwise) const {
    for (const auto& [k, value] : values_)
      if (k == key) return value;
    return std::string(otherwise);
  }

  // The place of the value among the names, the first of which is the default.
  int choice(std::string_view key, const std::vector<std::string_view>& names) const {
    const std::string value = text(key, names.front());
    const auto found = std::find(names.begin(), names.end(), value);
    if (found != names.end()) return static_cast<int>(found - names.begin());
    std::string all;
    for (const std::string_view name : names) all += (all.empty() ? "" : ", ") + std::string(name);
    fewbit::fail_argument(key, "=", value, " in the address is unknown; use one of ", all);
  }

  double number(std::string_view key, double otherwise, double least, double most) const {
    const std::string value = text(key, "");
    if (value.empty()) return otherwise;
    char* end = nullptr;
    const double x = std::strtod(value.c_str(), &end);
    if (*end != '\0' || !(x >= least && x <= most))
      fewbit::fail_argument(key, "=", value, " in the address is not possible; use ", least, " to ", most);
    return x;
  }
  int integer(std::string_view key, int otherwise, int least, int most) const {
    const double x = number(key, otherwise, least, most);
    if (x != static_cast<int>(x)) fewbit::fail_argument(key, "=", x, " in the address is not possible; use an integer");
    return static_cast<int>(x);
  }

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

}  // namespace example
