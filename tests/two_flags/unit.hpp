#pragma once
// One translation unit's view of the library. unit.cpp is compiled several times under different flags, each time with
// another UNIT. Rule: no Eigen crosses this border, only the stored type and plain vectors.

#include <vector>

#include <fewbit/storage/quantized_matrix.hpp>

#define DECLARE_UNIT(name)                                          \
  namespace name {                                                  \
  fewbit::QuantizedMatrix make();                                   \
  std::vector<float> decode(const fewbit::QuantizedMatrix& q);      \
  std::vector<float> fake(const fewbit::QuantizedMatrix& like);     \
  std::vector<float> multiply(const fewbit::QuantizedMatrix& q);    \
  std::vector<float> round_trips(const fewbit::QuantizedMatrix& q); \
  }

DECLARE_UNIT(first)
DECLARE_UNIT(second)
#undef DECLARE_UNIT
