// Weights to packed codes with scales that are known, row by row.

#include <kernel/rows.hpp>

int main(int argc, char** argv) {
  bench::start(argc, argv);
  bench::add_rows([](benchmark::State& state, const auto& kernel, const bench::CodedRow& coded, const auto& row,
                     const bench::Size& size) {
    const float* w = bench::weights(size);
    std::uint8_t* out = bench::bytes_out(size);
    for (auto _ : state) {
      for (std::size_t r = 0; r < size.rows; ++r)
        kernel.quantize(w + r * bench::row_length, row, out + r * coded.bytes());
      benchmark::ClobberMemory();
    }
    bench::count(state, size.weights(), 4 + coded.bytes_per_weight());
    bench::check(state, out, size, coded.codes());
  });
  return bench::run(std::string("kernel quantize: floats to packed codes; ") + bench::row_sizes_in_words);
}
