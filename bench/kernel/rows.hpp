#pragma once
// What the kernels' programs share: formats, groups and sizes; the scales of a row, and what the row should come out
// as. Rule: every run ends with a look at the result, as a kernel that computes something else is fast for nothing.

#include <functional>
#include <memory>

#include <fewbit/fewbit.hpp>
#include <kernel/eigen.hpp>
#include <support/memory.hpp>

namespace bench {

using fewbit::kernel::Table;

struct Format {
  std::string name;
  fewbit::Levels levels;
  std::function<fewbit::Affine(fewbit::Range)> fit;
};
inline std::vector<Format> formats() {
  std::vector<Format> all;
  for (const int bits : {1, 2, 3, 4, 5, 8, 16}) {
    const fewbit::Symmetric grid(bits);
    all.push_back({"int" + std::to_string(bits), grid.levels(), [grid](fewbit::Range r) { return grid.fit(r); }});
  }
  all.push_back({"nf4", fewbit::nf4.levels(), [](fewbit::Range r) { return fewbit::nf4.fit(r); }});
  return all;
}

struct Group {
  const char* name;
  std::size_t length;
};
constexpr Group groups[] = {{"g32", 32}, {"g128", 128}, {"row", row_length}};

// A row in one format: how it is scaled, and by the reference what its codes are and what they stand for.
class CodedRow {
 public:
  CodedRow(const Format& format, std::size_t group) : levels_(format.levels), group_(group) {
    const float* w = weights(row_sizes()[0]);
    std::vector<fewbit::Range> ranges(row_length / group);
    fewbit::kernel::scalar::ranges(w, row_length, group, ranges.data());
    for (const fewbit::Range r : ranges) affine_.push_back(format.fit(r)), scale_.push_back(affine_.back().scale);
    codes_.resize(bytes()), decoded_.resize(row_length);
    fewbit::kernel::scalar::quantize(w, row(), codes_.data());
    fewbit::kernel::scalar::dequantize(codes_.data(), row(), decoded_.data());
  }

  fewbit::kernel::Row row() const { return {row_length, group_, affine_.data(), &levels_}; }
  fewbit::kernel::Row row(const Size& size) const {
    return {row_length, group_, affine_.data(), &levels_, is_streamed(size)};
  }
  EigenRow eigen_row() const {
    return {row_length,
            group_,
            scale_.data(),
            levels_.bits(),
            levels_.first(),
            levels_.last(),
            levels_.uniform() ? nullptr : levels_.data()};
  }
  std::size_t bytes() const { return fewbit::packed_bytes(row_length, levels_.bits()); }
  double bytes_per_weight() const { return levels_.bits() / 8.0; }
  const std::vector<std::uint8_t>& codes() const { return codes_; }
  const std::vector<float>& decoded() const { return decoded_; }

  // The codes of so many rows.
  const std::uint8_t* codes(const Size& size) const {
    std::uint8_t* all = memory<std::uint8_t>("codes", 2 * size.weights());
    for (std::size_t r = 0; r < size.rows; ++r) std::memcpy(all + r * bytes(), codes_.data(), bytes());
    return all;
  }

 private:
  fewbit::Levels levels_;
  std::size_t group_;
  std::vector<fewbit::Affine> affine_;
  std::vector<float> scale_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> decoded_;
};

// Whether each row at `out` is the one expected.
template <class T>
void check(benchmark::State& state, const T* out, const Size& size, const std::vector<T>& expected) {
  for (const std::size_t r : {std::size_t{0}, size.rows - 1})
    if (!std::equal(expected.begin(), expected.end(), out + r * expected.size()))
      state.SkipWithError("comes out wrong");
}

struct EigenWay {
  const char* name;
  const EigenKernels* kernels;
};
inline const EigenWay eigen_ways[] = {{"Eigen -O2", &eigen_o2()}, {"Eigen native", &eigen_native()}};

// Adds f(table, row) for every table that can run here and f(eigen, row) for Eigen in both ways, for every format,
// group and size.
template <class F>
void add_rows(F f) {
  add_memory_alone();
  for (const Format& format : formats()) {
    for (const Group& group : groups) {
      const auto row = std::make_shared<const CodedRow>(format, group.length);
      const std::string name = format.name + " " + group.name + ", ";
      std::vector<Against> against;
      for (const EigenWay& e : eigen_ways) against.push_back({e.name, name + e.name});
      for (const Size& size : row_sizes()) {
        for (const Table* t : fewbit::kernel::all())
          if (t->supported())
            add(
                name + t->name, size.name, [=](benchmark::State& s) { f(s, *t, *row, row->row(size), size); }, against);
        for (const EigenWay& e : eigen_ways)
          add(name + e.name, size.name, [=](benchmark::State& s) { f(s, *e.kernels, *row, row->eigen_row(), size); });
      }
    }
  }
}

}  // namespace bench
