# The same bytes everywhere: one program and one fixed corpus (every_kernel.cpp), compiled by every compiler of this
# machine at three levels of optimisation, for x86-64 and for ARM, run on every table with one thread and with two. All
# print the hash that same_bytes.txt holds, so machines that never meet agree too. (Two units of one program could not
# show it: the linker keeps only one of their kernels.) ARM is emulated; there a product and a sum that were fused
# unasked would show, for its compilers fuse them unless they are told not to.
#
#   sh tests/structure/same_bytes.sh          all of it
#   sh tests/structure/same_bytes.sh few      one compiler, three builds
#   sh tests/structure/same_bytes.sh accept   where the arithmetic is meant to change: all of it, and a new same_bytes.txt
. "$(dirname "$0")/../support/check.sh"

unset FEWBIT_ISA OMP_NUM_THREADS
source=$root/tests/structure/every_kernel.cpp
record=$root/tests/structure/same_bytes.txt

# Compilers by version: clang++ and clang++-14 may be one.
few=
if [ "${1:-}" = few ]; then few=yes; fi
for name in "$cxx" g++ g++-12 clang++ clang++-14 clang++-19; do
  version=$("$name" --version 2>/dev/null | sed -n '1s/^[^ ]* *//p') || continue # less its name
  [ -n "$version" ] || continue
  grep -qxF "$version" "$scratch/versions" 2>/dev/null && continue
  echo "$version" >>"$scratch/versions"
  echo "$name" >>"$scratch/compilers"
  [ -z "$few" ] || break
done
is_clang() { "$1" --version | grep -q clang; }

# What OpenMP takes; empty if this compiler has none. One clang may have to borrow that of another: Debian installs one.
openmp_of() { # compiler, options
  echo '#include <omp.h>
int main() { return omp_get_max_threads() < 1; }' >"$scratch/omp.cpp"
  for borrowed in "" /usr/lib/llvm-*/lib; do
    flags=-fopenmp
    if [ -n "$borrowed" ]; then
      header=$(find "$borrowed" -name omp.h 2>/dev/null | head -1)
      [ -n "$header" ] || continue
      mkdir -p "$scratch/omp"
      ln -sf "$header" "$scratch/omp/omp.h"
      flags="-fopenmp -I $scratch/omp -L $borrowed -Wl,-rpath,$borrowed"
    fi
    # shellcheck disable=SC2086
    if $1 $2 $flags "$scratch/omp.cpp" -o "$scratch/has_omp" >/dev/null 2>&1; then
      echo "$flags"
      return
    fi
  done
}

# One line for each build: its name, and the command.
: >"$scratch/builds"
add() { # name, command
  echo "$1 $2 -std=c++20 -I $root/include -isystem $eigen $source -o $scratch/$1" >>"$scratch/builds"
}
emulated=
if command -v qemu-aarch64 >/dev/null; then emulated=yes; fi
no_arm=
while read -r compiler; do
  name=$(basename "$compiler") # it may be a path
  openmp=$(openmp_of "$compiler" "")
  [ -n "$openmp" ] || echo "no OpenMP for $compiler (Debian: apt-get install libomp-dev): one thread only"
  # Warnings are others' business: under -march=native g++ 12 has some about its own AVX-512 header.
  add "here-$name-O0" "$compiler -w -O0 $openmp"
  [ -n "$few" ] || add "here-$name-O2" "$compiler -w -O2 $openmp"
  add "here-$name-O3" "$compiler -w -O3 -march=native $openmp"

  if is_clang "$compiler"; then cross="$compiler --target=aarch64-linux-gnu"; else cross=aarch64-linux-gnu-$name; fi
  if ! is_clang "$compiler" && ! command -v "$cross" >/dev/null; then cross=aarch64-linux-gnu-g++; fi
  echo '#include <vector>
int main() {}' >"$scratch/nothing.cpp"
  if [ -z "$emulated" ] || ! $cross -static "$scratch/nothing.cpp" -o "$scratch/nothing" 2>/dev/null; then
    no_arm="$no_arm $compiler"
    continue
  fi
  openmp=$(openmp_of "$cross" -static)
  case $openmp in *llvm*) openmp= ;; esac # made for another processor
  add "arm-$name-O2" "$cross -w -static -O2 $openmp"
  [ -z "$few" ] || continue
  add "arm-$name-O0" "$cross -w -static -O0 $openmp"
  add "arm-$name-O3" "$cross -w -static -O3 -march=armv8.2-a+dotprod $openmp"
done <"$scratch/compilers"

cat >"$scratch/one.sh" <<'ONE'
name=${1%% *}
${1#* } >"$scratch/$name.log" 2>&1 || { grep -v 'statically linked' "$scratch/$name.log" | head -20; echo "FAILED: $1"; exit 1; }
ONE
export scratch
tr '\n' '\0' <"$scratch/builds" | xargs -0 -n 1 -P 2 sh "$scratch/one.sh" || fail "does not compile"

# Every build says which tables it has; each runs the corpus with one thread and with two. What searches choose is asked
# of the best table and of the scalar one, and on the emulator of the best code alone.
cat >"$scratch/run.sh" <<'RUN'
build=$1
die() { echo "FAILED: $build $*"; exit 255; }
ask() { # table that must run, argument of the program, emulator...
  table=$1 argument=$2
  shift 2
  for threads in $counts; do
    # shellcheck disable=SC2086
    said=$(OMP_NUM_THREADS=$threads "$@" "$scratch/$build" $argument) || die "dies on $table"
    case $table in best) ;; *) [ "${said%% *}" = "$table" ] || die "must run $table, not ${said%% *}" ;; esac
    echo "${argument:-quick} ${said#* } ${said%% *} $build, $threads threads" >>"$scratch/said"
  done
}
counts="1 2"
case $build in
  here-*)
    for table in $("$scratch/$build" tables); do ask $table "" env FEWBIT_ISA=$table; done
    ask best searches
    ask scalar searches env FEWBIT_ISA=scalar
    ;;
  *)
    run="qemu-aarch64 -cpu max"
    # shellcheck disable=SC2086
    for table in $($run "$scratch/$build" tables); do ask $table "" env FEWBIT_ISA=$table $run; done
    # No sdot on a cortex-a57: it dies of one, also of one that the compiler was allowed to use.
    case $build in *O3) ;; *) ask neon "" qemu-aarch64 -cpu cortex-a57 ;; esac
    counts=2
    # shellcheck disable=SC2086
    case $build in *O3) ask neondot searches $run ;; esac
    ;;
esac
RUN
: >"$scratch/said"
cut -d ' ' -f 1 "$scratch/builds" | xargs -n 1 -P 2 sh "$scratch/run.sh" || fail "not the same everywhere"

cut -d ' ' -f 1,2 "$scratch/said" | sort -u >"$scratch/hashes"
if [ "${1:-}" = accept ]; then
  [ "$(wc -l <"$scratch/hashes")" -eq 2 ] || fail "there is more than one hash: $(cat "$scratch/hashes")"
  cp "$scratch/hashes" "$record"
fi
if ! cmp -s "$scratch/hashes" "$record"; then
  grep -vF -f "$record" "$scratch/said" | head -20
  fail "other bytes than those of $(cat "$record")"
fi
echo "$(wc -l <"$scratch/builds") builds, $(wc -l <"$scratch/said") runs of $(cut -d ' ' -f 3 "$scratch/said" | sort -u | xargs): one hash"
[ -z "$no_arm" ] || skip "the bytes are right here; not for ARM by$no_arm (Debian: apt-get install g++-aarch64-linux-gnu qemu-user)"
