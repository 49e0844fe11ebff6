// expect: fewbit::Symmetric
#include <fewbit/grid/symmetric.hpp>

constexpr int bits(const fewbit::Symmetric& grid) { return grid.levels().bits(); }

#ifdef FEWBIT_BAD
static_assert(bits(4) == 4);  // a number is not a grid: f(w, 4) would leave the reader to guess which
#else
static_assert(bits(fewbit::Symmetric(4)) == 4);
#endif
