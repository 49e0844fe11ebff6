# Windows, on whatever x86-64 machine runs the tests: compiled by mingw's g++ and run by Wine. It must store the bytes
# that this machine stores, with the same instruction set, and pass the tests, those of threads too. GCC there does not
# align the stack that it spills AVX registers to (config.hpp): with no option at all, and with the assembler's, no
# aligned move may be left in the kernels; link-time optimization without it must be refused, not compiled.
. "$(dirname "$0")/../support/check.sh"

is_x86 || skip "not an x86-64 machine"
cross=x86_64-w64-mingw32-g++-posix
objdump=x86_64-w64-mingw32-objdump
echo 'int main() {}' >"$scratch/nothing.cpp"
$cross -std=c++20 -static "$scratch/nothing.cpp" -o "$scratch/nothing.exe" 2>"$scratch/nothing.log" ||
  skip "no $cross (Debian: apt-get install g++-mingw-w64-x86-64-posix)"
wine=$(command -v wine64 || ls /usr/lib/wine/wine64 2>/dev/null) || skip "no wine64 (Debian: apt-get install wine64)"
unset FEWBIT_ISA DISPLAY
export WINEPREFIX="$scratch/wine" WINEDEBUG=-all
"$wine" "$scratch/nothing.exe" >"$scratch/nothing.log" 2>&1 ||
  skip "$wine runs nothing: $(head -1 "$scratch/nothing.log")"

# Catch2 of version 2 and Eigen are headers; they are linked to, for this machine's other headers must stay out.
echo '#include <catch2/catch.hpp>' >"$scratch/catch.cpp"
catch=$($cxx -M "$scratch/catch.cpp" 2>/dev/null | tr -s ' \\' '\n' | grep '/catch2/catch.hpp$') ||
  skip "no Catch2 of version 2"
mkdir -p "$scratch/include" "$scratch/threads"
ln -s "$(dirname "$catch")" "$scratch/include/catch2"
ln -s "$eigen/Eigen" "$scratch/include/Eigen"

# Every aligned move that there is, in functions that -flto may deal out to parts of their own.
cat >"$scratch/moves.cpp" <<'CPP'
#include <fewbit/config.hpp>
FEWBIT_AVX512_BEGIN
template <int part>
[[gnu::noinline]] void moves(volatile int& last) {
  FEWBIT_ON_THE_STACK;
  last = part;
  asm volatile("vmovaps %ymm0, (%rsp,%rax)\nvmovapd %zmm0, 8(%rsp)\nvmovdqa (%rsp), %ymm0\n"
               "vmovdqa32 (%rsp), %zmm0{%k1}{z}\nvmovdqa64 %zmm0, (%rsp)\n");
}
FEWBIT_AVX512_END
int main(int last, char**) { moves<0>(last), moves<1>(last), moves<2>(last); }
CPP
told="-DFEWBIT_UNALIGNED_MOVES -Wa,-muse-unaligned-vector-move"
no_aligned_move() { # program, how it was made
  $objdump -d --no-show-raw-insn "$1" | grep -E '[[:space:]]vmov(ap[sd]|dqa(32|64)?)[[:space:]].*[yz]mm' |
    head -3 >"$scratch/aligned"
  [ ! -s "$scratch/aligned" ] || fail "aligned moves $2: $(cat "$scratch/aligned")"
}
for flags in -O0 -O2 "-O2 $told" "-O2 -flto -flto-partition=max $told"; do
  # shellcheck disable=SC2086
  $cross -std=c++20 $flags -I "$root/include" "$scratch/moves.cpp" -o "$scratch/moves.exe" 2>"$scratch/moves.log" ||
    fail "does not assemble with $flags: $(cat "$scratch/moves.log")"
  no_aligned_move "$scratch/moves.exe" "with $flags"
  [ "$($objdump -d "$scratch/moves.exe" | grep -cE 'vmov(up[sd]|dqu(32|64)?).*(rsp|%k1)')" -ge 15 ] ||
    fail "the moves are not there with $flags"
done
if $cross -std=c++20 -O2 -flto -flto-partition=max -I "$root/include" "$scratch/moves.cpp" -o "$scratch/moves.exe" \
  2>"$scratch/moves.log"; then
  fail "-flto without the assembler's option links"
fi
grep -q 'fewbit_with_lto_needs_wa_muse_unaligned_vector_move' "$scratch/moves.log" ||
  fail "-flto is refused, but not for the option that it needs: $(cat "$scratch/moves.log")"

# Tests as they are compiled elsewhere; what hashes the bytes with more, and with nothing.
clean="$clean -Wpedantic -Wshadow -Wconversion -Wsign-conversion"
cat >"$scratch/one.sh" <<'ONE'
folder=$scratch
case $1 in
  *_test.cpp) flags="-O1 -DFEWBIT_KERNELS_ELSEWHERE" ;;
  support/*) flags=-O1 ;;
  *.told) set -- "${1%.told}" && folder=$scratch/threads flags="-O0 $told" ;;
  *) flags=-O2 ;;
esac
case $1 in threads/*) folder=$scratch/threads flags="$flags -fopenmp" ;; esac
name=$folder/$(basename "$1" .cpp)
$cross -std=c++20 $flags $clean -Wa,-mbig-obj -I "$root/include" -I "$root/tests" -isystem "$scratch/include" -c "$1" \
  -o "$name.o" >"$name.log" 2>&1 || { echo "FAILED: $1"; head -40 "$name.log"; exit 1; }
ONE
export cross root scratch clean told
cd "$root/tests"
$cxx -std=c++20 -O1 -I "$root/include" -isystem "$eigen" structure/every_kernel.cpp -o "$scratch/here" ||
  fail "does not compile here"
here=$("$scratch/here" searches)
echo "$here here"
compile() { xargs -n 1 -P 2 sh "$scratch/one.sh" || fail "does not compile for Windows"; }
check() { # name of the table that must run, folder, how it was chosen
  $cross -static -s "$2/every_kernel.o" -o "$2/program.exe" || fail "does not link for Windows"
  no_aligned_move "$2/program.exe" "in the kernels, $3"
  said=$("$wine" "$2/program.exe" searches | tr -d '\r')
  echo "$said $3"
  [ "${said%% *}" = "$1" ] || fail "Windows must run the $1 table, $3"
  [ "${said#* }" = "${here#* }" ] || fail "other bytes on Windows, $3"
}
printf '%s\n' structure/every_kernel.cpp support/catch_main.cpp | compile
check "${here%% *}" "$scratch" "-O2"
(export FEWBIT_ISA=scalar && check scalar "$scratch" "-O2, FEWBIT_ISA=scalar") || exit 1

{
  printf '%s\n' structure/every_kernel.cpp.told support/kernels.cpp
  ls ./*_test.cpp ./*/*_test.cpp
} | sed 's,^\./,,' | compile
check "${here%% *}" "$scratch/threads" "-O0 $told"

common="$scratch/catch_main.o $scratch/kernels.o"
# shellcheck disable=SC2086
$cross -static "$scratch"/*_test.o $common -o "$scratch/tests.exe" || fail "the tests do not link for Windows"
# shellcheck disable=SC2086
$cross -static -fopenmp "$scratch"/threads/*_test.o $common -o "$scratch/threads.exe" ||
  fail "the tests of threads do not link for Windows"
in_halves "$wine" "$scratch/tests.exe" || fail "on Windows"
OMP_NUM_THREADS=2 "$wine" "$scratch/threads.exe" || fail "on Windows, with threads"
