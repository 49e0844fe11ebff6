#pragma once
// Any Eigen expression, seen row by row as contiguous floats, and rows written back to any Eigen matrix. Rule:
// this is the only place that knows storage orders, strides and scalar types.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>

#include <fewbit/core/error.hpp>
#include <fewbit/eigen/abi.hpp>
#include <fewbit/eigen/threads.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

template <class T>
inline constexpr bool is_real =
    std::is_floating_point_v<T> || std::is_same_v<T, Eigen::half> || std::is_same_v<T, Eigen::bfloat16>;

// Weights in memory, element (i, j) at data[i * row_stride + j * col_stride]. Strides may be negative.
template <class T>
struct Strided {
  T* data;
  Index rows, cols, row_stride, col_stride;

  template <class Derived>
  static Strided of(Derived& w, T* data) {
    const bool by_row = Derived::IsRowMajor;
    return {data, w.rows(), w.cols(), by_row ? w.outerStride() : w.innerStride(),
            by_row ? w.innerStride() : w.outerStride()};
  }
  // Where a row of adjacent weights starts. A matrix of no columns has no memory, and null must not be moved.
  T* row(Index i) const { return cols == 0 ? data : data + i * row_stride; }
  T& at(Index i, Index j) const { return data[i * row_stride + j * col_stride]; }
  bool is_float_rows() const { return std::is_same_v<std::remove_const_t<T>, float> && (col_stride == 1 || cols <= 1); }
  bool along_columns() const { return std::abs(row_stride) < std::abs(col_stride); }

  // Rows are copied in panels. Memory that runs along columns is read 64 rows at a time, four cache lines of each
  // column and a fraction of the page misses; a very wide matrix makes do with one line.
  Index panel() const { return !along_columns() ? 1 : cols <= (1 << 16) ? 64 : 16; }

  // Whether rows that are written had better go past the cache: what will not be in it when it is read is written a
  // fifth to a third faster from 32 MiB on, and ruinously slowly well below.
  bool is_streamed() const { return is_float_rows() && rows * cols >= Index{32} * 1024 * 1024 / Index{sizeof(float)}; }

