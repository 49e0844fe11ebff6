// The smallest and the largest weight of each group: beside a plain read of the same memory, and Eigen's two passes.

#include <kernel/rows.hpp>

namespace {

using bench::row_length, bench::Size;

void check(benchmark::State& state, std::size_t group, const std::vector<fewbit::Range>& last_row) {
  std::vector<fewbit::Range> expected(row_length / group);
  fewbit::kernel::scalar::ranges(bench::weights(bench::row_sizes()[0]), row_length, group, expected.data());
  if (last_row != expected) state.SkipWithError("comes out wrong");
}

void with_table(benchmark::State& state, const bench::Table& table, std::size_t group, const Size& size) {
  const float* w = bench::weights(size);
  std::vector<fewbit::Range> out(row_length / group);
  for (auto _ : state) {
    for (std::size_t r = 0; r < size.rows; ++r) {
      table.ranges(w + r * row_length, row_length, group, out.data());
      benchmark::ClobberMemory();
    }
  }
  bench::count(state, size.weights(), 4);
  check(state, group, out);
}

void with_eigen(benchmark::State& state, const bench::EigenKernels& eigen, std::size_t group, const Size& size) {
  const float* w = bench::weights(size);
  std::vector<float> lo(row_length / group), hi = lo;
  for (auto _ : state) {
    for (std::size_t r = 0; r < size.rows; ++r) {
      eigen.ranges(w + r * row_length, row_length, group, lo.data(), hi.data());
      benchmark::ClobberMemory();
    }
  }
  bench::count(state, size.weights(), 4);
  std::vector<fewbit::Range> out;
  for (std::size_t g = 0; g < lo.size(); ++g) out.push_back({lo[g], hi[g]});
  check(state, group, out);
}

void add_all() {
  bench::add_memory_alone();
  for (const bench::Group& group : bench::groups) {
    const std::string name = std::string(group.name) + ", ";
    std::vector<bench::Against> against = {{"plain read", "plain read"}};
    for (const bench::EigenWay& e : bench::eigen_ways) against.push_back({e.name, name + e.name});
    for (const Size& size : bench::row_sizes()) {
      for (const bench::Table* t : fewbit::kernel::all())
        if (t->supported())
          bench::add(
              name + t->name, size.name, [=](benchmark::State& s) { with_table(s, *t, group.length, size); }, against);
      for (const bench::EigenWay& e : bench::eigen_ways)
        bench::add(name + e.name, size.name,
                   [=](benchmark::State& s) { with_eigen(s, *e.kernels, group.length, size); });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  add_all();
  return bench::run(std::string("kernel ranges: smallest and largest of each group; ") + bench::row_sizes_in_words);
}
