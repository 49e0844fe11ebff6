#pragma once
// How the error of one weight is made up for by the weights rounded after it: the linear algebra under GPTQ. Rule: no
// grid, no codes and no scale is known here.
//
// GPTQ's formula: the columns of W are rounded in turn; the error e of one is put on those still to come so that
// |W X - Q X|^2 rises least, w_j -= e U_ij / U_ii, with U the upper Cholesky factor of H^-1. There is a shorter way to
// the same numbers. Write H = M^T M with M lower triangular in the order of rounding, and d = w - q for a row of W.
// Then
//
//   d H d^T = sum over i of (M_ii (d_i + sum over j < i of d_j M_ij / M_ii))^2
//
// and when column i is at hand, every d_j in its term is known: the q_i that makes it least is the level nearest to
//
//   t_i = w_i + sum over j < i of d_j M_ij / M_ii.                                                                (1)
//
// Rounding t_i column by column is GPTQ: both pick, in the same order, the q_i that costs least given those before and
// the best real values for those behind, which set every later term to 0. M takes one Cholesky factorization of H (with
// rows and columns in reverse order) in place of an inverse and its factor, and is as well conditioned as H allows.
//
// Everything below lies in that reverse order, so that factors are the usual lower ones: the last column is rounded
// first.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <fewbit/eigen/threads.hpp>
#include <fewbit/kernel/product_dispatch.hpp>
#include <fewbit/storage/bytes.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// A square matrix by rows, with room between them: at a power of two they would share the sets of a cache.
template <class T>
struct PaddedSquare {
  Index n, stride;
  Buffer<T> data;
  explicit PaddedSquare(Index size) : n(size), stride((size + 15) / 16 * 16 + 16), data(room_for(n, stride)) {}
  T* row(Index i) { return data.data() + i * stride; }
  const T* row(Index i) const { return data.data() + i * stride; }
};

// The lower Cholesky factor in place of a block of at most some hundred rows. False if a pivot falls below its least.
inline bool factor_block(double* a, Index n, Index stride, const double* least) {
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j <= i; ++j) {
      double *const x = a + i * stride, *const y = a + j * stride;
      double sum = x[j];
      for (Index k = 0; k < j; ++k) sum -= x[k] * y[k];
      if (j < i) {
        x[j] = sum / y[j];
      } else {
        if (!(sum > least[i])) return false;
        x[i] = std::sqrt(sum);
      }
    }
  return true;
}

// L^-T, by rows, of a block L.
inline void invert_transposed(const double* l, Index n, Index stride, double* to, Index to_stride) {
  for (Index j = 0; j < n; ++j) {  // column j of L^-1
    double* const x = to + j * to_stride;
    std::fill(x, x + n, 0.);
    x[j] = 1 / l[j * stride + j];
    for (Index i = j + 1; i < n; ++i) {
      double sum = 0;
      for (Index k = j; k < i; ++k) sum += l[i * stride + k] * x[k];
      x[i] = -sum / l[i * stride + i];
    }
  }
}

