// Every table that runs here gives the bits that the oracle gives, for every width, kind of grid, group size and
// length, from memory that ends where the row ends. A new instruction set is found by itself.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/core/packing.hpp>
#include <fewbit/grid/fp4.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/kernel/dispatch.hpp>

#include <support/guarded.hpp>
#include <support/numbers.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::Affine;
using fewbit::Levels;
using fewbit::Range;
using fewbit::kernel::Row;
using fewbit::kernel::Table;
using support::Flush;

// The affines that a kind of grid can come with.
enum class Zeros { none, within, negative, huge, fractional, subnormal_scale };

struct Kind {
  std::string name;
  oracle::Grid grid;
  Zeros zeros = Zeros::none;
  bool negative_scales = false;
};

Levels levels_of(const oracle::Grid& g) {
  if (!g.uniform()) return Levels::table(g.table);
  return Levels::integers(g.bits, static_cast<int>(g.first()), g.count());
}

std::vector<Kind> integer_kinds(int bits) {
  using oracle::Kind;
  std::vector<::Kind> kinds{
      {"full", {Kind::full, bits}},
      {"signed scale", {Kind::full, bits}, Zeros::none, true},
      {"zero-point in the codes", {Kind::asymmetric, bits}, Zeros::within},
      {"negative zero-point", {Kind::asymmetric, bits}, Zeros::negative},
      {"huge zero-point", {Kind::asymmetric, bits}, Zeros::huge, true},
      {"fractional zero-point", {Kind::asymmetric, bits}, Zeros::fractional, true},
      {"subnormal scale", {Kind::full, bits}, Zeros::subnormal_scale},
  };
  if (bits > 1) kinds.push_back({"narrow", {Kind::narrow, bits}});
  return kinds;
}

std::vector<Kind> table_kinds() {
  std::vector<Kind> kinds;
  support::NumPy random(11);
  for (const std::size_t n : {2u, 3u, 5u, 16u, 17u, 100u, 256u}) {
    std::vector<float> even(n), uneven(n);
    for (std::size_t i = 0; i < n; ++i) even[i] = static_cast<float>(i) / static_cast<float>(n - 1) * 2 - 1;
    double at = -1;
    for (std::size_t i = 0; i < n; ++i)
      uneven[i] = static_cast<float>(at += 0.001 + random.random_sample() / static_cast<double>(n));
    const std::string name = std::to_string(n) + " levels";
    kinds.push_back({name + ", even", {oracle::Kind::table, oracle::bits_for(n), even}});
    kinds.push_back(
        {name + ", uneven, shifted", {oracle::Kind::table, oracle::bits_for(n), uneven}, Zeros::fractional, true});
  }
  kinds.push_back({"neighbouring floats",
                   {oracle::Kind::table, 2, {-1, 1, support::next_up(1), support::next_up(support::next_up(1))}}});
  kinds.push_back({"a zero with a sign", {oracle::Kind::table, 2, {-1, -0.f, 1}}, Zeros::none, true});
  return kinds;
}

Affine draw_affine(support::NumPy& random, const Kind& kind) {
  Affine a;
  a.scale = static_cast<float>((0.5 + random.random_sample()) * std::exp2(20 * random.random_sample() - 10));
  const double top = kind.grid.count();
  switch (kind.zeros) {
    case Zeros::none: break;
    case Zeros::within: a.zero = static_cast<float>(random.below(static_cast<std::size_t>(kind.grid.count()))); break;
    case Zeros::negative: a.zero = -1 - static_cast<float>(random.below(1000)); break;
    case Zeros::huge: a.zero = static_cast<float>(std::nearbyint(random.randn() * 3e7)) + 0.f; break;
    case Zeros::fractional: a.zero = static_cast<float>(random.randn() * (kind.grid.uniform() ? top / 2 : 0.5)); break;
    case Zeros::subnormal_scale:
      a.scale = std::numeric_limits<float>::denorm_min() * static_cast<float>(1 + random.below(5000));
      break;
  }
  if (kind.negative_scales && random.below(2)) a.scale = -a.scale;
  return a;
}

// A row of weights, and everything the oracle says about it.
struct Sample {
  std::size_t group;
  Levels levels;
  std::vector<float> x, decoded;
  std::vector<Affine> affine;
  std::vector<unsigned> codes, inside;  // inside: 1 or 0

