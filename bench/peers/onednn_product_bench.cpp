// oneDNN's products beside fewbit's from codes, one thread: floats, and s8 x s8 to s32 with weights in the layout it
// chooses for itself, which it keeps beside the ones that are saved.

#include <dlfcn.h>

#include <oneapi/dnnl/dnnl.hpp>

#include <support/products.hpp>

namespace {

using bench::Index, bench::Shape;
using dnnl::memory;
using fewbit::Activations;

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// Y[batch, out] = X[batch, in] W[in, out]: the columns of X and Y are rows here.
void multiply(benchmark::State& state, const Shape& shape, Index batch, bool integers) {
  const auto type = integers ? memory::data_type::s8 : memory::data_type::f32;
  const memory::desc x({batch, shape.cols}, type, memory::format_tag::ab);
  const memory::desc y({batch, shape.rows}, integers ? memory::data_type::s32 : memory::data_type::f32,
                       memory::format_tag::ab);
  const memory::desc any({shape.cols, shape.rows}, type, memory::format_tag::any);
  const dnnl::matmul::primitive_desc how(dnnl::matmul::desc(x, any, y), cpu());
  const dnnl::matmul product(how);
  dnnl::stream stream(cpu());
  memory in(x, cpu()), out(y, cpu());
  std::memset(in.get_data_handle(), 1, x.get_size());
  const std::size_t bytes = how.weights_desc().get_size(),
                    copies = bench::checking() ? 1 : 1 + (std::size_t{128} << 20) / bytes;
  std::vector<memory> weights;
  for (std::size_t i = 0; i < copies; ++i) {
    weights.emplace_back(how.weights_desc(), cpu());
    std::memset(weights.back().get_data_handle(), 1, bytes);
  }
  std::size_t next = 0;
  for (auto _ : state) {
    product.execute(stream, {{DNNL_ARG_SRC, in}, {DNNL_ARG_WEIGHTS, weights[next++ % copies]}, {DNNL_ARG_DST, out}});
    stream.wait();
  }
  bench::count(state, shape, batch, static_cast<double>(bytes));
}

void add_all() {
  for (const Shape& shape : bench::shapes())
    for (const Index batch : bench::batches()) {
      const std::string floats = std::string("oneDNN floats, ") + shape.name,
                        integers = std::string("oneDNN s8 x s8, ") + shape.name;
      const std::vector<bench::Against> against = {{"f32", floats}, {"s8s8", integers}};
      bench::add_fewbit("int4 g128 x int8", shape, batch, Activations::int8, bench::int4_g128, against);
      bench::add_fewbit("int8 x int8", shape, batch, Activations::int8, bench::int8_channel, against);
      bench::add_fewbit("int4 g128 x float", shape, batch, Activations::floats, bench::int4_g128, against);
      bench::add_fewbit("nf4 g64 x float", shape, batch, Activations::floats, bench::nf4_g64, against);
      bench::add(floats, bench::batch_name(batch), [=](benchmark::State& s) { multiply(s, shape, batch, false); });
      bench::add(integers, bench::batch_name(batch), [=](benchmark::State& s) { multiply(s, shape, batch, true); });
    }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  // Through whichever OpenMP the library brought along: linking one ourselves could bring a second.
  if (void* set = dlsym(RTLD_DEFAULT, "omp_set_num_threads")) reinterpret_cast<void (*)(int)>(set)(1);
  add_all();
  return bench::run(std::string("multiply-adds, oneDNN beside fewbit's ") + fewbit::kernel::active().name);
}
