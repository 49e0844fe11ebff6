# WebAssembly, by Emscripten and Node: a machine whose sizes have 32 bits, and another standard library. It must store
# the bytes that every machine stores, compile free of warnings, and pass the tests.
. "$(dirname "$0")/../support/check.sh"

export NODE_PATH="${NODE_PATH:-/usr/share/nodejs}" # where Debian's Emscripten looks for what it is written in
unset FEWBIT_ISA
echo 'int main() {}' >"$scratch/nothing.cpp"
command -v node >/dev/null || skip "no node (Debian: apt-get install nodejs)"
emcc "$scratch/nothing.cpp" -o "$scratch/nothing.js" >"$scratch/nothing.log" 2>&1 ||
  skip "no emcc (Debian: apt-get install emscripten)"

# Catch2 of version 2 and Eigen are headers; they are linked to, for this machine's other headers must stay out.
echo '#include <catch2/catch.hpp>' >"$scratch/catch.cpp"
catch=$($cxx -M "$scratch/catch.cpp" 2>/dev/null | tr -s ' \\' '\n' | grep '/catch2/catch.hpp$') ||
  skip "no Catch2 of version 2"
mkdir -p "$scratch/include"
ln -s "$(dirname "$catch")" "$scratch/include/catch2"
ln -s "$eigen/Eigen" "$scratch/include/Eigen"

# Wasm compiled before the program goes on, because Emscripten 3.1 takes Node's own fetch for a browser's; and
# memory that grows.
link="-fexceptions -O1 -s WASM_ASYNC_COMPILATION=0 -s ALLOW_MEMORY_GROWTH=1 -s EXIT_RUNTIME=1"
clean="$clean -Wpedantic -Wshadow -Wconversion -Wsign-conversion"

cat >"$scratch/one.sh" <<'ONE'
name=$scratch/$(basename "$1" .cpp)
case $1 in */every_kernel.cpp) elsewhere= ;; *) elsewhere=-DFEWBIT_KERNELS_ELSEWHERE ;; esac
emcc -std=c++20 -O1 -fexceptions $clean $elsewhere -I "$root/include" -I "$root/tests" -isystem "$scratch/include" \
  -c "$1" -o "$name.o" >"$name.log" 2>&1 || { echo "FAILED: $1"; head -40 "$name.log"; exit 1; }
ONE
export root scratch clean
cd "$root/tests"
wanted=$(sed -n 's/^searches //p' structure/same_bytes.txt)
compile() { xargs -n 1 -P 2 sh "$scratch/one.sh" || fail "does not compile for wasm"; }
printf '%s\n' structure/every_kernel.cpp support/catch_main.cpp | compile
# shellcheck disable=SC2086
emcc $link "$scratch/every_kernel.o" -o "$scratch/every_kernel.js" || fail "does not link for wasm"
said=$(node "$scratch/every_kernel.js" searches) || fail "dies in node"
echo "$said node"
[ "${said%% *}" = scalar ] || fail "the scalar table must run in node"
[ "${said#* }" = "$wanted" ] || fail "other bytes in node than those of same_bytes.txt"

# Threads are OpenMP's, which Emscripten has not.
ls support/kernels.cpp ./*_test.cpp ./*/*_test.cpp | grep -v '/threads/' | compile
# shellcheck disable=SC2086
emcc $link "$scratch"/*_test.o "$scratch/catch_main.o" "$scratch/kernels.o" -o "$scratch/tests.js" ||
  fail "the tests do not link for wasm"
in_halves node "$scratch/tests.js" || fail "in node"
