// Y = W X straight from the codes, batches of 1 to 512, beside Eigen's product of floats and a plain read of the same
// bytes, all compiled with -O2. FEWBIT_BENCH_THREADS=2 runs everything on two threads.

#include <support/products.hpp>

namespace {

using bench::Index, bench::Shape;
using fewbit::Activations;

void add_all() {
  for (const Shape& shape : bench::shapes())
    for (const Index batch : bench::batches()) {
      const std::string eigen = std::string("Eigen floats, ") + shape.name,
                        read4 = std::string("plain read of 4 bits, ") + shape.name,
                        read8 = std::string("plain read of 8 bits, ") + shape.name;
      const std::vector<bench::Against> four = {{"Eigen", eigen}, {"read", read4}},
                                        eight = {{"Eigen", eigen}, {"read", read8}};
      const auto nf4_double = [](const Eigen::MatrixXf& w) { return double_quantize(bench::nf4_g64(w)); };
      bench::add_fewbit("int4 g128 x int8", shape, batch, Activations::int8, bench::int4_g128, four);
      bench::add_fewbit("int8 x int8", shape, batch, Activations::int8, bench::int8_channel, eight);
      bench::add_fewbit("int4 g128 x float", shape, batch, Activations::floats, bench::int4_g128, four);
      bench::add_fewbit("int8 x float", shape, batch, Activations::floats, bench::int8_channel, eight);
      bench::add_fewbit("nf4 g64 x float", shape, batch, Activations::floats, bench::nf4_g64, four);
      bench::add_fewbit("nf4 g64 double-quantized x float", shape, batch, Activations::floats, nf4_double, four);
      bench::add(eigen, bench::batch_name(batch), [=](benchmark::State& state) {
        const Eigen::MatrixXf &w = bench::weights(shape), &x = bench::activations(shape, batch);
        const Eigen::VectorXf one = x.col(0);
        bench::InTurn<Eigen::MatrixXf> matrices(w, static_cast<std::size_t>(w.size()) * sizeof(float));
        Eigen::MatrixXf y(shape.rows, batch);
        Eigen::VectorXf y1(shape.rows);
        for (auto _ : state) {
          if (batch == 1) y1.noalias() = matrices() * one;
          else y.noalias() = matrices() * x;
          benchmark::ClobberMemory();
        }
        bench::count(state, shape, batch, static_cast<double>(w.size()) * sizeof(float));
      });
      // What a product with one column cannot be faster than.
      for (const std::size_t bits : {4u, 8u})
        bench::add(bits == 4 ? read4 : read8, bench::batch_name(batch), [=](benchmark::State& state) {
          const auto floats = static_cast<std::size_t>(shape.rows * shape.cols) * bits / 32;
          const std::size_t copies = bench::checking() ? 1 : 1 + (std::size_t{128} << 20) / (floats * sizeof(float));
          const float* memory = bench::memory<float>("plain read", floats * copies);
          std::size_t next = 0;
          for (auto _ : state)
            benchmark::DoNotOptimize(bench::widest_read()(memory + next++ % copies * floats, floats));
          bench::count(state, shape, batch, static_cast<double>(floats) * sizeof(float));
        });
    }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  const char* threads = std::getenv("FEWBIT_BENCH_THREADS");
  Eigen::setNbThreads(threads ? std::atoi(threads) : 1);
  add_all();
  return bench::run(std::string("multiply-adds of products straight from the codes; kernels: ") +
                    fewbit::kernel::active().name + ", threads: " + std::to_string(Eigen::nbThreads()) +
                    "\n(blog, practical impact: 4 bits generate \"3-4x faster\"; that is x Eigen at b1)");
}
