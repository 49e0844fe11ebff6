// The main kernels, one after the other, each on the same data every time: gates.sh runs this under callgrind, which
// counts the instructions of what lies between count()'s two marks. Rule: what is counted must not depend on the
// machine, so this program brings two tables (valgrind knows no AVX-512), tells Eigen what caches there are, and draws
// its numbers with integers.

#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <valgrind/callgrind.h>

#define FEWBIT_KERNELS_ELSEWHERE
#include <fewbit/grid/nf4.hpp>
#include <fewbit/kernel/avx2.hpp>
#include <fewbit/kernel/avx2_products.hpp>
#include <fewbit/kernel/scalar_products.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/quantize/gptq.hpp>

namespace fewbit::kernel {

std::span<const Table* const> all() {
  static constexpr std::array tables{&avx2::table, &scalar::table};
  return tables;
}
const Products& products_of(const Table& table) { return &table == &avx2::table ? avx2::products : scalar::products; }

}  // namespace fewbit::kernel

namespace {

using fewbit::Affine;
using fewbit::Granularity;
using fewbit::Levels;
using fewbit::kernel::Table;
using ColMajor = Eigen::MatrixXf;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int counted = 0;

// Once unseen, for what happens only the first time, and once between the marks.
template <class F>
void count(const Table& table, const std::string& kernel, F&& work) {
  const fewbit::kernel::Use use(table);
  const std::string name = table.name + (" " + kernel);
  work();
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
  work();
  CALLGRIND_DUMP_STATS_AT(name.c_str());
  CALLGRIND_STOP_INSTRUMENTATION;
  ++counted;
}

// Numbers like normal ones: sums of four bytes.
class Draw {
 public:
  float operator()() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    const auto bits = static_cast<std::uint32_t>(state_ >> 32);
    const auto sum = static_cast<int>((bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24));
    return static_cast<float>(sum - 510) / 128;
  }
  template <class Matrix>
  Matrix matrix(Eigen::Index rows, Eigen::Index cols) {
    Matrix m(rows, cols);
    for (Eigen::Index i = 0; i < rows; ++i)
      for (Eigen::Index j = 0; j < cols; ++j) m(i, j) = (*this)();
    return m;
  }

 private:
  std::uint64_t state_ = 20240601;
};

constexpr std::size_t n = 4096;
alignas(64) float x[n], out[n], gradient[n];
alignas(64) std::uint8_t packed[2 * n], mask[n / 8];
alignas(64) Affine affine[n];
alignas(64) fewbit::Range ranges[n];

// One row through every function of the table that takes one.
template <class G>
void count_rows(const Table& table, const std::string& format, const G& grid, std::size_t group) {
  static Levels levels;
  levels = grid.levels();
  const fewbit::kernel::Row row{n, group, affine, &levels};
  table.ranges(x, n, group, ranges);
  for (std::size_t g = 0; g < n / group; ++g) affine[g] = grid.fit(ranges[g]);
  count(table, "ranges " + format, [&] { table.ranges(x, n, group, ranges); });
  count(table, "quantize " + format, [&] { table.quantize(x, row, packed); });
  count(table, "dequantize " + format, [&] { table.dequantize(packed, row, out); });
  count(table, "fake_quantize " + format, [&] { table.fake_quantize(x, row, out, nullptr); });
  count(table, "fake_quantize_with_mask " + format, [&] { table.fake_quantize(x, row, out, mask); });
  count(table, "straight_through " + format, [&] { table.straight_through(x, row, gradient, out); });
}

void count_products(const Table& table, Draw& draw) {
  using fewbit::Activations;
  const RowMajor w = draw.matrix<RowMajor>(64, 1024);
  const ColMajor all = draw.matrix<ColMajor>(1024, 64), one = all.leftCols(1), some = all.leftCols(16);
  const auto int4 = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(128));
  const auto int8 = fewbit::quantize(w, fewbit::Symmetric(8), fewbit::per_channel());
  const auto nf4 = fewbit::quantize(w, fewbit::nf4, fewbit::per_group(64));
  const auto product = [&](const char* name, const fewbit::QuantizedMatrix& q, const ColMajor& columns, Activations a) {
    count(table, name, [&] { fewbit::product(q, columns, a); });
  };
  product("product int4.g128.float.1", int4, one, Activations::floats);
  product("product int4.g128.float.16", int4, some, Activations::floats);
  product("product int4.g128.float.64", int4, all, Activations::floats);
  product("product nf4.g64.float.1", nf4, one, Activations::floats);
  product("product int4.g128.int8.1", int4, one, Activations::int8);
  product("product int4.g128.int8.16", int4, some, Activations::int8);
  product("product int8.int8.1", int8, one, Activations::int8);
  product("product int8.int8.16", int8, some, Activations::int8);
}

void count_matrices(const Table& table, Draw& draw) {
  const ColMajor by_column = draw.matrix<ColMajor>(256, 1024);
  const RowMajor by_row = by_column;
  const fewbit::Symmetric int4(4);
  const Granularity g128 = fewbit::per_group(128);
  ColMajor back(256, 1024);
  count(table, "matrix quantize.row_major", [&] { fewbit::quantize(by_row, int4, g128); });
  count(table, "matrix quantize.column_major", [&] { fewbit::quantize(by_column, int4, g128); });
  const auto q = fewbit::quantize(by_row, int4, g128);
  count(table, "matrix dequantize.column_major", [&] { fewbit::dequantize_into(q, back); });

  const RowMajor w = by_row.topLeftCorner(128, 128);
  fewbit::Hessian hessian(128);
  hessian.add(by_column.topRows(128));
  count(table, "matrix gptq", [&] { fewbit::gptq(w, hessian, int4, fewbit::per_group(32)); });
}

}  // namespace

int main() {
  Eigen::setCpuCacheSizes(32 * 1024, 1024 * 1024, 8 * 1024 * 1024);
  for (const Table* table : fewbit::kernel::all()) {
    if (!table->supported()) continue;
    Draw draw;
    for (std::size_t k = 0; k < n; ++k) x[k] = draw(), gradient[k] = draw();
    count_rows(*table, "int8", fewbit::Symmetric(8), n);
    count_rows(*table, "int4.g128", fewbit::Symmetric(4), 128);
    count_rows(*table, "int3.g128", fewbit::Symmetric(3), 128);
    count_rows(*table, "nf4.g64", fewbit::nf4, 64);
    count_products(*table, draw);
    count_matrices(*table, draw);
  }
  std::printf("%d\n", counted);
}
