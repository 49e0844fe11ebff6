// What would quantization do to my matrix? Reads a .npy file and measures grids, widths and granularities on it.
//
//   inspect [--saturating] FILE.npy
#include <fewbit/fewbit.hpp>
#include <fewbit/io/npy.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "../support/table.hpp"

namespace {

using fewbit::ScaleType;

constexpr const char* usage =
    "usage: inspect [--saturating] FILE.npy\n"
    "\n"
    "Quantizes the matrix W[out, in] in FILE.npy with several grids, bit widths and granularities, and prints what "
    "each\n"
    "one costs: the error, the bits that are held per weight, scales included, and the time to quantize. An array of "
    "one\n"
    "dimension is taken as one row.\n"
    "\n"
    "  --saturating   take NaN as zero-points and infinities as the ends of the range, instead of stopping at them\n"
    "  --help         print this\n";

struct Width {
  std::string name;
  fewbit::Granularity granularity;
};

class Inspection {
 public:
  Inspection(const Eigen::MatrixXf& W, fewbit::NonFinite nonfinite) : W_(W) { options_.nonfinite = nonfinite; }

  // One row of the table for each granularity.
  template <class Grid>
  void measure(const std::string& name, const Grid& grid) {
    const Width widths[] = {{"tensor", fewbit::per_tensor()},
                            {"channel", fewbit::per_channel(ScaleType::f16)},
                            {"group of 128", fewbit::per_group(128, ScaleType::f16)}};
    for (const Width& width : widths) {
      const std::string bits = std::to_string(grid.levels().bits());
      try {
        const auto q = fewbit::quantize(W_, grid, width.granularity, fewbit::MinMax{}, options_);
        const Eigen::MatrixXf back = fewbit::dequantize(q);
        const Eigen::MatrixXf exact = W_.array().isFinite().select(W_, back);
        const auto error = fewbit::compare(exact, back);
        if (error.mse < least_mse_) least_mse_ = error.mse, best_ = rows_.size();
        // Time is the last column and of one width, so that the rest can be compared with a record.
        rows_.push_back({name, bits, width.name, example::fixed(q.bits_per_weight(), 3), example::general(error.mse, 4),
                         example::general(error.max_error, 4), example::fixed(error.sqnr_db, 2),
                         example::right(example::fixed(milliseconds(grid, width.granularity), 3), 9) + " ms"});
      } catch (const std::domain_error&) {
        // With float32 scales every finite matrix works, so that there it is the matrix's fault.
        if (width.granularity.scale == ScaleType::f32) throw;
        rows_.push_back({name, bits, width.name, "no float16 scale is large enough", "", "", "", ""});
      }
    }
  }

  // Moves what was measured to the table, the best row marked.
  void flush(example::Table& table) {
    for (std::size_t k = 0; k < rows_.size(); ++k) {
      rows_[k].front().insert(0, k == best_ ? "* " : "  ");
      table.row(rows_[k]);
    }
    rows_.clear();
    least_mse_ = std::numeric_limits<double>::infinity(), best_ = 0;
  }

 private:
  // The fastest of three.
  template <class Grid>
  double milliseconds(const Grid& grid, fewbit::Granularity granularity) const {
    double best = std::numeric_limits<double>::infinity();
    for (int k = 0; k < 3; ++k) {
      const auto start = std::chrono::steady_clock::now();
      const auto q = fewbit::quantize(W_, grid, granularity, fewbit::MinMax{}, options_);
      best =
          std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  }

  const Eigen::MatrixXf& W_;
  fewbit::QuantizeOptions options_;
  std::vector<std::vector<std::string>> rows_;
  double least_mse_ = std::numeric_limits<double>::infinity();
  std::size_t best_ = 0;
};

void inspect(const std::string& path, fewbit::NonFinite nonfinite) {
  const Eigen::MatrixXf W = fewbit::load_npy(path);
  if (W.size() == 0) {
    std::cout << W.rows() << " x " << W.cols() << " weights: nothing to measure\n";
    return;
  }
  example::Table table({"  grid", "bits", "one scale per", "bits/weight", "mse", "max error", "SQNR dB", "time"});
  Inspection inspection(W, nonfinite);
  for (const int bits : {8, 4, 3, 2}) {
    inspection.measure("symmetric", fewbit::Symmetric(bits));
    inspection.measure("symmetric, signed scale", fewbit::Symmetric(bits).signed_scale());
    inspection.measure("asymmetric", fewbit::Asymmetric(bits));
    if (bits == 4) {
      inspection.measure("NF4", fewbit::nf4);
      inspection.measure("AF4", fewbit::af4);
      inspection.measure("FP4", fewbit::fp4);
    }
    inspection.flush(table);
    if (bits != 2) table.note("");
  }
  std::cout << W.rows() << " x " << W.cols() << " weights";
  if (const auto lost = W.size() - W.array().isFinite().count(); lost > 0)
    std::cout << ", " << lost << " of them not finite and left out of the errors";
  std::cout << "\n\n"
            << table
            << "\n* least mse of its width. Scales are float32 for the tensor, float16 for channels and groups. Time: "
               "to quantize, the fastest of three.\n";
}

}  // namespace

int main(int argc, char** argv) {
  std::string path;
  auto nonfinite = fewbit::NonFinite::strict;
  for (int k = 1; k < argc; ++k) {
    const std::string argument = argv[k];
    if (argument == "--help") {
      std::cout << usage;
      return 0;
    }
    if (argument == "--saturating") {
      nonfinite = fewbit::NonFinite::saturating;
    } else if (argument.starts_with("--") || !path.empty()) {
      std::cerr << "inspect: " << (path.empty() ? "unknown option " : "one file at a time, not also ") << argument
                << "\n\n"
                << usage;
      return 2;
    } else {
      path = argument;
    }
  }
  if (path.empty()) {
    std::cerr << usage;
    return 2;
  }
  try {
    inspect(path, nonfinite);
  } catch (const std::domain_error& e) {
    std::cerr << e.what() << "\ninspect: that is the option --saturating\n";
    return 1;
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}
