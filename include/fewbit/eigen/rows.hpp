#pragma once
// Any Eigen expression, seen row by row as contiguous floats, and rows written back to any Eigen matrix. Rule:
// this is the only place that knows storage orders, strides and scalar types; past it, none is part of a type, so that
// what walks rows is compiled once for all expressions.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>

#include <fewbit/core/error.hpp>
#include <fewbit/core/function_ref.hpp>
#include <fewbit/eigen/abi.hpp>
#include <fewbit/eigen/threads.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

template <class T>
inline constexpr bool is_real =
    std::is_floating_point_v<T> || std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>;

struct Element;

// Weights in memory, element (i, j) at data[i * row_stride + j * col_stride]. Strides may be negative. T is the type of
// an element, or void, const if they are only to be read, where that is left to `element`. By default no weights.
template <class T>
struct Strided {
  using Float = std::conditional_t<std::is_const_v<T>, const float, float>;

  T* data = nullptr;
  const Element* element = nullptr;
  Index rows = 0, cols = 0, row_stride = 0, col_stride = 0;

  template <class U>
  Strided<U> as() const {
    return {static_cast<U*>(data), element, rows, cols, row_stride, col_stride};
  }
  auto& at(Index i, Index j) const { return data[i * row_stride + j * col_stride]; }

  bool has_weights() const { return element != nullptr; }
  bool is_float_rows() const;
  // Where a row of adjacent floats starts. A matrix of no columns has no memory, and null must not be moved.
  Float* float_row(Index i) const {
    Float* const floats = static_cast<Float*>(data);
    return cols == 0 ? floats : floats + i * row_stride;
  }
  bool along_columns() const { return std::abs(row_stride) < std::abs(col_stride); }

  // Rows are copied in panels. Memory that runs along columns is read 64 rows at a time, four cache lines of each
  // column and a fraction of the page misses; a very wide matrix makes do with one line.
  Index panel() const { return !along_columns() ? 1 : cols <= (1 << 16) ? 64 : 16; }

  // Whether rows that are written had better go past the cache: what will not be in it when it is read is written a
  // fifth to a third faster from 32 MiB on, and ruinously slowly well below.
  bool is_streamed() const { return is_float_rows() && rows * cols >= Index{32} * 1024 * 1024 / Index{sizeof(float)}; }
};

