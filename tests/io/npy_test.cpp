// .npy files: what NumPy writes is read, what is damaged is refused, and a file that cannot be written is not there.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/io/npy.hpp>

#include <support/matrices.hpp>
#include <support/tally.hpp>

// Limits to a file's size and to memory: Windows has none, and Emscripten's files lie in memory and know none.
#if (defined(__unix__) || defined(__APPLE__)) && !defined(__EMSCRIPTEN__)
#define FEWBIT_TEST_LIMITS 1
#include <csignal>
#include <sys/resource.h>
#include <unistd.h>
#else
#define FEWBIT_TEST_LIMITS 0
#endif

// The two compilers say it differently.
#if defined(__SANITIZE_ADDRESS__)
#define FEWBIT_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FEWBIT_TEST_SANITIZED 1
#endif
#endif
#ifndef FEWBIT_TEST_SANITIZED
#define FEWBIT_TEST_SANITIZED 0
#endif

namespace {

namespace fs = std::filesystem;
using support::Index;
using support::MatrixXf;
using support::RowMajor;

// A folder of one test, gone when the test is.
class Folder {
 public:
  Folder() {
    const auto base = fs::temp_directory_path();
    for (int i = 0; path_.empty(); ++i)
      if (fs::path candidate =
              base / ("fewbit_npy_test_" + std::to_string(std::random_device{}()) + "_" + std::to_string(i));
          fs::create_directory(candidate))
        path_ = candidate;
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  fs::path operator/(const fs::path& name) const { return path_ / name; }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }

 private:
  fs::path path_;
};

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// An .npy file as the format's description says: magic, version, length of the header, the header, the elements.
std::string npy(const std::string& dictionary, const std::string& data, int version = 1) {
  const std::size_t start = version == 1 ? 10 : 12;
  std::string header = dictionary;
  while ((start + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version), file += '\0';
  for (std::size_t i = 0; i < start - 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return file + header + data;
}

std::string dictionary(const std::string& descr, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }";
}

template <class T>
std::string bytes_of(const std::vector<T>& values, bool big_endian = false) {
  std::string bytes;
  for (const T v : values) {
    char raw[sizeof(T)];
    std::memcpy(raw, &v, sizeof v);
    if (big_endian) std::reverse(raw, raw + sizeof raw);
    bytes.append(raw, sizeof raw);
  }
  return bytes;
}

RowMajor load(const Folder& folder, const std::string& file) {
  write(folder / "a.npy", file);
  return fewbit::load_npy(folder / "a.npy");
}

RowMajor matrix(Index rows, Index cols, std::vector<float> values) {
  return Eigen::Map<RowMajor>(values.data(), rows, cols);
}

bool same(const RowMajor& a, const RowMajor& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         (a.size() == 0 || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0);
}

// The message is ours: the library, the path, the byte.
bool refused(const Folder& folder, const std::string& file, const std::string& word = "") {
  try {
    load(folder, file);
  } catch (const std::runtime_error& e) {
    const std::string what = e.what(), start = "fewbit: " + (folder / "a.npy").string() + ": byte ";
    INFO(what);
    CHECK(what.rfind(start, 0) == 0);
    CHECK((what.size() > start.size() && std::isdigit(static_cast<unsigned char>(what[start.size()]))));
    CHECK(what.find(word) != std::string::npos);
    return true;
  }
  return false;
}

}  // namespace

TEST_CASE("what is saved is loaded, to the last bit", "[npy]") {
  const Folder folder;
  for (const auto& [rows, cols] :
       {std::pair<Index, Index>{1, 1}, {3, 5}, {1, 9}, {9, 1}, {64, 65}, {0, 0}, {0, 7}, {7, 0}, {1000, 3}}) {
    MatrixXf w = support::planted_matrix(rows, cols, 101, 100);
    if (w.size() > 8) {
      const float awkward[] = {-0.f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                               fewbit::bit_cast<float>(0x7fc01234u), std::numeric_limits<float>::denorm_min()};
      std::copy(std::begin(awkward), std::end(awkward), w.data());
    }
    INFO(rows << " x " << cols);
    support::in_every_layout(w, [&](const std::string& layout, const auto& expression) {
      INFO(layout);
      fewbit::save_npy(folder / "w.npy", expression);
      CHECK(same(fewbit::load_npy(folder / "w.npy"), RowMajor(w)));
    });
    CHECK(folder.files() == 1);
  }
}

TEST_CASE("rows without columns are saved and loaded at once, however many", "[npy]") {
  const Folder folder;
  constexpr Index many = Index{1} << (std::numeric_limits<Index>::digits - 3);
  for (const auto& [rows, cols] : {std::pair<Index, Index>{many, 0}, {0, many}}) {
    fewbit::save_npy(folder / "w.npy", MatrixXf(rows, cols));
    CHECK(same(fewbit::load_npy(folder / "w.npy"), RowMajor(rows, cols)));
  }
}

TEST_CASE("expressions, doubles and halves are saved as float32", "[npy]") {
  const Folder folder;
  const MatrixXf a = support::normal_matrix(7, 4, 102), b = support::normal_matrix(4, 5, 103);
  fewbit::save_npy(folder / "a.npy", a * b);
  CHECK(same(fewbit::load_npy(folder / "a.npy"), RowMajor(a * b)));
  const Eigen::MatrixXd d = a.cast<double>() / 3;
  fewbit::save_npy(folder / "a.npy", d);
  CHECK(same(fewbit::load_npy(folder / "a.npy"), RowMajor(d.cast<float>())));
  const Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic> h = a.cast<Eigen::half>();
  fewbit::save_npy(folder / "a.npy", h);
  CHECK(same(fewbit::load_npy(folder / "a.npy"), RowMajor(h.cast<float>())));
}

TEST_CASE("a saved file is a version 1 file with aligned elements, as numpy.load expects", "[npy]") {
  const Folder folder;
  for (const Index cols : {1, 10, 100, 1000, 12345}) {
    fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(2, cols, 1.5f));
    const std::string file = read(folder / "w.npy");
    REQUIRE(file.size() > 10);
    CHECK(file.substr(0, 8) == std::string("\x93NUMPY\x01\x00", 8));
    const std::size_t length = static_cast<unsigned char>(file[8]) + 256u * static_cast<unsigned char>(file[9]);
    CHECK((10 + length) % 64 == 0);
    REQUIRE(file.size() == 10 + length + static_cast<std::size_t>(2 * cols) * 4);
    const std::string header = file.substr(10, length),
                      expected = dictionary("<f4", "(2, " + std::to_string(cols) + ")");
    CHECK(header.substr(0, expected.size()) == expected);
    CHECK(header.back() == '\n');
    CHECK(header.find_first_not_of(' ', expected.size()) == length - 1);
    CHECK(file.substr(10 + length, 4) == std::string("\x00\x00\xc0\x3f", 4));
  }
}

