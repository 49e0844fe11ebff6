// Which table runs, and who decides.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include <fewbit/kernel/dispatch.hpp>

#include <support/catch.hpp>

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

namespace kernel = fewbit::kernel;

const kernel::Table& best_supported() {
  for (const kernel::Table* t : kernel::all())
    if (t->supported()) return *t;
  throw std::logic_error("no table is supported here");
}

#if defined(__x86_64__) && defined(__GNUC__)
// Asked of the processor here once more, so that a table that wrongly calls itself unsupported is noticed.
bool processor_has_avx2() { return __builtin_cpu_supports("avx2") != 0; }
#else
bool processor_has_avx2() { return false; }
#endif

}  // namespace

TEST_CASE("the active table is the one FEWBIT_ISA names, or else the best this processor runs", "[kernel][dispatch]") {
  const char* wanted = std::getenv("FEWBIT_ISA");
  const bool named = wanted != nullptr && *wanted != '\0';
  INFO("FEWBIT_ISA is " << (named ? wanted : "not set") << ", active is " << kernel::active().name);
  if (named) CHECK(std::string(kernel::active().name) == wanted);
  else CHECK(&kernel::active() == &best_supported());
  CHECK(kernel::active().supported());
}

TEST_CASE("AVX2 is offered where the processor has it, and is better than scalar", "[kernel][dispatch]") {
  bool avx2 = false, scalar = false;
  for (const kernel::Table* t : kernel::all()) {
    REQUIRE(t != nullptr);
    CHECK_FALSE(scalar);  // the last of all
    if (std::strcmp(t->name, "avx2") == 0) avx2 = t->supported();
    if (std::strcmp(t->name, "scalar") == 0) scalar = t->supported();
  }
  CHECK(scalar);
  CHECK(avx2 == processor_has_avx2());
}

TEST_CASE("a table can be chosen by name; a name that cannot run is refused with the possible ones",
          "[kernel][dispatch]") {
  for (const kernel::Table* t : kernel::all()) {
    if (t->supported()) CHECK(&kernel::choose(t->name) == t);
    else CHECK_THROWS_AS(kernel::choose(t->name), std::invalid_argument);
  }
  CHECK(&kernel::choose(nullptr) == &best_supported());
  CHECK(&kernel::choose("") == &best_supported());
  for (const char* wrong : {"sse9", "SCALAR", "scalar ", "avx"}) {
    INFO(wrong);
    try {
      kernel::choose(wrong);
      FAIL("accepted");
    } catch (const std::invalid_argument& e) {
      const std::string what = e.what();
      CHECK(what.rfind("fewbit: ", 0) == 0);
      CHECK(what.find(wrong) != std::string::npos);
      CHECK(what.find("scalar") != std::string::npos);
      CHECK(what.find("FEWBIT_ISA") != std::string::npos);
    }
  }
}

TEST_CASE("Use changes the active table for a scope, and scopes nest", "[kernel][dispatch]") {
  const kernel::Table& before = kernel::active();
  for (const kernel::Table* outer : kernel::all()) {
    if (!outer->supported()) continue;
    const kernel::Use use(*outer);
    CHECK(&kernel::active() == outer);
    {
      const kernel::Use inner(kernel::choose("scalar"));
      CHECK(std::string(kernel::active().name) == "scalar");
    }
    CHECK(&kernel::active() == outer);
  }
  CHECK(&kernel::active() == &before);
}

#if defined(__linux__)
namespace {

// Runs one hidden case of this program under another FEWBIT_ISA; its exit status, or -1 if this machine cannot
// start its own program again (an emulator).
int run_case_with_isa(const char* name, const char* isa) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("FEWBIT_ISA", isa, 1);
    if (freopen("/dev/null", "w", stdout) != nullptr)
      execl("/proc/self/exe", "test", name, static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) == 127) return -1;
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("a process whose FEWBIT_ISA cannot run refuses at the first use", "[.child]") {
  CHECK_THROWS_AS(kernel::active(), std::invalid_argument);
  CHECK_THROWS_AS(kernel::active(), std::invalid_argument);  // and at the next
}

TEST_CASE("a process whose FEWBIT_ISA is scalar runs scalar", "[.child]") {
  CHECK(std::string(kernel::active().name) == "scalar");
}

TEST_CASE("FEWBIT_ISA is read from the environment of the process", "[kernel][dispatch]") {
  const int refused =
      run_case_with_isa("a process whose FEWBIT_ISA cannot run refuses at the first use", "no-such-set");
  const int scalar = run_case_with_isa("a process whose FEWBIT_ISA is scalar runs scalar", "scalar");
  if (refused < 0 || scalar < 0) {
    WARN("this machine cannot start the test program a second time");
    return;
  }
  CHECK(refused == 0);
  CHECK(scalar == 0);
}
#endif
