// QuantizedMatrix by itself: what is put in comes out, what it takes in memory, and what it refuses.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <fewbit/storage/quantized_matrix.hpp>

#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Affine;
using fewbit::Granularity;
using fewbit::Index;
using fewbit::Levels;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;

Levels integers(int bits) { return Levels::integers(bits, -(1 << (bits - 1)), 1 << bits); }

// A matrix full of the given code, with one affine throughout.
QuantizedMatrix filled(Index rows, Index cols, int bits, Granularity g, unsigned code, Affine a) {
  QuantizedMatrix q(rows, cols, integers(bits), g);
  for (Index i = 0; i < rows; ++i) {
    std::fill(q.codes(i), q.codes(i) + q.row_bytes(), std::uint8_t{0});
    for (Index j = 0; j < cols; ++j) fewbit::put_code(q.codes(i), static_cast<std::size_t>(j), bits, code);
  }
  q.set_params(std::vector<Affine>(static_cast<std::size_t>(q.blocks_down() * q.blocks_across()), a));
  return q;
}

}  // namespace

TEST_CASE("codes and affines come out as they went in", "[storage]") {
  support::Tally tally;
  support::NumPy random(31);
  for (int bits = 1; bits <= 16; ++bits) {
    for (const ScaleType t : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
      for (const Granularity g : {fewbit::per_tensor(t), fewbit::per_channel(t), fewbit::per_column(t),
                                  fewbit::per_group(4, t), fewbit::per_block(2, 3, t)}) {
        for (const int zeros : {0, 1, 2}) {  // none, codes, anything
          QuantizedMatrix q(5, 13, integers(bits), g);
          std::vector<Affine> affines(static_cast<std::size_t>(q.blocks_down() * q.blocks_across()));
          for (Affine& a : affines) {
            a.scale = fewbit::round_scale(random.randn(), t);
            a.zero = zeros == 0   ? 0
                     : zeros == 1 ? static_cast<float>(random.bits() & ((1u << bits) - 1))
                                  : static_cast<float>(random.randn() * 9);
          }
          std::vector<unsigned> codes;
          for (Index i = 0; i < 5; ++i) {
            std::fill(q.codes(i), q.codes(i) + q.row_bytes(), std::uint8_t{0});
            for (Index j = 0; j < 13; ++j) {
              codes.push_back(random.bits() & ((1u << bits) - 1));
              fewbit::put_code(q.codes(i), static_cast<std::size_t>(j), bits, codes.back());
            }
          }
          q.set_params(affines);
          for (Index i = 0; i < 5; ++i) {
            for (Index j = 0; j < 13; ++j) {
              const Affine a =
                  affines[static_cast<std::size_t>(i / q.block_rows() * q.blocks_across() + j / q.block_cols())];
              const unsigned code = codes[static_cast<std::size_t>(i * 13 + j)];
              const float level = static_cast<float>(static_cast<int>(code) - (1 << (bits - 1)));
              tally.check(q.code(i, j) == code, bits, " bits: code ", i, ", ", j);
              tally.check(q.affine(i / q.block_rows(), j / q.block_cols()) == a, bits, " bits: affine of ", i, ", ", j);
              tally.check(q(i, j) == oracle::multiply(a.scale, oracle::subtract(level, a.zero)), bits, " bits: weight ",
                          i, ", ", j);
            }
          }
        }
      }
    }
  }
  tally.require(16 * 3 * 5 * 3 * 65 * 3);
}

