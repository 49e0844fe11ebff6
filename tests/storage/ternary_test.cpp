// Five weights of -1, 0 and 1 to a byte: every byte, every length of row, and everything else that a matrix holds.

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <fewbit/grid/symmetric.hpp>
#include <fewbit/storage/ternary.hpp>

#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Affine;
using fewbit::Granularity;
using fewbit::Index;
using fewbit::Levels;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;
using fewbit::TernaryMatrix;

enum class Zeros { none, codes, floats };

// Codes by chance, and an Affine for each block.
QuantizedMatrix random_matrix(Index rows, Index cols, Granularity g, Zeros zeros, std::uint32_t seed) {
  support::NumPy random(seed);
  QuantizedMatrix q(rows, cols, fewbit::Symmetric(2).levels(), g);
  for (Index i = 0; i < rows; ++i) {
    std::fill(q.codes(i), q.codes(i) + q.row_bytes(), std::uint8_t{0});
    for (Index j = 0; j < cols; ++j)
      fewbit::put_code(q.codes(i), static_cast<std::size_t>(j), 2, static_cast<unsigned>(random.below(3)));
  }
  std::vector<Affine> affines(q.tiling().blocks());
  for (Affine& a : affines) {
    a.scale = fewbit::round_scale(random.randn(), g.scale);
    a.zero = zeros == Zeros::none    ? 0
             : zeros == Zeros::codes ? static_cast<float>(random.below(4))
                                     : static_cast<float>(random.randn());
  }
  q.set_params(affines);
  return q;
}

QuantizedMatrix coded(QuantizedMatrix q) {
  fewbit::CodedScales scales{{}, {}, 0.75f};
  for (std::size_t b = 0; b < q.params().size(); ++b)
    scales.codes.push_back(static_cast<std::uint8_t>(1 + b * 7 % 255));
  for (std::size_t b = 0; b < q.params().size(); b += 256)
    scales.second.push_back(0x1p-9f * static_cast<float>(1 + b / 256));
  q.set_coded_scales(scales);
  return q;
}

std::string refusal(const QuantizedMatrix& q) {
  try {
    fewbit::pack_ternary(q);
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("all 243 bytes are five weights, and no five weights are another byte", "[storage][ternary]") {
  std::vector<bool> seen(256);
  for (unsigned n = 0; n < 243; ++n) {
    const unsigned c[] = {n % 3, n / 3 % 3, n / 9 % 3, n / 27 % 3, n / 81};
    QuantizedMatrix q(1, 5, fewbit::Symmetric(2).levels(), fewbit::per_tensor());
    std::fill(q.codes(0), q.codes(0) + q.row_bytes(), std::uint8_t{0});
    for (std::size_t k = 0; k < 5; ++k) fewbit::put_code(q.codes(0), k, 2, c[k]);
    q.set_params(std::vector<Affine>{{1, 0}});
    const TernaryMatrix t = fewbit::pack_ternary(q);
    INFO("byte " << n);
    REQUIRE(t.row_bytes() == 1);
    CHECK(t.codes(0)[0] == c[0] + 3 * c[1] + 9 * c[2] + 27 * c[3] + 81 * c[4]);
    CHECK(t.unpack() == q);
    CHECK(fewbit::codes_of_trits(n) == (c[0] | c[1] << 2 | c[2] << 4 | c[3] << 6 | c[4] << 8));
    seen[t.codes(0)[0]] = true;
  }
  CHECK(std::count(seen.begin(), seen.end(), true) == 243);
}

TEST_CASE("a byte that no packing makes is five weights of 0", "[storage][ternary]") {
  for (unsigned byte = 243; byte < 256; ++byte) CHECK(fewbit::codes_of_trits(byte) == 0b01'01'01'01'01);
  for (unsigned byte = 243; byte < 256; ++byte)
    for (unsigned k = 0; k < 5; ++k) CHECK(fewbit::ternary_levels[fewbit::trit_codes[byte] >> 2 * k & 3] == 0);
}

TEST_CASE("a row of any length comes back, and is padded with the code 0", "[storage][ternary]") {
  support::Tally tally;
  for (Index cols = 1; cols <= 130; ++cols) {
    const QuantizedMatrix q = random_matrix(3, cols, fewbit::per_channel(), Zeros::none, 500);
    const TernaryMatrix t = fewbit::pack_ternary(q);
    tally.check(t.unpack() == q, cols, " columns");
    tally.check(t.row_bytes() == static_cast<std::size_t>((cols + 4) / 5), cols, " columns: bytes of a row");
    for (Index i = 0; i < 3; ++i) {
      unsigned expected = 0, power = 1;
      for (Index j = (cols - 1) / 5 * 5; j < cols; ++j, power *= 3) expected += q.code(i, j) * power;
      tally.check(t.codes(i)[t.row_bytes() - 1] == expected, cols, " columns: the last byte of row ", i);
    }
  }
  tally.require(130 * 5);
}

TEST_CASE("scales of every kind, zero-points and the input map are kept", "[storage][ternary]") {
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16})
    for (const Granularity g : {fewbit::per_tensor(type), fewbit::per_channel(type), fewbit::per_column(type),
                                fewbit::per_group(4, type), fewbit::per_group(64, type), fewbit::per_block(2, 3, type)})
      for (const Zeros zeros : {Zeros::none, Zeros::codes, Zeros::floats}) {
        const QuantizedMatrix plain = random_matrix(41, 33, g, zeros, 501);
        QuantizedMatrix mapped = coded(plain);
        fewbit::InputMap map;
        for (std::uint32_t k = 0; k < 33; ++k) map.order.push_back(32 - k), map.scale.push_back(1.5f);
        mapped.set_input_map(map);
        for (const QuantizedMatrix& q : {plain, coded(plain), mapped}) {
          const TernaryMatrix t = fewbit::pack_ternary(q);
          INFO("blocks of " << g.rows << " x " << g.cols << ", scales " << fewbit::name(type));
          CHECK(t.unpack() == q);
          CHECK(t.unpack().scale_type() == type);
          CHECK(t.granularity() == q.granularity());
          CHECK(t.tiling() == q.tiling());
          CHECK(t.bytes() + q.codes().size() == q.bytes() + 41 * 7);
          CHECK(t == fewbit::pack_ternary(q));
        }
        CHECK_FALSE(fewbit::pack_ternary(plain) == fewbit::pack_ternary(coded(plain)));
        CHECK_FALSE(fewbit::pack_ternary(mapped) == fewbit::pack_ternary(coded(plain)));
      }
}

