#pragma once
// What quantization cost. Rule: sums in double, whatever was compared.

#include <cmath>
#include <cstdio>
#include <limits>
#include <ostream>

#include <fewbit/core/error.hpp>
#include <fewbit/eigen/rows.hpp>

namespace fewbit {

// Errors are approx - exact. An empty comparison has no error and infinite SQNR.
struct ErrorReport {
  double mse = 0, rmse = 0, max_error = 0, mean_absolute_error = 0;
  double sqnr_db = std::numeric_limits<double>::infinity();  // 10 log10(sum exact^2 / sum error^2)
  double cosine = 1;                                         // of the angle between the two, as vectors

  friend std::ostream& operator<<(std::ostream& os, const ErrorReport& e) {
    char line[256];
    std::snprintf(line, sizeof line, "mse %.4g  rmse %.4g  max %.4g  mean abs %.4g  sqnr %.2f dB  cosine %.6f", e.mse,
                  e.rmse, e.max_error, e.mean_absolute_error, e.sqnr_db, e.cosine);
    return os << line;
  }
};

inline namespace FEWBIT_ABI {

// Compares two matrices of one shape, any Eigen expressions of real numbers whose squares a double can hold. Throws
// std::invalid_argument for two shapes.
template <class A, class B>
ErrorReport compare(const Eigen::DenseBase<A>& exact, const Eigen::DenseBase<B>& approx) {
  static_assert(is_real<typename A::Scalar> && is_real<typename B::Scalar>,
                "fewbit: compare takes real matrices; use m.cast<float>()");
  if (exact.rows() != approx.rows() || exact.cols() != approx.cols())
    fail_argument("compare: the exact matrix is ", exact.rows(), " x ", exact.cols(), ", the other ", approx.rows(),
                  " x ", approx.cols(), "; they must have one shape");
  ErrorReport report;
  if (exact.size() == 0) return report;
  const auto& a = exact.derived().eval();  // a plain matrix is not copied
  const auto& b = approx.derived().eval();
  double noise = 0, signal = 0, power = 0, together = 0, absolute = 0;
  constexpr Index tile = 64;  // the two may differ in storage order: neither is walked against its lines for long
  for (Index j0 = 0; j0 < a.cols(); j0 += tile)
    for (Index i0 = 0; i0 < a.rows(); i0 += tile)
      for (Index j = j0; j < std::min(j0 + tile, a.cols()); ++j)
        for (Index i = i0; i < std::min(i0 + tile, a.rows()); ++i) {
          const auto x = static_cast<double>(a.coeff(i, j)), y = static_cast<double>(b.coeff(i, j)),
                     e = std::abs(y - x);
          noise += e * e, signal += x * x, power += y * y, together += x * y, absolute += e;
          if (e > report.max_error) report.max_error = e;
        }
  const auto n = static_cast<double>(a.size());
  report.mse = noise / n, report.rmse = std::sqrt(report.mse), report.mean_absolute_error = absolute / n;
  if (noise != 0) report.sqnr_db = 10 * std::log10(signal / noise);
  if (signal != power || together != signal)
    report.cosine = signal > 0 && power > 0 ? together / (std::sqrt(signal) * std::sqrt(power)) : 0;
  if (std::isnan(noise)) report.max_error = report.cosine = noise;  // every comparison has passed over the NaN
  return report;
}

}  // namespace FEWBIT_ABI
}  // namespace fewbit
