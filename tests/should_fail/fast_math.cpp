// flags: -ffast-math
// flags: -ffinite-math-only
// flags-gcc: -Ofast
// flags-gcc: -freciprocal-math
// flags-gcc: -fassociative-math -fno-signed-zeros -fno-trapping-math
// expect: fewbit: -ffast-math
#include <fewbit/config.hpp>

static_assert(FEWBIT_VERSION_MAJOR >= 0);
