// Pack and unpack are inverse to each other, and the bytes are the ones the layout promises.

#include <cstdint>
#include <limits>
#include <vector>

#include <fewbit/core/packing.hpp>

#include <support/guarded.hpp>
#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

unsigned all_ones(int bits) { return (1u << bits) - 1; }

// Writes the codes in the given order of positions into bytes full of rubbish, and compares bytes and codes.
void round_trip(support::Tally& tally, support::Guarded<std::uint8_t>& room, const std::vector<unsigned>& codes,
                int bits, bool backwards) {
  const std::vector<std::uint8_t> expected = oracle::pack(codes, bits);
  const auto row = room.slice(fewbit::packed_bytes(codes.size(), bits));
  tally.check(row.size() == expected.size(), bits, " bits, ", codes.size(), " codes: ", row.size(), " bytes");
  if (row.size() != expected.size()) return;
  if (!row.empty()) row.back() = 0;  // padding is the caller's, and zero from the start
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::size_t k = backwards ? codes.size() - 1 - i : i;
    fewbit::put_code(row.data(), k, bits, codes[k]);
  }
  for (std::size_t i = 0; i < row.size(); ++i)
    tally.check(row[i] == expected[i], bits, " bits, ", codes.size(), " codes: byte ", i, " is ", int{row[i]});
  for (std::size_t k = 0; k < codes.size(); ++k)
    tally.check(fewbit::get_code(row.data(), k, bits) == codes[k], bits, " bits, ", codes.size(), " codes: code ", k);
  fewbit::CodeReader read(row.data(), bits);
  for (std::size_t k = 0; k < codes.size(); ++k)
    tally.check(read() == codes[k], bits, " bits, ", codes.size(), " codes: code ", k, " in turn");
  for (std::uint8_t& byte : row) byte = 0xa5;
  fewbit::CodeWriter write(row.data(), bits);
  for (const unsigned code : codes) write(code);
  write.finish();
  for (std::size_t i = 0; i < row.size(); ++i)
    tally.check(row[i] == expected[i], bits, " bits, ", codes.size(), " codes in turn: byte ", i, " is ", int{row[i]});
  tally.check(room.intact(), bits, " bits, ", codes.size(), " codes: a byte before the row changed");
}

}  // namespace

TEST_CASE("a row of n codes takes n * bits bits, rounded up to a byte", "[packing]") {
  support::Tally tally;
  for (int bits = 1; bits <= 16; ++bits)
    for (std::size_t n = 0; n <= 130; ++n)
      tally.check(fewbit::packed_bytes(n, bits) == (n * static_cast<std::size_t>(bits) + 7) / 8, n, " of ", bits,
                  " bits");
  tally.require(16 * 131);
  constexpr std::size_t many = std::numeric_limits<std::size_t>::max() / 8 + 1;  // no overflow on the way
  CHECK(fewbit::packed_bytes(many / 2, 16) == many);
  CHECK(fewbit::packed_bytes(many + 1, 16) == 2 * many + 2);
}

TEST_CASE("pack then unpack is the identity for every width and every length up to 130", "[packing][laws]") {
  support::Guarded<std::uint8_t> room(300);
  support::NumPy random(1);
  support::Tally tally;
  for (int bits = 1; bits <= 16; ++bits) {
    for (std::size_t n = 0; n <= 130; ++n) {
      std::vector<unsigned> codes(n);
      for (unsigned& c : codes) c = random.bits() & all_ones(bits);
      round_trip(tally, room, codes, bits, false);
      round_trip(tally, room, codes, bits, true);
      round_trip(tally, room, std::vector<unsigned>(n, all_ones(bits)), bits, n % 2 == 0);
    }
  }
  tally.require(500'000);
}

TEST_CASE("every code of every width packs and unpacks", "[packing]") {
  support::Guarded<std::uint8_t> room(2 * 65536 + 8);
  support::Tally tally;
  for (int bits = 1; bits <= 16; ++bits) {
    std::vector<unsigned> codes(std::size_t{1} << bits);
    for (std::size_t k = 0; k < codes.size(); ++k) codes[k] = static_cast<unsigned>(k);
    codes.push_back(all_ones(bits));  // shifts the end of the row off a byte
    round_trip(tally, room, codes, bits, false);
  }
  tally.require(200'000);
}

TEST_CASE("writing a code leaves its neighbours alone", "[packing]") {
  support::Tally tally;
  for (int bits = 1; bits <= 16; ++bits) {
    for (std::size_t k = 0; k < 9; ++k) {
      std::vector<unsigned> codes(9, all_ones(bits));
      std::vector<std::uint8_t> row = oracle::pack(codes, bits);
      fewbit::put_code(row.data(), k, bits, 0);
      codes[k] = 0;
      tally.check(row == oracle::pack(codes, bits), bits, " bits, position ", k, " cleared");
      fewbit::put_code(row.data(), k, bits, all_ones(bits));
      codes[k] = all_ones(bits);
      tally.check(row == oracle::pack(codes, bits), bits, " bits, position ", k, " set");
    }
  }
  tally.require(16 * 18);
}

TEST_CASE("four-bit codes: the first weight is in the low half of the byte", "[packing]") {
  const std::vector<std::uint8_t> row = oracle::pack({0x1, 0x2, 0xf}, 4);
  CHECK(row == std::vector<std::uint8_t>{0x21, 0x0f});
  CHECK(fewbit::get_code(row.data(), 0, 4) == 1);
  CHECK(fewbit::get_code(row.data(), 1, 4) == 2);
  CHECK(fewbit::get_code(row.data(), 2, 4) == 15);
}
