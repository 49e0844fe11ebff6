// Weights to the weights that their codes stand for, row by row, without the codes; then the same with a mask that says
// which weights lie inside the range.

#include <kernel/rows.hpp>

int main(int argc, char** argv) {
  bench::start(argc, argv);
  const auto fake_quantize = [](benchmark::State& state, const auto& kernel, const bench::CodedRow& coded,
                                const auto& row, const bench::Size& size, std::uint8_t* mask) {
    const float* w = bench::weights(size);
    float* out = bench::floats_out(size);
    for (auto _ : state) {
      for (std::size_t r = 0; r < size.rows; ++r) {
        const float* from = w + r * bench::row_length;
        float* to = out + r * bench::row_length;
        if constexpr (requires { kernel.fake_quantize(from, row, to, mask); })
          kernel.fake_quantize(from, row, to, mask ? mask + r * bench::row_length / 8 : nullptr);
        else kernel.fake_quantize(from, row, to);
      }
      benchmark::ClobberMemory();
    }
    bench::count(state, size.weights(), mask ? 8.125 : 8);
    bench::check(state, out, size, coded.decoded());
  };
  bench::add_rows([=](benchmark::State& state, const auto& kernel, const bench::CodedRow& coded, const auto& row,
                      const bench::Size& size) { fake_quantize(state, kernel, coded, row, size, nullptr); });
  for (const bench::Format& format : bench::formats()) {
    const auto row = std::make_shared<const bench::CodedRow>(format, 128);
    for (const bench::Size& size : bench::row_sizes())
      for (const bench::Table* t : fewbit::kernel::all())
        if (t->supported())
          bench::add(format.name + " g128, " + t->name + ", mask", size.name,
                     [=](benchmark::State& state) {
                       fake_quantize(state, *t, *row, row->row(size), size, bench::bytes_out(size));
                     },
                     {{"no mask", format.name + " g128, " + t->name}});
  }
  return bench::run(std::string("kernel fake_quantize: floats to decoded floats; ") + bench::row_sizes_in_words);
}
