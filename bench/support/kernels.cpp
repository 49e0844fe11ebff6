// The kernels of all benchmarks, compiled once.
#define FEWBIT_KERNELS_HERE
#include <fewbit/kernel/product_dispatch.hpp>
