// The tools that the examples are judged with must not be wrong in their favour.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "figures.hpp"
#include "image.hpp"
#include "numpy_random.hpp"
#include "terminal.hpp"

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "not so: %s\n", what);
}

// What NumPy 1.24 gives for these seeds.
void the_stream_is_numpys() {
  example::NumpyRandom uniform(0);
  expect(uniform.uniform() == 0.5488135039273248, "seed 0, first rand()");
  expect(uniform.uniform() == 0.7151893663724195, "seed 0, second rand()");
  example::NumpyRandom normal(42);
  const double expected[] = {0.4967141530112327, -0.13826430117118466, 0.6476885381006925, 1.5230298564080254};
  for (const double x : expected)
    expect(std::abs(normal.normal() - x) < 1e-15, "seed 42, randn(): value and kept second value");
  const example::Matrix m = example::NumpyRandom(42).normals(2, 2);
  expect(m(0, 1) == static_cast<float>(expected[1]) && m(1, 0) == static_cast<float>(expected[2]),
         "arrays fill row by row");
}

// What `act` writes to standard output.
template <class F>
std::string written(const F& act) {
  std::ostringstream text;
  std::streambuf* const before = std::cout.rdbuf(text.rdbuf());
  act();
  std::cout.rdbuf(before);
  return text.str();
}

void a_wrong_figure_is_found() {
  int status = 0;
  const auto closing = [&](const char* published, const char* further) {
    return written([&] {
      example::Figures figures("title");
      figures.published("a", "1.0", "1.0");
      figures.published("b", "0.12", published);
      figures.corrected("c", "4x", "17x", further, "a reason");
      status = figures.close();
    });
  };
  const auto ends = [](const std::string& text, const std::string& with) { return text.ends_with(with); };
  expect(ends(closing("0.12", "17x"), "1 of 1 further figures confirmed\n2 of 2 published figures reproduced\n") &&
             status == 0,
         "all agree");
  expect(ends(closing("0.13", "17x"), "1 of 1 further figures confirmed\n1 of 2 published figures reproduced\n") &&
             status != 0,
         "a last digit off");
  expect(ends(closing("0.12", "16x"), "0 of 1 further figures confirmed\n2 of 2 published figures reproduced\n") &&
             status != 0,
         "a correction off");
  expect(closing("0.13", "17x").find("DIFFERS") != std::string::npos, "the row says so");
}

void tables_line_up_by_what_is_seen() {
  expect(example::columns("±3.4 × 10^38") == 12, "two bytes, one column");
  expect(example::right("±1", 4) == "  ±1" && example::left("±1", 4) == "±1  ", "padding");
  expect(example::fixed(0.125, 2) == "0.12" && example::percent(0.396, 1) == "39.6%", "rounding");
}

using Bytes = example::png::Bytes;

std::uint32_t big_endian(const Bytes& b, std::size_t at) {
  return static_cast<std::uint32_t>(b[at]) << 24 | static_cast<std::uint32_t>(b[at + 1]) << 16 |
         static_cast<std::uint32_t>(b[at + 2]) << 8 | b[at + 3];
}

// Inflates one block of fixed Huffman codes, as RFC 1951 describes it, with no more of the tables than images use.
Bytes inflate(const Bytes& in) {
  Bytes out;
  std::size_t position = 16;  // after the two bytes of the zlib header
  const auto bit = [&] {
    const unsigned byte = in.at(position / 8);
    return byte >> (position++ % 8) & 1u;
  };
  const auto bits = [&](int n) {
    unsigned code = 0;
    while (n-- > 0) code = code << 1 | bit();
    return code;
  };
  expect(bits(3) == 0b110, "one last block of fixed codes");
  for (;;) {
    unsigned code = bits(7), symbol = 0;
    if (code < 24) {
      symbol = 256 + code;
    } else {
      code = code << 1 | bit();
      if (code < 0xc0) symbol = code - 0x30;
      else if (code < 0xc8) symbol = 280 + code - 0xc0;
      else symbol = 144 + (code << 1 | bit()) - 0x190;
    }
    if (symbol == 256) break;
    if (symbol < 256) {
      out.push_back(static_cast<std::uint8_t>(symbol));
      continue;
    }
    const int length = symbol == 264 ? 10 : symbol == 285 ? 258 : 0;
    const unsigned distance = bits(5) + 1;
    expect(length != 0 && distance == 3, "a repeat without extra bits");
    for (int k = 0; k < length; ++k) out.push_back(out.at(out.size() - distance));
  }
  return out;
}

