#pragma once
// y = W x and Y = W X for quantized W[out, in], straight from the codes. Rule: activations are prepared once for each
// product, the weights never, and no float copy of W is made; each element of the result is the same however many
// threads there are.
//
// With floats, each element differs from that of dequantize(W) X by at most (in + 2) 2^-24 sum_j |w_ij x_j|; (in + 4)
// if W scales its inputs. That holds where sums of |level - zero| |x| and the products with the scale are ordinary
// floats: scales come last, so that weights of 1e-30 and activations of 1e38 leave their range on the way.
//
// With int8, X is first replaced by its rounded columns, and by nothing else: integers are multiplied exactly, and the
// rest is as above. Where 4- or 8-bit integers have a zero-point or a first level that is no whole number of up to 128
// (256 at 8 bits), it comes out behind the sum of codes 0, 1, 2, ..: the bound is then (in + 4) 2^-24 sum_j |scale|
// (code + |zero - first level|) |x_j|. With uint8, zero-points of X come out behind the sum too, and in place of |x_j|
// stands scale_x (|code_j - 128| + |zero - 128|), whose second part counts even where x_j is 0.

#include <cmath>
#include <cstring>

#include <fewbit/grid/asymmetric.hpp>
#include <fewbit/grid/symmetric.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/tiles.hpp>
#include <fewbit/quantize/quantize.hpp>

