#pragma once
// NumPy's .npy files, in and out: one array a file. Rule: a file is read whole or not at all, and written beside
// its target and renamed, so that a failure leaves the old one as it was.

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fewbit/core/error.hpp>
#include <fewbit/core/half.hpp>
#include <fewbit/eigen/rows.hpp>

namespace fewbit {

static_assert(std::endian::native == std::endian::little,
              "fewbit: npy files are written and read on little-endian machines");

// A file that cannot be read or written as asked: what, and at which byte.
template <class... Parts>
[[noreturn]] void fail_file(const std::filesystem::path& path, std::uintmax_t at, const Parts&... parts) {
  throw std::runtime_error(message(path.string(), ": byte ", at, ": ", parts...));
}

// What an .npy header says: shape and element type. (NumPy Enhancement Proposal 1, versions 1.0 to 3.0.)
struct NpyHeader {
  char kind = 'f';        // f, i, u, or b for bool
  std::size_t width = 4;  // bytes of an element
  bool big_endian = false, fortran_order = false;
  Index rows = 0, cols = 0;  // a vector is one row, a scalar 1 x 1
  std::size_t data = 0;      // where the elements start
};

// Reads the header's Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class NpyHeaderReader {
 public:
  NpyHeaderReader(const std::filesystem::path& path, std::string_view text, std::size_t offset)
      : path_(path), text_(text), offset_(offset) {}

  NpyHeader read() {
    NpyHeader h;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && !descr) element(h), descr = true;
      else if (key == "fortran_order" && !order) h.fortran_order = boolean(), order = true;
      else if (key == "shape" && !shape) extents(h), shape = true;
      else
        fail("the header has an unexpected key '", key, "'; it should hold descr, fortran_order and shape once each");
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) fail("the header goes on after its dictionary; the file is damaged");
    if (!descr || !order || !shape) fail("the header ends without descr, fortran_order or shape; save the array again");
    return h;
  }

 private:
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    fail_file(path_, offset_ + at_, parts...);
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail("'", c, "' expected in the header; the file is damaged or not an .npy file");
  }
  std::string_view quoted() {
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"'))
      fail("a quoted word expected in the header; structured arrays cannot be read");
    const std::size_t end = text_.find(text_[at_], at_ + 1);
    if (end == text_.npos) fail("the header ends inside quotes; the file is damaged");
    const std::string_view word = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return word;
  }
  bool boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return value;
    }
    fail("True or False expected in the header; the file is damaged");
  }
  void element(NpyHeader& h) {
    const std::string_view d = quoted();
    const bool sized = d.size() == 3 && std::string_view("<>|=").find(d[0]) != std::string_view::npos;
    h.kind = sized ? d[1] : '?', h.width = sized ? static_cast<std::size_t>(d[2] - '0') : 0,
    h.big_endian = sized && d[0] == '>';
    const bool power = h.width == 1 || h.width == 2 || h.width == 4 || h.width == 8;
    const bool known = (h.kind == 'f' && power && h.width > 1) || ((h.kind == 'i' || h.kind == 'u') && power) ||
                       (h.kind == 'b' && h.width == 1);
    if (!known)
      fail("element type '", d, "' cannot be read; save the array as float16, float32, float64 or an integer type");
  }
  void extents(NpyHeader& h) {
    std::vector<Index> shape;
    expect('(');
    while (!accept(')')) {
      shape.push_back(extent());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    if (shape.size() > 2) fail("the array has ", shape.size(), " dimensions; reshape it to two");
    h.rows = shape.size() == 2 ? shape[0] : 1;
    h.cols = shape.empty() ? 1 : shape.back();
    if (h.cols > 0 && h.rows > std::numeric_limits<Index>::max() / 8 / h.cols)
      fail("a shape of ", h.rows, " x ", h.cols, " is more than this machine can address");
  }
  Index extent() {
    skip_space();
    if (at_ >= text_.size() || !std::isdigit(static_cast<unsigned char>(text_[at_])))
      fail("a length expected in the shape; the file is damaged");
    Index n = 0;
    for (; at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])); ++at_) {
      if (n > (std::numeric_limits<Index>::max() - 9) / 10)
        fail("a length in the shape is more than this machine can address");
      n = 10 * n + (text_[at_] - '0');
    }
    return n;
  }

  const std::filesystem::path& path_;
  std::string_view text_;
  std::size_t offset_, at_ = 0;
};

// One element as a float. Bytes are already in this machine's order.
inline float npy_element(const NpyHeader& h, const unsigned char* p) {
  const auto as = [p]<class T>(T value) {
    std::memcpy(&value, p, sizeof value);
    return static_cast<float>(value);
  };
  switch (h.kind) {
    case 'f':
      if (h.width == 4) return as(float{});
      if (h.width == 8) return as(double{});
      std::uint16_t half;
      std::memcpy(&half, p, sizeof half);
      return half_to_float(half);
    case 'i':
      return h.width == 1   ? as(std::int8_t{})
             : h.width == 2 ? as(std::int16_t{})
             : h.width == 4 ? as(std::int32_t{})
                            : as(std::int64_t{});
    case 'u':
      return h.width == 1   ? as(std::uint8_t{})
             : h.width == 2 ? as(std::uint16_t{})
             : h.width == 4 ? as(std::uint32_t{})
                            : as(std::uint64_t{});
    default: return *p != 0 ? 1.f : 0.f;
  }
}

