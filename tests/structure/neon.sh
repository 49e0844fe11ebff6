# ARM, on whatever machine runs the tests: NEON is compiled by a cross compiler and run by an emulator, with sdot, and
# passes the tests that need no Eigen, those of the kernels among them. (That it is what runs by itself, and stores the
# same bytes, is same_bytes.sh's.)
. "$(dirname "$0")/../support/check.sh"

cross=aarch64-linux-gnu-g++
if $cxx --version | grep -q clang; then cross="$cxx --target=aarch64-linux-gnu"; fi
cat >"$scratch/nothing.cpp" <<'CPP'
#include <vector>
#if !defined(__clang__) && __GNUC__ < 12
#error "too old for fewbit"
#endif
int main() {}
CPP
$cross -static "$scratch/nothing.cpp" -o "$scratch/nothing" 2>"$scratch/nothing.log" ||
  skip "no $cross of version 12 or newer (Debian: apt-get install g++-aarch64-linux-gnu)"
command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64 (Debian: apt-get install qemu-user)"
unset FEWBIT_ISA

# Catch2 of version 2 is a header, so it crosses; it is linked to, for this machine's other headers must stay out.
echo '#include <catch2/catch.hpp>' >"$scratch/catch.cpp"
catch=$($cxx -M "$scratch/catch.cpp" 2>/dev/null | tr -s ' \\' '\n' | grep '/catch2/catch.hpp$') ||
  skip "the bytes are right; no Catch2 of version 2 to run the tests with"
mkdir -p "$scratch/include"
ln -s "$(dirname "$catch")" "$scratch/include/catch2"
cat >"$scratch/one.sh" <<'ONE'
name=$scratch/$(basename "$1" .cpp)
$cross -std=c++20 -O1 $clean -DFEWBIT_KERNELS_ELSEWHERE -I "$root/include" -I "$root/tests" -isystem "$scratch/include" -c "$1" -o "$name.o" \
  >"$name.log" 2>&1 || { echo "FAILED: $1"; head -40 "$name.log"; exit 1; }
ONE
export cross root scratch clean
cd "$root/tests"
ls support/catch_main.cpp support/kernels.cpp core/*_test.cpp grid/*_test.cpp estimate/*_test.cpp kernel/*_test.cpp |
  xargs -n 1 -P 2 sh "$scratch/one.sh" || fail "the tests do not compile for ARM"
$cross -static "$scratch"/*_test.o "$scratch/catch_main.o" "$scratch/kernels.o" -o "$scratch/tests" || fail "the tests do not link for ARM"
in_halves qemu-aarch64 -cpu max "$scratch/tests" || fail "on ARM"