TEST_CASE("bytes() is what is held: codes with padding, scales in their type, zero-points as small as they can be",
          "[storage]") {
  const std::size_t codes = 5 * 7;  // 13 codes of 4 bits take 7 bytes
  const Granularity f32 = fewbit::per_group(4), f16 = fewbit::per_group(4, ScaleType::f16),
                    bf16 = fewbit::per_group(4, ScaleType::bf16);
  const std::size_t blocks = 5 * 4;
  CHECK(filled(5, 13, 4, f32, 3, {0.5f, 0}).bytes() == codes + 4 * blocks);
  CHECK(filled(5, 13, 4, f16, 3, {0.5f, 0}).bytes() == codes + 2 * blocks);
  CHECK(filled(5, 13, 4, bf16, 3, {0.5f, 0}).bytes() == codes + 2 * blocks);
  CHECK(filled(5, 13, 4, f16, 3, {0.5f, 15}).bytes() == codes + 2 * blocks + blocks / 2);
  CHECK(filled(5, 13, 4, f16, 3, {0.5f, 16}).bytes() == codes + 2 * blocks + 4 * blocks);
  CHECK(filled(5, 13, 4, f16, 3, {0.5f, -1}).bytes() == codes + 2 * blocks + 4 * blocks);
  CHECK(filled(5, 13, 4, f16, 3, {0.5f, 1.5f}).bytes() == codes + 2 * blocks + 4 * blocks);
  CHECK(filled(5, 13, 4, f16, 3, {0.5f, 0}).bits_per_weight() == 8. * (35 + 40) / 65);
  CHECK(filled(64, 128, 4, fewbit::per_group(128, ScaleType::f16), 1, {1, 0}).bits_per_weight() == 4.125);

  // One zero-point that is no code makes all of them floats; one that is a code keeps them codes.
  QuantizedMatrix q = filled(1, 8, 4, fewbit::per_group(4), 0, {1, 0});
  CHECK(q.bytes() == 4 + 8);
  q.set_params(std::vector<Affine>{{1, 0}, {1, 7}});
  CHECK(q.bytes() == 4 + 8 + 1);
  q.set_params(std::vector<Affine>{{1, 7}, {1, -7}});
  CHECK(q.bytes() == 4 + 8 + 8);
}

TEST_CASE("a zero-point of -0 is no zero-point", "[storage]") {
  const QuantizedMatrix q = filled(2, 8, 4, fewbit::per_group(4), 8, {1, -0.f});
  CHECK(q.bytes() == filled(2, 8, 4, fewbit::per_group(4), 8, {1, 0}).bytes());
  CHECK_FALSE(std::signbit(q.affine(0, 0).zero));
  CHECK_FALSE(std::signbit(q(0, 0)));
}

TEST_CASE("a zero decodes to +0 under either sign of the scale", "[storage][bad-input][class-9]") {
  for (const float scale : {1.f, -1.f}) {
    for (const float zero : {0.f, 3.f, -2.f}) {
      const auto code = static_cast<unsigned>(8 + static_cast<int>(zero));
      const QuantizedMatrix q = filled(1, 3, 4, fewbit::per_tensor(), code, {scale, zero});
      INFO("scale " << scale << ", zero " << zero);
      CHECK(q(0, 1) == 0);
      CHECK_FALSE(std::signbit(q(0, 1)));
    }
  }
}

TEST_CASE("matrices are equal when shapes, blocks, codes, scales and levels are", "[storage]") {
  const QuantizedMatrix q = filled(3, 9, 4, fewbit::per_group(4), 5, {2, 1});
  CHECK(q == filled(3, 9, 4, fewbit::per_group(4), 5, {2, 1}));
  CHECK_FALSE(q == filled(3, 9, 4, fewbit::per_group(4), 6, {2, 1}));
  CHECK_FALSE(q == filled(3, 9, 4, fewbit::per_group(4), 5, {3, 1}));
  CHECK_FALSE(q == filled(3, 9, 4, fewbit::per_group(4), 5, {2, 2}));
  CHECK_FALSE(q == filled(3, 9, 4, fewbit::per_group(5), 5, {2, 1}));
  CHECK_FALSE(q == filled(3, 8, 4, fewbit::per_group(4), 5, {2, 1}));
  CHECK_FALSE(q == filled(3, 9, 4, fewbit::per_group(4, ScaleType::f16), 5, {2, 1}));
  QuantizedMatrix copy = q;
  CHECK(copy == q);
  fewbit::put_code(copy.codes(2), 8, 4, 0);
  CHECK_FALSE(copy == q);
  const QuantizedMatrix moved = std::move(copy);
  CHECK(moved.code(2, 8) == 0);
  CHECK(QuantizedMatrix() == QuantizedMatrix());
}

