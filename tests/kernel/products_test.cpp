// Every table that runs here multiplies codes, floats and integers of 8 bits as it states: within the bound of
// kernel/products.hpp of what the oracle's weights give in double, exactly where all numbers are small and whole, from
// memory that ends where the data end, and without an integer that wraps. A new instruction set is found by itself.

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <fewbit/core/packing.hpp>
#include <fewbit/kernel/product_dispatch.hpp>

#include <support/guarded.hpp>
#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Affine;
using fewbit::Levels;
using fewbit::kernel::CodedRows;
using fewbit::kernel::Columns;
using fewbit::kernel::Products;
using fewbit::kernel::Table;
using fewbit::kernel::tile_rows;

constexpr std::size_t most = 300, most_cols = 7;

// Asked once: a virtual machine takes its time to say what its processor is.
const std::vector<const Table*>& supported_tables() {
  static const std::vector<const Table*> tables = [] {
    std::vector<const Table*> found;
    for (const Table* t : fewbit::kernel::all())
      if (t->supported()) found.push_back(t);
    return found;
  }();
  return tables;
}

enum class Zeros { none, whole, fractional };

struct Kind {
  std::string name;
  oracle::Grid grid;
  Zeros zeros;
  bool all_whole = false;  // scales are 1 and -1, activations small: sums are exact
};

Levels levels_of(const oracle::Grid& g) {
  if (!g.uniform()) return Levels::table(g.table);
  return Levels::integers(g.bits, static_cast<int>(g.first()), g.count());
}

std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for (int bits = 1; bits <= 16; ++bits) {
    const std::string name = std::to_string(bits) + " bits, ";
    all.push_back({name + "symmetric", {bits > 1 ? oracle::Kind::narrow : oracle::Kind::full, bits}, Zeros::none});
    all.push_back({name + "asymmetric", {oracle::Kind::asymmetric, bits}, Zeros::whole});
    all.push_back({name + "fractional zero-point", {oracle::Kind::full, bits}, Zeros::fractional});
    if (bits <= 8) all.push_back({name + "whole", {oracle::Kind::asymmetric, bits}, Zeros::whole, true});
  }
  support::NumPy random(1);
  for (const std::size_t n : {2u, 4u, 6u, 16u, 100u}) {
    std::vector<float> table(n);
    double at = -1;
    for (float& level : table)
      level = static_cast<float>(at += 0.001 + random.random_sample() / static_cast<double>(n));
    const oracle::Grid grid{oracle::Kind::table, oracle::bits_for(n), table};
    all.push_back({std::to_string(n) + " levels", grid, Zeros::none});
    all.push_back({std::to_string(n) + " levels, shifted", grid, Zeros::fractional});
  }
  const std::vector<float> short_floats{-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  all.push_back({"levels of few digits", {oracle::Kind::table, 4, short_floats}, Zeros::none});
  return all;
}

// Four rows of codes, columns of activations, and for every length the sums in double. `size` is the sum of magnitudes
// that the bound is a multiple of.
struct Sample {
  struct Sum {
    double value = 0, size = 0;
  };
  using Sums = std::vector<Sum>;  // of the first 0, 1, 2, .. products
  Levels levels;
  std::size_t group;
  std::vector<std::uint8_t> packed[tile_rows];
  std::vector<Affine> affine[tile_rows];
  std::vector<float> x[most_cols];
  std::vector<std::int8_t> x8[most_cols];
  Sums floats[tile_rows][most_cols], integers[tile_rows][most_cols];