TEST_CASE("bits per weight are 1.6 and the scales' share", "[storage][ternary]") {
  const auto bits = [](Index rows, Index cols, Granularity g) {
    return fewbit::pack_ternary(random_matrix(rows, cols, g, Zeros::none, 502)).bits_per_weight();
  };
  CHECK(bits(50, 640, fewbit::per_tensor()) == 8. * (50 * 128 + 4) / (50 * 640));       // 1.601
  CHECK(bits(64, 320, fewbit::per_group(64, ScaleType::f16)) == 8. * (64 + 10) / 320);  // 1.85
  CHECK(bits(64, 320, fewbit::per_channel()) == 8. * (64 + 4) / 320);                   // 1.7
  CHECK(bits(10, 64, fewbit::per_channel()) == 8. * (13 + 4) / 64);                     // 64 weights take 13 bytes
  CHECK(bits(10, 1, fewbit::per_tensor(ScaleType::bf16)) == 8. * (10 + 2) / 10);
}

TEST_CASE("matrices are equal when everything they hold is", "[storage][ternary]") {
  const QuantizedMatrix q = random_matrix(3, 9, fewbit::per_group(4), Zeros::none, 503);
  const TernaryMatrix t = fewbit::pack_ternary(q);
  CHECK(t == fewbit::pack_ternary(q));
  CHECK_FALSE(t == fewbit::pack_ternary(random_matrix(3, 9, fewbit::per_group(5), Zeros::none, 503)));
  CHECK_FALSE(t == fewbit::pack_ternary(random_matrix(3, 8, fewbit::per_group(4), Zeros::none, 503)));
  QuantizedMatrix other = q;
  fewbit::put_code(other.codes(2), 8, 2, (q.code(2, 8) + 1) % 3);
  CHECK_FALSE(t == fewbit::pack_ternary(other));
  other = q;
  other.set_params(std::vector<Affine>(9, Affine{1, 0}));
  CHECK_FALSE(t == fewbit::pack_ternary(other));
  CHECK(TernaryMatrix() == TernaryMatrix());
}

TEST_CASE("an empty matrix is packed, whichever extent is zero", "[storage][ternary][bad-input]") {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 7}, {7, 0}, {0, 0}})
    for (const Granularity g :
         {fewbit::per_tensor(), fewbit::per_channel(), fewbit::per_group(4), fewbit::per_block(2, 3)}) {
      const QuantizedMatrix q = random_matrix(rows, cols, g, Zeros::none, 504);
      const TernaryMatrix t = fewbit::pack_ternary(q);
      CHECK(t.rows() == rows);
      CHECK(t.cols() == cols);
      CHECK(t.bits_per_weight() == 0);
      CHECK(t.unpack() == q);
      CHECK(t.unpack_rows(0, rows).rows() == rows);
    }
  const QuantizedMatrix bare(0, 7, fewbit::Symmetric(2).levels(), fewbit::per_tensor());  // params were never set
  CHECK(fewbit::pack_ternary(bare).unpack() == bare);
  CHECK(TernaryMatrix().bytes() == 0);
  CHECK(TernaryMatrix().unpack().size() == 0);
}