// The lower Cholesky factor of `a`, in place of its lower triangle; what is above becomes anything. False, with `a`
// spoilt, if the matrix is not positive definite beyond rounding. Calls done(part) on the way, parts that add up to 1.
template <class Done>
bool cholesky(PaddedSquare<double>& a, Done&& done) {
  constexpr Index block = 128, strip = 32;
  const kernel::Products& products = kernel::products_of(kernel::active());
  const auto size = [](Index i) { return static_cast<std::size_t>(i); };
  std::vector<double> least(size(a.n));
  for (Index i = 0; i < a.n; ++i) least[size(i)] = a.row(i)[i] * static_cast<double>(a.n) * 0x1p-52;
  Buffer<double> inverse(size(block * block)), panel(size(a.n * block));
  for (Index k = 0; k < a.n; k += block) {
    const Index n = std::min(block, a.n - k), next = k + n, below = a.n - next;
    if (!factor_block(a.row(k) + k, n, a.stride, least.data() + k)) return false;
    invert_transposed(a.row(k) + k, n, a.stride, inverse.data(), block);
    for_each_slice(below, 64, [&](Index first, Index last) {  // the rows below, and their negatives
      double* const rows = panel.data() + first * block;
      std::fill(rows, panel.data() + last * block, 0.);
      products.transposed_double(size(n), size(n), inverse.data(), size(block),
                                 {size(last - first), size(a.stride), a.row(next + first) + k}, rows, size(block));
      for (Index i = first; i < last; ++i)
        for (Index j = 0; j < n; ++j) {
          double& x = panel[size(i * block + j)];
          a.row(next + i)[k + j] = x, x = -x;
        }
    });
    const Index strips = (below + strip - 1) / strip;
    for_each_slice(strips, 4, [&](Index first, Index last) {  // what is right of them, less their product
      Buffer<double> factors(size(block * strip));
      for (Index s = first; s < last; ++s) {
        const Index at = in_turn(s, strips) * strip, wide = std::min(strip, below - at);
        for (Index j = 0; j < wide; ++j)
          for (Index i = 0; i < n; ++i) factors[size(i * strip + j)] = a.row(next + at + j)[k + i];
        products.transposed_double(size(wide), size(n), factors.data(), size(strip),
                                   {size(below - at), size(block), panel.data() + at * block},
                                   a.row(next + at) + next + at, size(a.stride));
      }
    });
    const auto left = [&](Index i) { return std::pow(static_cast<double>(a.n - i) / static_cast<double>(a.n), 3); };
    done(left(k) - left(next));
  }
  return true;
}

// What the columns that are rounded first do to the others: t_a = w_a + sum over b > a of d_b * weights(b, a).
struct Feedback {
  PaddedSquare<float> weights;
  explicit Feedback(Index n) : weights(n) {}
};

// From the factor of H.
inline Feedback feedback_of(const PaddedSquare<double>& factor) {
  const Index n = factor.n;
  Feedback f(n);
  std::vector<double> inverse(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) inverse[static_cast<std::size_t>(i)] = 1 / factor.row(i)[i];
  for_each_slice(n, 64, [&](Index first, Index last) {
    for (Index b = first; b < last; ++b) {
      const double* const from = factor.row(b);
      float* const to = f.weights.row(b);
      for (Index a = 0; a < b; ++a) to[a] = static_cast<float>(from[a] * inverse[static_cast<std::size_t>(a)]);
      std::fill(to + b, to + f.weights.stride, 0.f);
    }
  });
  return f;
}

// Some rows of W on their way: what they were, and t as far as it is known. Both by rows, `stride` apart.
struct FeedbackRows {
  Index rows, stride;
  Buffer<float> weights, targets;

  FeedbackRows(Index height, Index columns)
      : rows(height), stride((columns + 15) / 16 * 16 + 16), weights(room_for(rows, stride)), targets(weights.size()) {}
  void set(Index i, Index a, float w) {
    const auto at = static_cast<std::size_t>(i * stride + a);
    weights[at] = targets[at] = w;
  }
};

// The errors of some columns of those rows, first .. last - 1, and the targets that were rounded.
struct FeedbackErrors {
  Index first, last;
  Buffer<float> errors, targets;  // by rows of last - first

  FeedbackErrors(Index from, Index to, Index rows)
      : first(from), last(to), errors(room_for(to - from, rows)), targets(errors.size()) {}
  Index width() const { return last - first; }
  float target(Index i, Index a) const { return targets[static_cast<std::size_t>(i * width() + a - first)]; }
};

// Some rows' weights in one column, and their targets: what they become goes to `chosen`.
struct ColumnPart {
  static constexpr Index most = 16;
  Index column, first_row, rows;
  const float *weights, *targets;
  float* chosen;
};

