#pragma once
// Work that other libraries do too: all weights under one scale, codes of 8 bits. Rule: both sides start from the same
// floats and codes, in one call each, and theirs must come out as ours: weights to the last few digits, codes to the
// next one, as peers multiply by a rounded reciprocal where fewbit divides.

#include <cmath>
#include <functional>

#include <fewbit/fewbit.hpp>
#include <support/memory.hpp>

namespace bench {

// A grid fitted to the weights. A peer's code is a signed or an unsigned byte, fewbit's is always unsigned.
struct EightBits {
  const char* name;
  fewbit::Levels levels;
  fewbit::Affine affine;

  fewbit::kernel::Row row(const Size& size) const {
    return {size.weights(), size.weights(), &affine, &levels, is_streamed(size)};
  }
  float scale() const { return affine.scale; }
  int zero() const { return static_cast<int>(affine.zero); }
  int first() const { return static_cast<int>(levels.first()); }
  int last() const { return static_cast<int>(levels.last()); }
};

inline fewbit::Range range_of_weights() {
  fewbit::Range range;
  fewbit::kernel::scalar::ranges(weights(row_sizes()[0]), row_length, row_length, &range);
  return range;
}
// -127 .. 127 around zero.
inline EightBits symmetric() {
  const fewbit::Symmetric grid(8);
  return {"int8", grid.levels(), grid.fit(range_of_weights())};
}
// 0 .. 255 with a zero-point.
inline EightBits asymmetric() {
  const fewbit::Asymmetric grid(8);
  return {"u8", grid.levels(), grid.fit(range_of_weights())};
}

// fewbit's codes of so many weights, and the same as the bytes a peer takes them for.
inline const std::uint8_t* our_codes(const EightBits& grid, const Size& size) {
  std::uint8_t* codes = memory<std::uint8_t>("our codes", size.weights());
  fewbit::kernel::active().quantize(weights(size), grid.row(size), codes);
  return codes;
}
inline const std::uint8_t* their_codes(const EightBits& grid, const Size& size) {
  std::uint8_t* codes = memory<std::uint8_t>("their codes", size.weights());
  const std::uint8_t* ours = our_codes(grid, size);
  for (std::size_t k = 0; k < size.weights(); ++k) codes[k] = static_cast<std::uint8_t>(ours[k] + grid.first());
  return codes;
}

// A peer makes something to be run again and again, so that what it does once for a shape is not timed.
using Run = std::function<void()>;

// Adds fewbit's `name` and a peer's, and compares them. `check` tells whether theirs came out.
inline void add_pair(const std::string& name, const std::string& peer, const Size& size, double bytes_per_weight,
                     std::function<Run()> ours, std::function<Run()> theirs, std::function<bool()> check) {
  const auto measure = [=](const std::function<Run()>& make, const std::function<bool()>& right) {
    return [=](benchmark::State& state) {
      const Run run = make();
      for (auto _ : state) {
        run();
        benchmark::ClobberMemory();
      }
      count(state, size.weights(), bytes_per_weight);
      if (!right()) state.SkipWithError("comes out wrong");
    };
  };
  add(name + ", fewbit", size.name, measure(ours, [] { return true; }), {{peer, name + ", " + peer}});
  add(name + ", " + peer, size.name, measure(theirs, check));
}

// Floats to codes: theirs(grid, n, x, codes) makes what a peer does.
template <class F>
void add_quantize(const EightBits& grid, const std::string& peer, F theirs) {
  for (const Size& size : row_sizes()) {
    const auto ours = [=]() -> Run {
      return
          [=, w = weights(size), out = bytes_out(size)] { fewbit::kernel::active().quantize(w, grid.row(size), out); };
    };
    const auto check = [=] {
      const std::uint8_t *expected = their_codes(grid, size), *got = bytes_out(size);
      for (std::size_t k = 0; k < size.weights(); ++k) {
        const int step = static_cast<std::int8_t>(got[k] - expected[k]);
        if (step < -1 || step > 1) return false;
      }
      return true;
    };
    add_pair(
        std::string("f32 to ") + grid.name, peer, size, 5, ours,
        [=] { return theirs(grid, size.weights(), weights(size), bytes_out(size)); }, check);
  }
}

// Codes to floats: theirs(grid, n, codes, w).
template <class F>
void add_dequantize(const EightBits& grid, const std::string& peer, F theirs) {
  for (const Size& size : row_sizes()) {
    const auto ours = [=]() -> Run {
      return [=, codes = our_codes(grid, size), out = floats_out(size)] {
        fewbit::kernel::active().dequantize(codes, grid.row(size), out);
      };
    };
    const auto check = [=] {
      const float* got = floats_out(size);
      const std::uint8_t* codes = our_codes(grid, size);
      for (std::size_t k = 0; k < size.weights(); ++k) {
        const float expected = fewbit::weight(grid.levels[codes[k]], grid.affine);
        if (!(std::fabs(got[k] - expected) <= 1e-6f * std::fabs(grid.scale() * 255))) return false;
      }
      return true;
    };
    add_pair(
        std::string(grid.name) + " to f32", peer, size, 5, ours,
        [=] { return theirs(grid, size.weights(), their_codes(grid, size), floats_out(size)); }, check);
  }
}

}  // namespace bench