TEST_CASE("a file as NumPy 1.24 wrote it, byte by byte", "[npy]") {
  const Folder folder;
  // numpy.save of arange(6, dtype=float32).reshape(2, 3) / 4
  std::string c("\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 10 + 59);
  c += std::string(127 - c.size(), ' ') + "\n";
  const std::string c_data("\0\0\0\0\0\0\x80\x3e\0\0\0\x3f\0\0\x40\x3f\0\0\x80\x3f\0\0\xa0\x3f", 24);
  CHECK(same(load(folder, c + c_data), matrix(2, 3, {0, 0.25f, 0.5f, 0.75f, 1, 1.25f})));

  // numpy.save of asfortranarray of the same
  std::string f("\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 10 + 58);
  f += std::string(127 - f.size(), ' ') + "\n";
  const std::string f_data("\0\0\0\0\0\0\x40\x3f\0\0\x80\x3e\0\0\x80\x3f\0\0\0\x3f\0\0\xa0\x3f", 24);
  CHECK(same(load(folder, f + f_data), matrix(2, 3, {0, 0.25f, 0.5f, 0.75f, 1, 1.25f})));
}

TEST_CASE("every element type is read as floats, in either byte order", "[npy]") {
  const Folder folder;
  const RowMajor small = matrix(2, 2, {0, 1, 2, 100}), with_sign = matrix(2, 2, {0, -1, 2, -100});
  const auto check = [&]<class T>(const std::string& type, T, const RowMajor& expected) {
    std::vector<T> values;
    for (Index i = 0; i < 4; ++i) values.push_back(static_cast<T>(expected.data()[i]));
    for (const std::string order : {"<", ">", "=", "|"}) {
      if (order == "|" && sizeof(T) > 1) continue;
      INFO(order + type);
      CHECK(same(load(folder, npy(dictionary(order + type, "(2, 2)"), bytes_of(values, order == ">"))), expected));
    }
  };
  check("f4", float{}, matrix(2, 2, {0.1f, -0.f, 3e38f, 1e-45f}));
  check("f8", double{}, matrix(2, 2, {0.1f, -0.f, 3e38f, 1e-45f}));
  check("i1", std::int8_t{}, with_sign);
  check("i2", std::int16_t{}, with_sign * 300);
  check("i4", std::int32_t{}, with_sign * 16777216);
  check("i8", std::int64_t{}, with_sign * 1099511627776);
  check("u1", std::uint8_t{}, small * 2);
  check("u2", std::uint16_t{}, small * 600);
  check("u4", std::uint32_t{}, small * 33554432);
  check("u8", std::uint64_t{}, small * 1125899906842624);
  const std::vector<std::uint16_t> halves{0x3c00, 0xc000, 0x0001, 0x7bff};
  for (const bool big : {false, true})
    CHECK(same(load(folder, npy(dictionary(big ? ">f2" : "<f2", "(2, 2)"), bytes_of(halves, big))),
               matrix(2, 2, {1, -2, 0x1p-24f, 65504})));
  // Rounded, where a float has fewer digits.
  CHECK(load(folder, npy(dictionary("<i4", "(1, 1)"), bytes_of<std::int32_t>({16777217})))(0, 0) == 16777216);
  CHECK(load(folder, npy(dictionary("<f8", "(1, 1)"), bytes_of<double>({0.1})))(0, 0) == 0.1f);
}

TEST_CASE("arrays of 0, 1 and 2 dimensions, in C and Fortran order", "[npy]") {
  const Folder folder;
  const std::vector<float> six{1, 2, 3, 4, 5, 6};
  CHECK(same(load(folder, npy(dictionary("<f4", "(2, 3)"), bytes_of(six))), matrix(2, 3, six)));
  CHECK(same(load(folder, npy(dictionary("<f4", "(2, 3)", true), bytes_of(six))), matrix(2, 3, {1, 3, 5, 2, 4, 6})));
  CHECK(same(load(folder, npy(dictionary("<f4", "(3, 2)", true), bytes_of(six))), matrix(3, 2, {1, 4, 2, 5, 3, 6})));
  CHECK(same(load(folder, npy(dictionary("<f4", "(6,)"), bytes_of(six))), matrix(1, 6, six)));
  CHECK(same(load(folder, npy(dictionary("<f4", "(6,)", true), bytes_of(six))), matrix(1, 6, six)));
  CHECK(same(load(folder, npy(dictionary("<f4", "()"), bytes_of<float>({7}))), matrix(1, 1, {7})));
  CHECK(load(folder, npy(dictionary("<f4", "(0,)"), "")).size() == 0);
  CHECK(load(folder, npy(dictionary("<f4", "(5, 0)"), "")).rows() == 5);
  CHECK(refused(folder, npy(dictionary("<f4", "(1, 2, 3)"), bytes_of(six)), "3 dimensions"));
}

TEST_CASE("versions 1, 2 and 3 of the format, and no other", "[npy]") {
  const Folder folder;
  const std::vector<float> two{1, 2};
  for (const int version : {1, 2, 3}) {
    INFO("version " << version);
    CHECK(same(load(folder, npy(dictionary("<f4", "(1, 2)"), bytes_of(two), version)), matrix(1, 2, two)));
  }
  for (const int version : {0, 4, 9, 255}) {
    INFO("version " << version);
    std::string file = npy(dictionary("<f4", "(1, 2)"), bytes_of(two));
    file[6] = static_cast<char>(version);
    CHECK(refused(folder, file, std::to_string(version)));
  }
}

TEST_CASE("headers may differ in spaces, quotes and the order of keys", "[npy]") {
  const Folder folder;
  const std::vector<float> two{1, 2};
  for (const std::string d : {"{'descr':'<f4','fortran_order':False,'shape':(1,2)}",
                              "{ 'shape' : ( 1 , 2 , ) , 'fortran_order' : False , 'descr' : '<f4' }",
                              "{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (1, 2), }",
                              "{'fortran_order': False, 'shape': (1, 2), 'descr': '<f4', }"}) {
    INFO(d);
    CHECK(same(load(folder, npy(d, bytes_of(two))), matrix(1, 2, two)));
  }
}

TEST_CASE("what is not an array of numbers is refused, with the path and the byte", "[npy]") {
  const Folder folder;
  const std::string data(64, '\0');
  for (const std::string type :
       {"<c8", "<c16", "<U4", "|S5", "|O", "<M8[ns]", "<f1", "<f16", "<i3", "f4", "", "<", "<f", "<f44"}) {
    INFO(type);
    CHECK(refused(folder, npy(dictionary(type, "(1, 1)"), data)));
  }
  for (const std::string d :
       {"",
        "{",
        "{}",
        "[]",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 4}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 1)} }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 1)}            !        ",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1)}",
        "{'descr: <f4, 'fortran_order': False, 'shape': (1, 1)}"}) {
    INFO(d);
    CHECK(refused(folder, npy(d, data)));
  }
  CHECK(refused(folder, "", "early"));
  CHECK(refused(folder, "hello, I am a text file and no array at all"));
  CHECK(refused(folder, std::string(1000, '\0')));
  CHECK(refused(folder, std::string("\x93NUMPY\x01\x00\xff\xff", 10) + data));
  CHECK(refused(folder, std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12) + data));
  CHECK(refused(folder, npy(dictionary("<f4", "(1, 2)"), bytes_of<float>({1, 2, 3}))));  // more than it says
  CHECK_THROWS_AS(fewbit::load_npy(folder / "nothing here.npy"), std::runtime_error);
  CHECK_THROWS_AS(fewbit::load_npy(folder / ""), std::runtime_error);  // a folder
}

