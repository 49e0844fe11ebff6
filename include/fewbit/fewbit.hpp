#pragma once
// All of fewbit but its file formats, which are included by name (<fewbit/io/npy.hpp>). Rule: nothing lives here.

#include <fewbit/config.hpp>
#include <fewbit/core/normal.hpp>
#include <fewbit/estimate/absmean.hpp>
#include <fewbit/estimate/minmax.hpp>
#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/codebook.hpp>
#include <fewbit/grid/fp4.hpp>
#include <fewbit/grid/lloyd_max.hpp>
#include <fewbit/grid/nf4.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/linear.hpp>
#include <fewbit/ops/lora.hpp>
#include <fewbit/ops/metrics.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/ops/ternary.hpp>
#include <fewbit/quantize/double_quantize.hpp>
#include <fewbit/quantize/fake_quantize.hpp>
#include <fewbit/quantize/quantize.hpp>
