// Training with fake quantization: forward, in place and the backward pass of clipped gradients on whole matrices,
// beside memcpy and the obvious Eigen expression; then a step of a linear layer with it and without, and what it adds.

#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include <fewbit/fewbit.hpp>
#include <kernel/eigen.hpp>
#include <support/ratios.hpp>

namespace {

using fewbit::Index;
using RowMajor = fewbit::RowMajorMatrixXf;
using ColMajor = Eigen::MatrixXf;

constexpr Index batch = 64;

struct Size {
  const char* name;
  Index rows, cols;
};
std::vector<Size> sizes() {
  if (bench::checking()) return {{"16 KiB", 32, 128}, {"256 KiB", 32, 256}, {"64 MiB", 32, 512}};
  return {{"16 KiB", 32, 128}, {"256 KiB", 256, 256}, {"64 MiB", 4096, 4096}};
}

// One matrix of each size, order and use, made when first asked for and kept.
template <class Matrix>
Matrix& made(const Size& size, const std::string& use) {
  static std::map<std::pair<std::string, std::string>, Matrix> all;
  Matrix& w = all[{size.name, use}];
  if (w.size() == 0) w = Matrix::Random(size.rows, size.cols) * 0.05f;
  return w;
}

struct Format {
  std::string name;
  int bits;
  fewbit::Granularity granularity;
};
std::vector<Format> formats() {
  return {{"int4 per channel", 4, fewbit::per_channel()},
          {"int4 g128", 4, fewbit::per_group(128)},
          {"int8 per channel", 8, fewbit::per_channel()}};
}

void count(benchmark::State& state, const Size& size, double bytes_per_weight) {
  bench::count(state, static_cast<std::size_t>(size.rows * size.cols), bytes_per_weight);
}

// Calls f(first weight of a row, the row) with scales as Symmetric has them, found by Eigen on the way.
template <class F>
void each_row(const bench::EigenKernels& eigen, const RowMajor& w, const Format& format, F&& f) {
  const auto n = static_cast<std::size_t>(w.cols());
  const std::size_t group = format.granularity.cols == 0 ? n : static_cast<std::size_t>(format.granularity.cols);
  const float last = fewbit::Symmetric(format.bits).levels().last();
  std::vector<float> lo((n + group - 1) / group), hi(lo.size()), scale(lo.size());
  for (Index i = 0; i < w.rows(); ++i) {
    eigen.ranges(w.data() + i * w.cols(), n, group, lo.data(), hi.data());
    for (std::size_t g = 0; g < scale.size(); ++g) scale[g] = std::fmax(-lo[g], hi[g]) / last;
    f(i * w.cols(), bench::EigenRow{n, group, scale.data(), format.bits, -last, last, nullptr});
  }
}

void check(benchmark::State& state, const RowMajor& got, const RowMajor& expected) {
  if (got != expected) state.SkipWithError("comes out wrong");
}

void add_passes(const Size& size, const Format& format) {
  const fewbit::Symmetric grid(format.bits);
  const fewbit::FakeQuantizer fq(grid, format.granularity, fewbit::StraightThrough::clipped);
  const auto beside = [&](const std::string& work) {
    return std::vector<bench::Against>{{"Eigen -O2", work + ", Eigen -O2"}, {"Eigen native", work + ", Eigen native"}};
  };
  // Ranges are the weights' own, so that the mask of clipped gradients is full: making it takes the same time.
  const std::string forward = "forward " + format.name, in_place = "in place " + format.name,
                    backward = "backward " + format.name;
  bench::add(
      forward, size.name,
      [=](benchmark::State& state) {
        const RowMajor& w = made<RowMajor>(size, "weights");
        RowMajor& seen = made<RowMajor>(size, "output");
        for (auto _ : state) {
          fq.forward(w, seen);
          benchmark::ClobberMemory();
        }
        count(state, size, 8);
      },
      beside(forward));
  bench::add(forward + ", column-major", size.name, [=](benchmark::State& state) {
    const ColMajor& w = made<ColMajor>(size, "weights");
    ColMajor& seen = made<ColMajor>(size, "output");
    for (auto _ : state) {
      fq.forward(w, seen);
      benchmark::ClobberMemory();
    }
    count(state, size, 8);
  });
  bench::add(
      in_place, size.name,
      [=](benchmark::State& state) {
        RowMajor& w = made<RowMajor>(size, "in place");  // rounded already from the second time on, at the same speed
        for (auto _ : state) {
          fewbit::fake_quantize_in_place(w, grid, format.granularity);
          benchmark::ClobberMemory();
        }
        count(state, size, 8);
      },
      beside(forward));
  bench::add(
      backward, size.name,
      [=](benchmark::State& state) {
        const RowMajor &w = made<RowMajor>(size, "weights"), &gradient = made<RowMajor>(size, "gradient");
        RowMajor& by_weights = made<RowMajor>(size, "output");
        for (auto _ : state) {
          fq.backward(gradient, w, by_weights);
          benchmark::ClobberMemory();
        }
        count(state, size, 12);
      },
      beside(backward));
  const struct {
    const char* name;
    const bench::EigenKernels* kernels;
  } ways[] = {{"Eigen -O2", &bench::eigen_o2()}, {"Eigen native", &bench::eigen_native()}};
  for (const auto& way : ways) {
    const bench::EigenKernels* const eigen = way.kernels;
    bench::add(forward + ", " + way.name, size.name, [=](benchmark::State& state) {
      const RowMajor& w = made<RowMajor>(size, "weights");
      RowMajor& to = made<RowMajor>(size, "output");
      for (auto _ : state) {
        each_row(*eigen, w, format,
                 [&](Index k, const bench::EigenRow& r) { eigen->fake_quantize(w.data() + k, r, to.data() + k); });
        benchmark::ClobberMemory();
      }
      count(state, size, 8);
      check(state, to, fq.forward(w));
    });
    bench::add(backward + ", " + way.name, size.name, [=](benchmark::State& state) {
      const RowMajor &w = made<RowMajor>(size, "weights"), &gradient = made<RowMajor>(size, "gradient");
      RowMajor& to = made<RowMajor>(size, "output");
      for (auto _ : state) {
        each_row(*eigen, w, format, [&](Index k, const bench::EigenRow& r) {
          eigen->clip_gradient(w.data() + k, r, gradient.data() + k, to.data() + k);
        });
        benchmark::ClobberMemory();
      }
      count(state, size, 12);
      check(state, to, fq.backward(gradient, w));
    });
  }
}

// Y = W X, the gradient dY X^T and the update, by columns as Eigen has them unless told. forward(W, seen) and
// backward(gradient, W, passed) give what stands between: their second matrix, or the first where there is nothing to
// do. W is put back before each run: a step changes it by little.
template <class Forward, class Backward>
void add_step(const std::string& name, const Size& size, Forward forward, Backward backward) {
  bench::add(name, size.name,
             [=](benchmark::State& state) {
               ColMajor w = made<ColMajor>(size, "weights");
               const ColMajor x = ColMajor::Random(size.cols, batch), target = ColMajor::Random(size.rows, batch);
               ColMajor y(size.rows, batch), gradient(size.rows, size.cols), seen, passed;
               for (auto _ : state) {
                 y.noalias() = forward(w, seen) * x;
                 y -= target;
                 gradient.noalias() = y * x.transpose();
                 w -= 1e-6f * backward(gradient, w, passed);
                 benchmark::ClobberMemory();
               }
               count(state, size, 0);
             },
             {{"step in float", "step in float"}});
}

void add_all() {
  for (const Size& size : sizes()) {
    bench::add("memcpy", size.name, [=](benchmark::State& state) {
      const RowMajor& w = made<RowMajor>(size, "weights");
      RowMajor& to = made<RowMajor>(size, "output");
      for (auto _ : state) {
        std::memcpy(to.data(), w.data(), static_cast<std::size_t>(w.size()) * sizeof(float));
        benchmark::ClobberMemory();
      }
      count(state, size, 8);
    });
    for (const Format& format : formats()) add_passes(size, format);
    add_step(
        "step in float", size, [](const ColMajor& w, ColMajor&) -> const ColMajor& { return w; },
        [](const ColMajor& gradient, const ColMajor&, ColMajor&) -> const ColMajor& { return gradient; });
    for (const Format& format : formats())
      for (const bool clipped : {false, true}) {
        const fewbit::FakeQuantizer fq(fewbit::Symmetric(format.bits), format.granularity,
                                       clipped ? fewbit::StraightThrough::clipped : fewbit::StraightThrough::identity);
        add_step(
            "step " + format.name + (clipped ? ", clipped" : ""), size,
            [=](const ColMajor& w, ColMajor& seen) -> const ColMajor& {
              fq.forward(w, seen);
              return seen;
            },
            [=](const ColMajor& gradient, const ColMajor& w, ColMajor& passed) -> const ColMajor& {
              if (!clipped) return gradient;
              fq.backward(gradient, w, passed);
              return passed;
            });
      }
  }
}

// What fake quantization adds to the time of a step.
void print_overheads(const bench::Ratios& ratios) {
  std::printf("time that fake quantization adds to a step of %ld samples, products by Eigen at -O2\n",
              static_cast<long>(batch));
  for (const bench::Work& work : bench::works()) {
    if (work.name == "step in float" || work.name.rfind("step ", 0) != 0) continue;
    std::printf("%-32s", work.name.c_str());
    for (const std::string& size : bench::sizes()) {
      const double with = ratios.rate(work.name, size), without = ratios.rate("step in float", size);
      if (with > 0 && without > 0) std::printf("  %s: %+.1f %%", size.c_str(), 100 * (without / with - 1));
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  add_all();
  return bench::run(std::string("fake quantization in training; kernels: ") + fewbit::kernel::active().name,
                    print_overheads);
}
