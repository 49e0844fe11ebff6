#pragma once
// What every algorithm returns: packed codes, one Affine per block, and the levels. The grid that made it is
// gone, so a 4-bit matrix, an NF4 matrix and one read from a file are the same type. Rule: no Eigen here, because
// this type crosses between translation units compiled with and without -mavx2.

#include <cassert>
#include <exception>
#include <span>
#include <utility>

#include <fewbit/core/affine.hpp>
#include <fewbit/core/arithmetic.hpp>
#include <fewbit/core/granularity.hpp>
#include <fewbit/core/levels.hpp>
#include <fewbit/core/packing.hpp>
#include <fewbit/storage/bytes.hpp>
#include <fewbit/storage/input_map.hpp>
#include <fewbit/storage/params.hpp>

namespace fewbit {

class QuantizedMatrix;

// W^T of a quantized W, as a factor of a product. It does not keep W.
struct TransposedMatrix {
  const QuantizedMatrix& matrix;
};

// W[out, in], codes row-major, each row starting on a byte.
class QuantizedMatrix {
 public:
  QuantizedMatrix() = default;

  // A matrix whose codes and params are yet to be set: algorithms and file readers start here. Throws
  // std::invalid_argument for negative extents, and for sizes beyond what can be addressed.
  QuantizedMatrix(Index rows, Index cols, const Levels& levels, Granularity g)
      : tiling_(rows, cols, g), scale_(g.scale), levels_(levels) {
    row_bytes_ = packed_bytes(static_cast<std::size_t>(cols), bits());
    const std::size_t bytes = static_cast<std::size_t>(rows) * row_bytes_;
    try {
      codes_.resize(bytes);
    } catch (const std::exception&) {  // std::length_error or std::bad_alloc, neither of which names the matrix
      fail_argument("a matrix of ", rows, " x ", cols, " at ", bits(), " bits takes ", bytes,
                    " bytes, more than there is; split it");
    }
  }

  Index rows() const { return tiling_.rows; }
  Index cols() const { return tiling_.cols; }
  Index size() const { return rows() * cols(); }
  int bits() const { return levels_.bits(); }
  const Levels& levels() const { return levels_; }
  ScaleType scale_type() const { return scale_; }

  // Blocks are block_rows() x block_cols() weights, short ones at the right and lower edge.
  const Tiling& tiling() const { return tiling_; }
  Index block_rows() const { return tiling_.block_rows; }
  Index block_cols() const { return tiling_.block_cols; }
  Index blocks_down() const { return tiling_.blocks_down(); }
  Index blocks_across() const { return tiling_.blocks_across(); }
  Granularity granularity() const { return {block_rows(), block_cols(), scale_}; }

  unsigned code(Index i, Index j) const {
    assert(i >= 0 && i < rows() && j >= 0 && j < cols());
    return get_code(codes(i), static_cast<std::size_t>(j), bits());
  }
  // How the block in this row and column of blocks decodes; the scale is what its stored type holds.
  Affine affine(Index block_row, Index block_col) const {
    assert(block_row >= 0 && block_row < blocks_down() && block_col >= 0 && block_col < blocks_across());
    return params_[static_cast<std::size_t>(block_row * blocks_across() + block_col)];
  }
  // q.transpose() * y is W^T y.
  TransposedMatrix transpose() const { return {*this}; }

  // One decoded weight, by its place in the codes (see input_map): for looking, not for loops.
  float operator()(Index i, Index j) const {
    const StatedArithmetic stated;
    return stated(weight(levels_[static_cast<int>(code(i, j))], affine(i / block_rows(), j / block_cols())));
  }

  // What is held: codes with their padding, scales and zero-points, and the input map. The levels, at most 2 KiB, are
  // the grid's.
  std::size_t bytes() const { return codes_.size() + params_.bytes() + input_map_.bytes(); }
  // 8 * bytes() / size(); 0 for an empty matrix.
  double bits_per_weight() const {
    return size() == 0 ? 0 : 8 * static_cast<double>(bytes()) / static_cast<double>(size());
  }

  // row_bytes() bytes: the codes of one row.
  const std::uint8_t* codes(Index row) const { return codes_.data() + static_cast<std::size_t>(row) * row_bytes_; }
  std::uint8_t* codes(Index row) { return codes_.data() + static_cast<std::size_t>(row) * row_bytes_; }
  std::span<const std::uint8_t> codes() const { return codes_; }
  std::size_t row_bytes() const { return row_bytes_; }

  const Params& params() const { return params_; }
  // Throws std::invalid_argument if codes or params are missing: the matrix was moved from, or never finished.
  void require_complete() const {
    if (params_.size() != tiling_.blocks() || codes_.size() != static_cast<std::size_t>(rows()) * row_bytes_)
      fail_argument("a quantized matrix of ", rows(), " x ", cols(),
                    " holds no weights; it was moved from, or lacks set_params");
  }
  // One Affine for every block, row by row of blocks. Throws std::invalid_argument for a wrong number of them, and
  // for scales that the scale type does not hold.
  void set_params(std::span<const Affine> blocks) {
    if (blocks.size() != tiling_.blocks())
      fail_argument(blocks.size(), " scales for ", tiling_.blocks(), " blocks; give one for each");
    params_ = Params(blocks, scale_, bits());
  }
  // Those of another matrix with these blocks, coded scales included. Throws std::invalid_argument for a wrong number
  // of them, another scale type or another width of codes.
  void set_params(Params params) {
    if (params.size() != tiling_.blocks())
      fail_argument(params.size(), " scales for ", tiling_.blocks(), " blocks; give one for each");
    if (params.size() > 0 && (params.scale_type() != scale_ || params.bits() != bits()))
      fail_argument("params of ", params.bits(), " bits with scales in ", name(params.scale_type()),
                    " for a matrix of ", bits(), " bits with scales in ", name(scale_), "; both must be the same");
    params_ = std::move(params);
  }

  // How inputs reach the columns of the codes. Empty unless an algorithm set it.
  const InputMap& input_map() const { return input_map_; }
  // Throws std::invalid_argument unless it maps cols() inputs.
  void set_input_map(InputMap map) {
    map.check(static_cast<std::size_t>(cols()));
    input_map_ = std::move(map);
  }

  // Scales as codes, for all blocks. Throws std::invalid_argument as Params::with_coded does.
  void set_coded_scales(CodedScales scales) { params_ = params_.with_coded(std::move(scales)); }

  friend bool operator==(const QuantizedMatrix& a, const QuantizedMatrix& b) {
    return a.tiling_ == b.tiling_ && a.levels_ == b.levels_ && a.codes_ == b.codes_ && a.params_ == b.params_ &&
           a.input_map_ == b.input_map_;
  }

 private:
  Tiling tiling_;
  ScaleType scale_ = ScaleType::f32;
  Levels levels_{};
  std::size_t row_bytes_ = 0;
  Bytes codes_;
  Params params_;
  InputMap input_map_;
};

}  // namespace fewbit
