// Packed codes to weights, row by row.

#include <kernel/rows.hpp>

int main(int argc, char** argv) {
  bench::start(argc, argv);
  bench::add_rows([](benchmark::State& state, const auto& kernel, const bench::CodedRow& coded, const auto& row,
                     const bench::Size& size) {
    const std::uint8_t* codes = coded.codes(size);
    float* out = bench::floats_out(size);
    for (auto _ : state) {
      for (std::size_t r = 0; r < size.rows; ++r)
        kernel.dequantize(codes + r * coded.bytes(), row, out + r * bench::row_length);
      benchmark::ClobberMemory();
    }
    bench::count(state, size.weights(), 4 + coded.bytes_per_weight());
    bench::check(state, out, size, coded.decoded());
  });
  return bench::run(std::string("kernel dequantize: packed codes to floats; ") + bench::row_sizes_in_words);
}
