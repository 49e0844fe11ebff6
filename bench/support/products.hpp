#pragma once
// What the programs that time products share: shapes, batches, fewbit's own products. Rule: a "weight" is one
// multiply-add here, batch * out * in of them; copies of a matrix are used in turn, so that codes come from memory.

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fewbit/fewbit.hpp>
#include <support/memory.hpp>

namespace bench {

using fewbit::Activations;
using fewbit::Index;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;

struct Shape {
  const char* name;
  Index rows, cols;
};
inline std::vector<Shape> shapes() {
  if (checking()) return {{"64 x 128", 64, 128}};
  return {{"4096 x 4096", 4096, 4096}, {"11008 x 4096", 11008, 4096}};
}
inline std::vector<Index> batches() {
  return checking() ? std::vector<Index>{1, 5} : std::vector<Index>{1, 2, 4, 8, 16, 64, 512};
}
inline std::string batch_name(Index n) { return "b" + std::to_string(n); }

inline const Eigen::MatrixXf& weights(const Shape& shape) {
  static std::map<Index, Eigen::MatrixXf> made;
  Eigen::MatrixXf& w = made[shape.rows];
  if (w.size() == 0) w = Eigen::MatrixXf::Random(shape.rows, shape.cols) * 0.05f;
  return w;
}
inline const Eigen::MatrixXf& activations(const Shape& shape, Index batch) {
  static std::map<std::pair<Index, Index>, Eigen::MatrixXf> made;
  Eigen::MatrixXf& x = made[{shape.cols, batch}];
  if (x.size() == 0) x = Eigen::MatrixXf::Random(shape.cols, batch);
  return x;
}

// Copies enough for 128 MiB, one after the other.
template <class T>
class InTurn {
 public:
  InTurn(T one, std::size_t bytes) : copies_(checking() ? 1 : 1 + (std::size_t{128} << 20) / bytes, std::move(one)) {}
  const T& operator()() { return copies_[next_++ % copies_.size()]; }

 private:
  std::vector<T> copies_;
  std::size_t next_ = 0;
};

inline void count(benchmark::State& state, const Shape& shape, Index batch, double bytes) {
  const auto all = static_cast<std::size_t>(shape.rows * shape.cols * batch);
  count(state, all, bytes / static_cast<double>(all));
}

// Y = W X of fewbit, W made of the shape's weights, beside the works it is compared with.
inline void add_fewbit(const std::string& name, const Shape& shape, Index batch, Activations with,
                       const std::function<QuantizedMatrix(const Eigen::MatrixXf&)>& make,
                       const std::vector<Against>& against) {
  add(
      name + ", " + shape.name, batch_name(batch),
      [=](benchmark::State& state) {
        const QuantizedMatrix q = make(weights(shape));
        const Eigen::MatrixXf& x = activations(shape, batch);
        const Eigen::VectorXf one = x.col(0);
        InTurn<QuantizedMatrix> matrices(q, q.bytes());
        for (auto _ : state) {
          if (batch == 1) {
            const Eigen::VectorXf y = product(matrices(), one, with);
            benchmark::DoNotOptimize(y.data());
          } else {
            const Eigen::MatrixXf y = product(matrices(), x, with);
            benchmark::DoNotOptimize(y.data());
          }
        }
        count(state, shape, batch, static_cast<double>(q.bytes()));
      },
      against);
}

inline QuantizedMatrix int4_g128(const Eigen::MatrixXf& w) {
  return quantize(w, fewbit::Symmetric(4), fewbit::per_group(128, ScaleType::f16));
}
inline QuantizedMatrix int8_channel(const Eigen::MatrixXf& w) {
  return quantize(w, fewbit::Symmetric(8), fewbit::per_channel());
}
inline QuantizedMatrix nf4_g64(const Eigen::MatrixXf& w) { return quantize(w, fewbit::nf4, fewbit::per_group(64)); }

}  // namespace bench