TEST_CASE("a granularity is remembered as the blocks it made", "[storage]") {
  const QuantizedMatrix q(10, 100, integers(4), fewbit::per_block(4, 32, ScaleType::bf16));
  CHECK(q.granularity() == Granularity{4, 32, ScaleType::bf16});
  CHECK(q.blocks_down() == 3);
  CHECK(q.blocks_across() == 4);
  const QuantizedMatrix wide(10, 100, integers(4), fewbit::per_group(4096));
  CHECK(wide.blocks_across() == 1);
  CHECK(wide.block_cols() >= 100);
}

TEST_CASE("affines that cannot be stored are refused", "[storage]") {
  QuantizedMatrix q(2, 8, integers(4), fewbit::per_group(4, ScaleType::f16));
  const Affine good{0.5f, 0};
  const auto with = [&](Affine bad) { return std::vector<Affine>{good, good, bad, good}; };
  q.set_params(with(good));
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const Affine bad : {Affine{0, 0}, Affine{nan, 0}, Affine{infinity, 0}, Affine{1, nan}, Affine{1, -infinity},
                           Affine{1e6f, 0}, Affine{0.1f, 0}}) {
    INFO("scale " << bad.scale << ", zero " << bad.zero);
    CHECK_THROWS_AS(q.set_params(with(bad)), std::invalid_argument);
    CHECK(q.affine(1, 0) == good);  // nothing was written
  }
  CHECK_THROWS_AS(q.set_params(std::vector<Affine>(3, good)), std::invalid_argument);
  CHECK_THROWS_AS(q.set_params(std::vector<Affine>(5, good)), std::invalid_argument);
}

TEST_CASE("params move from one matrix to another with the same blocks, coded scales included", "[storage]") {
  const Granularity g = fewbit::per_group(4, ScaleType::f16);
  QuantizedMatrix from = filled(3, 10, 4, g, 5, {0.5f, 3});
  QuantizedMatrix to = filled(3, 10, 4, g, 5, {2, 0});
  to.set_params(from.params());
  CHECK(to == from);
  from.set_coded_scales({std::vector<std::uint8_t>(9, 200), {0.25f}, 1});
  CHECK_FALSE(to == from);
  to.set_params(from.params());
  CHECK(to == from);
  CHECK(to.affine(2, 2) == from.affine(2, 2));
  CHECK(to.bytes() == from.bytes());

  const QuantizedMatrix before = to;
  for (const QuantizedMatrix& other :
       {filled(3, 13, 4, g, 5, {1, 0}), filled(3, 10, 5, g, 5, {1, 0}),
        filled(3, 10, 4, fewbit::per_group(4), 5, {1, 0}), filled(2, 10, 4, g, 5, {1, 0})}) {
    CHECK_THROWS_AS(to.set_params(other.params()), std::invalid_argument);
    CHECK(to == before);
  }
  CHECK_THROWS_AS(to.set_params(fewbit::Params()), std::invalid_argument);
  QuantizedMatrix empty(0, 10, integers(4), g);
  empty.set_params(fewbit::Params());  // no blocks, so nothing that could differ
  CHECK(empty.params().size() == 0);
}

TEST_CASE("an empty matrix is one, whichever extent is zero", "[storage][bad-input][class-17]") {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 7}, {7, 0}, {0, 0}}) {
    for (const Granularity g : {fewbit::per_tensor(), fewbit::per_channel(), fewbit::per_column(), fewbit::per_group(4),
                                fewbit::per_block(2, 3)}) {
      QuantizedMatrix q(rows, cols, integers(4), g);
      q.set_params(std::vector<Affine>(static_cast<std::size_t>(q.blocks_down() * q.blocks_across())));
      CHECK(q.rows() == rows);
      CHECK(q.cols() == cols);
      CHECK(q.size() == 0);
      CHECK(q.codes().empty());
      CHECK(q.bits_per_weight() == 0);
    }
  }
}

