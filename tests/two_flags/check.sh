# Two translation units under different flags, in one program, in both link orders. Eigen allocates for the widest
# vectors it was compiled for, so whatever hands an Eigen object from one unit to the other (a weak inline function is
# enough) crashes; and threads must not change a byte.
. "$(dirname "$0")/../support/check.sh"

# clang leaves Eigen's own allocation functions out of line, where both units share one of them: there two units of Eigen
# alone crash, and no library on top can help. The user's way out is one alignment for all, and fewbit must survive that.
same_alignment=
if $cxx --version | grep -q clang; then same_alignment=-DEIGEN_MAX_ALIGN_BYTES=64; fi

source=$root/tests/two_flags
compile() { # name, unit, flags...
  name=$1 unit=$2
  shift 2
  # No warnings asked for: under -march=native g++ 12 has some about its own AVX-512 header.
  $cxx -std=c++20 "$@" $same_alignment -DUNIT="$unit" -I "$root/include" -isystem "$eigen" -c "$source/unit.cpp" -o "$scratch/$name.o" ||
    fail "unit.cpp does not compile under $*"
}

run() { # name, flags of the second unit...
  name=$1
  shift
  compile "$name" second "$@"
  link=
  case $name in openmp) link=-fopenmp ;; esac
  for order in "plain $name" "$name plain"; do
    set -- $order
    $cxx "$scratch/main.o" "$scratch/$1.o" "$scratch/$2.o" $link -o "$scratch/$1-$2" || fail "link order $order"
    for isa in "" scalar; do
      for threads in 1 3; do
        FEWBIT_ISA=$isa OMP_NUM_THREADS=$threads "$scratch/$1-$2" ||
          fail "plain and $name, linked as: $order (FEWBIT_ISA='$isa', $threads threads): status $?"
      done
    done
  done
  pairs="$pairs $name"
}

pairs=
$cxx -std=c++20 $clean -O2 -I "$root/include" -c "$source/main.cpp" -o "$scratch/main.o" || fail "main.cpp does not compile"
compile plain first -O2
if is_x86 && cpu_has avx2 && cpu_has fma; then
  run avx2 -O2 -mavx2
  run native -O3 -march=native
fi
if echo 'int main() {}' | $cxx -fopenmp -x c++ - -o "$scratch/has_openmp" 2>/dev/null; then run openmp -O2 -fopenmp; fi
[ -n "$pairs" ] || skip "this machine has neither AVX2 nor OpenMP"
echo "plain beside:$pairs"
