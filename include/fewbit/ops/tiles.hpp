#pragma once
// How the rows of a quantized matrix are cut up for a product. Rule: a tile is four rows far apart, so that memory is
// read in four streams; a panel is some tiles that stay in cache while the columns pass by.

#include <fewbit/kernel/product_dispatch.hpp>
#include <fewbit/ops/dequantize.hpp>

namespace fewbit {
inline namespace FEWBIT_ABI {

inline constexpr Index tile_height = static_cast<Index>(kernel::tile_rows), tiles_in_panel = 16;

// The rows of tile t of rows first .. last - 1: t, t + a quarter, t + two quarters, ..
struct TileRows {
  Index first, last, quarter;
  TileRows(Index f, Index l) : first(f), last(l), quarter((l - f + tile_height - 1) / tile_height) {}
  Index row(Index tile, Index r) const { return first + tile + r * quarter; }
  Index height(Index tile) const {
    Index h = 0;
    while (h < tile_height && row(tile, h) < last) ++h;
    return h;
  }
};

// Activations: columns of floats, wherever they lie.
using Inputs = Eigen::Ref<const Eigen::MatrixXf>;

// Calls multiply(rows, first, count, to) for every tile of W and all columns, up to four at a time, and takes
// to[c * tile_rows + r] over into Y.
template <class Multiply>
void each_coded_tile(const QuantizedMatrix& w, Index cols, Eigen::MatrixXf& y, Multiply&& multiply) {
  const kernel::Table& table = kernel::active();
  const Index across = w.blocks_across(), step = std::min<Index>(cols, 4);
  for_each_slice(w.rows(), 4 * tile_height, [&](Index first, Index last) {
    const TileRows at(first, last);
    std::vector<Affine> affines(room_for(tiles_in_panel * tile_height, across));
    std::vector<kernel::CodedRows> tiles;
    // Gathered here and written a line at a time: rows far apart and columns far apart would share the sets of a cache.
    float part[4 * tile_height], sums[4 * tile_height][tiles_in_panel];
    for (Index t = 0; t < at.quarter; t += tiles_in_panel) {
      tiles.clear();
      Affine* next = affines.data();
      for (Index i = t; i < std::min(t + tiles_in_panel, at.quarter); ++i) {
        kernel::CodedRows rows{static_cast<std::size_t>(w.cols()),
                               static_cast<std::size_t>(w.block_cols()),
                               static_cast<std::size_t>(at.height(i)),
                               &w.levels(),
                               {},
                               {}};
        for (std::size_t r = 0; r < rows.rows; ++r, next += across) {
          const Index row = at.row(i, static_cast<Index>(r));
          w.params().read(static_cast<std::size_t>(row / w.block_rows() * across), static_cast<std::size_t>(across),
                          next, table);
          rows.packed[r] = w.codes(row), rows.affine[r] = next;
        }
        tiles.push_back(rows);
      }
      for (Index c = 0; c < cols; c += step) {
        const Index some = std::min(step, cols - c);
        for (std::size_t i = 0; i < tiles.size(); ++i) {
          multiply(tiles[i], c, some, part);
          for (Index k = 0; k < some * tile_height; ++k) sums[k][i] = part[k];
        }
        for (Index r = 0; r < tile_height; ++r) {
          const Index row = at.row(t, r), tall = std::min(static_cast<Index>(tiles.size()), last - row);
          for (Index j = 0; j < some && tall > 0; ++j)
            std::copy_n(sums[j * tile_height + r], tall, y.col(c + j).data() + row);
        }
      }
    }
  });
}

// Y = W X through rows of floats: a panel of W is widened, a run of its columns at a time, and meets all of X.
inline void multiply_dense(const QuantizedMatrix& w, const Inputs& x, Eigen::MatrixXf& y) {
  const kernel::Products& products = kernel::products_of(kernel::active());
  // Columns of X, padded to whole registers, and kept off the distance at which cache lines collide.
  const Index n = w.cols(), padded = (n + 15) / 16 * 16, stride = padded + 16;
  Buffer<float> columns(room_for(x.cols(), stride));
  for (Index c = 0; c < x.cols(); ++c) {
    float* to = columns.data() + c * stride;
    std::copy_n(x.col(c).data(), n, to);
    std::fill(to + n, to + padded, 0.f);
  }
  constexpr Index height = 64, run = 1024;  // as products.dense likes them
  const auto size = [](Index i) { return static_cast<std::size_t>(i); };
  for_each_slice(w.rows(), height, [&](Index first, Index last) {
    DequantizedRows widen(w);
    Buffer<float> panel(room_for(std::min(height, last - first), stride));
    Buffer<float> sums(room_for(x.cols(), height));
    for (Index i = first; i < last; i += height) {
      const Index rows = std::min(height, last - i);
      for (Index r = 0; r < rows; ++r) {
        float* to = panel.data() + r * stride;
        widen(i + r, to);
        std::fill(to + n, to + padded, 0.f);
      }
      std::fill(sums.begin(), sums.end(), 0.f);
      for (Index k = 0; k < padded; k += run)
        products.dense(size(std::min(run, padded - k)), size(rows), panel.data() + k, size(stride),
                       {size(x.cols()), size(stride), columns.data() + k}, sums.data(), size(height));
      for (Index c = 0; c < x.cols(); ++c) std::copy_n(sums.data() + c * height, rows, y.col(c).data() + i);
    }
  });
}

// X[in, n] = W^T Y[out, n], inputs in the order of the codes: a panel of W is widened, and its columns are shared out
// among the threads, so that sums are formed in the order of W's rows whoever forms them.
inline Eigen::MatrixXf multiply_transposed(const QuantizedMatrix& w, const Inputs& y) {
  const kernel::Products& products = kernel::products_of(kernel::active());
  Eigen::MatrixXf x = Eigen::MatrixXf::Zero(w.cols(), y.cols());
  if (x.size() == 0) return x;  // it has no memory, and null must not be moved
  const Index height = 128, stride = (w.cols() + 15) / 16 * 16 + 16;
  Buffer<float> panel(room_for(std::min(height, w.rows()), stride));
  for (Index i = 0; i < w.rows(); i += height) {
    const Index rows = std::min(height, w.rows() - i);
    for_each_slice(rows, 16, [&](Index first, Index last) {
      DequantizedRows widen(w);
      for (Index r = first; r < last; ++r) widen(i + r, panel.data() + r * stride);
    });
    for_each_slice(w.cols(), 256, [&](Index first, Index last) {
      for (Index k = first; k < last; k += 256)
        products.transposed(
            static_cast<std::size_t>(std::min<Index>(256, last - k)), static_cast<std::size_t>(rows), panel.data() + k,
            static_cast<std::size_t>(stride),
            {static_cast<std::size_t>(y.cols()), static_cast<std::size_t>(y.outerStride()), y.data() + i}, x.data() + k,
            static_cast<std::size_t>(w.cols()));
    });
  }
  return x;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
