// The kernels of all test programs, compiled once.
#define FEWBIT_KERNELS_HERE
#include <fewbit/kernel/product_dispatch.hpp>