// Rounds columns last - 1 .. first of e by calls of pick(ColumnPart). The targets of these columns are kept up to date
// on the way, those of columns before are not. `drift`, unless null, is a second square: a target t moves the weights
// of the columns behind it by t * drift (GPTAQ).
template <class Pick>
void round_columns(const Feedback& f, const PaddedSquare<float>* drift, FeedbackRows& tile, FeedbackErrors& e,
                   Pick&& pick) {
  constexpr Index few = ColumnPart::most;  // columns, and rows that are worked on at a time
  const kernel::Products& products = kernel::products_of(kernel::active());
  const auto size = [](Index i) { return static_cast<std::size_t>(i); };
  for (Index last = e.last, first = 0; last > e.first; last = first) {
    first = std::max(e.first, last - few);
    const Index n = last - first;
    for (Index i0 = 0; i0 < tile.rows; i0 += few) {
      const Index rows = std::min(few, tile.rows - i0);
      float w[few][few] = {}, t[few][few] = {}, d[few][few] = {}, chosen[few] = {};
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < n; ++j) {
          const Index at = (i0 + i) * tile.stride + first + j;
          w[j][i] = tile.weights[size(at)], t[j][i] = tile.targets[size(at)];
        }
      for (Index j = n; j-- > 0;) {
        const Index a = first + j;
        for (Index i = 0; i < few; ++i)  // feedback beyond a float helps nobody
          t[j][i] = std::fabs(t[j][i]) <= std::numeric_limits<float>::max() ? t[j][i] : w[j][i];
        pick(ColumnPart{a, i0, rows, w[j], t[j], chosen});
        for (Index i = 0; i < few; ++i) d[j][i] = w[j][i] - chosen[i];
        const float* const factor = f.weights.row(a) + first;
        for (Index k = 0; k < j; ++k)
          for (Index i = 0; i < few; ++i) t[k][i] += d[j][i] * factor[k];
        if (drift == nullptr) continue;
        const float* const moved = drift->row(a) + first;
        for (Index k = 0; k < j; ++k)
          for (Index i = 0; i < few; ++i) {
            const float by = t[j][i] * moved[k];
            t[k][i] += by, w[k][i] += by;
          }
      }
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < n; ++j) {
          const Index at = (i0 + i) * e.width() + first - e.first + j;
          e.errors[size(at)] = d[j][i], e.targets[size(at)] = t[j][i];
        }
    }
    const auto push = [&](const PaddedSquare<float>& by, const Buffer<float>& what, Buffer<float>& to) {
      products.transposed(size(first - e.first), size(n), by.row(first) + e.first, size(by.stride),
                          {size(tile.rows), size(e.width()), what.data() + first - e.first}, to.data() + e.first,
                          size(tile.stride));
    };
    push(f.weights, e.errors, tile.targets);
    if (drift == nullptr) continue;
    push(*drift, e.targets, tile.targets), push(*drift, e.targets, tile.weights);
  }
}

// to[row, 0 .. e.first - 1] += what[row] * by[e.first .. e.last - 1]: what rounded columns mean to those not rounded
// yet, as one matrix product. This is where the time goes.
inline void push_errors(const PaddedSquare<float>& by, const FeedbackErrors& e, const Buffer<float>& what,
                        const FeedbackRows& tile, Buffer<float>& to) {
  constexpr Index strip = 64;  // of these, all rows of `by` stay in L1
  const kernel::Products& products = kernel::products_of(kernel::active());
  const auto size = [](Index i) { return static_cast<std::size_t>(i); };
  Buffer<float> factors(size(e.width() * strip));
  for (Index k = 0; k < e.first; k += strip) {
    const Index n = std::min(strip, e.first - k);
    for (Index b = e.first; b < e.last; ++b) std::copy_n(by.row(b) + k, n, factors.data() + (b - e.first) * strip);
    products.transposed(size(n), size(e.width()), factors.data(), size(strip),
                        {size(tile.rows), size(e.width()), what.data()}, to.data() + k, size(tile.stride));
  }
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