TEST_CASE("an empty array of an absurd extent is empty or refused, at once", "[npy]") {
  const Folder folder;
  for (const std::string shape : {"(0, 1000000000000000000)", "(1000000000000000000, 0)"}) {
    for (const bool fortran : {false, true}) {
      INFO(shape << (fortran ? " in Fortran order" : ""));
      bool empty = false, error = false;
      try {
        empty = load(folder, npy(dictionary("<f4", shape, fortran), "")).size() == 0;
      } catch (const std::runtime_error&) {
        error = true;
      }
      CHECK((empty || error));
    }
  }
}

TEST_CASE("a file cut off anywhere is refused", "[npy]") {
  const Folder folder;
  const std::string good = npy(dictionary("<f4", "(2, 3)"), bytes_of<float>({1, 2, 3, 4, 5, 6}));
  write(folder / "a.npy", good);
  support::Tally tally;
  for (std::size_t n = good.size(); n-- > 0;) {
    fs::resize_file(folder / "a.npy", n);
    bool threw = false;
    try {
      fewbit::load_npy(folder / "a.npy");
    } catch (const std::runtime_error&) {
      threw = true;
    }
    tally.check(threw, "cut at byte ", n);
  }
  tally.require(good.size());
}

TEST_CASE("a file with any one bit wrong loads within its own size, or is refused", "[npy]") {
  const Folder folder;
  support::Tally tally;
  for (const bool fortran : {false, true}) {
    const std::string header = dictionary("<f4", "(2, 3)", fortran),
                      good = npy(header, bytes_of<float>({1, 2, 3, 4, 5, 6}));
    write(folder / "a.npy", good);
    std::size_t header_bits = 0, element_bits = 0;  // that made no error
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
      const auto put = [&](int c) {
        std::fstream(folder / "a.npy", std::ios::binary | std::ios::in | std::ios::out)
            .seekp(static_cast<std::streamoff>(bit / 8))
            .put(static_cast<char>(c));
      };
      put(good[bit / 8] ^ (1 << (bit % 8)));
      try {
        const RowMajor w = fewbit::load_npy(folder / "a.npy");
        (bit / 8 < 10 + header.size() ? header_bits : element_bits) +=
            bit / 8 < 10 + header.size() || bit / 8 >= good.size() - 24;
        tally.check(static_cast<std::size_t>(w.size()) <= good.size(), "bit ", bit, " gave ", w.rows(), " x ",
                    w.cols());
      } catch (const std::runtime_error& e) {
        tally.check(std::string(e.what()).rfind("fewbit: ", 0) == 0, "bit ", bit, ": ", e.what());
      }
      put(good[bit / 8]);
    }
    CHECK(element_bits == 24 * 8);       // a wrong bit of an element is another number
    CHECK(header_bits < header.size());  // and of a header's eight bits a byte hardly one passes
  }
  tally.require(2000);
}

