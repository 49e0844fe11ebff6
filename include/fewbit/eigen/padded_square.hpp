#pragma once
// A square matrix by rows, with room between them: at a power of two they would share the sets of a cache. Rule: it is
// memory, and what was not written is not there.

#include <fewbit/core/granularity.hpp>
#include <fewbit/eigen/abi.hpp>
#include <fewbit/storage/bytes.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

template <class T>
struct PaddedSquare {
  Index n, stride;
  Buffer<T> data;
  explicit PaddedSquare(Index size) : n(size), stride((size + 15) / 16 * 16 + 16), data(room_for(n, stride)) {}
  T* row(Index i) { return data.data() + i * stride; }
  const T* row(Index i) const { return data.data() + i * stride; }
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