// out[r * out_stride + c] = in[c * in_stride + r] for r, c < 4. Compilers know the shuffles on every instruction set.
inline void transpose_4x4(const float* in, Index in_stride, float* out, Index out_stride) {
  using Float4 = float __attribute__((vector_size(16)));
  Float4 x[4];
  for (Index c = 0; c < 4; ++c) std::memcpy(&x[c], in + c * in_stride, sizeof x[c]);
  const Float4 a = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5), b = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
  const Float4 c = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7), d = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
  x[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5), x[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  x[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5), x[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
  for (Index r = 0; r < 4; ++r) std::memcpy(out + r * out_stride, &x[r], sizeof x[r]);
}

// The same for `rows` x `cols` floats of any number.
inline void transpose(const float* in, Index in_stride, float* out, Index out_stride, Index rows, Index cols) {
  for (Index r = 0; r < rows; r += 4)
    for (Index c = 0; c < cols; c += 4) {
      if (r + 4 <= rows && c + 4 <= cols) {
        transpose_4x4(in + c * in_stride + r, in_stride, out + r * out_stride + c, out_stride);
        continue;
      }
      for (Index i = r; i < std::min(r + 4, rows); ++i)
        for (Index j = c; j < std::min(c + 4, cols); ++j) out[i * out_stride + j] = in[j * in_stride + i];
    }
}

// A copy of some rows, one behind the other. The rows are kept apart by a line more than they need: at a power of
// two they would all lie in one set of the cache.
class Panel {
 public:
  Panel(Index rows, Index cols) : stride_(cols + 16), data_(room_for(rows, stride_)) {}
  float* row(Index k) { return data_.data() + k * stride_; }

  // Takes n rows of w, from `first` on; gives them back.
  template <class T>
  void read(const Strided<const T>& w, Index first, Index n) {
    each_strip(w.cols, [&](Index j0, Index j1, Index next) {
      if constexpr (std::is_same_v<T, float>)
        if (w.row_stride == 1) {
          for (Index j = j1; j < next; ++j)
            for (Index i = 0; i < n; i += 16) __builtin_prefetch(&w.at(first + i, j), 0);
          return transpose(&w.at(first, j0), w.col_stride, row(0) + j0, stride_, n, j1 - j0);
        }
      for (Index i = 0; i < n; ++i)
        for (Index j = j0; j < j1; ++j) row(i)[j] = static_cast<float>(w.at(first + i, j));
    });
  }
  template <class T>
  void write(const Strided<T>& w, Index first, Index n) {
    each_strip(w.cols, [&](Index j0, Index j1, Index next) {
      if constexpr (std::is_same_v<T, float>)
        if (w.row_stride == 1) {
          for (Index j = j1; j < next; ++j)
            for (Index i = 0; i < n; i += 16) __builtin_prefetch(&w.at(first + i, j), 1);
          return transpose(row(0) + j0, stride_, &w.at(first, j0), w.col_stride, j1 - j0, n);
        }
      for (Index i = 0; i < n; ++i)
        for (Index j = j0; j < j1; ++j) w.at(first + i, j) = static_cast<T>(row(i)[j]);
    });
  }

 private:
  // Calls f(j0, j1, next) for strips of eight columns j0 .. j1 - 1, the next one ending before `next`. Eight, because
  // their lines stay in the cache until they are used up, whatever the stride. Each column lies in a page of its own,
  // where no hardware looks ahead: the strip after is asked for by hand.
  template <class F>
  static void each_strip(Index cols, F&& f) {
    for (Index j = 0; j < cols; j += 8) f(j, std::min(j + 8, cols), std::min(j + 16, cols));
  }

  Index stride_;
  std::vector<float> data_;
};

// What the type of an element has to do with; one for each type.
struct Element {
  bool is_float;
  void (*read)(const Strided<const void>& w, Index first, Index n, Panel& to);
  void (*write)(const Strided<void>& w, Index first, Index n, Panel& from);
  // Appends a block's weights, row by row.
  void (*gather)(const Strided<const void>& w, Index i, Index j, Index height, Index width, std::vector<float>& to);
  double (*at)(const Strided<const void>& w, Index i, Index j);
};

template <class T>
inline constexpr Element element_of = {
    std::is_same_v<T, float>,
    [](const Strided<const void>& w, Index first, Index n, Panel& to) { to.read(w.as<const T>(), first, n); },
    [](const Strided<void>& w, Index first, Index n, Panel& from) { from.write(w.as<T>(), first, n); },
    [](const Strided<const void>& w, Index i, Index j, Index height, Index width, std::vector<float>& to) {
      const Strided<const T> typed = w.as<const T>();
      for (Index r = 0; r < height; ++r)
        for (Index c = 0; c < width; ++c) to.push_back(static_cast<float>(typed.at(i + r, j + c)));
    },
    [](const Strided<const void>& w, Index i, Index j) { return static_cast<double>(w.as<const T>().at(i, j)); }};

template <class T>
bool Strided<T>::is_float_rows() const {
  return has_weights() && element->is_float && (col_stride == 1 || cols <= 1);
}

// The weights of a matrix in memory, whose numbers start at `data`.
template <class Void, class Derived>
Strided<Void> strided(const Derived& w, Void* data) {
  using Scalar = typename Derived::Scalar;
  static_assert(is_real<Scalar>,
                "fewbit: weights must be float, double, Eigen::half or Eigen::bfloat16; use w.cast<float>()");
  const bool by_row = Derived::IsRowMajor;
  return {data,
          &element_of<Scalar>,
          w.rows(),
          w.cols(),
          by_row ? w.outerStride() : w.innerStride(),
          by_row ? w.innerStride() : w.outerStride()};
}

// An expression that is read. One without memory of its own (a sum, a product, a cast) is evaluated once, in its own
// storage order; everything else is read where it lies, and must outlive this object.
template <class Derived>
class Evaluated {
  // A slice by Eigen::seq has the flag too, and strides, but no data().
  static constexpr bool in_memory = (Derived::Flags & Eigen::DirectAccessBit) != 0 && requires(const Derived& w) {
    w.data();
  };
  using Held = std::conditional_t<in_memory, const Derived&, const typename Derived::PlainObject>;

 public:
  explicit Evaluated(const Eigen::DenseBase<Derived>& w) : held_(w.derived()) {}

  Strided<const void> memory() const { return strided<const void>(held_, held_.data()); }
  operator Strided<const void>() const { return memory(); }

 private:
  Held held_;
};

// A matrix that is written.
template <class Derived>
Strided<void> writable(Eigen::DenseBase<Derived>& w) {
  static_assert((Derived::Flags & Eigen::DirectAccessBit) != 0,
                "fewbit: the output must be memory: a Matrix, Map, Ref or Block");
  return strided<void>(w.derived(), w.derived().data());
}

// Resizes a matrix of the caller's. Throws std::invalid_argument if its type has another shape for good, which Eigen
// alone would only say in debug builds.
template <class Derived>
void give_shape(Eigen::PlainObjectBase<Derived>& to, Index rows, Index cols) {
  const auto fits = [](Index n, Index fixed, Index most) {
    return (fixed == Eigen::Dynamic || n == fixed) && (most == Eigen::Dynamic || n <= most);
  };
  if (!fits(rows, Derived::RowsAtCompileTime, Derived::MaxRowsAtCompileTime) ||
      !fits(cols, Derived::ColsAtCompileTime, Derived::MaxColsAtCompileTime))
    fail_argument("the output is ", to.rows(), " x ", to.cols(), " by its type, and what is to be written ", rows,
                  " x ", cols, "; use a matrix that can be resized");
  to.resize(rows, cols);
}

// A row of what is read, of a second matrix beside it, and of what is written; null where there is none.
struct Row {
  const float *in, *second;
  float* out;
};

// The rows of matrices of one shape that are walked together, so that none is walked twice. Where `out` is `in`, rows
// are changed in place.
struct Rows {
  Strided<const void> in{}, second{};
  Strided<void> out{};

  // Calls f(i, row) for rows first .. last - 1 in order. Rows are floats, in.cols or out.cols of them, and valid in the
  // call; f fills that of `out`.
  void each(Index first, Index last, FunctionRef<void(Index, const Row&)> f) const {
    const Index height = std::min(std::max(in.panel(), out.panel()), last - first);
    const bool in_place = in.data == out.data && in.row_stride == out.row_stride && in.col_stride == out.col_stride;
    const auto is_copied = [](const auto& w) { return w.has_weights() && !w.is_float_rows(); };
    const bool copies_in = is_copied(in), copies_second = is_copied(second), copies_out = is_copied(out);
    const auto copy_of = [&](bool is_needed) { return Panel(is_needed ? height : 0, std::max(in.cols, out.cols)); };
    Panel in_copy = copy_of(copies_in), second_copy = copy_of(copies_second),
          own_copy = copy_of(copies_out && !(in_place && copies_in));
    Panel& out_copy = in_place && copies_in ? in_copy : own_copy;
    for (Index i = first; i < last; i += height) {
      const Index n = std::min(height, last - i);
      if (copies_in) in.element->read(in, i, n, in_copy);
      if (copies_second) second.element->read(second, i, n, second_copy);
      for (Index k = 0; k < n; ++k)
        f(i + k, {row(in, i + k, in_copy, k), row(second, i + k, second_copy, k), row(out, i + k, out_copy, k)});
      if (copies_out) out.element->write(out, i, n, out_copy);
    }
  }

 private:
  template <class Void>
  static typename Strided<Void>::Float* row(const Strided<Void>& w, Index i, Panel& copy, Index k) {
    return !w.has_weights() ? nullptr : w.is_float_rows() ? w.float_row(i) : copy.row(k);
  }
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
