# The README's programs as a user compiles them: plain -O2, warnings are errors, and each must run to the end.
. "$(dirname "$0")/../support/check.sh"

cat >"$scratch/one.sh" <<'ONE'
name=$(basename "$1" .cpp)
$cxx -O2 -std=c++20 $clean -isystem "$eigen" -I "$root/include" "$1" -o "$scratch/$name" >"$scratch/$name.log" 2>&1 ||
  { echo "FAILED: $1 does not compile"; head -40 "$scratch/$name.log"; exit 1; }
cd "$scratch" && "./$name" >"$name.out" 2>&1 || { echo "FAILED: $1 ran to status $?"; cat "$name.out"; exit 1; }
echo "$name: $(wc -l <"$name.out") lines"
ONE
export scratch root cxx eigen clean
ls "$root"/examples/tour/*.cpp >"$scratch/programs" 2>/dev/null || fail "no programs in examples/tour"
xargs -n 1 -P 2 sh "$scratch/one.sh" <"$scratch/programs" || fail "a program of the tour"
