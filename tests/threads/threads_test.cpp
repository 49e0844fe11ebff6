// Rows are split over threads where the program is compiled with OpenMP, and nothing that can be observed changes.

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include <fewbit/grid/nf4.hpp>
#include <fewbit/ops/dequantize.hpp>
#include <fewbit/ops/product.hpp>
#include <fewbit/ops/ternary.hpp>
#include <fewbit/quantize/awq.hpp>
#include <fewbit/quantize/gptq.hpp>
#include <fewbit/quantize/refine.hpp>

#include <support/any.hpp>
#include <support/expected.hpp>
#include <support/host_mode.hpp>

namespace {

using fewbit::Granularity;
using fewbit::QuantizedMatrix;
using fewbit::ScaleType;
using support::Index;
using support::MatrixXf;
using support::RowMajor;

constexpr int counts[] = {1, 2, 3, 5, 8};

// Eigen's thread count for a scope.
class Threads {
 public:
  explicit Threads(int n) : before_(Eigen::nbThreads()) { Eigen::setNbThreads(n); }
  ~Threads() { Eigen::setNbThreads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

std::vector<Granularity> granularities() {
  return {fewbit::per_tensor(),      fewbit::per_channel(ScaleType::f16),
          fewbit::per_column(),      fewbit::per_group(128, ScaleType::bf16),
          fewbit::per_block(7, 100), fewbit::per_block(96, 64)};
}

template <class Matrix>
void same_bytes(const Matrix& w, const support::AnyGrid& grid) {
  for (const Granularity g : granularities()) {
    const auto run = [&](int n) {
      const Threads threads(n);
      QuantizedMatrix q = support::quantize(w, grid, g);
      MatrixXf back = fewbit::dequantize(q), fake = support::fake_quantize(w, grid, g);
      return std::tuple(std::move(q), std::move(back), std::move(fake));
    };
    const auto [q, back, fake] = run(1);
    CHECK((back == fake));
    for (const int n : counts) {
      INFO(w.rows() << " x " << w.cols() << ", blocks of " << g.rows << " x " << g.cols << ", " << n << " threads");
      const auto [q_n, back_n, fake_n] = run(n);
      CHECK(q_n == q);
      CHECK((back_n == back));
      CHECK((fake_n == fake));
    }
  }
}

std::string error_of(const MatrixXf& w, Granularity g) {
  try {
    fewbit::quantize(w, fewbit::Symmetric(4), g);
  } catch (const std::domain_error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("any number of threads gives the same bytes", "[threads]") {
  // Large enough to be split, and not a multiple of anything.
  const MatrixXf tall = support::normal_matrix(1001, 130, 131), wide = support::normal_matrix(37, 5003, 132),
                 small = support::normal_matrix(3, 5, 133);
  const RowMajor by_row = tall;
  for (const support::GridCase& c :
       {support::integer_grids(4)[0], support::integer_grids(3)[3], support::table_grids()[0]}) {
    same_bytes(tall, c.grid);
    same_bytes(wide, c.grid);
    same_bytes(small, c.grid);
    same_bytes(by_row, c.grid);
  }
}

TEST_CASE("any number of threads rounds alike, by chance too", "[threads][rounding]") {
  const MatrixXf tall = support::normal_matrix(1001, 130, 143);
  for (const fewbit::Rounding rounding : {fewbit::Rounding::half_away, fewbit::Rounding::stochastic})
    for (const Granularity g : granularities()) {
      const auto run = [&](int n) {
        const Threads threads(n);
        const fewbit::QuantizeOptions options{.rounding = rounding, .seed = 7};
        MatrixXf in_place = tall;
        fewbit::fake_quantize_in_place(in_place, fewbit::nf4, g, fewbit::MinMax{}, options);
        return std::tuple(support::quantize(tall, fewbit::nf4, g, options), std::move(in_place));
      };
      const auto expected = run(1);
      for (const int n : counts) {
        INFO("blocks of " << g.rows << " x " << g.cols << ", " << n << " threads");
        CHECK((run(n) == expected));
      }
    }
}

TEST_CASE("any number of threads gives the same product, to the last bit", "[threads][product]") {
  for (const auto& [rows, cols, n] : {std::tuple<Index, Index, Index>{1001, 130, 7},
                                      {40, 3000, 200},
                                      {64, 512, 1},
                                      {300, 300, 300},
                                      {1, 4096, 64},
                                      {700, 64, 1},
                                      {32, 3000, 400},
                                      {20, 4000, 300}}) {
    const QuantizedMatrix q =
        fewbit::quantize(support::normal_matrix(rows, cols, 134), fewbit::Symmetric(4), fewbit::per_group(64));
    const MatrixXf x = support::normal_matrix(cols, n, 135);
    const auto run = [&](int count) {
      const Threads threads(count);
      MatrixXf many = q * x, rounded = fewbit::product(q, x, fewbit::Activations::int8);
      Eigen::VectorXf one = q * x.col(0), back = q.transpose() * Eigen::VectorXf::LinSpaced(q.rows(), -1, 1);
      return std::array{std::move(many), std::move(rounded), MatrixXf(one), MatrixXf(back)};
    };
    const auto expected = run(1);
    for (const int count : counts) {
      INFO(rows << " x " << cols << " times " << n << ", " << count << " threads");
      const auto got = run(count);
      for (std::size_t i = 0; i < got.size(); ++i) {
        INFO("product " << i << " of floats, int8, one column, transposed");
        CHECK((got[i] == expected[i]));
      }
    }
  }
}

TEST_CASE("any number of threads unpacks and multiplies five weights to a byte alike", "[threads][ternary]") {
  const MatrixXf w = support::normal_matrix(1001, 130, 144), x = support::normal_matrix(130, 7, 145);
  for (const Granularity g : granularities()) {
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(2), g);
    const fewbit::TernaryMatrix t = fewbit::pack_ternary(q);
    const MatrixXf product = q * x, rounded = fewbit::product(q, x, fewbit::Activations::int8),
                   back = fewbit::dequantize(q);
    for (const int n : counts) {
      const Threads threads(n);
      INFO("blocks of " << g.rows << " x " << g.cols << ", " << n << " threads");
      CHECK((t * x == product));
      CHECK((fewbit::product(t, x, fewbit::Activations::int8) == rounded));
      CHECK((fewbit::dequantize(t) == back));
    }
  }
}

TEST_CASE("any number of threads calibrates alike", "[threads][gptq]") {
  const MatrixXf w = support::normal_matrix(301, 130, 151);
  const MatrixXf x = support::normal_matrix(130, 130, 152) * support::normal_matrix(130, 700, 153);
  const auto run = [&](int n) {
    const Threads threads(n);
    fewbit::Hessian h(130);
    h.add(x);
    fewbit::GptqReport report;
    fewbit::GptqOptions options, fresh;
    options.report = &report, fresh.scales = fewbit::GroupScales::fresh;
    std::vector<QuantizedMatrix> all;
    all.push_back(fewbit::gptq(w, h, fewbit::Symmetric(4), fewbit::per_group(32), options));
    all.push_back(fewbit::gptq(w, h, fewbit::nf4, fewbit::per_block(7, 40), fresh));
    all.push_back(fewbit::refine(all[0], w, h));
    all.push_back(fewbit::awq(w, x, fewbit::Asymmetric(3), fewbit::per_group(32)));
    all.push_back(fewbit::smooth_quant(w, x));
    return std::tuple(std::move(all), h.matrix(), report.row_loss_before, report.row_loss_after);
  };
  const auto expected = run(1);
  for (const int n : counts) {
    INFO(n << " threads");
    CHECK((run(n) == expected));
  }
  for (const int n : counts) {
    const Threads threads(n);
    fewbit::Hessian h(130);
    h.add(x);
    fewbit::GptqOptions options;
    std::vector<double> parts;  // one thread at a time calls
    options.progress = [&](double done) { return parts.push_back(done), done < 0.9; };
    CHECK_THROWS_AS(fewbit::gptq(w, h, fewbit::Symmetric(4), fewbit::per_group(32), options), fewbit::Cancelled);
    CHECK(std::is_sorted(parts.begin(), parts.end()));
  }
}

TEST_CASE("rows that fill no tile are added up as those that do, on every instruction set", "[threads][product]") {
  using fewbit::Activations;
  for (const fewbit::kernel::Table* table : fewbit::kernel::all()) {
    if (!table->supported()) continue;
    const fewbit::kernel::Use use(*table);
    for (const Index rows : {33, 35, 70})
      for (const int bits : {2, 3, 4, 8}) {
        const QuantizedMatrix q =
            fewbit::quantize(support::normal_matrix(rows, 200, 141), fewbit::Asymmetric(bits), fewbit::per_channel());
        for (const Index n : {1, 4, 5, 30}) {
          const MatrixXf x = support::normal_matrix(200, n, 142);
          const auto run = [&](int count) {
            const Threads threads(count);
            return std::array{MatrixXf(q * x), MatrixXf(fewbit::product(q, x, Activations::int8)),
                              MatrixXf(fewbit::product(q, x, Activations::uint8))};
          };
          const auto expected = run(1);
          for (const int count : {2, 3, 7}) {
            INFO(table->name << ", " << rows << " rows of " << bits << " bits times " << n << ", " << count
                             << " threads");
            CHECK((run(count) == expected));
          }
        }
      }
  }
}

TEST_CASE("of several bad weights the first in row order is named, whatever the number of threads",
          "[threads][bad-input]") {
  MatrixXf w = support::normal_matrix(1200, 130, 136);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  w(1199, 3) = w(601, 90) = nan, w(599, 100) = std::numeric_limits<float>::infinity(), w(599, 101) = nan,
          w(900, 0) = nan;
  for (const Granularity g : granularities()) {
    for (const int n : counts) {
      const Threads threads(n);
      for (int again = 0; again < 5; ++again) {
        const std::string what = error_of(w, g);
        INFO(n << " threads, blocks of " << g.rows << " x " << g.cols << ": " << what);
        CHECK(what.find("row 599, column 100") != std::string::npos);
        CHECK(what.find("inf") != std::string::npos);
      }
    }
  }
}

TEST_CASE("of several scales beyond f16 the first block is named, whatever the number of threads",
          "[threads][bad-input]") {
  MatrixXf w = support::normal_matrix(1200, 130, 137);
  w(1100, 0) = 1e9f, w(610, 70) = -3e9f, w(610, 60) = 2e9f, w(30, 129) = 1e8f;
  for (const Granularity g : {fewbit::per_group(64, ScaleType::f16), fewbit::per_channel(ScaleType::f16),
                              fewbit::per_block(4, 64, ScaleType::f16)}) {
    std::string first;
    for (const int n : counts) {
      const Threads threads(n);
      for (int again = 0; again < 5; ++again) {
        const std::string what = error_of(w, g);
        if (first.empty()) first = what;
        INFO(n << " threads, blocks of " << g.rows << " x " << g.cols);
        CHECK(what == first);
      }
    }
    INFO(first);
    CHECK(first.find(g.rows == 4 ? "row 28" : "row 30") != std::string::npos);
  }
}

TEST_CASE("an exception of a user's estimator comes out of the threads as it was thrown", "[threads][estimator]") {
  const MatrixXf w = support::normal_matrix(1200, 130, 138);
  struct Mine : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  for (const Granularity g : granularities()) {
    if (g.rows == 0 && g.cols == 0) continue;  // one block: nothing to run beside it
    for (const int n : counts) {
      const Threads threads(n);
      std::atomic<int> calls = 0;
      const auto sometimes = [&](std::span<const float> block, const auto& grid) {
        ++calls;
        for (const float x : block)
          if (x == w(700, 65)) throw Mine("found it");
        return grid.fit({-4, 4});
      };
      INFO(n << " threads, blocks of " << g.rows << " x " << g.cols);
      try {
        fewbit::quantize(w, fewbit::Symmetric(4), g, sometimes);
        FAIL("the exception was lost");
      } catch (const Mine& e) {
        CHECK(std::string(e.what()) == "found it");
      }
      CHECK(calls > 0);
    }
  }
}

TEST_CASE("a product inside a thread of the program's own gives the same", "[threads]") {
  const MatrixXf w = support::normal_matrix(300, 130, 139);
  const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(64));
  const Eigen::VectorXf x = support::normal_matrix(130, 1, 140), expected = q * x;
  std::vector<int> good(4, 0);
#ifdef _OPENMP
#pragma omp parallel for num_threads(2)
#endif
  for (int i = 0; i < 4; ++i) {
    const bool same_codes = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_group(64)) == q;
    good[static_cast<std::size_t>(i)] = same_codes && q * x == expected;
  }
  CHECK(good == std::vector<int>(4, 1));
}

#ifdef _OPENMP
#if FEWBIT_X86_64 || FEWBIT_ARM64
TEST_CASE("each thread keeps subnormals, whatever mode the host program has set in it", "[threads][class-11]") {
  const MatrixXf w = support::normal_matrix(300, 400, 271) * 1e-40f, x = support::normal_matrix(400, 40, 272) * 1e30f;
  const auto run = [&] {
    const QuantizedMatrix q = fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_block(7, 100));
    return std::tuple(q, fewbit::dequantize(q), MatrixXf(q * x));
  };
  const auto [q, back, y] = run();
  const auto in_every_thread = [](std::uint64_t mode) {
#pragma omp parallel num_threads(8)
    support::HostMode::set(mode);
  };
  // How many of n threads have the mode: not every OpenMP leaves in its threads what they have set.
  const auto kept = [](int n) {
    std::atomic<int> count = 0;
#pragma omp parallel num_threads(n)
    count += support::HostMode::now() == support::HostMode::flush;
    return count.load();
  };
  for (const int n : counts) {
    const Threads threads(n);
    const int stay = std::min(n, 2);  // threads beyond those that have work may go, and new ones come
    in_every_thread(support::HostMode::flush);
    const int untouched = kept(stay);
    in_every_thread(support::HostMode::flush);
    const auto [q_n, back_n, y_n] = run();
    const int after = kept(stay);
    in_every_thread(0);
    INFO(n << " threads");
    CHECK(after == untouched);
    CHECK(q_n == q);
    CHECK(support::same_floats(back_n, back));
    CHECK(support::same_floats(y_n, y));
  }
}
#endif

TEST_CASE("more than one thread works when more than one is asked for, and one when one is", "[threads]") {
  const MatrixXf w = support::normal_matrix(2000, 130, 141);
  for (const int n : {1, 3}) {
    const Threads threads(n);
    std::vector<std::atomic<int>> seen(64);
    const auto look = [&](std::span<const float>, const auto& grid) {
      ++seen[static_cast<std::size_t>(omp_get_thread_num())];
      return grid.fit({-4, 4});
    };
    fewbit::quantize(w, fewbit::Symmetric(4), fewbit::per_channel(), look);
    int working = 0;
    for (const auto& s : seen) working += s > 0;
    INFO(n << " threads asked for, " << working << " worked");
    CHECK(working == n);
  }
}
#endif
