// XNNPACK's convert operators: f32 to and from 8 bits, signed and unsigned. Their creation is not timed.

#include <pthreadpool.h>
#include <xnnpack.h>

#include <memory>

#include <peers/eight_bits.hpp>

namespace {

using bench::EightBits, bench::Run;

void must(xnn_status status) {
  if (status != xnn_status_success)
    std::fprintf(stderr, "XNNPACK: status %d\n", static_cast<int>(status)), std::exit(1);
}

Run running(xnn_operator_t op) {
  const std::shared_ptr<xnn_operator> owner(op, [](xnn_operator_t p) { xnn_delete_operator(p); });
  return [owner] { must(xnn_run_operator(owner.get(), nullptr)); };
}

// Rows of 4096 one after the other: XNNPACK takes them for one.
constexpr std::size_t length = bench::row_length;

Run to_int8(const EightBits& g, std::size_t n, const float* x, std::uint8_t* codes) {
  xnn_operator_t op = nullptr;
  must(xnn_create_convert_nc_f32_qs8(length, length, length, g.scale(), 0, static_cast<std::int8_t>(g.first()),
                                     static_cast<std::int8_t>(g.last()), 0, &op));
  must(xnn_setup_convert_nc_f32_qs8(op, n / length, x, reinterpret_cast<std::int8_t*>(codes), nullptr));
  return running(op);
}
Run to_u8(const EightBits& g, std::size_t n, const float* x, std::uint8_t* codes) {
  xnn_operator_t op = nullptr;
  must(xnn_create_convert_nc_f32_qu8(length, length, length, g.scale(), static_cast<std::uint8_t>(g.zero()), 0, 255, 0,
                                     &op));
  must(xnn_setup_convert_nc_f32_qu8(op, n / length, x, codes, nullptr));
  return running(op);
}
Run from_int8(const EightBits& g, std::size_t n, const std::uint8_t* codes, float* w) {
  xnn_operator_t op = nullptr;
  must(xnn_create_convert_nc_qs8_f32(length, length, length, g.scale(), 0, 0, &op));
  must(xnn_setup_convert_nc_qs8_f32(op, n / length, reinterpret_cast<const std::int8_t*>(codes), w, nullptr));
  return running(op);
}
Run from_u8(const EightBits& g, std::size_t n, const std::uint8_t* codes, float* w) {
  xnn_operator_t op = nullptr;
  must(xnn_create_convert_nc_qu8_f32(length, length, length, g.scale(), static_cast<std::uint8_t>(g.zero()), 0, &op));
  must(xnn_setup_convert_nc_qu8_f32(op, n / length, codes, w, nullptr));
  return running(op);
}

}  // namespace

int main(int argc, char** argv) {
  bench::start(argc, argv);
  must(xnn_initialize(nullptr));
  bench::add_memory_alone();
  bench::add_quantize(bench::symmetric(), "XNNPACK", to_int8);
  bench::add_quantize(bench::asymmetric(), "XNNPACK", to_u8);
  bench::add_dequantize(bench::symmetric(), "XNNPACK", from_int8);
  bench::add_dequantize(bench::asymmetric(), "XNNPACK", from_u8);
  return bench::run(std::string("XNNPACK beside fewbit's ") + fewbit::kernel::active().name + "; " +
                    bench::row_sizes_in_words);
}
