// Whole matrices through the front door: quantize and dequantize, row- and column-major, from cache and from memory,
// beside memcpy and beside what one would write with Eigen alone, all compiled with -O2.

#include <fewbit/fewbit.hpp>

#include <cstring>
#include <support/ratios.hpp>

namespace {

using fewbit::Index;
using RowMajor = fewbit::RowMajorMatrixXf;
using ColMajor = Eigen::MatrixXf;

struct Size {
  const char* name;
  Index rows, cols;
};
std::vector<Size> matrix_sizes() {
  if (bench::checking()) return {{"64 KiB", 4, 4096}, {"64 MiB", 64, 4096}, {"256 MiB", 32, 8192}};
  return {{"64 KiB", 4, 4096}, {"64 MiB", 4096, 4096}, {"256 MiB", 8192, 8192}};
}

// One matrix of each size and order, made when first asked for and kept.
template <class Matrix>
const Matrix& weights(const Size& size) {
  static std::map<Index, Matrix> made;
  Matrix& w = made[size.rows];
  if (w.size() == 0) {
    w.resize(size.rows, size.cols);
    std::uint32_t state = 1;  // sums of three bytes of a linear congruence: bell-shaped, and quick
    for (Index i = 0; i < w.size(); ++i) {
      state = state * 1664525u + 1013904223u;
      w.data()[i] = (static_cast<float>((state >> 8 & 255) + (state >> 16 & 255) + (state >> 24)) - 382.5f) * 0.0001f;
    }
  }
  return w;
}
template <class Matrix>
Matrix& output(const Size& size) {
  static std::map<Index, Matrix> made;
  Matrix& w = made[size.rows];
  if (w.size() == 0) w = Matrix::Zero(size.rows, size.cols);
  return w;
}

void count(benchmark::State& state, const Size& size, double bytes_per_weight) {
  bench::count(state, static_cast<std::size_t>(size.rows * size.cols), bytes_per_weight);
}

template <class Matrix, class G>
void add_fewbit(const std::string& name, const Size& size, const G& grid, fewbit::Granularity granularity) {
  const auto by_eigen = [](const std::string& work) { return std::vector<bench::Against>{{"Eigen", "Eigen " + work}}; };
  const auto quantize = [=](benchmark::State& state) {
    const Matrix& w = weights<Matrix>(size);
    double bits = 0;
    for (auto _ : state) {
      const auto q = fewbit::quantize(w, grid, granularity);
      benchmark::DoNotOptimize(q.codes().data());
      bits = q.bits_per_weight();
    }
    count(state, size, 4 + bits / 8);
  };
  bench::add("quantize " + name, size.name, quantize, by_eigen("quantize " + name));
  const auto dequantize = [=](benchmark::State& state) {
    const auto q = fewbit::quantize(weights<Matrix>(size), grid, granularity);
    Matrix& w = output<Matrix>(size);
    for (auto _ : state) {
      fewbit::dequantize_into(q, w);
      benchmark::ClobberMemory();
    }
    count(state, size, 4 + q.bits_per_weight() / 8);
  };
  bench::add("dequantize " + name, size.name, dequantize, by_eigen("dequantize " + name));
}

// What one writes without a library: codes as bytes, two to a byte for 4 bits.
using Bytes = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void add_eigen(const Size& size) {
  bench::add("Eigen quantize int8 per channel, row-major", size.name, [=](benchmark::State& state) {
    const RowMajor& w = weights<RowMajor>(size);
    Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> q(w.rows(), w.cols());
    Eigen::VectorXf scale(w.rows());
    for (auto _ : state) {
      scale = w.cwiseAbs().rowwise().maxCoeff() / 127.f;
      for (Index i = 0; i < w.rows(); ++i)
        q.row(i) = (w.row(i).array() / scale[i]).rint().max(-127.f).min(127.f).cast<std::int8_t>();
      benchmark::ClobberMemory();
    }
    count(state, size, 5);
  });
  bench::add("Eigen dequantize int8 per channel, row-major", size.name, [=](benchmark::State& state) {
    using Codes = Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Codes q = (weights<RowMajor>(size).array() * 1000.f).cast<std::int8_t>();
    const Eigen::VectorXf scale = Eigen::VectorXf::Constant(size.rows, 0.001f);
    RowMajor& w = output<RowMajor>(size);
    for (auto _ : state) {
      w.noalias() = scale.asDiagonal() * q.cast<float>();
      benchmark::ClobberMemory();
    }
    count(state, size, 5);
  });
  bench::add("Eigen quantize int4 g128, row-major", size.name, [=](benchmark::State& state) {
    const RowMajor& w = weights<RowMajor>(size);
    Bytes packed(w.rows(), w.cols() / 2);
    Eigen::VectorXf scale(w.size() / 128);
    for (auto _ : state) {
      for (Index g = 0; g < scale.size(); ++g) {
        const Eigen::Map<const Eigen::ArrayXf> group(w.data() + 128 * g, 128);
        scale[g] = group.abs().maxCoeff() / 7.f;
        const Eigen::Array<std::uint8_t, 128, 1> code =
            ((group / scale[g]).rint().max(-7.f).min(7.f) + 7.f).cast<std::uint8_t>();
        for (Index k = 0; k < 64; ++k)
          packed.data()[64 * g + k] = static_cast<std::uint8_t>(code[2 * k] | code[2 * k + 1] << 4);
      }
      benchmark::ClobberMemory();
    }
    count(state, size, 4.53);
  });
  bench::add("Eigen quantize nf4 g64, row-major", size.name, [=](benchmark::State& state) {
    const RowMajor& w = weights<RowMajor>(size);
    const Eigen::Map<const Eigen::Array<float, 16, 1>> levels(fewbit::nf4_levels.data());
    Bytes packed = Bytes::Zero(w.rows(), w.cols() / 2);
    Eigen::VectorXf scale(w.size() / 64);
    for (auto _ : state) {
      for (Index g = 0; g < scale.size(); ++g) {
        const Eigen::Map<const Eigen::ArrayXf> group(w.data() + 64 * g, 64);
        scale[g] = group.abs().maxCoeff();
        for (Index k = 0; k < 64; k += 2) {
          Index low = 0, high = 0;
          (levels - group[k] / scale[g]).abs().minCoeff(&low);
          (levels - group[k + 1] / scale[g]).abs().minCoeff(&high);
          packed.data()[32 * g + k / 2] = static_cast<std::uint8_t>(low | high << 4);
        }
      }
      benchmark::ClobberMemory();
    }
    count(state, size, 4.56);
  });
}

void add_all() {
  for (const Size& size : matrix_sizes()) {
    bench::add("memcpy", size.name, [=](benchmark::State& state) {
      const RowMajor& w = weights<RowMajor>(size);
      RowMajor& to = output<RowMajor>(size);
      for (auto _ : state) {
        std::memcpy(to.data(), w.data(), static_cast<std::size_t>(w.size()) * sizeof(float));
        benchmark::ClobberMemory();
      }
      count(state, size, 8);
    });
    add_fewbit<RowMajor>("int8 per channel, row-major", size, fewbit::Symmetric(8), fewbit::per_channel());
    add_fewbit<RowMajor>("int4 g128, row-major", size, fewbit::Symmetric(4),
                         fewbit::per_group(128, fewbit::ScaleType::f16));
    add_fewbit<RowMajor>("nf4 g64, row-major", size, fewbit::nf4, fewbit::per_group(64));
    add_fewbit<ColMajor>("int8 per channel, column-major", size, fewbit::Symmetric(8), fewbit::per_channel());
    add_fewbit<ColMajor>("int4 g128, column-major", size, fewbit::Symmetric(4),
                         fewbit::per_group(128, fewbit::ScaleType::f16));
    add_fewbit<ColMajor>("nf4 g64, column-major", size, fewbit::nf4, fewbit::per_group(64));
    add_eigen(size);
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  add_all();
  return bench::run(std::string("quantize and dequantize matrices; kernels: ") + fewbit::kernel::active().name);
}
