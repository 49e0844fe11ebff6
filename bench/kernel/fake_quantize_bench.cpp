// Weights to the weights that their codes stand for, row by row, without the codes.

#include <kernel/rows.hpp>

int main(int argc, char** argv) {
  bench::start(argc, argv);
  bench::add_rows([](benchmark::State& state, const auto& kernel, const bench::CodedRow& coded, const auto& row,
                     const bench::Size& size) {
    const float* w = bench::weights(size);
    float* out = bench::floats_out(size);
    for (auto _ : state) {
      for (std::size_t r = 0; r < size.rows; ++r)
        kernel.fake_quantize(w + r * bench::row_length, row, out + r * bench::row_length, nullptr);
      benchmark::ClobberMemory();
    }
    bench::count(state, size.weights(), 8);
    bench::check(state, out, size, coded.decoded());
  });
  return bench::run(std::string("kernel fake_quantize: floats to decoded floats; ") + bench::row_sizes_in_words);
}