void a_png_holds_the_picture() {
  const std::string digits = "123456789", wikipedia = "Wikipedia";
  expect(example::png::crc32(reinterpret_cast<const std::uint8_t*>(digits.data()), digits.size()) == 0xcbf43926u,
         "crc32 of 123456789");
  expect(example::png::adler32(Bytes(wikipedia.begin(), wikipedia.end())) == 0x11e60398u, "adler32 of Wikipedia");

  example::Image image(301, 23, {10, 20, 30});
  image.fill(5, 3, 200, 11, {200, 210, 220});
  image.fill(-4, 18, 1000, 1000, {1, 255, 144});
  image.text(2, 2, "Error 4.5", {255, 255, 255}, 2);
  const Bytes file = example::png::encode(image);
  expect(file.size() > 8 && file[0] == 0x89 && file[1] == 'P', "signature");
  Bytes data;
  std::string types;
  for (std::size_t at = 8; at + 12 <= file.size();) {
    const std::size_t size = big_endian(file, at);
    types += std::string(file.begin() + static_cast<std::ptrdiff_t>(at) + 4,
                         file.begin() + static_cast<std::ptrdiff_t>(at) + 8) +
             ' ';
    if (types.ends_with("IDAT "))
      data.assign(file.begin() + static_cast<std::ptrdiff_t>(at) + 8,
                  file.begin() + static_cast<std::ptrdiff_t>(at + 8 + size));
    expect(example::png::crc32(file.data() + at + 4, size + 4) == big_endian(file, at + 8 + size),
           "a chunk's checksum");
    at += size + 12;
  }
  expect(types == "IHDR IDAT IEND ", "chunks");
  expect(big_endian(file, 16) == 301 && big_endian(file, 20) == 23, "width and height");

  Bytes rows = inflate(data);
  expect(example::png::adler32(rows) == big_endian(data, data.size() - 4), "the stream's checksum");
  expect(rows.size() == 23 * (1 + 3 * 301), "rows");
  bool same = true;
  for (std::size_t y = 0, stride = 1 + 3 * 301; y < 23; ++y)
    for (std::size_t k = 1; k < stride; ++k) {
      if (rows[y * stride] == 2)
        rows[y * stride + k] = static_cast<std::uint8_t>(rows[y * stride + k] + rows[(y - 1) * stride + k]);
      const example::Rgb c = image.at(static_cast<int>((k - 1) / 3), static_cast<int>(y));
      same = same && rows[y * stride + k] == ((k - 1) % 3 == 0 ? c.r : (k - 1) % 3 == 1 ? c.g : c.b);
    }
  expect(same, "pixels");
}

void glyphs_are_whole() {
  for (const char c : std::string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:-+=/()|"))
    expect(example::glyph(c).size() >= 7 && example::glyph(c).size() <= 9, "a glyph has seven to nine rows");
}

void a_pipe_gets_characters() {
  const example::Panel panel{"t", 1, 2, {{{255, 0, 0}, '#'}, {{0, 0, 255}, '.'}}};
  std::ostringstream plain, colour;
  example::show(plain, {panel, panel}, example::Palette::none);
  expect(plain.str() == "t   t\n#.  #.\n", "plain characters");
  example::show(colour, {panel}, example::Palette::colours_24_bit);
  expect(colour.str().find("\x1b[38;2;255;0;0m▀") != std::string::npos, "24-bit colour");
}

}  // namespace

int main() {
  the_stream_is_numpys();
  a_wrong_figure_is_found();
  tables_line_up_by_what_is_seen();
  a_png_holds_the_picture();
  glyphs_are_whole();
  a_pipe_gets_characters();
  return failures == 0 ? 0 : 1;
}
