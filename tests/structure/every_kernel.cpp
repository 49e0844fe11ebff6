// Prints the name of the table in use and a hash of everything it stored and decoded. Bytes are the same on every
// instruction set, so the hash is too: it is in same_bytes.txt. With "searches", what estimators choose is in it; with
// "tables", it prints what FEWBIT_ISA may be here. Also the program that leak.sh takes apart, so it goes through every
// door.
#include <fewbit/fewbit.hpp>

#include <cstdint>
#include <cstring>
#include <iostream>
#include <span>
#include <string_view>
#include <vector>

namespace {

// FNV-1a
class Hash {
 public:
  void add(const void* data, std::size_t n) {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < n; ++i) value_ = (value_ ^ bytes[i]) * 0x100000001b3u;
  }
  void add(const fewbit::QuantizedMatrix& q) {
    add(q.codes().data(), q.codes().size());
    for (fewbit::Index i = 0; i < q.blocks_down(); ++i) {
      for (fewbit::Index j = 0; j < q.blocks_across(); ++j) {
        const fewbit::Affine a = q.affine(i, j);
        add(&a.scale, sizeof a.scale), add(&a.zero, sizeof a.zero);
      }
    }
  }
  void add(const Eigen::MatrixXf& w) { add(w.data(), static_cast<std::size_t>(w.size()) * sizeof(float)); }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

// Weights from integers alone, so that no library function can differ between two machines. Every 16th sits on a tie.
Eigen::MatrixXf weights(Eigen::Index rows, Eigen::Index cols) {
  Eigen::MatrixXf w(rows, cols);
  std::uint32_t state = 12345;
  for (Eigen::Index i = 0; i < rows; ++i) {
    for (Eigen::Index j = 0; j < cols; ++j) {
      state = state * 1664525u + 1013904223u;
      w(i, j) = static_cast<float>(static_cast<std::int32_t>(state) >> 8) / 16777216.0f;
      if (state % 16 == 0) w(i, j) = static_cast<float>(static_cast<std::int32_t>(state >> 20) - 2048) / 256.0f;
    }
  }
  return w;
}

// Weights of every magnitude that a float has, zeros of both signs, infinities and NaNs among them.
Eigen::MatrixXf extremes(Eigen::Index rows, Eigen::Index cols) {
  Eigen::MatrixXf w(rows, cols);
  std::uint32_t state = 54321;
  for (Eigen::Index i = 0; i < rows; ++i) {
    for (Eigen::Index j = 0; j < cols; ++j) {
      state = state * 1664525u + 1013904223u;
      std::uint32_t bits = state ^ state << 16;
      if (state >> 28 == 0) bits &= 0x807fffffu;  // subnormal
      if (state >> 28 == 1) bits |= 0x7f800000u;  // a NaN
      if (state >> 28 == 2) bits = (bits & 0x80000000u) | 0x7f800000u;
      if (state >> 28 == 3) bits &= 0x80000000u;
      std::memcpy(&w(i, j), &bits, sizeof bits);
    }
  }
  return w;
}

template <class Grid>
void run_extremes(Hash& hash, const Grid& grid) {
  const Eigen::MatrixXf w = extremes(7, 203);
  for (const fewbit::Granularity g : {fewbit::per_channel(), fewbit::per_group(16), fewbit::per_block(1, 1)}) {
    const fewbit::QuantizeOptions options{.nonfinite = fewbit::NonFinite::saturating};
    const fewbit::QuantizedMatrix q = fewbit::quantize(w, grid, g, fewbit::MinMax{}, options);
    hash.add(q), hash.add(fewbit::dequantize(q));
  }
}

// The roundings that no kernel knows, and codes five to a byte.
bool run_scalar(Hash& hash, const Eigen::MatrixXf& w) {
  for (const fewbit::Rounding rounding : {fewbit::Rounding::half_away, fewbit::Rounding::stochastic}) {
    const fewbit::QuantizeOptions options{.rounding = rounding, .seed = 7};
    hash.add(fewbit::quantize(w, fewbit::Asymmetric(3), fewbit::per_group(16), fewbit::MinMax{}, options));
    hash.add(fewbit::fake_quantize(w, fewbit::nf4, fewbit::per_group(16), fewbit::MinMax{}, options));
  }
  const fewbit::QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(2), fewbit::per_group(64), fewbit::AbsMean{});
  const fewbit::TernaryMatrix packed = fewbit::pack_ternary(q);
  for (fewbit::Index i = 0; i < packed.rows(); ++i) hash.add(packed.codes(i), packed.row_bytes());
  hash.add(fewbit::dequantize(packed));
  const Eigen::MatrixXf x = weights(w.cols(), 3);
  return packed.unpack() == q && packed * x == q * x;
}