TEST_CASE("rows by themselves decode as they do in the matrix", "[storage][ternary]") {
  support::Tally tally;
  for (const Granularity g :
       {fewbit::per_tensor(), fewbit::per_channel(ScaleType::f16), fewbit::per_column(ScaleType::bf16),
        fewbit::per_group(4), fewbit::per_block(6, 5), fewbit::per_block(100, 3)}) {
    for (const bool codes : {false, true}) {
      const QuantizedMatrix plain = random_matrix(40, 33, g, Zeros::floats, 505), q = codes ? coded(plain) : plain;
      const TernaryMatrix t = fewbit::pack_ternary(q);
      for (Index first = 0; first <= 40; ++first)
        for (Index n = 0; n <= 40 - first; ++n) {
          const Index height = t.block_rows();
          if (first % height != 0 && n > 0 && first / height != (first + n - 1) / height) {
            CHECK_THROWS_AS(t.unpack_rows(first, n), std::invalid_argument);
            continue;
          }
          const QuantizedMatrix rows = t.unpack_rows(first, n);
          bool same = rows.rows() == n && rows.cols() == 33;
          for (Index i = 0; i < n && same; ++i)
            for (Index j = 0; j < 33; ++j) same = same && rows(i, j) == q(first + i, j);
          tally.check(same, "rows ", first, " to ", first + n, " in blocks of ", g.rows, " x ", g.cols);
        }
    }
  }
  tally.require(5000);
}

TEST_CASE("rows that are not there, or in parts of two blocks, are refused", "[storage][ternary][bad-input]") {
  const TernaryMatrix t = fewbit::pack_ternary(random_matrix(10, 8, fewbit::per_block(4, 4), Zeros::none, 506));
  constexpr Index most = std::numeric_limits<Index>::max();
  for (const auto& [first, n] :
       {std::pair<Index, Index>{-1, 2}, {0, -1}, {0, 11}, {10, 1}, {11, 0}, {1, most}, {most, 1}}) {
    INFO(first << ", " << n);
    CHECK_THROWS_AS(t.unpack_rows(first, n), std::invalid_argument);
  }
  try {
    t.unpack_rows(2, 4);
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    INFO(what);
    CHECK(what.rfind("fewbit: ", 0) == 0);
    CHECK(what.find("block of 4") != std::string::npos);
  }
}

TEST_CASE("what is not of the levels -1, 0 and 1 is refused, with what to do", "[storage][ternary][bad-input]") {
  const auto filled = [](const Levels& levels, std::uint8_t byte) {
    QuantizedMatrix q(2, 8, levels, fewbit::per_tensor());
    for (Index i = 0; i < 2; ++i) std::fill(q.codes(i), q.codes(i) + q.row_bytes(), byte);
    q.set_params(std::vector<Affine>{{1, 0}});
    return q;
  };
  const std::vector<float> table{-1, 0, 1};
  for (const Levels& levels : {Levels::integers(2, -2, 4), Levels::integers(2, 0, 3), Levels::integers(3, -1, 3),
                               Levels::integers(2, -1, 4), Levels::integers(1, -1, 2), Levels::table(table)}) {
    const std::string what = refusal(filled(levels, 0));
    INFO(what);
    CHECK(what.rfind("fewbit: pack_ternary: ", 0) == 0);
    CHECK(what.find("Symmetric(2)") != std::string::npos);
  }
  CHECK(refusal(filled(fewbit::Symmetric(2).levels(), 0)) == "nothing was thrown");

  QuantizedMatrix q = filled(fewbit::Symmetric(2).levels(), 0);
  fewbit::put_code(q.codes(1), 6, 2, 3);  // a pattern of bits that is no code
  const std::string what = refusal(q);
  INFO(what);
  CHECK(what.find("row 1, column 6") != std::string::npos);

  CHECK_THROWS_AS(fewbit::pack_ternary(QuantizedMatrix(2, 8, fewbit::Symmetric(2).levels(), fewbit::per_tensor())),
                  std::invalid_argument);
  CHECK_THROWS_AS(fewbit::pack_ternary(QuantizedMatrix()), std::invalid_argument);
}

TEST_CASE("a matrix that was moved from holds nothing, and says so", "[storage][ternary][bad-input]") {
  TernaryMatrix t = fewbit::pack_ternary(random_matrix(4, 9, fewbit::per_channel(), Zeros::none, 507));
  const TernaryMatrix moved = std::move(t);
  CHECK(moved.unpack().rows() == 4);
  // NOLINTNEXTLINE(bugprone-use-after-move): that is the question
  CHECK_THROWS_AS(t.unpack(), std::invalid_argument);
  CHECK_THROWS_AS(t.unpack_rows(0, 1), std::invalid_argument);
}