  Sample(support::NumPy& random, const Kind& kind, std::size_t n, std::size_t group_size)
      : group(group_size), levels(levels_of(kind.grid)) {
    for (std::size_t k = 0; k < n; ++k) {
      if (k % group == 0) affine.push_back(draw_affine(random, kind));
      const oracle::Affine a{affine.back().scale, affine.back().zero};
      x.push_back(support::planted_weight(random, a, kind.grid));
      codes.push_back(oracle::code(x.back(), a, kind.grid));
      decoded.push_back(oracle::decode(codes.back(), a, kind.grid));
      inside.push_back(oracle::inside(x.back(), a, kind.grid) ? 1 : 0);
    }
  }
};

class Judge {
 public:
  explicit Judge(std::size_t most) : x_(most), gradient_(most), out_(most), packed_(2 * most), affine_(most) {}

  // The first n weights of the sample, through every function of the table that takes a Row.
  void judge(support::Tally& tally, const Table& table, const Kind& kind, const Sample& s, std::size_t n, Flush flush) {
    const auto place = [&] {
      return std::string(table.name) + ", " + kind.name + ", " + std::to_string(s.levels.bits()) + " bits, groups of " +
             std::to_string(s.group) + ", " + std::to_string(n) + " weights: ";
    };
    const int bits = s.levels.bits();
    const auto x = x_.slice_of(std::span(s.x).first(n), flush);
    const auto affine = affine_.slice_of(std::span(s.affine).first(n == 0 ? 0 : (n - 1) / s.group + 1), flush);
    const Row row{n, s.group, affine.data(), &s.levels};

    const auto bytes = oracle::pack({s.codes.begin(), s.codes.begin() + static_cast<std::ptrdiff_t>(n)}, bits);
    const auto packed = packed_.slice(bytes.size(), flush);
    table.quantize(x.data(), row, packed.data());
    tally.check(std::equal(bytes.begin(), bytes.end(), packed.begin()), place,
                [&] { return wrong_code(s, n, packed.data()); });
    tally.check(packed_.intact(), place, "quantize wrote outside the codes");

    const auto from = packed_.slice_of(bytes, flush);
    const auto out = out_.slice(n, flush);
    table.dequantize(from.data(), row, out.data());
    compare(tally, out, s, place, "dequantize");

    const auto fake = out_.slice(n, flush);
    table.fake_quantize(x.data(), row, fake.data(), nullptr);
    compare(tally, fake, s, place, "fake_quantize");

    Row streamed = row;
    streamed.streamed = true;
    const auto past_cache = out_.slice(n, flush);
    table.fake_quantize(x.data(), streamed, past_cache.data(), nullptr);
    compare(tally, past_cache, s, place, "fake_quantize past the cache");

    const auto same = out_.slice_of(x, flush);
    table.fake_quantize(same.data(), row, same.data(), nullptr);
    compare(tally, same, s, place, "fake_quantize in place");

    const auto masked = out_.slice(n, flush);
    const auto inside = oracle::pack({s.inside.begin(), s.inside.begin() + static_cast<std::ptrdiff_t>(n)}, 1);
    const auto mask = packed_.slice(inside.size(), flush);
    table.fake_quantize(x.data(), row, masked.data(), mask.data());
    compare(tally, masked, s, place, "fake_quantize with a mask");
    tally.check(std::equal(inside.begin(), inside.end(), mask.begin()), place,
                [&] { return wrong_mask(s, n, mask.data()); });
    tally.check(packed_.intact(), place, "fake_quantize wrote outside the mask");

    const auto masked_past_cache = out_.slice(n, flush);
    table.fake_quantize(x.data(), streamed, masked_past_cache.data(), mask.data());
    compare(tally, masked_past_cache, s, place, "fake_quantize past the cache with a mask");
    tally.check(std::equal(inside.begin(), inside.end(), mask.begin()), place,
                [&] { return wrong_mask(s, n, mask.data()); });

    // A gradient has NaNs where it passes and where it does not.
    const auto nan = [](std::size_t k) { return k % 5 == 2; };
    std::vector<float> gradient(n), passed(n);
    for (std::size_t k = 0; k < n; ++k) {
      gradient[k] = nan(k) ? std::numeric_limits<float>::quiet_NaN() : -1 - static_cast<float>(k);
      passed[k] = s.inside[k] != 0 ? gradient[k] : 0;
    }
    const auto pass = [&](const Row& coding, std::span<const float> before, std::span<float> to, const char* function) {
      table.straight_through(x.data(), coding, before.data(), to.data());
      tally.check(out_.intact(), place, function, " wrote outside the row");
      tally.check(n == 0 || std::memcmp(to.data(), passed.data(), n * sizeof(float)) == 0, place, function);
    };
    const auto guarded = gradient_.slice_of(gradient, flush);
    pass(row, guarded, out_.slice(n, flush), "straight_through");
    pass(streamed, guarded, out_.slice(n, flush), "straight_through past the cache");
    const auto both = out_.slice_of(gradient, flush);
    pass(row, both, both, "straight_through in place");
  }

