# How many instructions each main kernel takes, as callgrind counts them: a count that is off by more than 2 % either way
# fails. Times on a shared machine say little; a load too many in an inner loop shows here to the last instruction.
#
#   sh tests/gates/gates.sh           compares with counts.txt
#   sh tests/gates/gates.sh accept    writes what is counted now into counts.txt: commit it with the change it is of
#
# Counted is what lies in the program itself, so that the C library and its choice of memcpy have no part in it; the
# compiler is g++, and other versions of it or of Eigen have counts of their own, or none.
. "$(dirname "$0")/../support/check.sh"

counts=$root/tests/gates/counts.txt
is_x86 || skip "not an x86-64 machine"
$cxx --version | grep -q clang && skip "the counts are of g++"
command -v valgrind >/dev/null && [ -f /usr/include/valgrind/callgrind.h ] ||
  skip "no valgrind (Debian: apt-get install valgrind)"
eigen_version=$(awk '$1 == "#define" && $2 ~ /^EIGEN_(WORLD|MAJOR|MINOR)_VERSION$/ { v = v (v == "" ? "" : ".") $3 } END { print v }' \
  "$eigen/Eigen/src/Core/util/Macros.h")
compiler=g++-$($cxx -dumpfullversion)+Eigen-$eigen_version
accept=
case ${1:-} in
  '') grep -qs "^$compiler " "$counts" || skip "no counts of $compiler; sh tests/gates/gates.sh accept adds them" ;;
  accept) accept=yes ;;
  *) fail "gates.sh takes nothing, or: accept" ;;
esac

$cxx -std=c++20 -O2 -I "$root/include" -isystem "$eigen" "$root/tests/gates/kernels.cpp" -o "$scratch/kernels" ||
  fail "kernels.cpp does not compile"
measured=$(env -u FEWBIT_ISA valgrind --quiet --tool=callgrind --instr-atstart=no --callgrind-out-file="$scratch/dumps" \
  --combine-dumps=yes --compress-strings=no --compress-pos=no "$scratch/kernels") || fail "dies under valgrind"

# A part for each kernel: its own lines "position instructions" under the object they lie in; the line behind calls= is
# what the callee took, which has lines of its own.
awk -v compiler="$compiler" '
  function flush() { if (name != "") print compiler, name, sum; name = ""; sum = 0 }
  /^part:/ { flush() }
  /^desc: Trigger: Client Request: / { sub(/^desc: Trigger: Client Request: /, ""); name = $0 }
  /^ob=/ { own = $0 ~ /\/kernels$/ }
  /^calls=/ { getline; next }
  /^[0-9]/ && own { sum += $2 }
  END { flush() }' "$scratch/dumps" >"$scratch/now"
[ "$(wc -l <"$scratch/now")" -eq "$measured" ] || fail "$measured kernels ran, $(wc -l <"$scratch/now") were counted"
awk '$NF < 1000 { print; bad = 1 } END { exit bad }' "$scratch/now" || fail "hardly an instruction was counted"

if [ -n "$accept" ]; then
  grep -q ' avx2 ' "$scratch/now" || fail "this machine has no AVX2, and counts without it would be half of them"
  { [ ! -f "$counts" ] || grep -v "^$compiler " "$counts" || :; } >"$scratch/new"
  cat "$scratch/now" >>"$scratch/new"
  cp "$scratch/new" "$counts"
  echo "$measured counts of $compiler accepted"
  exit 0
fi

compare() { # recorded counts: says what is off, and fails if anything is
  awk -v compiler="$compiler" '
    function off(was, is) {
      if (!bad++) printf("%-8s %-24s %-22s %12s %12s %8s\n", "table", "kernel", "of", "recorded", "now", "ratio")
      printf("%-8s %-24s %-22s %12s %12s %8s\n", $2, $3, $4, was, is, is * was == 0 ? "-" : sprintf("%.4f", is / was))
    }
    $1 != compiler { next }
    { name = $2 " " $3 " " $4 }
    FNR == NR { was[name] = $5; next }
    { is = $5; seen[name] = 1; tables[$2] = 1 }
    !(name in was) { off("none", is); next }
    is < .98 * was[name] || is > 1.02 * was[name] { off(was[name], is) }
    END {
      for (name in was) {
        $0 = compiler " " name
        if (!(name in seen) && $2 in tables) off(was[name], "none")
      }
      exit (bad > 0)
    }' "$1" "$scratch/now"
}
compare "$counts" || fail "if that is meant: sh tests/gates/gates.sh accept"

# The comparison itself: it tells 3 % more from less, and a kernel that nobody counted.
for factor in 1.03 .97; do
  awk -v factor=$factor '{ $NF = int($NF * factor); print }' "$counts" >"$scratch/other"
  compare "$scratch/other" >"$scratch/said" && fail "counts times $factor pass for these"
  [ "$(wc -l <"$scratch/said")" -eq $((measured + 1)) ] || fail "counts times $factor are not all off"
done
awk -v compiler="$compiler" '$1 == compiler && !left_out++ { next } { print }' "$counts" >"$scratch/other"
compare "$scratch/other" >/dev/null && fail "a kernel without a count passes"
grep -q ' avx2 ' "$scratch/now" || skip "the scalar counts hold; this machine has no AVX2 for the others"
echo "$measured counts of $compiler hold"
