#pragma once
// Matrices as blocks of colour in a terminal. Rule: colours only where a person looks at them; a file, a pipe or
// NO_COLOR gets plain characters, which is what the recorded outputs hold.

#include <cstdlib>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include "colour.hpp"
#include "table.hpp"

namespace example {

enum class Palette { none, colours_256, colours_24_bit };

// What standard output can show.
inline Palette terminal_palette() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string_view(value == nullptr ? "" : value);
  };
  if (isatty(STDOUT_FILENO) == 0 || !variable("NO_COLOR").empty() || variable("TERM") == "dumb") return Palette::none;
  const std::string_view depth = variable("COLORTERM");
  return depth == "truecolor" || depth == "24bit" ? Palette::colours_24_bit : Palette::colours_256;
}

struct Cell {
  Rgb colour;
  char character = ' ';  // stands for the colour where there are none
};

struct Panel {
  std::string title;
  int rows = 0, columns = 0;
  std::vector<Cell> cells;  // row by row
  const Cell& at(int i, int j) const { return cells[static_cast<std::size_t>(i * columns + j)]; }
};

// Panels of equal height side by side. In colour two rows share a line: a half block is as wide as it is high.
inline void show(std::ostream& out, const std::vector<Panel>& panels, Palette palette) {
  const auto set_colour = [&](Rgb c, bool background) {
    const auto step = [](std::uint8_t x) { return (x * 5 + 127) / 255; };
    out << (background ? "\x1b[48;" : "\x1b[38;");
    if (palette == Palette::colours_24_bit) out << "2;" << int{c.r} << ';' << int{c.g} << ';' << int{c.b} << 'm';
    else out << "5;" << 16 + 36 * step(c.r) + 6 * step(c.g) + step(c.b) << 'm';
  };
  const int rows = panels.front().rows, rows_per_line = palette == Palette::none ? 1 : 2;
  for (int i = -rows_per_line; i < rows; i += rows_per_line) {
    std::string line;
    for (const Panel& panel : panels) {
      if (i < 0) {
        line += left(panel.title, static_cast<std::size_t>(panel.columns) + 2);
      } else if (palette == Palette::none) {
        for (int j = 0; j < panel.columns; ++j) line += panel.at(i, j).character;
        line += "  ";
      } else {
        for (int j = 0; j < panel.columns; ++j) {
          set_colour(panel.at(i, j).colour, false);
          if (i + 1 < rows) set_colour(panel.at(i + 1, j).colour, true);
          out << "▀\x1b[0m";
        }
        out << "  ";
      }
    }
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  }
}

}  // namespace example