TEST_CASE("an existing file is replaced whole, and nothing is left beside it", "[npy]") {
  const Folder folder;
  fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(50, 50, 1.f));
  fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(2, 3, 2.f));
  CHECK(same(fewbit::load_npy(folder / "w.npy"), RowMajor(RowMajor::Constant(2, 3, 2.f))));
  CHECK(folder.files() == 1);
}

TEST_CASE("saving where nothing can be written is an error that names the path", "[npy]") {
  const Folder folder;
  const fs::path nowhere = folder / "no/such/folder/w.npy";
  try {
    fewbit::save_npy(nowhere, MatrixXf::Ones(2, 2));
    FAIL("saved into a folder that is not there");
  } catch (const std::runtime_error& e) {
    CHECK(std::string(e.what()).rfind("fewbit: " + nowhere.string() + ": byte ", 0) == 0);
  }
  CHECK_FALSE(fs::exists(folder / "no"));

  fs::create_directories(folder / "taken.npy" / "inside");  // a name that a file cannot take
  CHECK_THROWS_AS(fewbit::save_npy(folder / "taken.npy", MatrixXf::Ones(2, 2)), std::runtime_error);
  CHECK(fs::is_directory(folder / "taken.npy" / "inside"));
  CHECK(folder.files() == 1);
}

