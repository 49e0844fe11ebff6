#pragma once
// The inline namespace of everything that touches Eigen, and why it exists: Eigen allocates one way with 16-byte
// alignment and another with 32 (-mavx2), so translation units compiled differently must not share an inline
// function that makes or frees an Eigen matrix. Nor one whose body forks threads in one and not in the other.
// Rule: whatever names an Eigen type is declared inside `inline namespace FEWBIT_ABI`.

#include <Eigen/Core>

#include <fewbit/config.hpp>

#define FEWBIT_JOIN_(a, b, c) a##b##c
#define FEWBIT_JOIN(a, b, c) FEWBIT_JOIN_(a, b, c)
#ifdef _OPENMP
#define FEWBIT_ABI FEWBIT_JOIN(eigen, FEWBIT_ALIGN, _threads)
#else
#define FEWBIT_ABI FEWBIT_JOIN(eigen, FEWBIT_ALIGN, )
#endif

#if EIGEN_DEFAULT_ALIGN_BYTES == 0
#define FEWBIT_ALIGN 0
#elif EIGEN_DEFAULT_ALIGN_BYTES == 16
#define FEWBIT_ALIGN 16
#elif EIGEN_DEFAULT_ALIGN_BYTES == 32
#define FEWBIT_ALIGN 32
#else
#define FEWBIT_ALIGN 64
#endif

namespace fewbit {
inline namespace FEWBIT_ABI {

using RowMajorMatrixXf = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace FEWBIT_ABI
}  // namespace fewbit
