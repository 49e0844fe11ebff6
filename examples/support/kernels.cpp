// The kernels of all examples, compiled once.
#define FEWBIT_KERNELS_HERE
#include <fewbit/kernel/product_dispatch.hpp>
