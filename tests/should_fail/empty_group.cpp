// expect: fail_argument
#include <fewbit/core/granularity.hpp>

#ifdef FEWBIT_BAD
constexpr fewbit::Granularity granularity = fewbit::per_group(0);
#else
constexpr fewbit::Granularity granularity = fewbit::per_group(1);
#endif
static_assert(granularity.rows == 1);
