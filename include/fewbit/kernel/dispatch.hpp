#pragma once
// The table in use. Rule: chosen once, by the processor, unless the environment's FEWBIT_ISA names another. Products
// stand apart (product_dispatch.hpp), so that programs which only quantize need not compile them.

#include <atomic>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include <fewbit/config.hpp>
#include <fewbit/core/error.hpp>
#include <fewbit/kernel/table.hpp>
#if FEWBIT_COMPILES_KERNELS
#include <fewbit/kernel/tables.hpp>
#endif

namespace fewbit::kernel {

// Every table that was compiled, best first; a table may be one this processor does not support.
#if FEWBIT_COMPILES_KERNELS
FEWBIT_KERNELS_INLINE std::span<const Table* const> all() { return tables; }
#else
std::span<const Table* const> all();
#endif

// The best supported table, or the one of this name ("" and null mean the best). Throws std::invalid_argument for
// a name that is unknown, or that this processor cannot run.
inline const Table& choose(const char* wanted) {
  const std::string_view name = wanted ? wanted : "";
  std::string possible;
  for (const Table* t : all()) {
    if (!t->supported()) continue;
    if (name.empty() || name == t->name) return *t;
    possible += possible.empty() ? "" : ", ";
    possible += t->name;
  }
  fail_argument("instruction set '", name, "' cannot run here; set FEWBIT_ISA to one of ", possible, ", or unset it");
}

inline std::atomic<const Table*>& slot() {
  static std::atomic<const Table*> s{&choose(std::getenv("FEWBIT_ISA"))};
  return s;
}

// The table in use. The first call throws std::invalid_argument if FEWBIT_ISA names one that cannot run here.
inline const Table& active() { return *slot().load(std::memory_order_acquire); }

// Runs a scope on one table, for tests and benchmarks. The choice is the process's, not the thread's.
class Use {
 public:
  explicit Use(const Table& t) : before_(slot().exchange(&t)) {}
  ~Use() { slot().store(before_); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  const Table* before_;
};

}  // namespace fewbit::kernel
