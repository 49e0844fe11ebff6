// expect: fail_argument
#include <fewbit/grid/symmetric.hpp>

#ifdef FEWBIT_BAD
constexpr fewbit::Symmetric grid(17);
#else
constexpr fewbit::Symmetric grid(16);
#endif
static_assert(grid.levels().bits() > 0);
