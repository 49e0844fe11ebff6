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
#include <cstring>
#include <new>
#include <vector>

#include <fewbit/eigen/padded_square.hpp>
#include <fewbit/eigen/rows.hpp>
#include <fewbit/eigen/threads.hpp>
#include <fewbit/kernel/product_dispatch.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

// The lower Cholesky factor in place of a block of at most some dozen rows. False if a pivot falls below its least.
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

// L^-T, by rows, of such a block L.
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

// The first `columns` columns of a lower Cholesky factor of `rows` rows, in place: what is below the square of these
// columns is multiplied by its L^-T. What is above the diagonal becomes anything. False if a pivot falls below its
// least. Calls done(k) when so many columns are.
//
// `block` columns at a time: their own square, which is a small matter of smaller blocks; the rows below; and what is
// right of them, where the time goes.
template <Index block, class Done>
bool factor_columns(double* a, Index rows, Index columns, Index stride, const double* least, Done&& done) {
  constexpr Index strip = 32;
  constexpr bool is_small = block <= strip;
  const kernel::Products& products = kernel::products_of(kernel::active());
  const auto size = [](Index i) { return static_cast<std::size_t>(i); };
  Buffer<double> inverse(size(block * block)), panel(size(rows * block)), corner;
  for (Index k = 0; k < columns; k += block) {
    const Index n = std::min(block, columns - k), next = k + n, below = rows - next;
    double* const square = a + k * stride + k;
    if constexpr (is_small) {
      if (!factor_block(square, n, stride, least + k)) return false;
      invert_transposed(square, n, stride, inverse.data(), block);
    } else {  // with an identity below, which becomes L^-T
      corner.assign(size(2 * n * block), 0.);
      for (Index i = 0; i < n; ++i) {
        std::copy_n(square + i * stride, i + 1, corner.data() + i * block);
        corner[size((n + i) * block + i)] = 1;
      }
      if (!factor_columns<strip>(corner.data(), 2 * n, n, block, least + k, [](Index) {})) return false;
      for (Index i = 0; i < n; ++i) std::copy_n(corner.data() + i * block, i + 1, square + i * stride);
      std::copy_n(corner.data() + n * block, n * block, inverse.data());
    }
    for_each_slice(below, 64, [&](Index first, Index last) {  // the rows below, and their negatives
      double* const below_square = panel.data() + first * block;
      std::fill(below_square, panel.data() + last * block, 0.);
      products.transposed_double(size(n), size(n), inverse.data(), size(block),
                                 {size(last - first), size(stride), a + (next + first) * stride + k}, below_square,
                                 size(block));
      for (Index i = first; i < last; ++i)
        for (Index j = 0; j < n; ++j) {
          double& x = panel[size(i * block + j)];
          a[(next + i) * stride + k + j] = x, x = -x;
        }
    });
    // What is right of them, less their product: some rows at a time, which stay in the second cache.
    constexpr Index tall = 1024;
    const Index right = columns - next, strips = (right + strip - 1) / strip;
    for_each_slice(strips, 4, [&](Index first, Index last) {
      Buffer<double> factors(size(block * strip));
      for (Index top = 0; top < below; top += tall)
        for (Index s = first; s < last; ++s) {
          const Index at = in_turn(s, strips) * strip, wide = std::min(strip, right - at), from = std::max(at, top),
                      to = std::min(below, top + tall);
          if (from >= to) continue;
          for (Index j = 0; j < wide; ++j)
            for (Index i = 0; i < n; ++i) factors[size(i * strip + j)] = a[(next + at + j) * stride + k + i];
          products.transposed_double(size(wide), size(n), factors.data(), size(strip),
                                     {size(to - from), size(block), panel.data() + from * block},
                                     a + (next + from) * stride + next + at, size(stride));
        }
    });
    done(next);
  }
  return true;
}

// The lower Cholesky factor of `a`, in place of its lower triangle; what is above becomes anything. False, with `a`
// spoilt, if the matrix is not positive definite beyond rounding. Calls done(part) on the way, with what part of all is
// done.
template <class Done>
bool cholesky(PaddedSquare<double>& a, Done&& done) {
  std::vector<double> least(static_cast<std::size_t>(a.n));
  for (Index i = 0; i < a.n; ++i) least[static_cast<std::size_t>(i)] = a.row(i)[i] * static_cast<double>(a.n) * 0x1p-52;
  return factor_columns<96>(a.data.data(), a.n, a.n, a.stride, least.data(), [&](Index k) {
    done(1 - std::pow(static_cast<double>(a.n - k) / static_cast<double>(a.n), 3));
  });
}

