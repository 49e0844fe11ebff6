// GPTQ: the page's listing as it is printed, what is wrong with it, and what error compensation gives when it is right.
#include <fewbit/fewbit.hpp>

#include <algorithm>
#include <cmath>
#include <iostream>

#include <Eigen/LU>

#include "../support/figures.hpp"
#include "../support/numpy_random.hpp"

namespace {

using Eigen::MatrixXd;
using example::fixed;
using example::percent;
using fewbit::GroupScales;

// The listing, line by line, in double. Its comment says "W[:, remaining] -= ..."; its code adds. And its H^-1 is never
// that of the columns that remain. `sign` is the one thing that can be chosen: +1 is as printed.
MatrixXd gptq_as_printed(MatrixXd W, const MatrixXd& X, int bits, double sign = +1) {
  const Eigen::Index n = W.cols();
  const double q_max = (1 << (bits - 1)) - 1;
  MatrixXd H = X * X.transpose();
  H += 1e-4 * H.diagonal().mean() * MatrixXd::Identity(n, n);
  const MatrixXd H_inv = H.inverse();
  MatrixXd W_hat = W;
  for (Eigen::Index j = 0; j < n; ++j) {
    const double scale = (W.col(j).cwiseAbs().maxCoeff() + 1e-10) / q_max;
    const auto decode = [&](double w) { return scale * std::clamp(std::nearbyint(w / scale), -q_max, q_max); };
    W_hat.col(j) = W.col(j).unaryExpr(decode);
    const Eigen::VectorXd delta = W.col(j) - W_hat.col(j);
    const Eigen::Index rest = n - j - 1;
    W.rightCols(rest) += sign * delta * H_inv.row(j).tail(rest) / (H_inv(j, j) + 1e-10);
  }
  return W_hat;
}

MatrixXd decoded(const fewbit::QuantizedMatrix& q) { return fewbit::dequantize<MatrixXd>(q); }

}  // namespace

int main() {
  example::Figures figures("Blog, \"GPTQ\": the output of 8 x 32 weights for 64 samples, 4 bits, seed 42");

  example::NumpyRandom random(42);
  const MatrixXd W = random.doubles(8, 32) * 0.5, X = random.doubles(32, 64) * 0.3, Y = W * X;
  const auto mse = [&](const MatrixXd& W_hat) { return fewbit::compare(Y, W_hat * X).mse; };
  const auto mse_of = [&](const fewbit::QuantizedMatrix& q) { return mse(decoded(q)); };
  // For inputs that were not seen: they are independent with a variance of .09, so the expectation needs no samples.
  const auto unseen = [&](const fewbit::QuantizedMatrix& q) { return 32 * 0.09 * fewbit::compare(W, decoded(q)).mse; };

  const fewbit::Symmetric int4(4);
  const auto rtn = fewbit::quantize(W, int4);
  const double printed = mse(gptq_as_printed(W, X, 4)), gain = 1 - printed / mse_of(rtn);
  figures.published("RTN output MSE", "0.018856", fixed(mse_of(rtn), 6));
  figures.published("GPTQ output MSE", "0.006265", fixed(printed, 6));
  figures.published("GPTQ reduction", "66.8%", percent(gain, 1));
  figures.published("GPTQ reduction, rounded", "over 65%", gain > 0.65 ? "over 65%" : percent(gain, 0));

  // The listing's own setting: a scale for each column, fitted to what the column has become, in the order of columns.
  fewbit::Hessian hessian(W.cols());
  hessian.add(X);
  const auto rtn_columns = fewbit::quantize(W, int4, fewbit::per_column());
  const auto gptq_columns = fewbit::gptq(W, hessian, int4, fewbit::per_column(),
                                         {.damping = 1e-4, .act_order = false, .scales = GroupScales::fresh});
  figures.corrected("a scale per column, nothing compensated", "", "0.003744", fixed(mse_of(rtn_columns), 6),
                    "The scales alone do better than the listing, which adds what it means to subtract.");
  figures.corrected("the listing, subtracting", "0.006265", "0.003145", fixed(mse(gptq_as_printed(W, X, 4, -1)), 6));
  figures.corrected("GPTQ", "0.006265", "0.002968", fixed(mse_of(gptq_columns), 6));
  figures.corrected("GPTQ reduction", "66.8%", "84.3%", percent(1 - mse_of(gptq_columns) / mse_of(rtn), 1),
                    "H^-1 has to be that of the columns still to come; it is what rows of the Cholesky factor hold.");

  const auto ordered = fewbit::gptq(W, hessian, int4, fewbit::per_column());
  figures.corrected("GPTQ, columns by descending H_ii", "", "0.002817", fixed(mse_of(ordered), 6));
  figures.corrected("  and refined", "", "0.002751", fixed(mse_of(fewbit::refine(ordered, W, hessian)), 6),
                    "The page calls the order fixed: the reference code, too, can take the largest H_ii first.");

  figures.corrected("bits per weight, one scale (RTN)", "4", "4.125", fixed(rtn.bits_per_weight(), 3));
  figures.corrected("bits per weight, a scale per column (GPTQ)", "4", "8.000",
                    fixed(gptq_columns.bits_per_weight(), 3),
                    "The page compares 1 scale with 32, one for every 8 weights. With as many on both sides:");
  const struct {
    const char* name;
    fewbit::Granularity granularity;
    const char *nearest, *compensated, *refined;
  } rows[] = {{"one scale", fewbit::per_tensor(), "0.018856", "0.015118", "0.014448"},
              {"a scale per row", fewbit::per_channel(), "0.006266", "0.005384", "0.005188"}};
  for (const auto& row : rows) {
    const auto q = fewbit::gptq(W, hessian, int4, row.granularity);
    figures.corrected(example::joined(row.name, ", RTN"), "", row.nearest,
                      fixed(mse_of(fewbit::quantize(W, int4, row.granularity)), 6));
    figures.corrected(example::joined(row.name, ", GPTQ"), "", row.compensated, fixed(mse_of(q), 6));
    figures.corrected(example::joined(row.name, ", GPTQ, refined"), "", row.refined,
                      fixed(mse_of(fewbit::refine(q, W, hessian)), 6));
  }

  figures.corrected("inputs not seen: a scale per column, RTN", "", "0.003738", fixed(unseen(rtn_columns), 6));
  figures.corrected(
      "inputs not seen: a scale per column, GPTQ", "", "0.005208", fixed(unseen(gptq_columns), 6),
      "X has independent inputs: GPTQ learns the chance correlations of 64 samples, and other samples pay for it.");
  return figures.close();
}
