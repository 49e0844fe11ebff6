// Codes of any width at any place: single codes, whole rows in turn, the row kernels of every instruction set, stored
// zero-points and scales, and five ternary weights to a byte, against bytes worked out bit by bit and trit by trit.
// Nothing is written past the end of a row, padding comes out zero and is not looked at, and neighbours stay.

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/core/packing.hpp>
#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/storage/ternary.hpp>

#include <support/guarded.hpp>

#include "support/bytes.hpp"
#include "support/law.hpp"

namespace {

using fewbit::Affine;
using fewbit::Index;
using fewbit::Levels;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;
using fewbit::kernel::Row;
using fewbit::kernel::Table;
using fuzz::Bytes;
using fuzz::Law;
using support::Flush;

constexpr std::size_t most = 400;
const Law law;

// Rows that end, or begin, at a page no program may touch.
struct Memory {
  support::Guarded<std::uint8_t> codes{2 * most + 64};
  support::Guarded<float> in{most}, out{most};
  support::Guarded<Affine> affine{most};
};
Memory& memory() {
  static Memory m;
  return m;
}

bool bit(std::span<const std::uint8_t> bytes, std::size_t at) { return (bytes[at / 8] >> (at % 8) & 1) != 0; }

std::vector<unsigned> draw_codes(Bytes& in, std::size_t n, std::size_t count) {
  support::NumPy random(in.u8());
  std::vector<unsigned> codes(n);
  for (unsigned& c : codes)
    c = static_cast<unsigned>(in.left() > 1 ? in.below(count) : random.below(4) == 0 ? count - 1 : random.below(count));
  return codes;
}

std::string row_of(std::size_t n, int bits) {
  return std::to_string(n) + " codes of " + std::to_string(bits) + " bits: ";
}

// Codes are put anywhere in bytes that hold something else, in any order, some of them twice.
void put_and_get(Bytes& in, int bits, std::size_t n, Flush flush) {
  const auto width = static_cast<std::size_t>(bits);
  const auto row = memory().codes.slice(fewbit::packed_bytes(n, bits), flush);
  law.check(row.size() == (n * width + 7) / 8, row_of(n, bits), row.size(), " bytes");
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<std::uint8_t>(in.u8());
  std::vector<bool> expected(row.size() * 8);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = bit(row, i);
  for (std::size_t puts = n == 0 ? 0 : in.below(32); puts > 0; --puts) {
    const std::size_t k = in.below(n);
    const auto code = static_cast<unsigned>(in.below(std::size_t{1} << bits));
    fewbit::put_code(row.data(), k, bits, code);
    for (std::size_t b = 0; b < width; ++b) expected[k * width + b] = (code >> b & 1u) != 0;
    law.check(fewbit::get_code(row.data(), k, bits) == code, row_of(n, bits), "code ", k, " is not what was put there");
  }
  for (std::size_t i = 0; i < expected.size(); ++i)
    law.check(bit(row, i) == expected[i], row_of(n, bits), "bit ", i, " of the row is wrong");
  law.check(memory().codes.intact(), row_of(n, bits), "put_code wrote outside the row");
  fewbit::CodeReader read(row.data(), bits);
  for (std::size_t k = 0; k < n; ++k) {
    unsigned code = 0;
    for (std::size_t b = 0; b < width; ++b) code |= unsigned{expected[k * width + b]} << b;
    law.check(fewbit::get_code(row.data(), k, bits) == code, row_of(n, bits), "code ", k, " is read wrong");
    law.check(read() == code, row_of(n, bits), "code ", k, " is read wrong in turn");
  }
}

void check_row(std::span<const std::uint8_t> row, const std::vector<std::uint8_t>& expected, const std::string& who) {
  law.check(memory().codes.intact(), who, "wrote outside the row");
  for (std::size_t i = 0; i < expected.size(); ++i)
    law.check(row[i] == expected[i], who, "byte ", i, " is ", int{row[i]}, " for ", int{expected[i]});
}

// Weights that are levels already, so that a kernel has nothing to do but pack; and back, with rubbish in the padding.
void row_kernels(Bytes& in, const Levels& levels, std::size_t n, Flush flush) {
  const int bits = levels.bits();
  const std::vector<unsigned> codes = draw_codes(in, n, static_cast<std::size_t>(levels.count()));
  const std::vector<std::uint8_t> packed = oracle::pack(codes, bits);
  std::vector<std::uint8_t> dirty = packed;
  if (const std::size_t end = n * static_cast<std::size_t>(bits) % 8; end != 0)
    dirty.back() = static_cast<std::uint8_t>(dirty.back() | in.u8() << end);
  const std::size_t group = in.flag() ? std::max<std::size_t>(n, 1) : std::size_t{1} << in.below(8),
                    groups = n == 0 ? 0 : (n - 1) / group + 1;
  std::vector<float> weights(n);
  for (std::size_t k = 0; k < n; ++k) weights[k] = levels[static_cast<int>(codes[k])];

  Memory& m = memory();
  const auto affine = m.affine.slice_of(std::vector<Affine>(groups), flush);
  const auto x = m.in.slice_of(weights, flush);
  Row row{n, group, affine.data(), &levels};
  for (const Table* t : fewbit::kernel::all()) {
    if (!t->supported()) continue;
    const std::string who = std::string(t->name) + ", groups of " + std::to_string(group) + ", " + row_of(n, bits);
    const auto to = m.codes.slice(packed.size(), flush);
    t->quantize(x.data(), row, to.data());
    check_row(to, packed, who + "quantize: ");
    const auto from = m.codes.slice_of(dirty, flush);
    for (row.streamed = false;; row.streamed = true) {
      const auto out = m.out.slice(n, flush);
      t->dequantize(from.data(), row, out.data());
      law.check(m.out.intact(), who, "dequantize wrote outside the row");
      law.check(std::equal(out.begin(), out.end(), weights.begin()), who, "dequantize gives other weights");
      if (row.streamed) break;
    }
    row.streamed = false;
  }

  const auto to = m.codes.slice(packed.size(), flush);
  fewbit::CodeWriter write(to.data(), bits);
  for (const unsigned c : codes) write(c);
  write.finish();
  check_row(to, packed, row_of(n, bits) + "CodeWriter: ");
}

// Scales and zero-points go in and come out, one by one and widened by every table.
void params(Bytes& in, int bits, std::size_t n) {
  const ScaleType type = static_cast<ScaleType>(in.below(3));
  const std::size_t zeros = in.below(4);
  support::NumPy random(in.u8());
  std::vector<Affine> blocks(n);
  for (Affine& a : blocks) {
    const float drawn = in.left() > 1 ? in.f32() : static_cast<float>(random.randn());
    a.scale = fewbit::round_scale(std::isfinite(drawn) && drawn != 0 ? drawn : 1.f, type);
    if (!std::isfinite(a.scale)) a.scale = 1;
    if (zeros == 1) a.zero = static_cast<float>(random.below(std::size_t{1} << bits));
    if (zeros == 2) a.zero = static_cast<float>(random.randn());
    if (zeros == 3 && random.below(50) == 0) a.zero = -3;
  }
  const fewbit::Params params(blocks, type, bits);
  bool none = true, are_codes = true;
  for (const Affine& a : blocks) {
    none = none && a.zero == 0;
    are_codes = are_codes && a.zero >= 0 && a.zero < static_cast<float>(1 << bits) && a.zero == std::floor(a.zero);
  }
  const std::size_t bytes =
      n * (type == ScaleType::f32 ? 4 : 2) + (none        ? 0
                                              : are_codes ? (n * static_cast<std::size_t>(bits) + 7) / 8
                                                          : 4 * n);
  law.check(params.bytes() == bytes, n, " blocks take ", params.bytes(), " bytes for ", bytes);
  for (std::size_t b = 0; b < n; ++b) law.check(params[b] == blocks[b], "block ", b, " of ", n, " comes out changed");
  for (const Table* t : fewbit::kernel::all()) {
    if (!t->supported()) continue;
    const std::size_t first = n == 0 ? 0 : in.below(n);
    const auto out = memory().affine.slice(n - first);
    params.read(first, n - first, out.data(), *t);
    law.check(memory().affine.intact(), t->name, " wrote outside the blocks");
    for (std::size_t b = first; b < n; ++b)
      law.check(out[b - first] == blocks[b], t->name, ": block ", b, " of ", n, " comes out changed");
  }
}

// A matrix of codes 0, 1, 2, and perhaps a 3, which is none.
void ternary(Bytes& in, Index rows, Index cols) {
  const bool spoilt = in.below(16) == 1;
  const auto n = static_cast<std::size_t>(rows * cols);
  const std::vector<unsigned> codes = draw_codes(in, n, spoilt ? 4 : 3);
  QuantizedMatrix q(rows, cols, Levels::integers(2, -1, 3), fewbit::per_group(32, ScaleType::bf16));
  for (Index i = 0; i < rows; ++i) {
    const auto first = codes.begin() + i * cols;
    const std::vector<std::uint8_t> bytes = oracle::pack({first, first + cols}, 2);
    std::copy(bytes.begin(), bytes.end(), q.codes(i));
  }
  std::vector<Affine> affines(q.tiling().blocks());
  for (std::size_t b = 0; b < affines.size(); ++b) affines[b].scale = static_cast<float>(1 + b % 7);
  q.set_params(affines);

  const auto bad = std::find(codes.begin(), codes.end(), 3u);
  fewbit::TernaryMatrix t;
  try {
    t = fewbit::pack_ternary(q);
    law.check(bad == codes.end(), "pack_ternary takes a code of 3");
  } catch (const std::invalid_argument& e) {
    law.check(bad != codes.end(), "pack_ternary refuses good codes: ", e.what());
    return;
  }
  law.check(t.unpack() == q, "pack_ternary and unpack change a matrix of ", rows, " x ", cols);
  law.check(t.row_bytes() == static_cast<std::size_t>(cols + 4) / 5, "a ternary row of ", cols, " takes ",
            t.row_bytes(), " bytes");
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < static_cast<Index>(5 * t.row_bytes()); ++j) {
      unsigned power = 1;
      for (Index k = 0; k < j % 5; ++k) power *= 3;
      const unsigned trit = t.codes(i)[j / 5] / power % 3;
      law.check(trit == (j < cols ? codes[static_cast<std::size_t>(i * cols + j)] : 0u), "trit ", j, " of row ", i,
                " is ", trit);
      law.check(t.codes(i)[j / 5] < 243, "byte ", j / 5, " of row ", i, " is ", int{t.codes(i)[j / 5]});
    }
  const Index from = rows == 0 ? 0 : static_cast<Index>(in.below(static_cast<std::size_t>(rows)));
  const QuantizedMatrix some = t.unpack_rows(from, rows - from);
  for (Index i = from; i < rows; ++i)
    law.check(std::equal(q.codes(i), q.codes(i) + q.row_bytes(), some.codes(i - from)), "row ", i, " of rows from ",
              from, " is unpacked to other codes");
}

Levels draw_levels(Bytes& in, int bits) {
  if (bits > 8 || in.flag()) {
    const int count = in.flag() ? 1 << bits : 2 + static_cast<int>(in.below((std::size_t{1} << bits) - 1));
    return Levels::integers(bits, in.flag() ? 0 : in.between(-300, 300), count);
  }
  const int least = bits == 1 ? 2 : (1 << (bits - 1)) + 1;
  std::vector<float> table(static_cast<std::size_t>(in.between(least, 1 << bits)));
  std::iota(table.begin(), table.end(), static_cast<float>(in.between(-200, 10)));
  return Levels::table(table);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes in(data, size);
  const std::size_t what = in.below(4);
  const int bits = in.between(1, 16);
  const std::size_t n = in.below(most);
  const Flush flush = in.flag() ? Flush::front : Flush::back;
  switch (what) {
    case 0: put_and_get(in, bits, n, flush); break;
    case 1: {
      const Levels levels = draw_levels(in, bits);
      row_kernels(in, levels, n, flush);
      break;
    }
    case 2: params(in, bits, n); break;
    default: {
      const Index rows = in.between(0, 6);
      ternary(in, rows, static_cast<Index>(n));
      break;
    }
  }
  return 0;
}
