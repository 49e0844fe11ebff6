# Every public header compiles alone, and twice in one translation unit, free of warnings.
# Both at once: the first inclusion shows what the header forgot to include, the second whether it guards itself.
# And none defines a symbol that two translation units would both define: an `inline` was forgotten there.
. "$(dirname "$0")/../support/check.sh"

cat >"$scratch/one.sh" <<'ONE'
header=$1
file=$scratch/$(echo "$header" | tr '/.' '__').cpp
printf '#include <%s>\n#include <%s>\n' "$header" "$header" >"$file"
$cxx -std=c++20 -fsyntax-only $clean -Wpedantic -I "$root/include" -isystem "$eigen" "$file" >"$file.log" 2>&1 ||
  { echo "FAILED: $header"; head -40 "$file.log"; exit 1; }
ONE
export scratch root cxx eigen clean
cd "$root/include"
find fewbit -name '*.hpp' | sort >"$scratch/headers"
[ -s "$scratch/headers" ] || fail "no headers"
xargs -n 1 -P 2 sh "$scratch/one.sh" <"$scratch/headers" || fail "a header does not stand alone"

sed 's/.*/#include <&>/' "$scratch/headers" >"$scratch/all.cpp"
$cxx -std=c++20 -c -I "$root/include" -isystem "$eigen" "$scratch/all.cpp" -o "$scratch/all.o" || fail "all headers together"
if nm -C --defined-only "$scratch/all.o" | grep -E ' [TDBRSG] '; then fail "defined in a header without inline"; fi
echo "$(wc -l <"$scratch/headers") headers stand alone under $cxx"
