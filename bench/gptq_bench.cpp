// Calibration of one layer: the Hessian of 2048 samples and GPTQ to 4 bits in groups of 128, apart, beside Eigen's own
// products and factors compiled with -O3 -march=native. Multiply-adds of GPTQ are those of its two large parts: in^3 /
// 6 for the factor, out in^2 / 2 for errors that reach the columns behind.

#include <fstream>
#include <map>
#include <string>

#include <fewbit/fewbit.hpp>
#include <kernel/eigen.hpp>
#include <support/ratios.hpp>

namespace {

using fewbit::Index;

constexpr Index samples = 2048;

std::vector<Index> sizes() { return bench::checking() ? std::vector<Index>{70} : std::vector<Index>{1024, 4096}; }

// What all works of one size share.
struct Layer {
  Eigen::MatrixXf weights, inputs, floats;
  fewbit::Hessian hessian;
  Eigen::MatrixXd h, doubles;

  explicit Layer(Index n)
      : weights(Eigen::MatrixXf::Random(n, n)), inputs(Eigen::MatrixXf::Random(n, samples)), floats(n, n), hessian(n),
        doubles(n, n) {
    hessian.add(inputs);
    h = hessian.matrix();
    h.diagonal().array() += 0.01 * h.diagonal().mean();
  }
};
Layer& layer(Index n) {
  static std::map<Index, Layer> made;
  return made.try_emplace(n, n).first->second;
}

void count(benchmark::State& state, double multiply_adds) {
  const double all = static_cast<double>(state.iterations()) * multiply_adds;
  state.SetItemsProcessed(static_cast<std::int64_t>(all));
  state.SetBytesProcessed(0);
}

void add_all() {
  const std::string floats = "Eigen product of floats", doubles = "Eigen product of doubles",
                    goal = "goal: 3 factors of doubles, 1 product of floats";
  const std::vector<bench::Against> products = {{"Eigen floats", floats}, {"Eigen doubles", doubles}};
  std::vector<bench::Against> of_gptq = products;
  of_gptq.push_back({"goal", goal});
  for (const Index n : sizes()) {
    const std::string size = std::to_string(n);
    const auto cube = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    const auto side = static_cast<std::size_t>(n);
    bench::add(
        "Hessian of 2048 samples", size,
        [=](benchmark::State& state) {
          const Layer& l = layer(n);
          for (auto _ : state) {
            fewbit::Hessian h(n);
            h.add(l.inputs);
            benchmark::DoNotOptimize(h.samples());
          }
          count(state, static_cast<double>(n) * static_cast<double>(n) * samples / 2);
        },
        products);
    bench::add(
        "gptq int4 g128", size,
        [=](benchmark::State& state) {
          const Layer& l = layer(n);
          for (auto _ : state) {
            const auto q = fewbit::gptq(l.weights, l.hessian, fewbit::Symmetric(4), fewbit::per_group(128));
            benchmark::DoNotOptimize(q.codes(0));
          }
          count(state, cube / 6 + cube / 2);
        },
        of_gptq);
    bench::add(floats, size, [=](benchmark::State& state) {
      Layer& l = layer(n);
      for (auto _ : state)
        bench::eigen_native().multiply_floats(side, l.weights.data(), l.weights.data(), l.floats.data());
      count(state, cube);
    });
    bench::add(doubles, size, [=](benchmark::State& state) {
      Layer& l = layer(n);
      for (auto _ : state) bench::eigen_native().multiply_doubles(side, l.h.data(), l.h.data(), l.doubles.data());
      count(state, cube);
    });
    bench::add(goal, size, [=](benchmark::State& state) {
      Layer& l = layer(n);
      for (auto _ : state) {
        for (int i = 0; i < 3; ++i) {
          l.doubles = l.h;
          bench::eigen_native().factor(side, l.doubles.data());
        }
        bench::eigen_native().multiply_floats(side, l.weights.data(), l.weights.data(), l.floats.data());
      }
      count(state, cube / 6 + cube / 2);
    });
  }
}

// The line of /proc/self/status that starts like this, in MiB; 0 where there is none.
double status(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(name, 0) == 0) return std::atof(line.c_str() + name.size()) / 1024;
  return 0;
}

// What gptq holds besides its arguments, at the most; of the largest layer, for what smaller ones gave back is not
// asked for again.
void print_memory() {
  const Index n = sizes().back();
  const Layer& l = layer(n);
  const double before = status("VmRSS:");
  std::ofstream("/proc/self/clear_refs") << "5";  // forgets the peak
  const auto q = fewbit::gptq(l.weights, l.hessian, fewbit::Symmetric(4), fewbit::per_group(128));
  const double held = status("VmHWM:") - before, floats = static_cast<double>(n * n) * sizeof(float) / (1 << 20);
  std::printf(
      "%ld x %ld: gptq holds %.0f MiB at the most, %.1f times its weights as floats (%.0f MiB); the Hessian %.0f MiB\n",
      static_cast<long>(n), static_cast<long>(n), held, held / floats, floats, 2 * floats);
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  add_all();
  const int status = bench::run(std::string("multiply-adds of calibration; kernels: ") + fewbit::kernel::active().name);
  if (!bench::checking()) print_memory();
  return status;
}