inline namespace FEWBIT_ABI {

// The array of a file as floats. Two dimensions or fewer (a vector is one row), C or Fortran order, either byte
// order; float16, float32, float64, integers and bool. Throws std::runtime_error naming the path and the byte.
inline RowMajorMatrixXf load_npy(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (!in || error) fail_file(path, 0, "the file cannot be opened; check the path and its permissions");

  unsigned char start[12] = {};
  const auto read = [&](void* to, std::size_t n, std::uintmax_t at) {
    in.read(static_cast<char*>(to), static_cast<std::streamsize>(n));
    if (in.gcount() != static_cast<std::streamsize>(n))
      fail_file(path, at + static_cast<std::uintmax_t>(in.gcount()), "the file ends early; it was cut off");
  };
  read(start, 8, 0);
  if (std::memcmp(start, "\x93NUMPY", 6) != 0)
    fail_file(path, 0, "this is not an .npy file; save the array with numpy.save");
  if (start[6] < 1 || start[6] > 3)
    fail_file(path, 6, "format version ", int{start[6]}, ".", int{start[7]},
              " is unknown; versions 1 to 3 can be read");
  const std::size_t length_bytes = start[6] == 1 ? 2 : 4;
  read(start + 8, length_bytes, 8);
  std::uint32_t length = 0;
  std::memcpy(&length, start + 8, length_bytes);
  if (length > size)
    fail_file(path, 8, "the header claims ", length, " bytes of a file of ", size, "; it was cut off or damaged");
  std::string text(length, ' ');
  read(text.data(), length, 8 + length_bytes);
  NpyHeader h = NpyHeaderReader(path, text, 8 + length_bytes).read();
  h.data = 8 + length_bytes + length;

  const std::uintmax_t wanted =
      h.data + static_cast<std::uintmax_t>(h.rows) * static_cast<std::uintmax_t>(h.cols) * h.width;
  if (size != wanted)
    fail_file(path, std::min(size, wanted), "the file has ", size, " bytes where ", h.rows, " x ", h.cols,
              " elements need ", wanted, "; it was cut off or damaged");

  RowMajorMatrixXf w(h.rows, h.cols);
  if (w.size() == 0) return w;  // the other extent may be any number
  const Index runs = h.fortran_order ? h.cols : h.rows, run = h.fortran_order ? h.rows : h.cols;
  std::vector<unsigned char> bytes(static_cast<std::size_t>(run) * h.width);
  for (Index r = 0; r < runs; ++r) {
    read(bytes.data(), bytes.size(), h.data + static_cast<std::uintmax_t>(r) * bytes.size());
    for (Index k = 0; k < run; ++k) {
      unsigned char* p = bytes.data() + static_cast<std::size_t>(k) * h.width;
      if (h.big_endian) std::reverse(p, p + h.width);
      (h.fortran_order ? w(k, r) : w(r, k)) = npy_element(h, p);
    }
  }
  return w;
}

// Writes any Eigen matrix as float32 in C order. The file appears whole or not at all; one that is there is replaced.
// Throws std::runtime_error naming the path and the byte.
template <class Derived>
void save_npy(const std::filesystem::path& path, const Eigen::DenseBase<Derived>& w) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(w.rows()) + ", " +
                       std::to_string(w.cols()) + "), }";
  header.append(63 - (10 + header.size()) % 64, ' ').push_back('\n');  // elements start at a multiple of 64
  const auto length = static_cast<std::uint16_t>(header.size());

  std::filesystem::path beside = path;
  beside.concat(".").concat(std::to_string(std::random_device{}())).concat(".part");
  std::error_code error;
  try {
    std::ofstream out(beside, std::ios::binary);
    if (!out) fail_file(path, 0, "the file cannot be written; check the folder and its permissions");
    out.write("\x93NUMPY\x01\x00", 8).write(reinterpret_cast<const char*>(&length), 2).write(header.data(), length);
    const Evaluated<Derived> weights(w);
    Rows{weights}.each(0, w.cols() == 0 ? 0 : w.rows(), [&](Index, const Row& row) {  // of no columns there may be any
      out.write(reinterpret_cast<const char*>(row.in), static_cast<std::streamsize>(sizeof(float)) * w.cols());
    });
    out.close();
    if (!out) fail_file(path, 0, "writing failed; is the disk full?");
    std::filesystem::rename(beside, path, error);
    if (error) fail_file(path, 0, "the finished file cannot take this name: ", error.message());
  } catch (...) {
    std::filesystem::remove(beside, error);
    throw;
  }
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
