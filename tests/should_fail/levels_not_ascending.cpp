// expect: fail_argument
#include <fewbit/grid/codebook.hpp>

#ifdef FEWBIT_BAD
constexpr std::array<float, 4> levels{-1, 0.5f, 0, 1};
#else
constexpr std::array<float, 4> levels{-1, 0, 0.5f, 1};
#endif
constexpr fewbit::Codebook grid{levels};
static_assert(grid.levels().count() == 4);