// What the columns that are rounded first do to the others: t_a = w_a + sum over b > a of d_b * row(b)[a]. The floats
// lie where the factor of H lay, which is as large as all that GPTQ holds besides.
struct Feedback {
  PaddedSquare<double> factor;
  Index stride;  // of the floats
  explicit Feedback(Index n) : factor(n), stride(2 * factor.stride) {}

  // Makes them of the factor, which is gone then.
  void take_factor() {
    const Index n = factor.n;
    std::vector<double> inverse(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i) inverse[static_cast<std::size_t>(i)] = 1 / factor.row(i)[i];
    for_each_slice(n, 64, [&](Index first, Index last) {
      for (Index b = first; b < last; ++b) {
        double* const from = factor.row(b);
        auto* const to = reinterpret_cast<float*>(from);  // not ahead of what is still to be read
        for (Index a = 0; a < b; ++a)
          ::new (to + a) float(static_cast<float>(from[a] * inverse[static_cast<std::size_t>(a)]));
      }
    });
  }
  // Of column b, for all a below b.
  const float* row(Index b) const { return std::launder(reinterpret_cast<const float*>(factor.row(b))); }
};

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

// The errors of some columns of those rows, first .. last - 1, and, if they are asked for, the targets that were
// rounded.
struct FeedbackErrors {
  Index first, last;
  Buffer<float> errors, targets;  // by rows of last - first

  FeedbackErrors(Index from, Index to, Index rows, bool with_targets)
      : first(from), last(to), errors(room_for(to - from, rows)), targets(with_targets ? errors.size() : 0) {}
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
      const Index at = i0 * tile.stride + first, out = i0 * e.width() + first - e.first;
      // The rows after these lie in a page each.
      for (Index i = few; i < std::min(2 * few, tile.rows - i0); ++i) {
        __builtin_prefetch(tile.weights.data() + at + i * tile.stride);
        __builtin_prefetch(tile.targets.data() + at + i * tile.stride);
      }
      transpose(tile.weights.data() + at, tile.stride, w[0], few, n, rows);
      transpose(tile.targets.data() + at, tile.stride, t[0], few, n, rows);
      for (Index j = n; j-- > 0;) {
        const Index a = first + j;
        for (Index i = 0; i < few; i += 4) {  // feedback beyond a float helps nobody
          using Float4 = float __attribute__((vector_size(16)));
          Float4 target, weight;
          std::memcpy(&target, &t[j][i], sizeof target), std::memcpy(&weight, &w[j][i], sizeof weight);
          target = target - target == 0 ? target : weight;
          std::memcpy(&t[j][i], &target, sizeof target);
        }
        pick(ColumnPart{a, i0, rows, w[j], t[j], chosen});
        for (Index i = 0; i < few; ++i) d[j][i] = w[j][i] - chosen[i];
        const float* const factor = f.row(a) + first;
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
      transpose(d[0], few, e.errors.data() + out, e.width(), rows, n);
      if (!e.targets.empty()) transpose(t[0], few, e.targets.data() + out, e.width(), rows, n);
    }
    const auto push = [&](const auto& by, const Buffer<float>& what, Buffer<float>& to) {
      products.transposed(size(first - e.first), size(n), by.row(first) + e.first, size(by.stride),
                          {size(tile.rows), size(e.width()), what.data() + first - e.first}, to.data() + e.first,
                          size(tile.stride));
    };
    push(f, e.errors, tile.targets);
    if (drift == nullptr) continue;
    push(*drift, e.targets, tile.targets), push(*drift, e.targets, tile.weights);
  }
}

// to[row, 0 .. e.first - 1] += what[row] * by[e.first .. e.last - 1]: what rounded columns mean to those not rounded
// yet, as one matrix product. This is where the time goes.
template <class By>
void push_errors(const By& by, const FeedbackErrors& e, const Buffer<float>& what, const FeedbackRows& tile,
                 Buffer<float>& to) {
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
