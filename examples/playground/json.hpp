#pragma once
// Answers as JSON. Rule: the writer knows texts, lists and objects; a number arrives as the text that is to be shown.

#include <string>
#include <string_view>

#include "../support/table.hpp"

namespace example {

inline std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
    else out += ' ';
  }
  return out + '"';
}

// {"key":"text","other":[...]}
class JsonObject {
 public:
  JsonObject& text(std::string_view key, std::string_view value) { return raw(key, json_text(value)); }
  JsonObject& raw(std::string_view key, std::string_view json) {
    body_ += joined(body_.empty() ? "" : ",", json_text(key), ":", json);
    return *this;
  }
  std::string str() const { return joined("{", body_, "}"); }

 private:
  std::string body_;
};

class JsonList {
 public:
  JsonList& raw(std::string_view json) {
    body_ += joined(body_.empty() ? "" : ",", json);
    return *this;
  }
  JsonList& text(std::string_view value) { return raw(json_text(value)); }
  std::string str() const { return joined("[", body_, "]"); }

 private:
  std::string body_;
};

}  // namespace example
