// What is handed down without a template: called as it is, not copied, with what it was given.

#include <memory>
#include <stdexcept>
#include <type_traits>

#include <fewbit/core/function_ref.hpp>

#include <support/catch.hpp>

namespace {

using fewbit::FunctionRef;

int call(FunctionRef<int(int)> f, int x) { return f(x); }

struct Uncopied {
  int unit;
  Uncopied(int u) : unit(u) {}
  Uncopied(const Uncopied&) = delete;
  int operator()(int x) const { return unit * x; }
};

}  // namespace

TEST_CASE("a FunctionRef calls what it was made of, and does not copy it", "[function_ref]") {
  int sum = 0;
  CHECK(call([&](int x) { return sum += x; }, 4) == 4);
  CHECK(sum == 4);

  const Uncopied twice(2), seven(7);
  CHECK(call(twice, 4) == 8);
  FunctionRef<int(int)> f = twice;
  f = seven;
  const FunctionRef<int(int)> same = f;  // the same function, not one that calls f
  f = twice;
  CHECK(same(4) == 28);
}

TEST_CASE("a FunctionRef passes references and what can only be moved", "[function_ref]") {
  int to = 0;
  const auto set = [](int& at, std::unique_ptr<int> what) { return at = *what; };
  const FunctionRef<void(int&, std::unique_ptr<int>)> f = set;  // what is returned is dropped
  f(to, std::make_unique<int>(9));
  CHECK(to == 9);
  const Uncopied thrice(3);
  const FunctionRef<double(int)> widened = thrice;
  CHECK(widened(2) == 6.0);
  CHECK_THROWS_AS(call([](int) -> int { throw std::length_error(""); }, 1), std::length_error);
}

TEST_CASE("a FunctionRef is made only of what can be called so", "[function_ref]") {
  const auto of_nothing = [] { return 0; };
  const auto to_pointer = [](int x) { return std::make_unique<int>(x); };
  CHECK(std::is_convertible_v<Uncopied, FunctionRef<int(int)>>);
  CHECK_FALSE(std::is_convertible_v<decltype(of_nothing), FunctionRef<int(int)>>);
  CHECK_FALSE(std::is_convertible_v<decltype(to_pointer), FunctionRef<int(int)>>);
}