bool close(const Eigen::MatrixXf& a, const Eigen::MatrixXf& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && (a - b).norm() <= 1e-4f * b.norm();
}

template <class Grid>
bool run(Hash& hash, const Eigen::MatrixXf& w, const Grid& grid, fewbit::Granularity granularity) {
  const fewbit::QuantizedMatrix q = fewbit::quantize(w, grid, granularity);
  const Eigen::MatrixXf back = fewbit::dequantize(q);
  Eigen::MatrixXf in_place = w;
  fewbit::fake_quantize_in_place(in_place, grid, granularity);
  hash.add(q), hash.add(back), hash.add(in_place);
  const Eigen::MatrixXf x = weights(w.cols(), 3);
  const Eigen::VectorXf y = x.col(0);
  return close(q * y, back * y) && close(q * x, back * x);
}

// Choices that hang on sums of many weights.
template <class Estimator>
void choose(Hash& hash, const Eigen::MatrixXf& w, const Estimator& e) {
  const fewbit::Granularity g = fewbit::per_group(64, fewbit::ScaleType::f16);
  hash.add(fewbit::quantize(w, fewbit::Symmetric(4).signed_scale(), g, e));
  hash.add(fewbit::quantize(w, fewbit::Asymmetric(3), g, e));
  hash.add(fewbit::quantize(w, fewbit::nf4, fewbit::per_channel(), e));
}

bool run_searches(Hash& hash, const Eigen::MatrixXf& tall) {
  std::vector<float> importance(203);
  for (std::size_t j = 0; j < importance.size(); ++j) importance[j] = static_cast<float>(j * 37 % 101) / 7;
  for (const double exponent : {2., 2.4}) {
    choose(hash, tall, fewbit::MseSearch{.exponent = exponent});
    choose(hash, tall, fewbit::MseSearch{.exponent = exponent, .importance = importance});
  }
  choose(hash, tall, fewbit::Percentile(97)), choose(hash, tall, fewbit::Percentile(97).both_tails());
  choose(hash, tall, fewbit::KlDivergence{128});
  choose(hash, tall, fewbit::Hqq{}), choose(hash, tall, fewbit::Hqq{.in_scales = true});
  fewbit::MovingAverage ranges;
  for (const fewbit::Index column : {0, 7, 100}) ranges.observe(std::span(tall.col(column).data(), 300));
  choose(hash, tall, ranges);
  hash.add(fewbit::quantize(tall, fewbit::Symmetric(3), fewbit::per_group(40), fewbit::AbsMean{}));
  return run_scalar(hash, tall);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view asked = argc > 1 ? argv[1] : "";
  if (asked == "tables") {
    for (const fewbit::kernel::Table* t : fewbit::kernel::all())
      if (t->supported()) std::cout << t->name << "\n";
    return 0;
  }
  Hash hash;
  const Eigen::MatrixXf w = weights(5, 203), tall = weights(300, 203);  // tall enough for threads
  bool products_agree = true;
  for (const fewbit::Granularity g : {fewbit::per_tensor(), fewbit::per_channel(), fewbit::per_column(),
                                      fewbit::per_group(64, fewbit::ScaleType::f16), fewbit::per_block(2, 50)}) {
    for (int bits = 1; bits <= 16; ++bits) {
      products_agree = run(hash, w, fewbit::Symmetric(bits), g) && products_agree;
      products_agree = run(hash, w, fewbit::Asymmetric(bits), g) && products_agree;
    }
    products_agree = run(hash, w, fewbit::nf4, g) && products_agree;
    products_agree = run(hash, w, fewbit::fp4, g) && products_agree;
    products_agree = run(hash, tall, fewbit::Asymmetric(4), g) && products_agree;
  }
  run_extremes(hash, fewbit::Symmetric(4).signed_scale()), run_extremes(hash, fewbit::Asymmetric(8));
  run_extremes(hash, fewbit::nf4);
  // Searches and what goes weight by weight take fifteen times as long: not for an emulated processor.
  if (asked == "searches") products_agree = run_searches(hash, tall) && products_agree;
  std::cout << fewbit::kernel::active().name << ' ' << std::hex << hash.value() << "\n";
  if (!products_agree) std::cerr << "q * x is not dequantize(q) * x\n";
  return products_agree ? 0 : 1;
}
