# The README's first program as a user compiles it: plain -O2, warnings are errors, and it must run to the end. (The
# others are compiled with the examples, and what they print is compared with its record there.)
. "$(dirname "$0")/../support/check.sh"

$cxx -O2 -std=c++20 $clean -isystem "$eigen" -I "$root/include" "$root/examples/tour/1_int4_group.cpp" -o "$scratch/program" ||
  fail "does not compile"
cd "$scratch"
./program >out.txt 2>&1 || { cat out.txt; fail "ran to status $?"; }
diff out.txt "$root/examples/tour/1_int4_group.expected" || fail "prints something else than is recorded"