 private:
  template <class Place>
  void compare(support::Tally& tally, std::span<const float> out, const Sample& s, const Place& place,
               const char* function) {
    tally.check(out_.intact(), place, function, " wrote outside the row");
    if (out.empty() || std::memcmp(out.data(), s.decoded.data(), out.size_bytes()) == 0) return tally.check(true);
    std::size_t k = 0;
    while (fewbit::bit_cast<std::uint32_t>(out[k]) == fewbit::bit_cast<std::uint32_t>(s.decoded[k])) ++k;
    const Affine a = s.affine[k / s.group];
    tally.check(false, place, function, ", weight ", k, ", ", s.x[k], ", scale ", a.scale, ", zero ", a.zero, " gave ",
                out[k], " for ", s.decoded[k]);
  }
  static std::string wrong_code(const Sample& s, std::size_t n, const std::uint8_t* packed) {
    const int bits = s.levels.bits();
    std::size_t k = 0;
    while (k < n && fewbit::get_code(packed, k, bits) == s.codes[k]) ++k;
    if (k == n) return "padding bits are not zero";
    std::ostringstream os;
    os.precision(9);
    os << "weight " << k << ", " << s.x[k] << ", scale " << s.affine[k / s.group].scale << ", zero "
       << s.affine[k / s.group].zero << " got code " << fewbit::get_code(packed, k, bits) << " for " << s.codes[k];
    return os.str();
  }

  static std::string wrong_mask(const Sample& s, std::size_t n, const std::uint8_t* mask) {
    std::size_t k = 0;
    while (k < n && fewbit::get_code(mask, k, 1) == s.inside[k]) ++k;
    if (k == n) return "mask bits past the last are not zero";
    std::ostringstream os;
    os.precision(9);
    os << "weight " << k << ", " << s.x[k] << ", scale " << s.affine[k / s.group].scale << ", zero "
       << s.affine[k / s.group].zero << " should be " << (s.inside[k] ? "inside" : "outside");
    return os.str();
  }

  support::Guarded<float> x_, gradient_, out_;
  support::Guarded<std::uint8_t> packed_;
  support::Guarded<Affine> affine_;
};

std::vector<const Table*> supported_tables() {
  std::vector<const Table*> tables;
  for (const Table* t : fewbit::kernel::all())
    if (t->supported()) tables.push_back(t);
  return tables;
}

constexpr std::size_t group_sizes[] = {1, 3, 5, 8, 16, 32, 33, 64, 128, 1000};

void all_lengths(const std::vector<Kind>& kinds, std::uint32_t seed, std::size_t at_least) {
  support::Tally tally;
  support::NumPy random(seed);
  Judge judge(130);
  for (const Kind& kind : kinds) {
    for (const std::size_t group : group_sizes) {
      const Sample sample(random, kind, 130, group);
      for (const Table* table : supported_tables())
        for (std::size_t n = 0; n <= 130; ++n)
          judge.judge(tally, *table, kind, sample, n, n % 4 == 3 ? Flush::front : Flush::back);
    }
  }
  tally.require(at_least * supported_tables().size());
}

}  // namespace

TEST_CASE("every table equals the oracle on integer grids: all widths, groups, and lengths up to 130",
          "[kernel][agreement]") {
  for (int bits = 1; bits <= 16; ++bits)
    all_lengths(integer_kinds(bits), 100 + static_cast<std::uint32_t>(bits), 7 * 10 * 131 * 4);
}

TEST_CASE("every table equals the oracle on codebooks of 2 to 256 levels", "[kernel][agreement]") {
  all_lengths(table_kinds(), 200, 15 * 10 * 131 * 4);
}

