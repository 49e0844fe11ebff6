// Every table, on every float there is: quantized, and quantized and decoded in one go, as integer arithmetic alone
// says they must be. A new instruction set is found by itself.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/core/packing.hpp>
#include <fewbit/kernel/dispatch.hpp>

#include <support/integer_oracle.hpp>
#include <support/tally.hpp>

namespace {

using fewbit::kernel::Table;

struct Case {
  int bits, first, count;
  float scale, zero;

  integer_oracle::Integers expected() const {
    return {first, count, fewbit::bit_cast<std::uint32_t>(scale), fewbit::bit_cast<std::uint32_t>(zero)};
  }
  std::string name() const {
    std::ostringstream os;
    os.precision(9);
    os << bits << " bits, levels from " << first << ", scale " << scale << ", zero " << zero;
    return os.str();
  }
};

// Scales whose reciprocals are off by nearly half a unit, so that a product with one gives other codes (with 0.0173 it
// never does), and powers of two, under which a weight can lie on a tie; zero-points of 0, of a code, and between two
// codes, which brings ties too and which no kernel may divide by multiplication for; a scale under which the codes
// around zero begin at subnormal weights, and one under which only the largest floats leave the middle code. No scale
// is itself subnormal: processors take ten times as long over those, and the agreement test has them.
const Case cases[] = {
    {8, -127, 255, 0.03f, 0},        {8, 0, 256, 0x1p-5f, 131}, {8, 0, 256, 0.0123f, 127.5f},
    {4, -7, 15, 0x1p-3f, 0},         {4, 0, 16, 0.0123f, 7},    {4, -8, 16, -0x1.5p-126f, -0.25f},
    {4, 0, 16, -0x1.fffffep123f, 8},
};

// A weight by its place among the bit patterns that are not NaNs: +0 to infinity, then -0 to -infinity.
constexpr std::uint32_t infinity = 0x7f800000, weights = 2 * (infinity + 1);
std::uint32_t weight_at(std::uint32_t place) {
  return place <= infinity ? place : place - (infinity + 1) + 0x80000000u;
}

std::vector<const Table*> supported_tables() {
  std::vector<const Table*> tables;
  for (const Table* t : fewbit::kernel::all())
    if (t->supported()) tables.push_back(t);
  return tables;
}

// Weights as bits, and the codes they must have, through all tables.
class Judge {
 public:
  explicit Judge(const Case& c)
      : case_(c), levels_(fewbit::Levels::integers(c.bits, c.first, c.count)), affine_{c.scale, c.zero} {
    for (unsigned code = 0; code < static_cast<unsigned>(c.count); ++code)
      decoded_.push_back(c.expected().weight(code));
  }

  void judge(support::Tally& tally, std::span<const std::uint32_t> w, std::span<const std::uint8_t> codes) {
    const std::size_t n = w.size();
    x_.resize(n), out_.resize(n), expected_out_.resize(n);
    std::memcpy(x_.data(), w.data(), w.size_bytes());
    for (std::size_t k = 0; k < n; ++k) expected_out_[k] = decoded_[codes[k]];
    if (case_.bits == 8) {
      expected_.assign(codes.begin(), codes.end());
    } else {  // the lower half of a byte is the earlier code
      expected_.assign((n + 1) / 2, 0);
      for (std::size_t k = 0; k + 1 < n; k += 2)
        expected_[k / 2] = static_cast<std::uint8_t>(codes[k] | codes[k + 1] << 4);
      if (n % 2 == 1) expected_.back() = codes[n - 1];
    }
    packed_.resize(expected_.size());
    const fewbit::kernel::Row row{n, n, &affine_, &levels_};
    for (const Table* t : supported_tables()) {
      t->quantize(x_.data(), row, packed_.data());
      tally.check(packed_ == expected_, [&] { return first_wrong(*t, w, codes); });
      t->fake_quantize(x_.data(), row, out_.data(), nullptr);
      tally.check(std::memcmp(out_.data(), expected_out_.data(), n * sizeof(float)) == 0,
                  [&] { return first_wrong_weight(*t, w, codes); });
    }
  }

 private:
  std::string first_wrong(const Table& t, std::span<const std::uint32_t> w, std::span<const std::uint8_t> codes) const {
    std::size_t k = 0;
    while (k + 1 < w.size() && fewbit::get_code(packed_.data(), k, case_.bits) == codes[k]) ++k;
    std::ostringstream os;
    os << t.name << ", " << case_.name() << ": weight " << std::hexfloat << x_[k] << " has code "
       << fewbit::get_code(packed_.data(), k, case_.bits) << " for " << unsigned{codes[k]};
    return os.str();
  }
  std::string first_wrong_weight(const Table& t, std::span<const std::uint32_t> w,
                                 std::span<const std::uint8_t> codes) const {
    std::size_t k = 0;
    while (k + 1 < w.size() && fewbit::bit_cast<std::uint32_t>(out_[k]) == expected_out_[k]) ++k;
    std::ostringstream os;
    os << t.name << ", " << case_.name() << ": weight " << std::hexfloat << x_[k] << " of code " << unsigned{codes[k]}
       << " comes back as " << out_[k] << " for " << fewbit::bit_cast<float>(expected_out_[k]);
    return os.str();
  }

