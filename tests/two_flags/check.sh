# Two translation units under different flags, in one program, in both link orders: what one makes the other reads, and
# both make the same bytes. A function of ours that makes or frees an Eigen object, and that both units share, crashes
# here, because Eigen allocates for the widest vectors it was compiled for.
#
# Eigen cannot be mixed like this by itself: its own allocation functions are inline, and wherever a compiler leaves them
# out of line (clang++ always, g++ at times) two units of plain Eigen code crash without any help from us. So each unit
# gets Eigen's functions for itself, under names of its own, and a crash that is left is one of fewbit's.
. "$(dirname "$0")/../support/check.sh"

command -v objcopy >/dev/null || skip "no objcopy (Debian: apt-get install binutils)"
source=$root/tests/two_flags

# Under -O1, which leaves more functions out of line than -O2 does: these are what two units come to share.
compile() { # name, unit, flags...
  name=$1 unit=$2
  shift 2
  # No warnings asked for: under -march=native g++ 12 has some about its own AVX-512 header.
  $cxx -std=c++20 "$@" -DUNIT="$unit" -I "$root/include" -isystem "$eigen" -c "$source/unit.cpp" -o "$scratch/$name.o" ||
    fail "unit.cpp does not compile under $*"
  # Functions, guards, static members and type information of namespace Eigen, as they are mangled.
  nm -a "$scratch/$name.o" |
    awk -v unit="$unit" '$NF ~ /^_Z(GVZ|ZN|Z|TV|TI|TS)?N?K?5Eigen/ { print $NF, unit $NF }' | sort -u >"$scratch/$name.map"
  [ -s "$scratch/$name.map" ] || fail "no function of Eigen's is left in $name.o: look at what nm prints"
  objcopy --redefine-syms="$scratch/$name.map" "$scratch/$name.o"
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
compile plain first -O1
if is_x86 && cpu_has avx2 && cpu_has fma; then
  run avx2 -O1 -mavx2
  run native -O1 -march=native
fi
if echo 'int main() {}' | $cxx -fopenmp -x c++ - -o "$scratch/has_openmp" 2>/dev/null; then run openmp -O1 -fopenmp; fi
[ -n "$pairs" ] || skip "this machine has neither AVX2 nor OpenMP"
echo "plain beside:$pairs"
