#pragma once
// The bits of one type as another. Rule: what std::bit_cast is, which libc++ has from version 14 on and Emscripten's of
// 2022 therefore lacks; all compilers that read fewbit have the builtin.

namespace fewbit {

template <class To, class From>
constexpr To bit_cast(const From& from) {
  return __builtin_bit_cast(To, from);
}

}  // namespace fewbit
