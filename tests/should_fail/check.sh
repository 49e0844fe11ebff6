# A pair in one file: it must compile as it stands, and must not with -DFEWBIT_BAD. Comments in the file say more:
#   // expect: TEXT        the errors must contain this, letter for letter
#   // flags: FLAGS        instead of defining FEWBIT_BAD, these flags must break it; one line per try
#   // flags-gcc: FLAGS    the same, for g++ alone
. "$(dirname "$0")/../support/check.sh"

source=$1
compile="$cxx -std=c++20 -O1 -fsyntax-only $clean -I $root/include -isystem $eigen"

$compile "$source" >"$scratch/good" 2>&1 || { cat "$scratch/good"; fail "the good half of $source must compile"; }

sed -n 's|^// flags: ||p' "$source" >"$scratch/flags"
if ! $cxx --version | grep -q clang; then sed -n 's|^// flags-gcc: ||p' "$source" >>"$scratch/flags"; fi
grep -q '^// flags' "$source" || echo "-DFEWBIT_BAD" >"$scratch/flags"
sed -n 's|^// expect: ||p' "$source" >"$scratch/expect"
[ -s "$scratch/expect" ] || fail "$source does not say what the compiler should answer"

while read -r flags; do
  if $compile $flags "$source" >"$scratch/bad" 2>&1; then fail "compiles with $flags, and must not"; fi
  while read -r text; do
    grep -qF "$text" "$scratch/bad" || { head -60 "$scratch/bad"; fail "with $flags the errors do not say: $text"; }
  done <"$scratch/expect"
  echo "$flags: $(grep -c 'error:' "$scratch/bad") errors, as expected"
done <"$scratch/flags"