TEST_CASE("every table equals the oracle on long rows", "[kernel][agreement]") {
  support::Tally tally;
  support::NumPy random(300);
  constexpr std::size_t most = 4127;
  Judge judge(most);
  std::vector<Kind> kinds = table_kinds();
  for (int bits = 1; bits <= 16; ++bits)
    for (const Kind& kind : integer_kinds(bits)) kinds.push_back(kind);
  for (const Kind& kind : kinds) {
    for (const std::size_t group : {std::size_t{7}, std::size_t{32}, std::size_t{40}, std::size_t{128},
                                    std::size_t{1000}, most, std::numeric_limits<std::size_t>::max()}) {
      const Sample sample(random, kind, most, group);
      for (const Table* table : supported_tables())
        for (const std::size_t n : {std::size_t{256}, std::size_t{1023}, std::size_t{2048}, most})
          judge.judge(tally, *table, kind, sample, n, Flush::back);
    }
  }
  tally.require(100 * 6 * 4 * 4);
}

TEST_CASE("every table decodes every byte at every place of a row, codes that stand for no level too",
          "[kernel][agreement][exhaustive]") {
  struct Decoded {
    std::string name;
    int bits;
    Levels levels;
    std::vector<float> level;  // of each code that the bits can hold
  };
  std::vector<Decoded> all;
  for (int bits = 1; bits <= 16; ++bits)
    for (const int first : {0, -(1 << (bits - 1))}) {
      Decoded d{"integers from " + std::to_string(first), bits, Levels::integers(bits, first, 2), {}};
      for (int c = 0; c < 1 << bits; ++c) d.level.push_back(static_cast<float>(first + c));
      all.push_back(d);
    }
  for (const Kind& kind : table_kinds()) {
    Decoded d{kind.name, kind.grid.bits, levels_of(kind.grid), kind.grid.table};
    d.level.resize(std::size_t{1} << d.bits, 0.f);
    all.push_back(d);
  }
  for (const auto& [name, table] :
       {std::pair{"nf4", &fewbit::nf4_levels}, {"nf4_blog", &fewbit::nf4_blog_levels}, {"af4", &fewbit::af4_levels}})
    all.push_back({name, 4, Levels::table(*table), {table->begin(), table->end()}});
  Decoded fp4{"fp4", 4, fewbit::fp4.levels(), {fewbit::fp4_levels.begin(), fewbit::fp4_levels.end()}};
  fp4.level.push_back(0);
  all.push_back(fp4);

  const std::size_t some_groups[] = {5, 32, 128, std::numeric_limits<std::size_t>::max()};
  support::Tally tally;
  support::NumPy random(301);
  for (const Decoded& d : all) {
    // Up to 8 bits, each byte of a row goes through all 256 values as rows go by. Above, a row is every word of 16 bits
    // after the other, and again a byte later, so that codes start everywhere in them.
    const auto bits = static_cast<std::size_t>(d.bits);
    const std::size_t row_bytes = d.bits <= 8 ? 34 * bits : 2 * 65536 + 1, rows = d.bits <= 8 ? 256 : 2;
    const std::size_t n = row_bytes * 8 / bits;
    std::vector<bool> met(d.level.size());
    std::vector<std::uint8_t> packed(row_bytes);
    std::vector<unsigned> codes(n);
    std::vector<float> expected(n);
    support::Guarded<std::uint8_t> in_room(row_bytes);
    support::Guarded<float> out_room(n);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t j = 0; j < row_bytes; ++j) {
        const std::size_t word = (j - row) / 2;
        packed[j] = static_cast<std::uint8_t>(d.bits <= 8 ? row + 37 * j : (j - row) % 2 == 0 ? word : word >> 8);
      }
      for (std::size_t k = 0; k < n; ++k) {
        unsigned code = 0;
        for (std::size_t b = 0; b < bits; ++b)
          code |= static_cast<unsigned>(packed[(k * bits + b) / 8] >> ((k * bits + b) % 8) & 1) << b;
        codes[k] = code, met[code] = true;
      }
      const auto in = in_room.slice_of(packed);
      for (const std::size_t group : some_groups) {
        std::vector<Affine> affine;
        for (std::size_t k = 0; k < n; ++k) {
          if (k % group == 0) {
            const float zero = affine.size() % 3 == 0 ? 0.f : static_cast<float>(random.below(d.level.size()));
            affine.push_back({static_cast<float>(random.randn()), affine.size() % 3 == 1 ? zero : zero / 3});
          }
          const float difference = d.level[codes[k]] - affine.back().zero;
          expected[k] = difference == 0 ? 0.f : affine.back().scale * difference;
        }
        for (const Table* table : supported_tables()) {
          const auto out = out_room.slice(n);
          table->dequantize(in.data(), Row{n, group, affine.data(), &d.levels}, out.data());
          std::size_t k = 0;
          if (std::memcmp(out.data(), expected.data(), n * sizeof(float)) != 0)
            while (fewbit::bit_cast<std::uint32_t>(out[k]) == fewbit::bit_cast<std::uint32_t>(expected[k])) ++k;
          else k = n;
          tally.check(k == n, [&] {
            std::ostringstream os;
            os.precision(9);
            os << table->name << ", " << d.bits << " bits, " << d.name << ", groups of " << group << ": code "
               << codes[k] << " at " << k << " became " << out[k] << " for " << expected[k];
            return os.str();
          });
        }
      }
    }
    tally.check(std::find(met.begin(), met.end(), false) == met.end(), d.bits, " bits: not every code was met");
  }
  tally.require((8 * 2 + 20) * 256 * 4 * supported_tables().size());
}

