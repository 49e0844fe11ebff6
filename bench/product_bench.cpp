// Y = W X straight from the codes, batches of 1 to 512, beside Eigen's product of floats and a plain read of the same
// bytes, all compiled with -O2. A "weight" is one multiply-add here: batch * out * in of them. Several copies of a
// matrix are used in turn, so that codes come from memory and not from the cache.
//
// FEWBIT_BENCH_THREADS=2 runs everything on two threads.

#include <fewbit/fewbit.hpp>

#include <functional>
#include <support/memory.hpp>

namespace {

using fewbit::Activations;
using fewbit::Index;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;

struct Shape {
  const char* name;
  Index rows, cols;
};
std::vector<Shape> shapes() {
  if (bench::checking()) return {{"64 x 128", 64, 128}};
  return {{"4096 x 4096", 4096, 4096}, {"11008 x 4096", 11008, 4096}};
}
std::vector<Index> batches() {
  return bench::checking() ? std::vector<Index>{1, 5} : std::vector<Index>{1, 2, 4, 8, 16, 64, 512};
}
std::string batch_name(Index n) { return "b" + std::to_string(n); }

const Eigen::MatrixXf& weights(const Shape& shape) {
  static std::map<Index, Eigen::MatrixXf> made;
  Eigen::MatrixXf& w = made[shape.rows];
  if (w.size() == 0) w = Eigen::MatrixXf::Random(shape.rows, shape.cols) * 0.05f;
  return w;
}
const Eigen::MatrixXf& activations(const Shape& shape, Index batch) {
  static std::map<std::pair<Index, Index>, Eigen::MatrixXf> made;
  Eigen::MatrixXf& x = made[{shape.cols, batch}];
  if (x.size() == 0) x = Eigen::MatrixXf::Random(shape.cols, batch);
  return x;
}

// Copies enough for 128 MiB, one after the other.
template <class T>
class InTurn {
 public:
  InTurn(T one, std::size_t bytes)
      : copies_(bench::checking() ? 1 : 1 + (std::size_t{128} << 20) / bytes, std::move(one)) {}
  const T& operator()() { return copies_[next_++ % copies_.size()]; }

 private:
  std::vector<T> copies_;
  std::size_t next_ = 0;
};

void count(benchmark::State& state, const Shape& shape, Index batch, double bytes) {
  const auto all = static_cast<std::size_t>(shape.rows * shape.cols * batch);
  bench::count(state, all, bytes / static_cast<double>(all));
}

void add_fewbit(const std::string& name, const Shape& shape, Index batch, Activations with,
                const std::function<QuantizedMatrix(const Eigen::MatrixXf&)>& make) {
  const std::string work = name + ", " + shape.name;
  bench::add(work, batch_name(batch),
             [=](benchmark::State& state) {
               const QuantizedMatrix q = make(weights(shape));
               const Eigen::MatrixXf& x = activations(shape, batch);
               InTurn<QuantizedMatrix> matrices(q, q.bytes());
               for (auto _ : state) {
                 Eigen::MatrixXf y =
                     batch == 1 ? Eigen::MatrixXf(product(matrices(), x.col(0), with)) : product(matrices(), x, with);
                 benchmark::DoNotOptimize(y.data());
               }
               count(state, shape, batch, static_cast<double>(q.bytes()));
             },
             {{"Eigen", std::string("Eigen floats, ") + shape.name},
              {"read", "plain read of 4 bits, " + std::string(shape.name)}});
}

void add_all() {
  for (const Shape& shape : shapes())
    for (const Index batch : batches()) {
      const auto int4 = [](const Eigen::MatrixXf& w) {
        return quantize(w, fewbit::Symmetric(4), fewbit::per_group(128, ScaleType::f16));
      };
      const auto int8 = [](const Eigen::MatrixXf& w) {
        return quantize(w, fewbit::Symmetric(8), fewbit::per_channel());
      };
      const auto nf4 = [](const Eigen::MatrixXf& w) { return quantize(w, fewbit::nf4, fewbit::per_group(64)); };
      const auto nf4_double = [=](const Eigen::MatrixXf& w) { return double_quantize(nf4(w)); };
      add_fewbit("int4 g128 x int8", shape, batch, Activations::int8, int4);
      add_fewbit("int8 x int8", shape, batch, Activations::int8, int8);
      add_fewbit("int4 g128 x float", shape, batch, Activations::floats, int4);
      add_fewbit("int8 x float", shape, batch, Activations::floats, int8);
      add_fewbit("nf4 g64 x float", shape, batch, Activations::floats, nf4);
      add_fewbit("nf4 g64 double-quantized x float", shape, batch, Activations::floats, nf4_double);
      bench::add(std::string("Eigen floats, ") + shape.name, batch_name(batch), [=](benchmark::State& state) {
        const Eigen::MatrixXf& x = activations(shape, batch);
        InTurn<Eigen::MatrixXf> matrices(weights(shape),
                                         static_cast<std::size_t>(weights(shape).size()) * sizeof(float));
        Eigen::MatrixXf y(shape.rows, batch);
        Eigen::VectorXf one(shape.rows);
        for (auto _ : state) {
          if (batch == 1) one.noalias() = matrices() * x.col(0);
          else y.noalias() = matrices() * x;
          benchmark::ClobberMemory();
        }
        count(state, shape, batch, static_cast<double>(weights(shape).size()) * sizeof(float));
      });
      // What a product of 4-bit codes with one column cannot be faster than.
      bench::add("plain read of 4 bits, " + std::string(shape.name), batch_name(batch), [=](benchmark::State& state) {
        const auto floats = static_cast<std::size_t>(shape.rows * shape.cols) / 8 / 64 * 64;
        const std::size_t copies = bench::checking() ? 1 : 1 + (std::size_t{128} << 20) / (floats * sizeof(float));
        const float* memory = bench::memory<float>("plain read", floats * copies);
        std::size_t next = 0;
        for (auto _ : state) benchmark::DoNotOptimize(bench::widest_read()(memory + next++ % copies * floats, floats));
        count(state, shape, batch, static_cast<double>(floats) * sizeof(float));
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
                    fewbit::kernel::active().name + ", threads: " + std::to_string(Eigen::nbThreads()));
}