  Case case_;
  fewbit::Levels levels_;
  fewbit::Affine affine_;
  std::vector<float> x_, out_;
  std::vector<std::uint32_t> decoded_, expected_out_;
  std::vector<std::uint8_t> packed_, expected_;
};

// Codes rise or fall with the weight, so that weights of one code lie together on either side of zero.
struct Run {
  std::uint32_t last;  // place of its last weight
  unsigned code;
};

std::vector<Run> runs_of(const integer_oracle::Integers& expected) {
  std::vector<Run> runs;
  for (const std::uint32_t side_last : {infinity, weights - 1}) {
    while (runs.empty() || runs.back().last < side_last) {
      const std::uint32_t start = runs.empty() ? 0 : runs.back().last + 1;
      const unsigned code = expected.code(weight_at(start));
      std::uint32_t low = start, high = side_last;
      while (low < high) {
        const std::uint32_t middle = high - (high - low) / 2;
        if (expected.code(weight_at(middle)) == code) low = middle;
        else high = middle - 1;
      }
      runs.push_back({low, code});
    }
  }
  return runs;
}

// Calls f with places in ascending order: every one within `near` of the end of a run, and every `stride`-th.
template <class F>
void each_telling_place(const std::vector<Run>& runs, std::uint32_t near, std::uint32_t stride, F&& f) {
  std::uint64_t next = 0;
  for (const Run& run : runs) {
    const std::uint64_t end = std::uint64_t{run.last} + 1, from = std::max(next, end > near ? end - near : 0);
    for (; next < from; next += stride) f(static_cast<std::uint32_t>(next));
    for (next = from; next < std::min<std::uint64_t>(end + near, weights); ++next) f(static_cast<std::uint32_t>(next));
  }
}

}  // namespace

TEST_CASE("every table equals integer arithmetic near the ends of all codes, and all over the floats",
          "[kernel][exhaustive]") {
  for (const Case& c : cases) {
    support::Tally tally;
    Judge judge(c);
    const integer_oracle::Integers expected = c.expected();
    std::vector<std::uint32_t> w;
    std::vector<std::uint8_t> codes;
    std::size_t judged = 0;
    each_telling_place(runs_of(expected), 256, 10'007, [&](std::uint32_t place) {
      w.push_back(weight_at(place)), codes.push_back(static_cast<std::uint8_t>(expected.code(w.back())));
      if (w.size() < 4096 && place != weights - 1) return;
      judge.judge(tally, w, codes);
      judged += w.size();
      w.clear(), codes.clear();
    });
    INFO(c.name());
    CHECK(judged > weights / 10'007);
    tally.require(2 * (judged / 4096) * supported_tables().size());
  }
}

TEST_CASE("every table equals integer arithmetic on every float", "[.long]") {
  for (const Case& c : cases) {
    support::Tally tally;
    Judge judge(c);
    const integer_oracle::Integers expected = c.expected();
    const std::vector<Run> runs = runs_of(expected);

    // That the runs are what the oracle says of each weight: where they meet, and densely in between.
    auto in = runs.begin();
    each_telling_place(runs, 4096, 251, [&](std::uint32_t place) {
      while (in->last < place) ++in;
      tally.check(expected.code(weight_at(place)) == in->code, "the runs are wrong at ", place);
    });

    constexpr std::uint32_t piece = 1u << 16;
    std::vector<std::uint32_t> w;
    std::vector<std::uint8_t> codes;
    auto run = runs.begin();
    std::uint64_t judged = 0;
    for (std::uint64_t start = 0; start < weights; start += piece) {
      const std::uint64_t end = std::min<std::uint64_t>(start + piece, weights);
      codes.clear();
      w.resize(static_cast<std::size_t>(end - start));
      for (std::uint32_t k = 0; k < w.size(); ++k) w[k] = weight_at(static_cast<std::uint32_t>(start) + k);
      while (start + codes.size() < end) {
        const std::uint64_t run_end = std::min<std::uint64_t>(end, std::uint64_t{run->last} + 1);
        codes.resize(static_cast<std::size_t>(run_end - start), static_cast<std::uint8_t>(run->code));
        if (run_end == std::uint64_t{run->last} + 1) ++run;
      }
      judge.judge(tally, w, codes);
      judged += w.size();
    }
    INFO(c.name());
    CHECK(judged == 0x1'0000'0000 - 2 * 0x7f'ffff);  // all but the NaNs
    tally.require(weights / 251);
  }
}