TEST_CASE("every table widens every scale there is: of 16 bits, and coded in 8", "[kernel][agreement][exhaustive]") {
  support::Tally tally;
  // A pattern of `mantissa` digits below an exponent of `exponent` bits, as a number; infinite or no number: 0.
  const auto number = [](unsigned pattern, int exponent, int mantissa) {
    const int biased = static_cast<int>(pattern >> mantissa) & ((1 << exponent) - 1);
    const double digits = static_cast<double>(pattern & ((1u << mantissa) - 1)) + (biased == 0 ? 0 : 1 << mantissa);
    if (biased == (1 << exponent) - 1) return 0.;
    return (pattern >> 15 ? -1 : 1) * std::ldexp(digits, std::max(biased, 1) - (1 << (exponent - 1)) + 1 - mantissa);
  };
  for (const auto& [type, exponent, mantissa] :
       {std::tuple{fewbit::ScaleType::f16, 5, 10}, {fewbit::ScaleType::bf16, 8, 7}}) {
    std::vector<std::uint8_t> stored;
    std::vector<double> expected;
    for (unsigned pattern = 0; pattern < 65536; ++pattern)
      if (const double scale = number(pattern, exponent, mantissa); scale != 0) {
        stored.push_back(static_cast<std::uint8_t>(pattern)), stored.push_back(static_cast<std::uint8_t>(pattern >> 8));
        expected.push_back(scale);
      }
    std::vector<Affine> out(expected.size());
    for (const Table* table : supported_tables())
      for (std::size_t from = 0; from < 3; ++from) {  // each scale in other lanes
        std::fill(out.begin(), out.end(), Affine{0, 1});
        table->widen_scales(type, stored.data() + 2 * from, expected.size() - from, out.data() + from);
        for (std::size_t k = from; k < expected.size(); ++k)
          tally.check(static_cast<double>(out[k].scale) == expected[k] && out[k].zero == 0, table->name, ", ",
                      fewbit::name(type), ": ", out[k].scale, " for ", expected[k]);
      }
  }
  std::vector<std::uint8_t> codes;
  for (int c = 0; c < 256 + 40; ++c) codes.push_back(static_cast<std::uint8_t>(c));
  for (const Affine second : {Affine{0.0123f, 117.3f}, Affine{0x1p-20f, -3}, Affine{3e-40f, 128}})
    for (const Table* table : supported_tables())
      for (std::size_t from = 0; from < 40; ++from) {
        std::vector<Affine> out(256, Affine{0, 1});
        table->widen_coded_scales(codes.data() + from, second, 256, out.data());
        for (std::size_t k = 0; k < 256; ++k) {
          const float difference = static_cast<float>(codes[from + k]) - second.zero;
          const float scale = difference == 0 ? 0.f : second.scale * difference;
          tally.check(fewbit::bit_cast<std::uint32_t>(out[k].scale) == fewbit::bit_cast<std::uint32_t>(scale) &&
                          out[k].zero == 0,
                      table->name, ", code ", int{codes[from + k]}, ": ", out[k].scale, " for ", scale);
        }
      }
  tally.require((3 * 2 * 63'000 + 3 * 40 * 256) * supported_tables().size());
}

TEST_CASE("every table finds the same ranges, group by group", "[kernel][agreement]") {
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  support::Tally tally;
  support::NumPy random(400);
  constexpr std::size_t most = 4127;
  support::Guarded<float> x_room(most);
  support::Guarded<Range> out_room(most);
  std::vector<std::size_t> lengths{255, 256, 257, 1000, 2048, most};
  for (std::size_t n = 0; n <= 130; ++n) lengths.push_back(n);

  // Rows without a sign, in which zeros of both signs are the smallest; plain rows; rows with few and with many
  // infinities and NaNs.
  for (const double rare : {-1., 0., 0.02, 0.2}) {
    std::vector<float> x(most);
    for (float& w : x) {
      w = static_cast<float>(random.randn() * std::exp2(200 * random.random_sample() - 100));
      if (rare < 0) w = std::fabs(w);
      if (random.below(20) == 0) w = random.below(2) ? 0.f : -0.f;
      if (random.random_sample() < rare) w = random.below(3) == 0 ? nan : random.below(2) ? infinity : -infinity;
      if (rare >= 0 && random.below(50) == 0)
        w = random.below(2) ? std::numeric_limits<float>::max() : -std::numeric_limits<float>::max();
    }
    for (const std::size_t group :
         {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{5}, std::size_t{7}, std::size_t{8},
          std::size_t{9}, std::size_t{16}, std::size_t{24}, std::size_t{32}, std::size_t{33}, std::size_t{64},
          std::size_t{128}, std::size_t{1000}, most, std::numeric_limits<std::size_t>::max()}) {
      for (const std::size_t n : lengths) {
        std::vector<Range> expected;
        for (std::size_t k = 0; k < n; ++k) {
          if (k % group == 0) expected.push_back({infinity, -infinity});
          Range& r = expected.back();
          if (std::isnan(x[k]) || std::isnan(r.lo)) r = {nan, nan};
          else r = {std::fmin(r.lo, x[k]), std::fmax(r.hi, x[k])};
        }
        for (const Table* table : supported_tables()) {
          const auto in = x_room.slice_of(std::span<const float>(x).first(n), n % 4 == 3 ? Flush::front : Flush::back);
          const auto out = out_room.slice(expected.size(), n % 4 == 3 ? Flush::front : Flush::back);
          table->ranges(in.data(), n, group, out.data());
          for (std::size_t g = 0; g < out.size(); ++g) {
            const bool good = std::isnan(expected[g].lo)
                                  ? std::isnan(out[g].lo) && std::isnan(out[g].hi)
                                  : fewbit::bit_cast<std::uint32_t>(out[g].lo) ==
                                            fewbit::bit_cast<std::uint32_t>(expected[g].lo + 0.f) &&
                                        fewbit::bit_cast<std::uint32_t>(out[g].hi) ==
                                            fewbit::bit_cast<std::uint32_t>(expected[g].hi + 0.f);
            tally.check(good, table->name, ", groups of ", group, ", ", n, " weights: group ", g, " is ", out[g].lo,
                        " .. ", out[g].hi, " for ", expected[g].lo, " .. ", expected[g].hi);
          }
          tally.check(out_room.intact(), table->name, ", groups of ", group, ", ", n,
                      " weights: wrote outside the ranges");
        }
      }
    }
  }
  tally.require(100'000);
}

TEST_CASE("every table adds magnitudes in the same order, to the last bit", "[kernel][agreement]") {
  support::Tally tally;
  support::NumPy random(500);
  constexpr std::size_t most = 4127;
  support::Guarded<float> room(most);
  std::vector<float> x(most);
  for (float& w : x) w = static_cast<float>(random.randn() * std::exp2(60 * random.random_sample() - 30));
  std::vector<std::size_t> lengths{255, 256, 257, 1000, 2048, most};
  for (std::size_t n = 0; n <= 130; ++n) lengths.push_back(n);
  for (const std::size_t n : lengths) {
    // Weight k goes to lane k % 16; then lane j takes lane j + 8, j + 4, j + 2, j + 1.
    double lane[16] = {};
    long double exact = 0;
    for (std::size_t k = 0; k < n; ++k)
      lane[k % 16] += std::fabs(static_cast<double>(x[k])), exact += std::fabs(static_cast<long double>(x[k]));
    for (std::size_t half : {8u, 4u, 2u, 1u})
      for (std::size_t j = 0; j < half; ++j) lane[j] += lane[j + half];
    for (const Table* table : supported_tables()) {
      const auto in = room.slice_of(std::span<const float>(x).first(n), n % 4 == 3 ? Flush::front : Flush::back);
      const double sum = table->absolute_sum(in.data(), n);
      tally.check(fewbit::bit_cast<std::uint64_t>(sum) == fewbit::bit_cast<std::uint64_t>(lane[0]), table->name, ", ",
                  n, " weights: ", sum, " for ", lane[0]);
      tally.check(std::fabs(static_cast<double>(sum - exact)) <= 1e-13 * static_cast<double>(exact), table->name, ", ",
                  n, " weights: ", sum, " is far from the sum");
    }
  }
  tally.require(2 * 137);
}

TEST_CASE("a weight far beyond the range saturates on its own side", "[kernel][bad-input][class-3]") {
  support::Tally tally;
  const float far[] = {3e9f, -3e9f, 2147483648.f, -2147483648.f, 3e38f, -3e38f, 1e10f, -1e10f, 4294967296.f};
  for (const Table* table : supported_tables()) {
    for (int bits = 1; bits <= 16; ++bits) {
      const Levels levels = Levels::integers(bits, -(1 << (bits - 1)), 1 << bits);
      for (const float scale : {1.f, -1.f, 1e-20f, -1e-20f}) {
        const Affine affine{scale, 0};
        std::vector<std::uint8_t> packed(2 * std::size(far));
        table->quantize(far, Row{std::size(far), std::size(far), &affine, &levels}, packed.data());
        for (std::size_t k = 0; k < std::size(far); ++k) {
          const bool high = (far[k] > 0) == (scale > 0);
          const unsigned code = fewbit::get_code(packed.data(), k, bits);
          tally.check(code == (high ? (1u << bits) - 1 : 0), table->name, ", ", bits, " bits, scale ", scale, ": ",
                      far[k], " got code ", code);
        }
      }
    }
  }
  tally.require(16 * 4 * 9);
}

TEST_CASE("ties go to the even integer on every table", "[kernel][bad-input][class-10]") {
  support::Tally tally;
  for (const Table* table : supported_tables()) {
    const Levels levels = Levels::integers(8, -128, 256);
    for (const float scale : {1.f, -1.f, 0x1p-100f, 0x1p90f}) {
      std::vector<float> x;
      std::vector<int> expected;
      for (int i = -120; i < 120; ++i) {
        x.push_back((static_cast<float>(i) + 0.5f) * scale);
        expected.push_back(i % 2 == 0 ? i : i + 1);
      }
      const Affine affine{scale, 0};
      std::vector<std::uint8_t> packed(x.size());
      table->quantize(x.data(), Row{x.size(), x.size(), &affine, &levels}, packed.data());
      for (std::size_t k = 0; k < x.size(); ++k)
        tally.check(packed[k] - 128 == expected[k], table->name, ", scale ", scale, ": ", x[k], " became ",
                    packed[k] - 128);
    }
  }
  tally.require(4 * 240);
}

TEST_CASE("a tie between two levels of a table goes to the lower one on every table", "[kernel][bad-input][class-10]") {
  support::Tally tally;
  const std::vector<float> table{-2, -1, 0, 1, 3, 4};
  const Levels levels = Levels::table(table);
  for (const Table* t : supported_tables()) {
    for (std::size_t i = 0; i + 1 < table.size(); ++i) {
      const float mid = (table[i] + table[i + 1]) / 2;
      const float x[] = {mid, support::next_up(mid), support::next_down(mid), -mid};
      const Affine plain{1, 0}, mirrored{-1, 0};
      std::uint8_t packed[2] = {};
      t->quantize(x, Row{3, 3, &plain, &levels}, packed);
      const auto low = static_cast<unsigned>(i);
      tally.check(fewbit::get_code(packed, 0, 3) == low, t->name, ": the tie ", mid);
      tally.check(fewbit::get_code(packed, 1, 3) == low + 1, t->name, ": just above ", mid);
      tally.check(fewbit::get_code(packed, 2, 3) == low, t->name, ": just below ", mid);
      t->quantize(x + 3, Row{1, 1, &mirrored, &levels}, packed);
      tally.check(fewbit::get_code(packed, 0, 3) == low, t->name, ": the tie ", mid, " under a negative scale");
    }
  }
  tally.require(20);
}