  // Appends a block's weights, row by row.
  void gather(Index i, Index j, Index height, Index width, std::vector<float>& to) const {
    for (Index r = 0; r < height; ++r)
      for (Index c = 0; c < width; ++c) to.push_back(static_cast<float>(at(i + r, j + c)));
  }
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
  void read(const Strided<T>& w, Index first, Index n) {
    each_strip(w.cols, [&](Index j0, Index j1, Index next) {
      if constexpr (std::is_same_v<std::remove_const_t<T>, float>)
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

// The rows of an expression. One without memory of its own (a sum, a product, a cast) is evaluated once, in its own
// storage order; everything else is read where it lies, and must outlive this object.
template <class Derived>
class Rows {
  using Scalar = typename Derived::Scalar;
  static_assert(is_real<Scalar>,
                "fewbit: weights must be float, double, Eigen::half or Eigen::bfloat16; use w.cast<float>()");
  // A slice by Eigen::seq has the flag too, and strides, but no data().
  static constexpr bool in_memory = (Derived::Flags & Eigen::DirectAccessBit) != 0 && requires(const Derived& w) {
    w.data();
  };
  using Held = std::conditional_t<in_memory, const Derived&, const typename Derived::PlainObject>;

 public:
  explicit Rows(const Eigen::DenseBase<Derived>& w)
      : held_(w.derived()), w_(Strided<const Scalar>::of(held_, held_.data())) {}

  const Strided<const Scalar>& memory() const { return w_; }

  // Calls f(i, row) for rows first .. last - 1 in order; `row` points to cols() floats that are valid in the call.
  template <class F>
  void each(Index first, Index last, F&& f) const {
    if constexpr (std::is_same_v<Scalar, float>)
      if (w_.is_float_rows()) {
        for (Index i = first; i < last; ++i) f(i, w_.row(i));
        return;
      }
    const Index height = std::min(w_.panel(), last - first);
    Panel panel(height, w_.cols);
    for (Index i = first; i < last; i += height) {
      const Index n = std::min(height, last - i);
      panel.read(w_, i, n);
      for (Index k = 0; k < n; ++k) f(i + k, static_cast<const float*>(panel.row(k)));
    }
  }

 private:
  Held held_;
  Strided<const Scalar> w_;
};

// The rows of a matrix to be written, or to be changed where they are.
enum class RowAccess { write, update };

template <class Derived, RowAccess access = RowAccess::write>
class MutableRows {
  using Scalar = typename Derived::Scalar;
  static_assert(is_real<Scalar>, "fewbit: weights must be float, double, Eigen::half or Eigen::bfloat16");
  static_assert((Derived::Flags & Eigen::DirectAccessBit) != 0,
                "fewbit: the output must be memory: a Matrix, Map, Ref or Block");

 public:
  explicit MutableRows(Eigen::DenseBase<Derived>& w) : w_(Strided<Scalar>::of(w.derived(), w.derived().data())) {}

  const Strided<Scalar>& memory() const { return w_; }

  // Calls f(i, row) for rows first .. last - 1 in order; f leaves cols() floats in `row`, where it found the row's
  // weights if access is update.
  template <class F>
  void each(Index first, Index last, F&& f) const {
    if constexpr (std::is_same_v<Scalar, float>)
      if (w_.is_float_rows()) {
        for (Index i = first; i < last; ++i) f(i, w_.row(i));
        return;
      }
    const Index height = std::min(w_.panel(), last - first);
    Panel panel(height, w_.cols);
    for (Index i = first; i < last; i += height) {
      const Index n = std::min(height, last - i);
      if constexpr (access == RowAccess::update) panel.read(w_, i, n);
      for (Index k = 0; k < n; ++k) f(i + k, panel.row(k));
      panel.write(w_, i, n);
    }
  }

 private:
  Strided<Scalar> w_;
};

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

// A row as it is read, a row of a second matrix if there is one, and where the result goes.
struct JoinedRow {
  const float *in, *second;
  float* out;
  operator const float*() const { return in; }
};

// The rows of one expression or two, of one shape, beside those of a matrix that is made from them, so that none is
// walked twice.
template <class Derived, class Result, class Second = Derived>
class JoinedRows {
 public:
  JoinedRows(const Rows<Derived>& in, const MutableRows<Result>& out, const Rows<Second>* second = nullptr)
      : input_(in), in_(in.memory()), out_(out.memory()), second_(second == nullptr ? nullptr : &second->memory()) {}

  const auto& memory() const { return in_; }
  const Rows<Derived>& input() const { return input_; }

  // Calls f(i, joined) for rows first .. last - 1 in order; f leaves cols() floats in joined.out.
  template <class F>
  void each(Index first, Index last, F&& f) const {
    const Index height = std::min(std::max(in_.panel(), out_.panel()), last - first);
    const auto copy_of = [&](bool is_needed) { return Panel(is_needed ? height : 0, in_.cols); };
    Panel in = copy_of(!in_.is_float_rows()), out = copy_of(!out_.is_float_rows()),
          second = copy_of(second_ != nullptr && !second_->is_float_rows());
    for (Index i = first; i < last; i += height) {
      const Index n = std::min(height, last - i);
      if (!in_.is_float_rows()) in.read(in_, i, n);
      if (second_ != nullptr && !second_->is_float_rows()) second.read(*second_, i, n);
      for (Index k = 0; k < n; ++k)
        f(i + k, JoinedRow{row<const float>(in_, i + k, in, k),
                           second_ == nullptr ? nullptr : row<const float>(*second_, i + k, second, k),
                           row<float>(out_, i + k, out, k)});
      if (!out_.is_float_rows()) out.write(out_, i, n);
    }
  }

 private:
  template <class Float, class T>
  static Float* row(const Strided<T>& w, Index i, Panel& copy, Index k) {
    if constexpr (std::is_same_v<std::remove_const_t<T>, float>)
      if (w.is_float_rows()) return w.row(i);
    return copy.row(k);
  }

  const Rows<Derived>& input_;
  const Strided<const typename Derived::Scalar>& in_;
  const Strided<typename Result::Scalar>& out_;
  const Strided<const typename Second::Scalar>* second_;
};

}  // namespace FEWBIT_ABI
}  // namespace fewbit
