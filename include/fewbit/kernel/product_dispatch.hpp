#pragma once
// The products that go with a table. Rule: included only by what multiplies, for they take long to compile.

#include <fewbit/kernel/dispatch.hpp>
#include <fewbit/kernel/products.hpp>
#if FEWBIT_COMPILES_KERNELS
#include <fewbit/kernel/product_tables.hpp>
#endif

namespace fewbit::kernel {

#if FEWBIT_COMPILES_KERNELS
FEWBIT_KERNELS_INLINE const Products& products_of(const Table& table) {
  for (const TableProducts& entry : all_products)
    if (entry.table == &table) return *entry.products;
  fail_argument("the table '", table.name, "' has no products; name them in kernel/product_tables.hpp");
}
#else
const Products& products_of(const Table& table);
#endif

}  // namespace fewbit::kernel
