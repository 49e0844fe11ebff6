# The README's first screen is program 1 of the tour and its recorded output, to the letter; what it says of calibration
# compiles; and the tests that keep its promises are there.
. "$(dirname "$0")/../support/check.sh"

block() { # the n-th fenced block of the README, without its fences
  awk -v wanted="$1" '/^```/ { inside = !inside; n += inside; next } inside && n == wanted' "$root/README.md"
}
block 1 >"$scratch/program.cpp"
block 2 >"$scratch/output"
diff "$root/examples/tour/1_int4_group.cpp" "$scratch/program.cpp" || fail "the README shows another program than examples/tour/1_int4_group.cpp"
diff "$root/examples/tour/1_int4_group.expected" "$scratch/output" || fail "the README shows another output than examples/tour/1_int4_group.expected"

{
  echo '#include <fewbit/fewbit.hpp>'
  echo 'void calibrate(const Eigen::MatrixXf& W, const Eigen::MatrixXf& X) {'
  awk '/^```cpp/ { inside = 1; block = ""; next } /^```/ { if (inside && block ~ /Hessian/) printf "%s", block; inside = 0 }
       inside { block = block $0 "\n" }' "$root/README.md"
  echo '}'
} >"$scratch/calibration.cpp"
grep -q gptq "$scratch/calibration.cpp" || fail "the README says nothing of gptq"
$cxx -std=c++20 -fsyntax-only -isystem "$eigen" -I "$root/include" "$scratch/calibration.cpp" || fail "the README's calibration"

grep -o '`tests/[^` ]*`' "$root/README.md" | tr -d '`' | sort -u >"$scratch/tests"
[ "$(wc -l <"$scratch/tests")" -ge 10 ] || fail "the README's promises name no tests"
while read -r test; do [ -e "$root/$test" ] || fail "the README names $test, which is not there"; done <"$scratch/tests"
