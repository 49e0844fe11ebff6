// expect: fewbit: weights must be float
#include <fewbit/fewbit.hpp>

#ifdef FEWBIT_BAD
using Matrix = Eigen::MatrixXi;  // already integers: which scale would they have?
#else
using Matrix = Eigen::MatrixXd;
#endif

fewbit::QuantizedMatrix f(const Matrix& w) { return fewbit::quantize(w, fewbit::Symmetric(4)); }
