#pragma once
// A picture in memory, and how it becomes a PNG file. Rule: the file is whole or an exception says why not; the
// compression is only as clever as flat blocks of colour need.

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "colour.hpp"
#include "font.hpp"

namespace example {

class Image {
 public:
  Image(int width, int height, Rgb background)
      : width_(width), height_(height), pixels_(static_cast<std::size_t>(width * height), background) {}

  int width() const { return width_; }
  int height() const { return height_; }
  Rgb at(int x, int y) const { return pixels_[index(x, y)]; }

  // Parts that lie outside the picture are left out.
  void fill(int x, int y, int width, int height, Rgb colour) {
    for (int j = std::max(y, 0); j < std::min(y + height, height_); ++j)
      for (int i = std::max(x, 0); i < std::min(x + width, width_); ++i) pixels_[index(i, j)] = colour;
  }

  void text(int x, int y, std::string_view line, Rgb colour, int size) {
    for (const char c : line) {
      for (int row = 0; row < glyph_height; ++row)
        for (int column = 0; column < glyph_width; ++column)
          if (dot(c, row, column)) fill(x + column * size, y + row * size, size, size, colour);
      x += (glyph_width + 1) * size;
    }
  }
  static int text_width(std::string_view line, int size) {
    return (static_cast<int>(line.size()) * (glyph_width + 1) - 1) * size;
  }

 private:
  std::size_t index(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(x);
  }

  int width_, height_;
  std::vector<Rgb> pixels_;
};

namespace png {

using Bytes = std::vector<std::uint8_t>;

inline std::uint32_t crc32(const std::uint8_t* data, std::size_t size) {
  std::uint32_t crc = 0xffffffffu;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

inline std::uint32_t adler32(const Bytes& data) {
  std::uint32_t a = 1, b = 0;
  for (const std::uint8_t byte : data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

inline void append_big_endian(Bytes& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(value >> shift));
}

// A zlib stream of one deflate block with the fixed Huffman codes. The only repeat it knows is the pixel three
// bytes back, in runs of 10 or 258 bytes, whose codes need no extra bits: enough to make rows of one colour small.
inline Bytes compress(const Bytes& data) {
  Bytes out{0x78, 0x01};
  unsigned pending = 0;
  int pending_bits = 0;
  const auto put_bit = [&](unsigned bit) {
    pending |= bit << pending_bits;
    if (++pending_bits == 8) out.push_back(static_cast<std::uint8_t>(pending)), pending = 0, pending_bits = 0;
  };
  const auto put_code = [&](unsigned code, int bits) {  // Huffman codes go in from their highest bit
    while (bits-- > 0) put_bit(code >> bits & 1u);
  };
  const auto put_symbol = [&](unsigned symbol) {
    if (symbol < 144) put_code(0x30 + symbol, 8);
    else if (symbol < 256) put_code(0x190 + symbol - 144, 9);
    else if (symbol < 280) put_code(symbol - 256, 7);
    else put_code(0xc0 + symbol - 280, 8);
  };
  constexpr unsigned end = 256, repeat_10 = 264, repeat_258 = 285, three_back = 2;
  put_bit(1);              // the last block,
  put_bit(1), put_bit(0);  // with fixed codes
  for (std::size_t i = 0; i < data.size();) {
    std::size_t run = 0;
    while (i >= 3 && run < 258 && i + run < data.size() && data[i + run] == data[i + run - 3]) ++run;
    if (run < 10) {
      put_symbol(data[i++]);
      continue;
    }
    put_symbol(run == 258 ? repeat_258 : repeat_10);
    put_code(three_back, 5);
    i += run == 258 ? 258 : 10;
  }
  put_symbol(end);
  while (pending_bits != 0) put_bit(0);
  append_big_endian(out, adler32(data));
  return out;
}

inline void append_chunk(Bytes& out, std::string_view type, const Bytes& data) {
  append_big_endian(out, static_cast<std::uint32_t>(data.size()));
  const std::size_t start = out.size();
  out.insert(out.end(), type.begin(), type.end());
  out.insert(out.end(), data.begin(), data.end());
  append_big_endian(out, crc32(out.data() + start, out.size() - start));
}

inline Bytes encode(const Image& image) {
  Bytes rows;
  for (int y = 0; y < image.height(); ++y) {
    // Filter 2 stores the difference from the row above, which is zero in most rows of a picture of blocks.
    rows.push_back(y == 0 ? 0 : 2);
    for (int x = 0; x < image.width(); ++x) {
      const Rgb here = image.at(x, y), above = y == 0 ? Rgb{} : image.at(x, y - 1);
      rows.push_back(static_cast<std::uint8_t>(here.r - above.r));
      rows.push_back(static_cast<std::uint8_t>(here.g - above.g));
      rows.push_back(static_cast<std::uint8_t>(here.b - above.b));
    }
  }
  Bytes header;
  append_big_endian(header, static_cast<std::uint32_t>(image.width()));
  append_big_endian(header, static_cast<std::uint32_t>(image.height()));
  for (const int field : {8, 2, 0, 0, 0})
    header.push_back(static_cast<std::uint8_t>(field));  // 8 bits, RGB, the usual rest
  Bytes out{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  append_chunk(out, "IHDR", header);
  append_chunk(out, "IDAT", compress(rows));
  append_chunk(out, "IEND", {});
  return out;
}

}  // namespace png

// Throws std::runtime_error when the file cannot be written.
inline void write_png(const Image& image, const std::string& path) {
  const png::Bytes bytes = png::encode(image);
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

}  // namespace example
