#pragma once
// Rows over threads, when the program is compiled with OpenMP; one thread otherwise. Rule: no result depends on
// how many there are, an exception included: the one of the lowest rows comes out.

#include <algorithm>
#include <exception>
#include <mutex>
#include <utility>

#include <fewbit/core/arithmetic.hpp>
#include <fewbit/core/granularity.hpp>
#include <fewbit/eigen/abi.hpp>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace fewbit {
inline namespace FEWBIT_ABI {

// Keeps the exception of the lowest position until the threads have joined.
class FirstError {
 public:
  void keep(Index at, std::exception_ptr e) {
    const std::lock_guard lock(mutex_);
    if (!error_ || at < at_) at_ = at, error_ = std::move(e);
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  Index at_ = 0;
  std::exception_ptr error_;
};

// Calls f(first, last) for slices of 0 .. n, each starting at a multiple of `grain`, on as many threads as Eigen
// would use (Eigen::setNbThreads, OMP_NUM_THREADS), each in the stated arithmetic. Work of less than `grain` is not
// worth a second thread.
template <class F>
void for_each_slice(Index n, Index grain, F&& f) {
#ifdef _OPENMP
  const Index pieces = std::min<Index>((n + grain - 1) / grain, Eigen::nbThreads());
  if (pieces > 1 && !omp_in_parallel()) {
    FirstError error;
    const Index slice = ((n + pieces - 1) / pieces + grain - 1) / grain * grain;
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(pieces))
    for (Index p = 0; p < pieces; ++p) {
      const Index first = p * slice, last = std::min(n, first + slice);
      const StatedArithmetic stated;
      try {
        if (first < last) f(first, last);
      } catch (...) {
        error.keep(first, std::current_exception());
      }
    }
    return error.rethrow();
  }
#endif
  static_cast<void>(grain);
  const StatedArithmetic stated;
  if (n > 0) f(Index{0}, n);
}

// The p-th of n pieces that are to be shared out in slices, the first and the last ones in turn. Where pieces grow from
// one to the next, as those of a triangle do, a slice of many short and a slice of few long ones would not be even.
inline Index in_turn(Index p, Index n) { return p % 2 == 0 ? p / 2 : n - 1 - p / 2; }

}  // namespace FEWBIT_ABI
}  // namespace fewbit
