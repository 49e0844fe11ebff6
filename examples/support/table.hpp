#pragma once
// Numbers as text, and tables of text. Rule: everything is rounded to a stated number of digits before it is
// printed, so that a recorded output is the same on every compiler and machine.

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace example {

// The parts, texts and integers, one after the other.
template <class... Parts>
std::string joined(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

inline std::string formatted(const char* format, int digits, double x) {
  char text[400];  // the largest double has 309 digits before its point
  std::snprintf(text, sizeof text, format, digits, x);
  return text;
}

inline std::string fixed(double x, int digits) { return formatted("%.*f", digits, x); }
inline std::string scientific(double x, int digits) { return formatted("%.*e", digits, x); }
inline std::string general(double x, int digits) { return formatted("%.*g", digits, x); }
inline std::string percent(double fraction, int digits) { return joined(fixed(100 * fraction, digits), "%"); }

// How many columns a UTF-8 text takes: its bytes, less the continuation bytes.
inline std::size_t columns(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

inline std::string left(const std::string& text, std::size_t width) {
  return text + std::string(width - std::min(width, columns(text)), ' ');
}
inline std::string right(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, columns(text)), ' ') + text;
}

// The first column is set to the left, the others to the right. A row of one cell is a note that spans the table.
class Table {
 public:
  explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}

  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void note(std::string text) { rows_.push_back({std::move(text)}); }
  bool empty() const { return rows_.size() == 1; }

  friend std::ostream& operator<<(std::ostream& out, const Table& t) {
    std::vector<std::size_t> width(t.rows_.front().size(), 0);
    for (const auto& row : t.rows_)
      for (std::size_t k = 0; row.size() > 1 && k < row.size(); ++k) width[k] = std::max(width[k], columns(row[k]));
    std::size_t total = 0;
    for (const std::size_t w : width) total += w + 2;
    for (std::size_t i = 0; i < t.rows_.size(); ++i) {
      const auto& row = t.rows_[i];
      std::string line = row.size() == 1 ? row[0] : left(row[0], width[0]);
      for (std::size_t k = 1; k < row.size(); ++k) line += "  " + right(row[k], width[k]);
      out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
      if (i == 0) out << std::string(total - 2, '-') << '\n';
    }
    return out;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace example