  Sample(support::NumPy& random, const Kind& kind, std::size_t group_size)
      : levels(levels_of(kind.grid)), group(group_size) {
    const auto count = static_cast<std::size_t>(kind.grid.count());
    for (std::size_t c = 0; c < most_cols; ++c) {
      for (std::size_t k = 0; k < most; ++k) {
        const auto whole = static_cast<int>(random.below(7)) - 3;
        x[c].push_back(kind.all_whole ? static_cast<float>(whole) : static_cast<float>(random.randn()));
        x8[c].push_back(static_cast<std::int8_t>(static_cast<int>(random.below(255)) - 127));
        // Runs of the largest magnitudes are what an integer overflows on.
        if (c == 1) x8[c].back() = k < most / 2 ? 127 : -127;
      }
    }
    for (std::size_t r = 0; r < tile_rows; ++r) {
      std::vector<unsigned> codes;
      for (std::size_t k = 0; k < most; ++k) {
        if (k % group == 0) affine[r].push_back(draw(random, kind));
        codes.push_back(static_cast<unsigned>(r == 1 ? count - 1 : random.below(count)));
      }
      packed[r] = oracle::pack(codes, levels.bits());
      for (std::size_t c = 0; c < most_cols; ++c) {
        floats[r][c].resize(1), integers[r][c].resize(1);
        for (std::size_t k = 0; k < most; ++k) {
          const Affine a = affine[r][k / group];
          const double w = oracle::decode(codes[k], {a.scale, a.zero}, kind.grid);
          floats[r][c].push_back(
              plus(floats[r][c].back(), w * static_cast<double>(x[c][k]), w * static_cast<double>(x[c][k])));
          // Products of codes and zero-points are formed apart, so both make up the size.
          const double first = kind.grid.first(), code = codes[k], v = x8[c][k], scale = a.scale, zero = a.zero;
          integers[r][c].push_back(plus(integers[r][c].back(), scale * (code + first - zero) * v,
                                        scale * (code + std::fabs(zero - first)) * v));
        }
      }
    }
  }
  static Sum plus(Sum to, double value, double size) { return {to.value + value, to.size + std::fabs(size)}; }
  static Affine draw(support::NumPy& random, const Kind& kind) {
    Affine a;
    a.scale = static_cast<float>((0.5 + random.random_sample()) * std::exp2(6 * random.random_sample() - 3));
    if (kind.all_whole) a.scale = 1;
    if (random.below(4) == 0) a.scale = -a.scale;
    if (kind.zeros == Zeros::whole) a.zero = static_cast<float>(random.below(1u << kind.grid.bits));
    if (kind.zeros == Zeros::fractional) a.zero = static_cast<float>(random.randn() * kind.grid.count() / 4);
    if (random.below(4) == 0) a.zero = 0;
    return a;
  }
};

// Memory for one product, each piece of it ending at a forbidden page.
class Bench {
 public:
  // The first n codes of `rows` rows times `cols` columns; y as the table left it.
  template <class X, class Arrange, class Dot>
  std::span<float> multiply(const Sample& s, std::size_t n, std::size_t group, std::size_t rows, std::size_t cols,
                            std::size_t length, support::Guarded<X>& room, const Arrange& arrange, const Dot& dot) {
    CodedRows w{n, group, rows, &s.levels, {}, {}};
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t bytes = fewbit::packed_bytes(n, s.levels.bits()),
                        bits = n * static_cast<std::size_t>(s.levels.bits());
      const auto codes = packed_[r].slice_of(std::span(s.packed[r]).first(bytes));
      if (bits % 8 != 0) codes.back() = static_cast<std::uint8_t>(codes.back() & ((1u << bits % 8) - 1));
      w.packed[r] = codes.data();
      w.affine[r] = affine_[r].slice_of(std::span(s.affine[r]).first((n - 1) / s.group + 1)).data();
    }
    const std::size_t stride = length + n % 5;
    const auto columns = room.slice(stride * (cols - 1) + length);
    arranged_ = true;
    for (std::size_t c = cols; c-- > 0;) {  // the last one first: a column that is too long shows in the next
      arrange(c, columns.data() + c * stride);
      arranged_ &= room.intact();
    }
    const auto y = y_.slice(tile_rows * (cols - 1) + rows);
    dot(w, Columns<X>{cols, stride, columns.data()}, y.data());
    return y;
  }
  bool intact() const { return arranged_ && y_.intact(); }

  support::Guarded<float> x{most_cols * (2 * most + 5)};
  support::Guarded<std::int8_t> x8{most_cols * (16 * most + 1024)};

 private:
  support::Guarded<std::uint8_t> packed_[tile_rows] = {room(), room(), room(), room()};
  support::Guarded<Affine> affine_[tile_rows] = {groups(), groups(), groups(), groups()};
  support::Guarded<float> y_{tile_rows * most_cols};
  bool arranged_ = true;
  static support::Guarded<std::uint8_t> room() { return support::Guarded<std::uint8_t>(2 * most); }
  static support::Guarded<Affine> groups() { return support::Guarded<Affine>(most); }
};

constexpr std::size_t single = std::numeric_limits<std::size_t>::max();
constexpr std::size_t group_sizes[] = {single, 3, 8, 16, 32, 48, 64, 128};

