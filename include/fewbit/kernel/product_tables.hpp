#pragma once
// Which products go with which table. Rule: every table of tables.hpp has its own; a test asks for them all.

#include <array>

#include <fewbit/kernel/avx2_products.hpp>
#include <fewbit/kernel/avx512_products.hpp>
#include <fewbit/kernel/neon_products.hpp>
#include <fewbit/kernel/scalar_products.hpp>
#include <fewbit/kernel/tables.hpp>

namespace fewbit::kernel {

struct TableProducts {
  const Table* table;
  const Products* products;
};
inline constexpr std::array all_products {
#if FEWBIT_X86_64
  TableProducts{&avx512::table_vbmi, &avx512::products_vnni},
      TableProducts{&avx512::table_vnni, &avx512::products_vnni}, TableProducts{&avx512::table, &avx512::products},
      TableProducts{&avx2::table, &avx2::products},
#endif
#if FEWBIT_ARM64
      TableProducts{&neon::table_dot, &neon::products_dot}, TableProducts{&neon::table, &neon::products},
#endif
      TableProducts{&scalar::table, &scalar::products},
};

}  // namespace fewbit::kernel
