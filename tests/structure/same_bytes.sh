# The same bytes at every optimisation level, -march and thread count: one program, compiled in several ways, prints one
# hash. (Two units of one program could not show it: the linker keeps only one of their kernels.)
. "$(dirname "$0")/../support/check.sh"

unset FEWBIT_ISA
wanted=
try() { # flags...
  # Warnings are others' business: under -march=native g++ 12 has some about its own AVX-512 header.
  $cxx -std=c++20 "$@" -I "$root/include" -isystem "$eigen" "$root/tests/structure/every_kernel.cpp" -o "$scratch/program" ||
    fail "does not compile with $*"
  for isa in "" scalar; do
    for threads in $counts; do
      said=$(FEWBIT_ISA=$isa OMP_NUM_THREADS=$threads "$scratch/program" searches) || fail "dies when compiled with $*"
      echo "$said $* $threads"
      wanted=${wanted:-${said#* }}
      [ "${said#* }" = "$wanted" ] || fail "other bytes with $*, FEWBIT_ISA='$isa', $threads threads"
    done
  done
}

counts=1
try -O0
try -O3 -march=native
if echo 'int main() {}' | $cxx -fopenmp -x c++ - -o "$scratch/has_openmp" 2>/dev/null; then
  counts="1 2 3"
  try -O2 -fopenmp
fi
