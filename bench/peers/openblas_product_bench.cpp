// OpenBLAS' products of floats beside fewbit's from codes, one thread. It reads four bytes of each weight, fewbit half
// a byte or one.

#include <cblas.h>

#include <support/products.hpp>

namespace {

using bench::Index, bench::Shape;
using fewbit::Activations;

void add_all() {
  for (const Shape& shape : bench::shapes())
    for (const Index batch : bench::batches()) {
      const std::string theirs = std::string("OpenBLAS floats, ") + shape.name;
      const std::vector<bench::Against> against = {{"OpenBLAS", theirs}};
      bench::add_fewbit("int4 g128 x int8", shape, batch, Activations::int8, bench::int4_g128, against);
      bench::add_fewbit("int8 x int8", shape, batch, Activations::int8, bench::int8_channel, against);
      bench::add_fewbit("int4 g128 x float", shape, batch, Activations::floats, bench::int4_g128, against);
      bench::add_fewbit("nf4 g64 x float", shape, batch, Activations::floats, bench::nf4_g64, against);
      bench::add(theirs, bench::batch_name(batch), [=](benchmark::State& state) {
        const Eigen::MatrixXf &w = bench::weights(shape), &x = bench::activations(shape, batch);
        bench::InTurn<Eigen::MatrixXf> matrices(w, static_cast<std::size_t>(w.size()) * sizeof(float));
        Eigen::MatrixXf y(shape.rows, batch);
        const auto m = static_cast<blasint>(shape.rows), k = static_cast<blasint>(shape.cols),
                   n = static_cast<blasint>(batch);
        for (auto _ : state) {
          if (batch == 1)
            cblas_sgemv(CblasColMajor, CblasNoTrans, m, k, 1, matrices().data(), m, x.data(), 1, 0, y.data(), 1);
          else
            cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, matrices().data(), m, x.data(), k, 0,
                        y.data(), m);
          benchmark::ClobberMemory();
        }
        if ((y - w * x).norm() > 1e-4f * y.norm()) state.SkipWithError("comes out wrong");
        bench::count(state, shape, batch, static_cast<double>(w.size()) * sizeof(float));
      });
    }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  openblas_set_num_threads(1);
  add_all();
  return bench::run(std::string("multiply-adds, OpenBLAS beside fewbit's ") + fewbit::kernel::active().name);
}
