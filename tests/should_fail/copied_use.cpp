// expect: deleted
#include <fewbit/kernel/dispatch.hpp>

const char* f(const fewbit::kernel::Table& table) {
  const fewbit::kernel::Use scope(table);
#ifdef FEWBIT_BAD
  const fewbit::kernel::Use copy(scope);  // two owners would restore the table twice
#else
  const fewbit::kernel::Use nested(table);
#endif
  return fewbit::kernel::active().name;
}
