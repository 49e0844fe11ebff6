// The obvious expression, group by group. Compiled twice: FEWBIT_BENCH_EIGEN is eigen_o2 or eigen_native.
//
// Codes of 8 and 16 bits are a cast. Narrower ones are bytes first and packed by shifts, as Eigen knows no such type.

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include <kernel/eigen.hpp>

namespace bench {
namespace {

using Eigen::Array;
using Eigen::Dynamic;
using Eigen::Index;
using Eigen::Map;
using Floats = Map<Array<float, Dynamic, 1>>;
using ConstFloats = Map<const Array<float, Dynamic, 1>>;
template <class T>
using Codes = Array<T, Dynamic, 1>;
using Bytes = Codes<std::uint8_t>;

// Calls f(first weight, how many, scale) for each group.
template <class F>
void each_group(const EigenRow& r, F&& f) {
  for (std::size_t k = 0, g = 0; k < r.n; k += r.group, ++g)
    f(static_cast<Index>(k), static_cast<Index>(r.n - k < r.group ? r.n - k : r.group), r.scale[g]);
}

template <int bits>
void pack(const Bytes& codes, std::uint8_t* packed) {
  if constexpr (8 % bits == 0) {
    constexpr Index per_byte = 8 / bits;
    for (Index k = 0; k < codes.size(); k += per_byte) {
      int byte = 0;
      for (Index j = 0; j < per_byte; ++j) byte |= codes[k + j] << (bits * j);
      packed[k / per_byte] = static_cast<std::uint8_t>(byte);
    }
  } else {
    unsigned word = 0, held = 0;
    for (Index k = 0; k < codes.size(); ++k) {
      word |= static_cast<unsigned>(codes[k]) << held;
      for (held += bits; held >= 8; held -= 8, word >>= 8) *packed++ = static_cast<std::uint8_t>(word);
    }
  }
}

template <int bits>
void unpack(const std::uint8_t* packed, Bytes& codes) {
  constexpr unsigned mask = (1 << bits) - 1;
  if constexpr (8 % bits == 0) {
    constexpr Index per_byte = 8 / bits;
    for (Index k = 0; k < codes.size(); k += per_byte)
      for (Index j = 0; j < per_byte; ++j)
        codes[k + j] = static_cast<std::uint8_t>(static_cast<unsigned>(packed[k / per_byte] >> (bits * j)) & mask);
  } else {
    unsigned word = 0, held = 0;
    for (Index k = 0; k < codes.size(); ++k) {
      for (; held < bits; held += 8) word |= static_cast<unsigned>(*packed++) << held;
      codes[k] = static_cast<std::uint8_t>(word & mask);
      word >>= bits, held -= bits;
    }
  }
}

void pack(const Bytes& codes, int bits, std::uint8_t* packed) {
  switch (bits) {
    case 1: return pack<1>(codes, packed);
    case 2: return pack<2>(codes, packed);
    case 3: return pack<3>(codes, packed);
    case 4: return pack<4>(codes, packed);
    default: return pack<5>(codes, packed);
  }
}
void unpack(const std::uint8_t* packed, int bits, Bytes& codes) {
  switch (bits) {
    case 1: return unpack<1>(packed, codes);
    case 2: return unpack<2>(packed, codes);
    case 3: return unpack<3>(packed, codes);
    case 4: return unpack<4>(packed, codes);
    default: return unpack<5>(packed, codes);
  }
}

Index nearest(const Map<const Array<float, 16, 1>>& levels, float u) {
  Index code = 0;
  (levels - u).abs().minCoeff(&code);
  return code;
}

void ranges(const float* x, std::size_t n, std::size_t group, float* lo, float* hi) {
  for (std::size_t k = 0; k < n; k += group) {
    const ConstFloats w(x + k, static_cast<Index>(n - k < group ? n - k : group));
    *lo++ = w.minCoeff(), *hi++ = w.maxCoeff();
  }
}

template <class T>
void quantize_integers(const float* x, const EigenRow& r, T* codes) {
  each_group(r, [&](Index k, Index n, float scale) {
    Map<Codes<T>>(codes + k, n) =
        ((ConstFloats(x + k, n) / scale).rint().max(r.first).min(r.last) - r.first).template cast<T>();
  });
}

void quantize(const float* x, const EigenRow& r, std::uint8_t* packed) {
  if (r.bits == 8) return quantize_integers(x, r, packed);
  if (r.bits == 16) return quantize_integers(x, r, reinterpret_cast<std::uint16_t*>(packed));
  Bytes codes(static_cast<Index>(r.n));
  if (r.levels == nullptr) {
    quantize_integers(x, r, codes.data());
  } else {
    const Map<const Array<float, 16, 1>> levels(r.levels);
    each_group(r, [&](Index first, Index n, float scale) {
      for (Index k = first; k < first + n; ++k) codes[k] = static_cast<std::uint8_t>(nearest(levels, x[k] / scale));
    });
  }
  pack(codes, r.bits, packed);
}

template <class T>
void dequantize_integers(const T* codes, const EigenRow& r, float* out) {
  each_group(r, [&](Index k, Index n, float scale) {
    Floats(out + k, n) = (Map<const Codes<T>>(codes + k, n).template cast<float>() + r.first) * scale;
  });
}

void dequantize(const std::uint8_t* packed, const EigenRow& r, float* out) {
  if (r.bits == 8) return dequantize_integers(packed, r, out);
  if (r.bits == 16) return dequantize_integers(reinterpret_cast<const std::uint16_t*>(packed), r, out);
  Bytes codes(static_cast<Index>(r.n));
  unpack(packed, r.bits, codes);
  if (r.levels == nullptr) return dequantize_integers(codes.data(), r, out);
  each_group(r, [&](Index first, Index n, float scale) {
    for (Index k = first; k < first + n; ++k) out[k] = r.levels[codes[k]] * scale;
  });
}

void fake_quantize(const float* x, const EigenRow& r, float* out) {
  if (r.levels == nullptr) {
    each_group(r, [&](Index k, Index n, float scale) {
      Floats(out + k, n) = (ConstFloats(x + k, n) / scale).rint().max(r.first).min(r.last) * scale;
    });
    return;
  }
  const Map<const Array<float, 16, 1>> levels(r.levels);
  each_group(r, [&](Index first, Index n, float scale) {
    for (Index k = first; k < first + n; ++k) out[k] = levels[nearest(levels, x[k] / scale)] * scale;
  });
}

void clip_gradient(const float* x, const EigenRow& r, const float* gradient, float* out) {
  each_group(r, [&](Index k, Index n, float scale) {
    const auto code = (ConstFloats(x + k, n) / scale).rint();
    Floats(out + k, n) = (code >= r.first && code <= r.last).select(ConstFloats(gradient + k, n), 0.f);
  });
}

template <class T>
void multiply(std::size_t n, const T* a, const T* b, T* c) {
  using Square = Eigen::Matrix<T, Dynamic, Dynamic>;
  const auto size = static_cast<Index>(n);
  Map<Square>(c, size, size).noalias() = Map<const Square>(a, size, size) * Map<const Square>(b, size, size);
}

void factor(std::size_t n, double* a) {
  Map<Eigen::MatrixXd> in_place(a, static_cast<Index>(n), static_cast<Index>(n));
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> llt(in_place);
}

}  // namespace

__attribute__((visibility("default"))) const EigenKernels& FEWBIT_BENCH_EIGEN() {
  static constexpr EigenKernels all{ranges,        quantize,        dequantize,       fake_quantize,
                                    clip_gradient, multiply<float>, multiply<double>, factor};
  return all;
}

}  // namespace bench
