#pragma once
// Judges a whole quantized matrix by the oracle: blocks, scales, zero-points, codes, bytes and decoded weights. Rule:
// what the formulas leave open (the scale of a constant block) is taken from the library and judged by its outcome. A
// Tally is whatever has check(good, parts...): a fuzz target's ends the program at the first failure.

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <fewbit/core/bit_cast.hpp>
#include <fewbit/storage/quantized_matrix.hpp>

#include <support/grids.hpp>
#include <support/matrices.hpp>
#include <support/tally.hpp>

namespace support {

inline bool same_bits(float a, float b) {
  return fewbit::bit_cast<std::uint32_t>(a) == fewbit::bit_cast<std::uint32_t>(b);
}

// The finite weights of a block; the only ones that count for its range.
struct BlockRange {
  float lo = std::numeric_limits<float>::infinity(), hi = -lo;
  bool infinite = false;  // one of the others is
  bool empty() const { return !(lo <= hi); }
  bool constant() const { return lo == hi; }
  void join(float w) {
    if (std::isfinite(w)) lo = std::fmin(lo, w), hi = std::fmax(hi, w);
    infinite = infinite || std::isinf(w);
  }
};

inline BlockRange range_of(const MatrixXf& w, Index i, Index j, Index rows, Index cols) {
  BlockRange r;
  for (Index a = i; a < std::min(i + rows, w.rows()); ++a)
    for (Index b = j; b < std::min(j + cols, w.cols()); ++b) r.join(w(a, b));
  return r;
}

// A weight that is not finite, as saturating mode takes it: the zero-point, or the end on its side.
inline unsigned expected_code(float w, oracle::Affine a, const oracle::Grid& g) {
  if (std::isnan(w)) return oracle::code(0, a, g);
  if (std::isinf(w)) return (w > 0) == (a.scale > 0) ? static_cast<unsigned>(g.count() - 1) : 0;
  return oracle::code(w, a, g);
}

// Whether the oracle's scale of some block has no place in its stored type.
inline bool overflows(const MatrixXf& w, const GridCase& c, fewbit::Granularity g) {
  const Index rows = g.rows ? g.rows : w.rows(), cols = g.cols ? g.cols : w.cols();
  for (Index i = 0; i < w.rows(); i += rows)
    for (Index j = 0; j < w.cols(); j += cols)
      if (const BlockRange r = range_of(w, i, j, rows, cols); !r.empty() && !r.constant())
        if (std::isinf(oracle::fit(r.lo, r.hi, c.expected, format(g.scale)).scale)) return true;
  return false;
}

// How near the levels of a table come to 0.
inline double nearest_zero(const std::vector<float>& table) {
  double nearest = oracle::f32.most;
  for (const float level : table) nearest = std::min(nearest, std::fabs(static_cast<double>(level)));
  return nearest;
}

template <class Tally>
void judge(Tally& tally, const std::string& place, const MatrixXf& w, const GridCase& c, fewbit::Granularity g,
           const fewbit::QuantizedMatrix& q) {
  const Index block_rows = g.rows ? std::min(g.rows, w.rows()) : w.rows(),
              block_cols = g.cols ? std::min(g.cols, w.cols()) : w.cols();
  const Index down = (w.rows() + block_rows - 1) / block_rows, across = (w.cols() + block_cols - 1) / block_cols;
  tally.check(q.rows() == w.rows() && q.cols() == w.cols() && q.size() == w.size(), place, "the shape is ", q.rows(),
              " x ", q.cols());
  tally.check(q.blocks_down() == down && q.blocks_across() == across && q.block_rows() == block_rows &&
                  q.block_cols() == block_cols,
              place, q.blocks_down(), " x ", q.blocks_across(), " blocks of ", q.block_rows(), " x ", q.block_cols());
  tally.check(q.bits() == c.expected.bits && q.levels() == levels(c.grid) && q.scale_type() == g.scale, place,
              "bits, levels or scale type");
  if (q.rows() != w.rows() || q.cols() != w.cols() || q.blocks_down() != down || q.blocks_across() != across) return;

  bool no_zeros = true, zeros_are_codes = true;
  std::vector<bool> constant;
  for (Index bi = 0; bi < down; ++bi) {
    for (Index bj = 0; bj < across; ++bj) {
      const BlockRange r = range_of(w, bi * block_rows, bj * block_cols, block_rows, block_cols);
      const fewbit::Affine a = q.affine(bi, bj);
      // An infinity is coded as the last level, and near the end of the floats the scale may have to give way for that.
      // A table whose levels are all large has no scale for a weight that is small beside them: it would be below
      // floats.
      const bool has_room =
          !(r.infinite && (!c.expected.uniform() || std::fabs(r.lo) > 0.5 * oracle::f32.most)) &&
          (c.expected.uniform() || r.lo == 0 || std::fabs(r.lo) >= nearest_zero(c.expected.table) * 0x1p-126 ||
           nearest_zero(c.expected.table) <= 1);
      constant.push_back(r.constant() && has_room);
      no_zeros = no_zeros && a.zero == 0;
      zeros_are_codes = zeros_are_codes && a.zero >= 0 && a.zero <= static_cast<float>((1 << q.bits()) - 1) &&
                        a.zero == std::nearbyint(a.zero);
      const auto where = [&] {
        return place + "block " + std::to_string(bi) + ", " + std::to_string(bj) + ": scale " +
               std::to_string(a.scale) + ", zero " + std::to_string(a.zero);
      };
      const double s = a.scale;
      tally.check(std::isfinite(s) && s != 0 && std::isfinite(a.zero) && oracle::stored(s, format(g.scale)) == s, where,
                  " cannot be stored so");
      if (r.empty() || (r.constant() && r.lo == 0)) {
        tally.check(a.scale == 1, where, " of zeros");
      } else if (!r.constant()) {
        const oracle::Affine e =
            oracle::settled(oracle::fit(r.lo, r.hi, c.expected, format(g.scale)), c.expected, format(g.scale));
        tally.check(a.scale == e.scale && a.zero == e.zero, where, " for ", e.scale, ", ", e.zero, ", range ", r.lo,
                    " .. ", r.hi);
      }
    }
  }

  for (Index i = 0; i < w.rows(); ++i) {
    std::vector<unsigned> codes(static_cast<std::size_t>(w.cols()));
    for (Index j = 0; j < w.cols(); ++j) {
      const fewbit::Affine f = q.affine(i / block_rows, j / block_cols);
      const oracle::Affine a{f.scale, f.zero};
      const unsigned code = codes[static_cast<std::size_t>(j)] = expected_code(w(i, j), a, c.expected);
      const float decoded = oracle::decode(code, a, c.expected);
      const auto where = [&] { return place + "weight " + std::to_string(i) + ", " + std::to_string(j) + ", "; };
      tally.check(q.code(i, j) == code, where, w(i, j), ", scale ", a.scale, ", zero ", a.zero, ": code ", q.code(i, j),
                  " for ", code);
      tally.check(same_bits(q(i, j), decoded), where, w(i, j), ": decodes to ", q(i, j), " for ", decoded);
      tally.check(std::isfinite(decoded), where, w(i, j), " decodes to ", decoded);
      if (g.scale == fewbit::ScaleType::f32 &&
          constant[static_cast<std::size_t>(i / block_rows * across + j / block_cols)] && std::isfinite(w(i, j)))
        tally.check(decoded == w(i, j), where, w(i, j), " of a constant block decodes to ", decoded);
    }
    const std::vector<std::uint8_t> bytes = oracle::pack(codes, q.bits());
    tally.check(q.row_bytes() == bytes.size() && std::equal(bytes.begin(), bytes.end(), q.codes(i)), place,
                "bytes of row ", i);
  }

  const auto n = static_cast<std::size_t>(down * across), bits = static_cast<std::size_t>(q.bits()),
             code_bytes = static_cast<std::size_t>(w.rows()) * q.row_bytes();
  const std::size_t zero_bytes = no_zeros ? 0 : zeros_are_codes ? (n * bits + 7) / 8 : 4 * n;
  const std::size_t bytes = code_bytes + n * (g.scale == fewbit::ScaleType::f32 ? 4 : 2) + zero_bytes;
  tally.check(q.codes().size() == code_bytes, place, q.codes().size(), " bytes of codes");
  tally.check(q.bytes() == bytes, place, q.bytes(), " bytes for ", bytes);
  tally.check(q.bits_per_weight() == 8. * static_cast<double>(bytes) / static_cast<double>(w.size()), place,
              q.bits_per_weight(), " bits per weight");
}

// W by the definition of its input map: W[i, order[k]] = decoded[i, k] * scale[k].
inline MatrixXf mapped(const fewbit::QuantizedMatrix& q) {
  const fewbit::InputMap& map = q.input_map();
  MatrixXf w(q.rows(), q.cols());
  for (Index i = 0; i < q.rows(); ++i)
    for (Index k = 0; k < q.cols(); ++k) {
      const auto at = static_cast<std::size_t>(k);
      w(i, map.order.empty() ? k : static_cast<Index>(map.order[at])) =
          map.scale.empty() ? q(i, k) : oracle::multiply(q(i, k), map.scale[at]);
    }
  return w;
}

// Every weight of a matrix equals what q says it decodes to, bit for bit.
template <class Tally, class Derived>
void judge_decoded(Tally& tally, const std::string& place, const fewbit::QuantizedMatrix& q,
                   const Eigen::DenseBase<Derived>& w) {
  tally.check(w.rows() == q.rows() && w.cols() == q.cols(), place, "decoded to ", w.rows(), " x ", w.cols());
  if (w.rows() != q.rows() || w.cols() != q.cols()) return;
  for (Index i = 0; i < q.rows(); ++i)
    for (Index j = 0; j < q.cols(); ++j)
      tally.check(same_bits(static_cast<float>(w.derived().coeff(i, j)), q(i, j)), place, "weight ", i, ", ", j, " is ",
                  w.derived().coeff(i, j), " for ", q(i, j));
}

}  // namespace support
