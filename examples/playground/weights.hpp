#pragma once
// The weights of a view: the documents' own, drawn from NumPy's stream as in their listings, or the user's. Rule: what
// cannot be read as a matrix of numbers throws, as the library does, and says where and what to do.

#include <fewbit/fewbit.hpp>

#include <cctype>
#include <cstdlib>
#include <string>
#include <vector>

#include "../demo/demo_weights.hpp"
#include "../support/table.hpp"
#include "view.hpp"

namespace example {

constexpr fewbit::Index most_weights = fewbit::Index{1} << 22;

inline void check_size(fewbit::Index rows, fewbit::Index cols) {
  if (cols > 0 && rows > most_weights / cols)
    fewbit::fail_argument("a matrix of ", rows, " x ", cols, " is more than this page takes, ", most_weights,
                          " weights; use a part of it");
}

// Numbers apart by spaces, commas, semicolons or brackets. A row ends with its line, or with ']' if there are brackets,
// so that what NumPy and JSON print can be pasted. Throws std::invalid_argument.
inline Matrix parse_weights(const std::string& text) {
  const bool brackets = text.find('[') != text.npos;
  std::vector<std::vector<float>> rows(1);
  const auto separates = [](char c) {
    return std::isspace(static_cast<unsigned char>(c)) != 0 || c == ',' || c == ';' || c == '[' || c == ']';
  };
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (separates(c)) {
      if (c == (brackets ? ']' : '\n') && !rows.back().empty()) rows.emplace_back();
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && !separates(text[end])) ++end;
    const std::string word = text.substr(at, end - at);
    char* stopped = nullptr;
    const double x = std::strtod(word.c_str(), &stopped);
    if (*stopped != '\0')
      fewbit::fail_argument("'", word.substr(0, 40), "' at row ", rows.size() - 1, ", column ", rows.back().size(),
                            " is not a number; paste numbers apart by spaces or commas, a row on each line");
    rows.back().push_back(static_cast<float>(x));
    at = end;
  }
  if (rows.back().empty()) rows.pop_back();
  if (rows.empty()) fewbit::fail_argument("there are no weights in this text; paste numbers, a row on each line");
  for (std::size_t i = 1; i < rows.size(); ++i)
    if (rows[i].size() != rows[0].size())
      fewbit::fail_argument("row ", i, " has ", rows[i].size(), " numbers where row 0 has ", rows[0].size(),
                            "; give all rows the same length");
  check_size(static_cast<fewbit::Index>(rows.size()), static_cast<fewbit::Index>(rows[0].size()));
  Matrix W(static_cast<fewbit::Index>(rows.size()), static_cast<fewbit::Index>(rows[0].size()));
  for (fewbit::Index i = 0; i < W.rows(); ++i)
    for (fewbit::Index j = 0; j < W.cols(); ++j)
      W(i, j) = rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
  return W;
}

// The kinds of weights, by their names in a view. `spread` is what NumPy's listings multiply randn by.
inline Matrix draw_weights(const View& view, fewbit::Index rows, fewbit::Index cols) {
  const int kind = view.choice("weights", {"waves", "normal", "shifted", "relu", "outlier"});
  const auto spread = static_cast<float>(view.number("spread", 1, 1e-6, 1e6));
  const auto seed = static_cast<std::uint32_t>(view.number("seed", 42, 0, 4294967295.));
  if (kind == 0 && rows != cols)
    fewbit::fail_argument("the waves are square, not ", rows, " x ", cols, "; use shape=", rows, "x", rows);
  if (kind == 0) return demo_weights(rows);
  Matrix W = NumpyRandom(seed).normals(rows, cols) * spread;
  if (kind == 2) W.array() += 2 * spread;
  if (kind == 3) W = W.cwiseAbs();
  if (kind == 4) W.row(std::min<fewbit::Index>(13, rows - 1)) *= 50;
  return W;
}

inline bool are_own(const View& view) { return view.text("weights", "waves") == "own"; }

// Of another kind than `own`.
inline Matrix weights_of(const View& view) {
  const std::string shape = view.text("shape", "24x24");
  const std::size_t x = shape.find('x');
  const auto extent = [&](const std::string& digits) {
    char* end = nullptr;
    const long n = std::strtol(digits.c_str(), &end, 10);
    if (x == shape.npos || *end != '\0' || n < 1 || n > most_weights)
      fewbit::fail_argument("shape=", shape, " in the address is not possible; use rows x columns, as in 64x64");
    return static_cast<fewbit::Index>(n);
  };
  const fewbit::Index rows = extent(shape.substr(0, x)), cols = extent(shape.substr(x == shape.npos ? 0 : x + 1));
  check_size(rows, cols);
  return draw_weights(view, rows, cols);
}

// The user's weights, or why there are none; `version` tells one set from the next.
struct Own {
  Matrix W;
  int version = 0;
  std::string error = "fewbit: there are no weights of yours yet; paste numbers, or open a .npy file";
};
inline Own& own() {
  static Own o;
  return o;
}

// The weights that a view names, drawn anew only if it names others than the last one.
class Weights {
 public:
  void take(const View& view) {
    std::string name;
    for (const char* key : {"weights", "shape", "spread", "seed"}) name += joined(view.text(key, ""), ' ');
    if (are_own(view)) {
      if (!own().error.empty()) throw std::invalid_argument(own().error);
      name = joined("own ", own().version);
    }
    if (name == name_) return;
    name_.clear();  // a view that throws leaves no weights behind that another would take for its own
    W_ = are_own(view) ? own().W : weights_of(view);
    name_ = name;
  }
  const Matrix& matrix() const { return W_; }

 private:
  Matrix W_;
  std::string name_;
};

}  // namespace example
