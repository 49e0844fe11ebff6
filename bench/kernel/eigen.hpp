#pragma once
// What one writes with Eigen instead of a kernel, and compiles in two ways: as a user who gives -O2 alone, and as one
// who gives -O3 -march=native. Rule: nothing but raw pointers crosses, and each way hides every name but one: the two
// instantiate the same templates of Eigen, which the linker would make one of.

#include <cstddef>
#include <cstdint>

namespace bench {

// A row of n weights in groups with a scale each: code c stands for scale * (first + c), up to last, or for
// scale * levels[c] of 16 levels. No zero-point.
struct EigenRow {
  std::size_t n, group;
  const float* scale;
  int bits;
  float first, last;
  const float* levels;
};

struct EigenKernels {
  void (*ranges)(const float* x, std::size_t n, std::size_t group, float* lo, float* hi);
  void (*quantize)(const float* x, const EigenRow&, std::uint8_t* packed);
  void (*dequantize)(const std::uint8_t* packed, const EigenRow&, float* out);
  void (*fake_quantize)(const float* x, const EigenRow&, float* out);
  // The gradient where x is rounded to one of the codes, and 0 elsewhere. Integer formats only.
  void (*clip_gradient)(const float* x, const EigenRow&, const float* gradient, float* out);
  // c = a b, and the Cholesky factor of a in its place, for matrices of n x n by columns.
  void (*multiply_floats)(std::size_t n, const float* a, const float* b, float* c);
  void (*multiply_doubles)(std::size_t n, const double* a, const double* b, double* c);
  void (*factor)(std::size_t n, double* a);
};

const EigenKernels& eigen_o2();
const EigenKernels& eigen_native();

}  // namespace bench
