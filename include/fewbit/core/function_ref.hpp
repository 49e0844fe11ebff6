#pragma once
// A function of the caller's, handed down without a template: what takes one is compiled once, whatever is handed.
// Rule: it is called as long as the call lasts that it was given to, and never kept.

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace fewbit {

template <class Signature>
class FunctionRef;

template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
  requires(std::is_class_v<F> && !std::same_as<F, FunctionRef> && std::is_invocable_r_v<R, const F&, A...>)
      FunctionRef(const F& f)  // not explicit: a lambda is written where it is handed over
      : function_(std::addressof(f)), call_([](const void* function, A... arguments) -> R {
          return static_cast<R>((*static_cast<const F*>(function))(std::forward<A>(arguments)...));
        }) {}

  R operator()(A... arguments) const { return call_(function_, std::forward<A>(arguments)...); }

 private:
  const void* function_;
  R (*call_)(const void*, A...);
};

}  // namespace fewbit
