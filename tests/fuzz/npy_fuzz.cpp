// Bytes as a file: load_npy gives the matrix that a second, small reader of the format finds there, or it throws with
// the path and a byte of the file; nothing else. What was loaded and is saved is loaded again, to the last bit.

#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fewbit/io/npy.hpp>

#include <support/matrices.hpp>

#include "support/law.hpp"

namespace {

namespace fs = std::filesystem;
using fuzz::Law;
using support::Index;
using support::RowMajor;

const Law law;

// A folder for as long as the program runs: a file beside another is how one is saved.
class Folder {
 public:
  Folder() {
    std::random_device random;
    do path_ = fs::temp_directory_path() / ("fewbit_npy_fuzz_" + std::to_string(random()));
    while (!fs::create_directory(path_));
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

// The words of a header's dictionary: a quoted text with its quotes taken off and a ' before it, a number or a name, or
// one character. Empty if something else stands there.
std::optional<std::vector<std::string>> words_of(std::string_view text) {
  constexpr std::string_view space = " \t\n", alone = "{}(),:";
  std::vector<std::string> words;
  while (true) {
    const std::size_t at = text.find_first_not_of(space);
    if (at == text.npos) return words;
    text.remove_prefix(at);
    std::size_t length = 1;
    if (text[0] == '\'' || text[0] == '"') {
      const std::size_t end = text.substr(1).find(text[0]);
      if (end == text.npos) return std::nullopt;
      words.push_back("'" + std::string(text.substr(1, end)));
      length = end + 2;
    } else {
      if (alone.find(text[0]) == alone.npos) length = std::min(text.find_first_of(" \t\n{}(),:'\""), text.size());
      words.emplace_back(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
}

struct Header {
  char kind = 0;
  std::size_t width = 0;
  bool big_endian = false, by_column = false;
  std::uint64_t rows = 1, cols = 1;
};

// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } in any order of keys, with the last comma of dictionary
// and tuple or without.
class Dictionary {
 public:
  explicit Dictionary(const std::vector<std::string>& words) : words_(words) {}

  std::optional<Header> read() {
    Header h;
    int seen[3] = {};
    if (!is("{")) return {};
    while (!is("}")) {
      const std::string key = next();
      if (!is(":")) return {};
      bool good = false;
      if (key == "'descr") good = ++seen[0] == 1 && element(h);
      else if (key == "'fortran_order") good = ++seen[1] == 1 && order(h);
      else if (key == "'shape") good = ++seen[2] == 1 && shape(h);
      if (!good || (!is(",") && peek() != "}")) return {};
    }
    if (at_ != words_.size() || seen[0] + seen[1] + seen[2] != 3) return {};
    return h;
  }

 private:
  std::string peek() const { return at_ < words_.size() ? words_[at_] : ""; }
  std::string next() {
    const std::string word = peek();
    at_ += at_ < words_.size();
    return word;
  }
  bool is(const char* word) {
    if (peek() != word) return false;
    ++at_;
    return true;
  }
  bool element(Header& h) {
    static const std::vector<std::string> known{"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"};
    const std::string type = next();
    if (type.size() != 4 || std::string("<>|=").find(type[1]) == std::string::npos) return false;
    if (std::find(known.begin(), known.end(), type.substr(2)) == known.end()) return false;
    h.big_endian = type[1] == '>', h.kind = type[2], h.width = static_cast<std::size_t>(type[3] - '0');
    return true;
  }
  bool order(Header& h) {
    const std::string word = next();
    h.by_column = word == "True";
    return h.by_column || word == "False";
  }
  bool shape(Header& h) {
    std::vector<std::uint64_t> lengths;
    if (!is("(")) return false;
    while (!is(")")) {
      const std::string word = next();
      std::uint64_t n = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), n);
      if (word.empty() || error != std::errc() || end != word.data() + word.size()) return false;
      lengths.push_back(n);
      if (!is(",") && peek() != ")") return false;
    }
    if (lengths.size() > 2) return false;
    if (!lengths.empty()) h.cols = lengths.back();
    if (lengths.size() == 2) h.rows = lengths[0];
    return true;
  }

  const std::vector<std::string>& words_;
  std::size_t at_ = 0;
};

// An IEEE number of some exponent and fraction bits, by its definition.
double ieee(std::uint64_t bits, int exponent_bits, int fraction_bits) {
  const std::uint64_t fraction = bits & ((std::uint64_t{1} << fraction_bits) - 1);
  const int all = (1 << exponent_bits) - 1, biased = static_cast<int>(bits >> fraction_bits) & all, bias = all / 2;
  const bool negative = (bits >> (exponent_bits + fraction_bits) & 1) != 0;
  double x = std::ldexp(static_cast<double>(fraction), 1 - bias - fraction_bits);
  if (biased == all)
    x = fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  else if (biased != 0)
    x = std::ldexp(static_cast<double>(fraction + (std::uint64_t{1} << fraction_bits)), biased - bias - fraction_bits);
  return negative ? -x : x;
}

float element(const Header& h, const unsigned char* p) {
  std::uint64_t bits = 0;
  for (std::size_t b = 0; b < h.width; ++b) bits |= std::uint64_t{p[h.big_endian ? h.width - 1 - b : b]} << 8 * b;
  switch (h.kind) {
    case 'b': return bits != 0 ? 1.f : 0.f;
    case 'u': return static_cast<float>(bits);
    case 'i': {
      const bool negative = (bits >> (8 * h.width - 1)) != 0;
      if (!negative) return static_cast<float>(bits);
      const std::uint64_t mask = ~std::uint64_t{0} >> (64 - 8 * h.width);
      return -static_cast<float>((~bits & mask) + 1);
    }
    default: break;
  }
  if (h.width == 4) return fewbit::bit_cast<float>(static_cast<std::uint32_t>(bits));
  return static_cast<float>(h.width == 2 ? ieee(bits, 5, 10) : ieee(bits, 11, 52));
}

// What the file holds, by the format's description (NumPy Enhancement Proposal 1); empty if that is no array of numbers
// of two dimensions or fewer.
std::optional<RowMajor> second_reader(const std::vector<unsigned char>& file) {
  if (file.size() < 8 || std::memcmp(file.data(), "\x93NUMPY", 6) != 0 || file[6] < 1 || file[6] > 3) return {};
  const std::size_t start = file[6] == 1 ? 10 : 12;
  if (file.size() < start) return {};
  std::size_t length = 0;
  for (std::size_t i = start; i-- > 8;) length = length << 8 | file[i];
  if (length > file.size() - start) return {};
  const auto words = words_of({reinterpret_cast<const char*>(file.data()) + start, length});
  if (!words) return {};
  const std::optional<Header> h = Dictionary(*words).read();
  if (!h) return {};

  const std::size_t have = file.size() - start - length;
  constexpr std::uint64_t most = std::numeric_limits<Index>::max() / 10 * 10 - 1;  // the last few are refused unread
  if (h->rows > most || h->cols > most) return {};
  const bool empty = h->rows == 0 || h->cols == 0;
  if (empty ? have != 0 : h->rows > have / h->width / h->cols || h->rows * h->cols * h->width != have) return {};
  RowMajor w(static_cast<Index>(h->rows), static_cast<Index>(h->cols));
  const unsigned char* p = file.data() + start + length;
  for (Index k = 0; k < w.size(); ++k, p += h->width) {
    const Index runs = h->by_column ? w.rows() : w.cols();
    const Index run = k / runs, along = k % runs;
    (h->by_column ? w(along, run) : w(run, along)) = element(*h, p);
  }
  return w;
}

// NaNs come through in any dress unless they were floats all along.
bool same(const RowMajor& a, const RowMajor& b, bool nan_bits) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (Index k = 0; k < a.size(); ++k) {
    const float x = a.data()[k], y = b.data()[k];
    if (fewbit::bit_cast<std::uint32_t>(x) != fewbit::bit_cast<std::uint32_t>(y) &&
        (nan_bits || !std::isnan(x) || !std::isnan(y)))
      return false;
  }
  return true;
}

// "fewbit: PATH: byte N: ..", N no more than the file has.
void judge_refusal(const std::string& said, const fs::path& path, std::size_t size) {
  const std::string start = "fewbit: " + path.string() + ": byte ";
  std::size_t at = 0;
  const bool begins = said.rfind(start, 0) == 0;
  const char *first = said.data() + std::min(start.size(), said.size()), *last = said.data() + said.size();
  const auto [end, error] = std::from_chars(first, last, at);
  law.check(begins && error == std::errc() && end != last && *end == ':', "refused with the words '", said, "'");
  law.check(at <= size, "byte ", at, " of a file of ", size, ": '", said, "'");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  static const fs::path path = folder / "a.npy", again = folder / "b.npy";
  const std::vector<unsigned char> file(data, data + size);
  {
    // Some file systems wait for the disk when a file that was there is written anew.
    fs::remove(path), fs::remove(again);
    std::ofstream out(path, std::ios::binary);
    if (size > 0) out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    out.close();
    law.check(static_cast<bool>(out), path.string(), " cannot be written: is the disk full?");
  }
  const std::optional<RowMajor> expected = second_reader(file);
  RowMajor w;
  try {
    w = fewbit::load_npy(path);
    law.check(expected.has_value(), "a file is accepted that a second reader refuses: ", w.rows(), " x ", w.cols());
  } catch (const std::runtime_error& e) {
    law.check(!expected, "a second reader finds ", expected ? expected->rows() : 0, " x ",
              expected ? expected->cols() : 0, " numbers where load_npy says '", e.what(), "'");
    judge_refusal(e.what(), path, size);
    return 0;
  }
  law.check(same(w, *expected, false), w.rows() == expected->rows() && w.cols() == expected->cols()
                                           ? "an element is read wrong"
                                           : "the shape is read wrong");
  fewbit::save_npy(again, w);
  law.check(same(fewbit::load_npy(again), w, true), "what is saved is not what is loaded again, ", w.rows(), " x ",
            w.cols());
  return 0;
}
