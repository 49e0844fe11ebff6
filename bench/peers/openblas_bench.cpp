// OpenBLAS has no codes; what it has of a quantizer's work is the largest magnitude (isamax). fewbit's ranges finds the
// smallest and the largest, which is more. One thread.

#include <cblas.h>

#include <peers/eight_bits.hpp>

namespace {

void add_all() {
  static float theirs;
  for (const bench::Size& size : bench::row_sizes()) {
    const float* w = bench::weights(size);
    const auto ours = [=]() -> bench::Run {
      return [=] {
        fewbit::Range range;
        fewbit::kernel::active().ranges(w, size.weights(), size.weights(), &range);
        benchmark::DoNotOptimize(range);
      };
    };
    const auto isamax = [=]() -> bench::Run {
      return [=] { theirs = std::fabs(w[cblas_isamax(static_cast<blasint>(size.weights()), w, 1)]); };
    };
    bench::add_pair("largest magnitude", "OpenBLAS", size, 4, ours, isamax, [] {
      const fewbit::Range r = bench::range_of_weights();
      return theirs == std::fmax(-r.lo, r.hi);
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  openblas_set_num_threads(1);
  bench::add_memory_alone();
  add_all();
  return bench::run(std::string("OpenBLAS beside fewbit's ") + fewbit::kernel::active().name + "; " +
                    bench::row_sizes_in_words);
}
