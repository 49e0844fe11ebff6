#pragma once
// A chart as an SVG file. Rule: numbers are rounded to a tenth of a pixel before they are written, so that a file is
// the same on every machine; every series has a name in the picture, and no meaning hangs on its colour alone.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "table.hpp"

namespace example {

struct Point {
  double x, y;
};

// Colours that stay apart for the colour-blind (Okabe and Ito), from dark to light.
inline constexpr const char* plot_colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

// From one number to another, as an axis shows them.
struct Axis {
  std::string label;
  double from, to;
  std::vector<double> ticks;
  int digits = 0;
  bool logarithmic = false;

  double share(double x) const {  // 0 at `from`, 1 at `to`
    return logarithmic ? std::log(x / from) / std::log(to / from) : (x - from) / (to - from);
  }
};

class Plot {
 public:
  enum class Marker { circle, square, diamond, triangle };

  // In pixels: the whole, and what is left free on the right for names and below for numbers and rows of marks.
  struct Size {
    double width = 760, height = 420, right = 200, below = 56;
  };

  Plot(std::string title, Axis x, Axis y) : Plot(std::move(title), std::move(x), std::move(y), Size{}) {}
  Plot(std::string title, Axis x, Axis y, Size size)
      : x_(std::move(x)), y_(std::move(y)), size_(size), title_(std::move(title)) {}

  // Points joined by lines, with a marker at each, and the name beside the last one.
  void series(const std::string& name, std::vector<Point> points, int colour, Marker marker) {
    std::string path;
    for (const Point& p : points) path = joined(path, path.empty() ? "M" : "L", at(p));
    if (points.size() > 1)
      body_ += joined("<path d=\"", path, "\" fill=\"none\" stroke=\"", ink(colour), "\" stroke-width=\"2\"/>\n");
    for (const Point& p : points) body_ += shape(marker, left_of(p.x), top_of(p.y), ink(colour));
    legend_.push_back({name, colour, marker});
  }
  // A bar from the bottom of the plot up to y.
  void bar(double x0, double x1, double y) {
    body_ += rectangle(left_of(x0), top_of(y), left_of(x1) - left_of(x0), bottom() - top_of(y), "#d9dee5");
  }
  // Below the plot, in a row of its own: a name and a mark at each x.
  void row_of_marks(const std::string& name, const std::vector<double>& xs, int colour, const std::string& remark) {
    const double middle = bottom() + 62 + 34 * static_cast<double>(rows_++);
    body_ += joined("<path d=\"M", px(left), " ", px(middle), "H", px(right()), "\" stroke=\"#bbb\"/>\n");
    for (const double x : xs)
      body_ += joined("<path d=\"M", px(left_of(x)), " ", px(middle - 9), "V", px(middle + 9), "\" stroke=\"",
                      ink(colour), "\" stroke-width=\"3\"/>\n");
    text(left - 8, middle + 4, "end", 13, name, ink(colour));
    text(right() + 8, middle + 4, "start", 13, remark, "#333");
  }

  std::string svg() const {
    std::string out = joined("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", px(size_.width), " ",
                             px(size_.height), "\" font-family=\"sans-serif\" role=\"img\">\n<title>", title_,
                             "</title>\n", rectangle(0, 0, size_.width, size_.height, "#fff"));
    out += label(left, 26, "start", 17, title_, "#111");
    for (const double t : x_.ticks) {
      out += joined("<path d=\"M", px(left_of(t)), " ", px(top), "V", px(bottom() + 5), "\" stroke=\"#e6e6e6\"/>\n");
      out += label(left_of(t), bottom() + 20, "middle", 12, fixed(t, x_.digits), "#333");
    }
    for (const double t : y_.ticks) {
      out += joined("<path d=\"M", px(left - 5), " ", px(top_of(t)), "H", px(right()), "\" stroke=\"#e6e6e6\"/>\n");
      out += label(left - 9, top_of(t) + 4, "end", 12, fixed(t, y_.digits), "#333");
    }
    out += joined("<path d=\"M", px(left), " ", px(top), "V", px(bottom()), "H", px(right()),
                  "\" fill=\"none\" stroke=\"#333\"/>\n");
    out += label((left + right()) / 2, bottom() + 40, "middle", 13, x_.label, "#111");
    out += joined("<g transform=\"translate(18 ", px((top + bottom()) / 2), ") rotate(-90)\">",
                  label(0, 0, "middle", 13, y_.label, "#111"), "</g>\n");
    out += body_;
    double line = top + 14;
    for (const Entry& e : legend_) {
      out += shape(e.marker, right() + 18, line - 4, ink(e.colour));
      out += label(right() + 32, line, "start", 13, e.name, "#111");
      line += 22;
    }
    return out + "</svg>\n";
  }

  void save(const std::string& path) const {
    std::ofstream file(path, std::ios::binary);
    file << svg();
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path);
  }

 private:
  struct Entry {
    std::string name;
    int colour;
    Marker marker;
  };
  static constexpr double left = 92, top = 48;

  double right() const { return size_.width - size_.right; }
  double bottom() const { return size_.height - size_.below; }
  double left_of(double x) const { return left + x_.share(x) * (right() - left); }
  double top_of(double y) const { return bottom() - y_.share(y) * (bottom() - top); }
  std::string at(Point p) const { return joined(px(left_of(p.x)), " ", px(top_of(p.y))); }

  static const char* ink(int colour) { return plot_colours[colour]; }
  static std::string px(double x) {
    const std::string text = fixed(x, 1);
    return text.substr(text.size() - 2) == ".0" ? text.substr(0, text.size() - 2) : text;
  }
  static std::string rectangle(double x, double y, double width, double height, const char* colour) {
    return joined("<rect x=\"", px(x), "\" y=\"", px(y), "\" width=\"", px(width), "\" height=\"", px(height),
                  "\" fill=\"", colour, "\"/>\n");
  }
  static std::string shape(Marker marker, double x, double y, const char* colour) {
    const auto polygon = [&](std::initializer_list<Point> corners) {
      std::string points;
      for (const Point& c : corners) points += joined(points.empty() ? "" : " ", px(x + c.x), ",", px(y + c.y));
      return joined("<polygon points=\"", points, "\" fill=\"", colour, "\"/>\n");
    };
    switch (marker) {
      case Marker::square: return rectangle(x - 4.5, y - 4.5, 9, 9, colour);
      case Marker::diamond: return polygon({{0, -6.5}, {6.5, 0}, {0, 6.5}, {-6.5, 0}});
      case Marker::triangle: return polygon({{0, -6}, {6, 5}, {-6, 5}});
      case Marker::circle: break;
    }
    return joined("<circle cx=\"", px(x), "\" cy=\"", px(y), "\" r=\"5\" fill=\"", colour, "\"/>\n");
  }
  static std::string label(double x, double y, const char* anchor, int size, const std::string& what,
                           const char* colour) {
    return joined("<text x=\"", px(x), "\" y=\"", px(y), "\" text-anchor=\"", anchor, "\" font-size=\"", size,
                  "\" fill=\"", colour, "\">", what, "</text>\n");
  }
  void text(double x, double y, const char* anchor, int size, const std::string& what, const char* colour) {
    body_ += label(x, y, anchor, size, what, colour);
  }

  Axis x_, y_;
  Size size_;
  std::string title_, body_;
  std::vector<Entry> legend_;
  int rows_ = 0;
};

}  // namespace example