namespace fewbit {

// What the weights are multiplied with. floats: X as it is. int8: each column of X as symmetric integers of 8 bits, one
// scale for the column, which 4- and 8-bit integer weights meet in integer arithmetic; other weights take the rounded
// column as floats. uint8: each column as asymmetric integers, its zero exact, for activations of one sign.
enum class Activations { floats, int8, uint8 };

inline namespace FEWBIT_ABI {

// The columns of X in the order of W's codes, and scaled by W's input map.
inline Eigen::MatrixXf mapped_inputs(const InputMap& map, const Inputs& x) {
  Eigen::MatrixXf mapped(x.rows(), x.cols());
  for (Index c = 0; c < x.cols(); ++c)
    for (Index k = 0; k < x.rows(); ++k) {
      const auto at = static_cast<std::size_t>(k);
      mapped(k, c) =
          x(map.order.empty() ? k : static_cast<Index>(map.order[at]), c) * (map.scale.empty() ? 1.f : map.scale[at]);
    }
  return mapped;
}

// Columns as an instruction set has arranged them, each starting on a cache line. There is a line between them, for at
// a power of two they would all lie in the same sets of the cache.
template <class T>
class Arranged {
 public:
  Arranged(std::size_t length, Index count)
      : stride_((length * sizeof(T) + 127) / 64 * 64 / sizeof(T)), count_(static_cast<std::size_t>(count)),
        data_(room_for(count, static_cast<Index>(stride_))) {}
  T* column(Index c) { return data_.data() + static_cast<std::size_t>(c) * stride_; }
  kernel::Columns<T> some(Index first, Index count) const {
    return {static_cast<std::size_t>(count), stride_, data_.data() + static_cast<std::size_t>(first) * stride_};
  }
  std::size_t stride() const { return stride_; }

 private:
  std::size_t stride_, count_;
  Buffer<T> data_;
};

// Up to this many columns are multiplied with the codes as they are decoded. More share rows of floats, which by then
// are paid for.
inline constexpr Index most_fused_columns = 24;

// Y = W X for floats, X in the order of the codes.
inline void multiply_floats(const QuantizedMatrix& w, const Inputs& x, Eigen::MatrixXf& y) {
  const kernel::Products& products = kernel::products_of(kernel::active());
  const auto n = static_cast<std::size_t>(w.cols()), group = static_cast<std::size_t>(w.block_cols());
  const std::size_t length = x.cols() <= most_fused_columns ? products.arranged(n, group, w.levels()) : 0;
  if (length == 0) return multiply_dense(w, x, y);
  Arranged<float> columns(length, x.cols());
  for (Index c = 0; c < x.cols(); ++c) products.arrange(x.col(c).data(), n, w.levels(), columns.column(c));
  each_coded_tile(w, x.cols(), y, [&](const kernel::CodedRows& rows, Index first, Index count, float* to) {
    products.dot(rows, columns.some(first, count), to);
  });
}

// Throws std::domain_error for an activation that cannot be rounded.
inline void require_finite(const Inputs& x, const char* what) {
  if ((x.array() * 0.f).sum() == 0) return;  // one that is not finite makes a NaN
  for (Index c = 0; c < x.cols(); ++c)
    for (Index k = 0; k < x.rows(); ++k)
      if (!std::isfinite(x(k, c)))
        fail_domain(what, " at row ", k, ", column ", c, " is ", x(k, c),
                    "; it cannot be rounded to 8 bits: repair it, or multiply with floats");
}

// to[k] = codes[k] - shift, sixteen at a time by hand: at -O2 compilers leave such a loop as it is.
inline void shift_codes(const std::uint8_t* codes, Index n, int shift, std::int8_t* to) {
  using Codes = std::uint8_t __attribute__((vector_size(16)));
  Index k = 0;
  for (; k + 16 <= n; k += 16) {
    Codes some;
    std::memcpy(&some, codes + k, sizeof some);
    some -= static_cast<std::uint8_t>(shift);
    std::memcpy(to + k, &some, sizeof some);
  }
  for (; k < n; ++k) to[k] = static_cast<std::int8_t>(codes[k] - shift);
}

// The columns of X as integers of 8 bits: x = scale * (code - zero), code -127 .. 127 or, asymmetric, -128 .. 127.
struct IntegerColumns {
  Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic> codes;
  Eigen::RowVectorXf scale, zero;
};
inline IntegerColumns integer_columns(const Inputs& x, bool asymmetric) {
  IntegerColumns to{{x.rows(), x.cols()}, Eigen::RowVectorXf(x.cols()), Eigen::RowVectorXf(x.cols())};
  const auto per_column = x.transpose();  // a column of X is a row to be quantized
  const QuantizedMatrix q = asymmetric ? quantize(per_column, Asymmetric(8).including_zero(), per_channel())
                                       : quantize(per_column, Symmetric(8), per_channel());
  const int shift = asymmetric ? 128 : 127;
  for (Index c = 0; c < x.cols(); ++c) {
    const Affine a = q.affine(c, 0);
    to.scale[c] = a.scale, to.zero[c] = asymmetric ? a.zero - static_cast<float>(shift) : 0.f;
    shift_codes(q.codes(c), x.rows(), shift, to.codes.col(c).data());
  }
  return to;
}

// The length of a column of integers as the codes of W meet it; 0 if they meet only floats.
template <class Weights>
std::size_t integer_length(const Weights& w) {
  return kernel::products_of(kernel::active())
      .arranged_int8(static_cast<std::size_t>(w.cols()), static_cast<std::size_t>(w.block_cols()), w.levels());
}

// Y = W X for columns of integers, not yet scaled. False if the codes of W do not allow it.
inline bool multiply_integers(const QuantizedMatrix& w,
                              const Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic>& x, Eigen::MatrixXf& y) {
  const kernel::Products& products = kernel::products_of(kernel::active());
  const auto n = static_cast<std::size_t>(w.cols()), group = static_cast<std::size_t>(w.block_cols());
  const std::size_t length = integer_length(w);
  if (length == 0) return false;
  Arranged<std::int8_t> columns(length, x.cols());
  for (Index c = 0; c < x.cols(); ++c) products.arrange_int8(x.col(c).data(), n, group, w.levels(), columns.column(c));
  each_coded_tile(w, x.cols(), y, [&](const kernel::CodedRows& rows, Index first, Index count, float* to) {
    products.dot_int8(rows, columns.some(first, count), to);
  });
  return true;
}

// Y = W X, X in the order of the codes, for any weights that have multiply_floats and multiply_integers.
template <class Weights>
Eigen::MatrixXf multiply(const Weights& w, const Inputs& x, Activations activations) {
  Eigen::MatrixXf y(w.rows(), x.cols());
  if (w.size() == 0 || x.cols() == 0) return y.setZero();
  if (activations == Activations::floats) {
    multiply_floats(w, x, y);
    return y;
  }
  IntegerColumns integers = integer_columns(x, activations == Activations::uint8);
  const bool shifted = (integers.zero.array() != 0).any();
  if (shifted) {  // W times a column of ones takes the zero-points of all the others
    integers.codes.conservativeResize(Eigen::NoChange, x.cols() + 1);
    integers.codes.col(x.cols()).setOnes();
    y.resize(w.rows(), x.cols() + 1);
  }
  if (!multiply_integers(w, integers.codes, y)) multiply_floats(w, integers.codes.template cast<float>(), y);
  if (shifted) {
    const Eigen::VectorXf sums = y.col(x.cols());
    y.conservativeResize(Eigen::NoChange, x.cols());
    y -= sums * integers.zero;
  }
  y.array().rowwise() *= integers.scale.array();
  return y;
}

// What every product of weights with columns from outside does first.
template <class Weights, class Derived>
Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> checked_product(const Weights& w,
                                                                                 const Eigen::MatrixBase<Derived>& x,
                                                                                 Activations activations) {
  static_assert(is_real<typename Derived::Scalar>,
                "fewbit: x must be of float, double, Eigen::half or Eigen::bfloat16");
  if (x.rows() != w.cols())
    fail_argument("product: W is ", w.rows(), " x ", w.cols(), " and x has ", x.rows(), " rows; it needs ", w.cols());
  w.require_complete();
  const StatedArithmetic stated;
  const Inputs floats(x.template cast<float>());  // no copy of columns that are floats already
  if (activations != Activations::floats) require_finite(floats, "activation");
  if (w.input_map().empty()) return multiply(w, floats, activations);
  const Eigen::MatrixXf mapped = mapped_inputs(w.input_map(), floats);
  if (activations != Activations::floats) require_finite(mapped, "activation times its input scale");
  return multiply(w, mapped, activations);
}

// y[out] for a vector x[in], Y[out, n] for a matrix X[in, n]; any Eigen expression of real numbers, taken as floats.
// Throws std::invalid_argument unless x has as many rows as W has columns, and std::domain_error if activations that
// are to be rounded are not finite.
template <class Derived>
Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> product(
    const QuantizedMatrix& w, const Eigen::MatrixBase<Derived>& x, Activations activations = Activations::floats) {
  return checked_product(w, x, activations);
}

// As product with floats.
template <class Derived>
Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> operator*(const QuantizedMatrix& w,
                                                                           const Eigen::MatrixBase<Derived>& x) {
  return product(w, x);
}

// x[in] = W^T y[out], X[in, n] = W^T Y[out, n], in floats: what carries a gradient back through y = W x. Each element
// differs from that of dequantize(W)^T Y by at most (out + 2) 2^-24 sum_i |w_ij y_i|. Throws std::invalid_argument
// unless y has as many rows as W.
template <class Derived>
Eigen::Matrix<float, Eigen::Dynamic, Derived::ColsAtCompileTime> operator*(const TransposedMatrix& w,
                                                                           const Eigen::MatrixBase<Derived>& y) {
  static_assert(is_real<typename Derived::Scalar>,
                "fewbit: y must be of float, double, Eigen::half or Eigen::bfloat16");
  const QuantizedMatrix& q = w.matrix;
  if (y.rows() != q.rows())
    fail_argument("product: W is ", q.rows(), " x ", q.cols(), " and W^T is multiplied by ", y.rows(),
                  " rows; it needs ", q.rows());
  q.require_complete();
  const StatedArithmetic stated;
  Eigen::MatrixXf coded = multiply_transposed(q, Inputs(y.template cast<float>()));
  const InputMap& map = q.input_map();
  if (!map.scale.empty()) coded.array().colwise() *= Eigen::Map<const Eigen::ArrayXf>(map.scale.data(), q.cols());
  if (map.order.empty()) return coded;
  Eigen::MatrixXf x(coded.rows(), coded.cols());
  for (Index c = 0; c < coded.cols(); ++c)
    for (Index k = 0; k < coded.rows(); ++k)
      x(static_cast<Index>(map.order[static_cast<std::size_t>(k)]), c) = coded(k, c);
  return x;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