TEST_CASE("a path may have letters of any alphabet", "[npy]") {
  const Folder folder;
  const fs::path path = folder / fs::path(u8"Gewichte \u00e4\u03b2\u91cd.npy");
  fewbit::save_npy(path, MatrixXf::Constant(2, 3, 2.f));
  CHECK(same(fewbit::load_npy(path), RowMajor(RowMajor::Constant(2, 3, 2.f))));
  CHECK(fs::exists(path));
  CHECK(folder.files() == 1);
  fs::remove(path);
  try {
    fewbit::load_npy(path);
    FAIL("loaded");
  } catch (const std::runtime_error& e) {
    CHECK(std::string(e.what()).rfind("fewbit: " + path.string() + ": byte 0: ", 0) == 0);
  }
}

#if defined(_WIN32)  // elsewhere whoever reads a file keeps what it was
TEST_CASE("a file that is being read is not replaced: an error, and nothing is left beside it", "[npy]") {
  const Folder folder;
  fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(3, 3, 1.f));
  const std::string before = read(folder / "w.npy");
  {
    const std::ifstream reader(folder / "w.npy", std::ios::binary);
    try {
      fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(2, 2, 2.f));
      FAIL("replaced");
    } catch (const std::runtime_error& e) {
      CHECK(std::string(e.what()).rfind("fewbit: " + (folder / "w.npy").string() + ": byte ", 0) == 0);
    }
    CHECK(read(folder / "w.npy") == before);
    CHECK(folder.files() == 1);
  }
  fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(2, 2, 2.f));
  CHECK(same(fewbit::load_npy(folder / "w.npy"), RowMajor(RowMajor::Constant(2, 2, 2.f))));
}
#endif

#if defined(__linux__) && !FEWBIT_TEST_SANITIZED  // a sanitizer's own memory knows no limit
TEST_CASE("a header that claims four gigabytes is refused without asking for them", "[npy]") {
  const Folder folder;
  write(folder / "a.npy", std::string("\x93NUMPY\x02\x00\xf0\xff\xff\xff", 12) + std::string(200, ' '));
  write(folder / "b.npy", npy(dictionary("<f8", "(1000000, 1000000)"), std::string(200, ' ')));
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_AS, &old) == 0);
  rlimit small = old;
  small.rlim_cur = rlim_t{3} << 30;
  REQUIRE(setrlimit(RLIMIT_AS, &small) == 0);
  for (const char* name : {"a.npy", "b.npy"}) CHECK_THROWS_AS(fewbit::load_npy(folder / name), std::runtime_error);
  setrlimit(RLIMIT_AS, &old);
}
#endif

#if FEWBIT_TEST_LIMITS
TEST_CASE("when the disk is full the old file stays as it was, and nothing is left beside it", "[npy]") {
  const Folder folder;
  fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(3, 3, 1.f));
  const std::string before = read(folder / "w.npy");

  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 4096;  // no file may grow beyond this
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string what;
  try {
    fewbit::save_npy(folder / "w.npy", MatrixXf::Constant(100, 100, 2.f));
  } catch (const std::runtime_error& e) {
    what = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);

  INFO(what);
  CHECK(what.rfind("fewbit: " + (folder / "w.npy").string() + ": byte ", 0) == 0);
  CHECK(read(folder / "w.npy") == before);
  CHECK(folder.files() == 1);
}
#endif