TEST_CASE("sizes beyond what can be addressed are refused before memory is asked for",
          "[storage][bad-input][class-23]") {
  constexpr int digits = std::numeric_limits<Index>::digits;
  constexpr Index most = std::numeric_limits<Index>::max(), large = Index{1} << digits * 2 / 3;
  for (const auto& [rows, cols] : {std::pair<Index, Index>{large, large},
                                   {most, most},
                                   {most, 2},
                                   {2, most},
                                   {Index{1} << (digits + 1) / 2, Index{1} << digits / 2},
                                   {most, 1},
                                   {1, most}}) {
    for (const int bits : {1, 16}) {
      INFO(rows << " x " << cols << " of " << bits << " bits");
      CHECK_THROWS_AS(QuantizedMatrix(rows, cols, integers(bits), fewbit::per_tensor()), std::invalid_argument);
      CHECK_THROWS_AS(QuantizedMatrix(rows, cols, integers(bits), fewbit::per_group(1)), std::invalid_argument);
    }
  }
  CHECK_THROWS_AS(QuantizedMatrix(-1, 4, integers(4), fewbit::per_tensor()), std::invalid_argument);
  CHECK_THROWS_AS(QuantizedMatrix(4, -1, integers(4), fewbit::per_tensor()), std::invalid_argument);
  CHECK_THROWS_AS(QuantizedMatrix(4, 4, integers(4), Granularity{-1, 0, ScaleType::f32}), std::invalid_argument);
  CHECK_THROWS_AS(QuantizedMatrix(4, 4, integers(4), Granularity{1, -8, ScaleType::f32}), std::invalid_argument);
  try {
    QuantizedMatrix q(large, 2 * large, integers(4), fewbit::per_tensor());
    FAIL("accepted");
  } catch (const std::invalid_argument& e) {
    const std::string what = e.what();
    CHECK(what.rfind("fewbit: ", 0) == 0);
    CHECK(what.find(" " + std::to_string(large) + " x " + std::to_string(2 * large) + " ") != std::string::npos);
  }
}

TEST_CASE("a matrix of more than 2^31 bits keeps its last code", "[storage][bad-input][class-23]") {
  const Index cols = (Index{1} << 27) + 5;       // of 16-bit codes: 2^31 bits a row and more
  const Index last = sizeof(Index) > 4 ? 1 : 0;  // an Index of 32 bits has room for one such row
  QuantizedMatrix q(last + 1, cols, integers(16), fewbit::per_tensor());
  q.set_params(std::vector<Affine>{{1, 0}});
  q.codes(last)[q.row_bytes() - 1] = 0x80, q.codes(last)[q.row_bytes() - 2] = 0x07;  // the only page that is touched
  CHECK(q.code(last, cols - 1) == 0x8007);
  CHECK(q(last, cols - 1) == 7);
  CHECK(q.bytes() == static_cast<std::size_t>((last + 1) * cols) * 2 + 4);
}

TEST_CASE("the stored type is a value that holds no template parameter and no pointer into a grid", "[storage]") {
  static_assert(std::is_copy_constructible_v<QuantizedMatrix> && std::is_nothrow_move_constructible_v<QuantizedMatrix>);
  QuantizedMatrix q;
  {
    const std::vector<float> table{-1, 0.25f, 1};
    QuantizedMatrix made(1, 3, Levels::table(table), fewbit::per_tensor());
    *made.codes(0) = 0b100100;
    made.set_params(std::vector<Affine>{{2, 0}});
    q = made;
  }
  CHECK(q(0, 0) == -2);
  CHECK(q(0, 1) == 0.5f);
  CHECK(q(0, 2) == 2);
}