// Judges y against the sums of the first n products.
template <class Place>
void judge(support::Tally& tally, const Kind& kind, std::span<const float> y,
           const Sample::Sums (&expected)[tile_rows][most_cols], std::size_t n, std::size_t rows, std::size_t cols,
           const Place& place) {
  for (std::size_t c = 0; c < cols; ++c)
    for (std::size_t r = 0; r < rows; ++r) {
      const double got = y[c * tile_rows + r];
      const auto [value, size] = expected[r][c][n];
      const double bound = kind.all_whole ? 0 : static_cast<double>(n + 2) * 0x1p-24 * size;
      tally.check(std::fabs(got - value) <= bound, place, "row ", r, " times column ", c, " is ", got, " for ", value,
                  ", and may be off by ", bound);
    }
}

}  // namespace

TEST_CASE("every table multiplies codes of any width with floats and with integers, within the bound",
          "[kernel][products]") {
  support::Tally tally, integers;
  support::NumPy random(2);
  Bench bench;
  for (const Kind& kind : kinds()) {
    for (const std::size_t group : group_sizes) {
      const Sample s(random, kind, group);
      const Levels& l = s.levels;
      for (std::size_t n = 1; n <= most; ++n) {
        const std::size_t rows = 1 + random.below(tile_rows), cols = 1 + random.below(most_cols);
        const std::size_t cut = group == single && n % 2 == 0 ? n : group;  // one group is told in two ways
        for (const Table* table : supported_tables()) {
          const Products& p = fewbit::kernel::products_of(*table);
          const auto place = [&] {
            return std::string(table->name) + ", " + kind.name + ", groups of " + std::to_string(group) + ", " +
                   std::to_string(n) + " weights, " + std::to_string(rows) + " x " + std::to_string(cols) + ": ";
          };
          if (const std::size_t length = p.arranged(n, cut, l); length != 0) {
            const auto y = bench.multiply(
                s, n, cut, rows, cols, length, bench.x,
                [&](std::size_t c, float* to) { p.arrange(s.x[c].data(), n, l, to); }, p.dot);
            judge(tally, kind, y, s.floats, n, rows, cols, place);
            tally.check(bench.intact(), place, "wrote outside its memory");
          }
          if (const std::size_t length = p.arranged_int8(n, cut, l); length != 0) {
            const auto y = bench.multiply(
                s, n, cut, rows, cols, length, bench.x8,
                [&](std::size_t c, std::int8_t* to) { p.arrange_int8(s.x8[c].data(), n, cut, l, to); }, p.dot_int8);
            judge(integers, kind, y, s.integers, n, rows, cols, place);
            integers.check(bench.intact(), place, "wrote outside its memory");
          }
        }
      }
    }
  }
  tally.require(1'000'000 * supported_tables().size());
  integers.require(100'000 * supported_tables().size());
}

TEST_CASE("the groups that matter are multiplied as codes by every table", "[kernel][products]") {
  const Levels four = Levels::integers(4, -7, 15), eight = Levels::integers(8, -127, 255);
  const float some[] = {-1, -0.7f, -0.5f, -0.4f, -0.3f, -0.2f, -0.1f, 0, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 1};
  const Levels table = Levels::table(some);
  for (const Table* t : supported_tables()) {
    INFO(t->name);
    for (const std::size_t group : {32u, 64u, 128u, 4096u}) {
      for (const Levels& l : {four, eight, table})
        CHECK(fewbit::kernel::products_of(*t).arranged(4096, group, l) >= 4096);
      for (const Levels& l : {four, eight})
        CHECK(fewbit::kernel::products_of(*t).arranged_int8(4096, group, l) >= 4096);
    }
    CHECK(fewbit::kernel::products_of(*t).arranged_int8(4096, 64, table) == 0);  // no integers
    CHECK(fewbit::kernel::products_of(*t).arranged_int8(4096, 64, Levels::integers(5, 0, 32)) == 0);
  }
}

TEST_CASE("a sum of integers does not wrap, however long the row", "[kernel][products]") {
  support::Tally tally;
  support::NumPy random(3);
  struct Case {
    int bits;
    std::size_t n, group;
  };
  // Without a cut, 32 bits would be too few for a row of 8 bits from 70,000 on, and of 4 bits from 4.5 million on.
  for (const Case& at : {Case{4, 100'000, single}, Case{8, 100'000, single}, Case{8, 100'001, 65'536},
                         Case{4, 1'200'000, single}, Case{8, 1'200'000, single}, Case{4, 1'200'003, 524'288},
                         Case{8, 1'200'003, 524'288}, Case{4, 9'100'000, single}}) {
    const Levels l = Levels::integers(at.bits, -(1 << (at.bits - 1)), 1 << at.bits);
    const std::size_t groups = at.group == single ? 1 : (at.n - 1) / at.group + 1;
    std::vector<Affine> affine;
    for (std::size_t g = 0; g < groups; ++g)
      affine.push_back({static_cast<float>(0.5 + random.random_sample()), static_cast<float>(random.randn())});
    for (const int v : {127, -127, -128, 0}) {  // 0: any numbers, and codes of any size
      std::vector<std::uint8_t> packed(fewbit::packed_bytes(at.n, at.bits), 0xff);
      std::vector<std::int8_t> x(at.n, static_cast<std::int8_t>(v));
      if (v == 0) {
        if (at.n > 2'000'000) continue;
        for (std::uint8_t& byte : packed) byte = static_cast<std::uint8_t>(random.bits() >> 24);
        for (std::int8_t& byte : x) byte = static_cast<std::int8_t>(random.below(255)), byte = byte == -128 ? 1 : byte;
        if (at.n % 2 != 0 && at.bits == 4) packed.back() &= 15;
      } else if (at.n % 2 != 0 && at.bits == 4) {
        packed.back() = 15;
      }
      Sample::Sum sum;
      for (std::size_t g = 0; g < groups; ++g) {
        std::int64_t products = 0, total = 0, sizes = 0, magnitudes = 0;
        for (std::size_t k = g * (groups == 1 ? 0 : at.group); k < at.n && (groups == 1 || k < (g + 1) * at.group);
             ++k) {
          const int code = at.bits == 8 ? packed[k] : packed[k / 2] >> k % 2 * 4 & 15;
          products += code * x[k], total += x[k], sizes += code * std::abs(x[k]), magnitudes += std::abs(x[k]);
        }
        const double scale = affine[g].scale,
                     offset = static_cast<double>(affine[g].zero) - static_cast<double>(l.first());
        sum = Sample::plus(sum, scale * (static_cast<double>(products) - offset * static_cast<double>(total)),
                           scale * (static_cast<double>(sizes) + std::fabs(offset) * static_cast<double>(magnitudes)));
      }
      for (const Table* table : supported_tables()) {
        const Products& p = fewbit::kernel::products_of(*table);
        const std::size_t length = p.arranged_int8(at.n, at.group, l);
        if (length == 0) continue;
        std::vector<std::int8_t> column(length);
        p.arrange_int8(x.data(), at.n, at.group, l, column.data());
        const CodedRows w{at.n, at.group, 1, &l, {packed.data()}, {affine.data()}};
        float y = 0;
        p.dot_int8(w, {1, length, column.data()}, &y);
        // No table rounds more often than once in 64 products.
        const double bound = (static_cast<double>(at.n) / 64 + 16) * 0x1p-24 * sum.size;
        tally.check(std::fabs(static_cast<double>(y) - sum.value) <= bound, table->name, ", ", at.bits, " bits, ", at.n,
                    " weights, groups of ", at.group, ", x = ", v, ": ", y, " for ", sum.value, " +- ", bound);
      }
    }
  }
  tally.require(7 * 4 * supported_tables().size());
}

TEST_CASE("every table multiplies rows of floats within the bound", "[kernel][products]") {
  support::Tally tally;
  support::NumPy random(4);
  constexpr std::size_t longest = 320, most_rows = 37, most_columns = 13;
  support::Guarded<float> w_room(most_rows * (longest + 3)), x_room(most_columns * (longest + 5)),
      y_room((most_rows + 2) * most_columns);
  std::vector<float> w(most_rows * (longest + 3)), x(most_columns * (longest + 5));
  for (float& v : w) v = static_cast<float>(random.randn());
  for (float& v : x) v = static_cast<float>(random.randn());
  for (std::size_t n = 0; n <= longest; n += 16) {
    for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u, 8u, 37u}) {
      for (std::size_t cols = 1; cols <= most_columns; cols += rows < 5 ? 1 : 4) {
        const std::size_t w_stride = n + rows % 4, x_stride = n + cols % 6, y_stride = rows + cols % 3;
        const auto ws = w_room.slice_of(std::span<const float>(w).first(w_stride * (rows - 1) + n));
        const auto xs = x_room.slice_of(std::span<const float>(x).first(x_stride * (cols - 1) + n));
        for (const Table* table : supported_tables()) {
          const auto y = y_room.slice(y_stride * (cols - 1) + rows);
          for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(i);
          fewbit::kernel::products_of(*table).dense(n, rows, ws.data(), w_stride, {cols, x_stride, xs.data()}, y.data(),
                                                    y_stride);
          for (std::size_t c = 0; c < cols; ++c)
            for (std::size_t r = 0; r < y_stride; ++r) {
              const std::size_t at = c * y_stride + r;
              if (at >= y.size()) continue;
              Sample::Sum sum;
              sum = Sample::plus(sum, static_cast<double>(at), static_cast<double>(at));
              for (std::size_t k = 0; k < n && r < rows; ++k) {
                const double product =
                    static_cast<double>(ws[r * w_stride + k]) * static_cast<double>(xs[c * x_stride + k]);
                sum = Sample::plus(sum, product, product);
              }
              const double got = y[at];
              tally.check(std::fabs(got - sum.value) <= static_cast<double>(n + 2) * 0x1p-24 * sum.size, table->name,
                          ", ", rows, " x ", n, " x ", cols, ": row ", r, ", column ", c, " is ", got, " for ",
                          sum.value);
            }
          tally.check(y_room.intact(), table->name, ": wrote outside y");
        }
      }
    }
  }
  tally.require(20 * 10 * 91 * supported_tables().size());
}

namespace {

template <class T>
auto transposed_of(const Table& table) {
  const fewbit::kernel::Products& products = fewbit::kernel::products_of(table);
  if constexpr (std::is_same_v<T, double>) return products.transposed_double;
  else return products.transposed;
}

}  // namespace

TEMPLATE_TEST_CASE("every table multiplies transposed rows within the bound", "[kernel][products]", float, double) {
  support::Tally tally;
  support::NumPy random(5);
  constexpr std::size_t longest = 150, most_rows = 9, most_columns = 9;
  constexpr long double unit = std::is_same_v<TestType, double> ? 0x1p-53L : 0x1p-24L;
  support::Guarded<TestType> w_room(most_rows * (longest + 3)), x_room(most_columns * (most_rows + 5)),
      y_room(most_columns * (longest + 3));
  std::vector<TestType> w(most_rows * (longest + 3)), x(most_columns * (most_rows + 5)),
      before(most_columns * (longest + 3));
  for (TestType& v : w) v = static_cast<TestType>(random.randn());
  for (TestType& v : x) v = static_cast<TestType>(random.randn());
  for (TestType& v : before) v = static_cast<TestType>(random.randn());
  for (std::size_t n = 1; n <= longest; ++n) {
    for (std::size_t cols = 1; cols <= most_columns; ++cols) {
      const std::size_t rows = random.below(most_rows + 1), gap = n % 3;
      const std::size_t stride = n + gap, x_stride = rows + n % 5;
      const auto ws = w_room.slice_of(std::span<const TestType>(w).first(rows == 0 ? 0 : stride * (rows - 1) + n));
      const auto xs = x_room.slice_of(std::span<const TestType>(x).first(x_stride * (cols - 1) + rows));
      for (const Table* table : supported_tables()) {
        const auto y = y_room.slice_of(std::span<const TestType>(before).first(stride * (cols - 1) + n));
        transposed_of<TestType> (*table)(n, rows, ws.data(), stride, {cols, x_stride, xs.data()}, y.data(), stride);
        for (std::size_t c = 0; c < cols; ++c)
          for (std::size_t k = 0; k < stride && c * stride + k < y.size(); ++k) {
            const long double old = before[c * stride + k], got = y[c * stride + k];
            long double sum = old, size = std::fabs(old);
            for (std::size_t r = 0; r < rows && k < n; ++r) {
              const long double product =
                  static_cast<long double>(ws[r * stride + k]) * static_cast<long double>(xs[c * x_stride + r]);
              sum += product, size += std::fabs(product);
            }
            const long double bound = k < n ? static_cast<long double>(rows + 2) * unit * size : 0;
            tally.check(std::fabs(got - sum) <= bound, table->name, ", ", rows, " rows of ", n, ", ", cols,
                        " columns: element ", k, " of column ", c, " is ", got, " for ", sum);
          }
        tally.check(y_room.intact(), table->name, ": wrote outside y");
      }
    }
  }
  tally.require(100'000 * supported_tables().size());
}
