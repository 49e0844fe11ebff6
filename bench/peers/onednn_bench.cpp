// oneDNN's reorders: f32 to and from 8 bits, signed and unsigned; and its reductions, two of which find what ranges
// finds. What it generates for a shape is made before the time is taken. One thread.

#include <dlfcn.h>

#include <oneapi/dnnl/dnnl.hpp>

#include <peers/eight_bits.hpp>

namespace {

using bench::EightBits, bench::Run;
using dnnl::memory;

// Kept to the end: the streams and the memory that refer to it are.
const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::desc line(std::size_t n, memory::data_type type) {
  return {{static_cast<memory::dim>(n)}, type, memory::format_tag::a};
}

memory at(const memory::desc& desc, const void* p) { return {desc, cpu(), const_cast<void*>(p)}; }

Run reordering(const memory::desc& from, const void* x, const memory::desc& to, void* y,
               const dnnl::primitive_attr& attributes) {
  const dnnl::reorder reorder(dnnl::reorder::primitive_desc(cpu(), from, cpu(), to, attributes));
  return [reorder, in = at(from, x), out = at(to, y), stream = dnnl::stream(cpu())]() mutable {
    reorder.execute(stream, in, out);
    stream.wait();
  };
}

Run to_codes(const EightBits& g, std::size_t n, const float* x, std::uint8_t* codes) {
  dnnl::primitive_attr attributes;
  attributes.set_output_scales(0, {1 / g.scale()});
  if (g.zero() != 0) attributes.set_zero_points(DNNL_ARG_DST, 0, {g.zero()});
  const auto type = g.first() < 0 ? memory::data_type::s8 : memory::data_type::u8;
  return reordering(line(n, memory::data_type::f32), x, line(n, type), codes, attributes);
}

Run from_codes(const EightBits& g, std::size_t n, const std::uint8_t* codes, float* w) {
  dnnl::primitive_attr attributes;
  attributes.set_output_scales(0, {g.scale()});
  if (g.zero() != 0) attributes.set_zero_points(DNNL_ARG_SRC, 0, {g.zero()});
  const auto type = g.first() < 0 ? memory::data_type::s8 : memory::data_type::u8;
  return reordering(line(n, type), codes, line(n, memory::data_type::f32), w, attributes);
}

Run reducing(dnnl::algorithm algorithm, std::size_t n, const float* x, float* result) {
  const memory::desc from = line(n, memory::data_type::f32), to = line(1, memory::data_type::f32);
  const dnnl::reduction reduction(dnnl::reduction::primitive_desc({algorithm, from, to, 0, 0}, cpu()));
  return [reduction, in = at(from, x), out = at(to, result), stream = dnnl::stream(cpu())]() mutable {
    reduction.execute(stream, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, out}});
    stream.wait();
  };
}

void add_ranges() {
  static fewbit::Range theirs;
  for (const bench::Size& size : bench::row_sizes()) {
    const auto ours = [=]() -> Run {
      return [=, w = bench::weights(size)] {
        fewbit::Range range;
        fewbit::kernel::active().ranges(w, size.weights(), size.weights(), &range);
        benchmark::DoNotOptimize(range);
      };
    };
    const auto two = [=]() -> Run {
      return [least = reducing(dnnl::algorithm::reduction_min, size.weights(), bench::weights(size), &theirs.lo),
              most = reducing(dnnl::algorithm::reduction_max, size.weights(), bench::weights(size), &theirs.hi)] {
        least(), most();
      };
    };
    bench::add_pair("smallest and largest", "oneDNN", size, 4, ours, two,
                    [] { return theirs == bench::range_of_weights(); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  // Through whichever OpenMP the library brought along: linking one ourselves could bring a second.
  if (void* set = dlsym(RTLD_DEFAULT, "omp_set_num_threads")) reinterpret_cast<void (*)(int)>(set)(1);
  bench::add_memory_alone();
  add_ranges();
  bench::add_quantize(bench::symmetric(), "oneDNN", to_codes);
  bench::add_quantize(bench::asymmetric(), "oneDNN", to_codes);
  bench::add_dequantize(bench::symmetric(), "oneDNN", from_codes);
  bench::add_dequantize(bench::asymmetric(), "oneDNN", from_codes);
  return bench::run(std::string("oneDNN beside fewbit's ") + fewbit::kernel::active().name + "; " +
                    bench::row_sizes_in_words);
}
