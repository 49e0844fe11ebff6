# clang-tidy over the headers, one translation unit per layer.
. "$(dirname "$0")/../support/check.sh"

tool=
for name in clang-tidy-14 clang-tidy; do
  if command -v $name >/dev/null && $name --version | grep -q 'version 14\.'; then tool=$name && break; fi
done
[ -n "$tool" ] || skip "no clang-tidy 14 (Debian 12: apt-get install clang-tidy)"

cd "$root/include"
find fewbit -mindepth 1 -maxdepth 1 -type d | sort >"$scratch/layers"
[ -s "$scratch/layers" ] || fail "no layers"
while read -r layer; do
  find "$layer" -name '*.hpp' | sort | sed 's/.*/#include <&>/' >"$scratch/$(basename "$layer").cpp"
done <"$scratch/layers"
cat >"$scratch/one.sh" <<'ONE'
"$tool" --quiet --config-file="$root/.clang-tidy" --header-filter="include/fewbit/$(basename "$1" .cpp)/.*" "$1" \
  -- -std=c++20 -I "$root/include" -isystem "$eigen" >"$1.log" 2>&1 || { echo "FAILED: $1"; cat "$1.log"; exit 1; }
ONE
export tool scratch root eigen
find "$scratch" -name '*.cpp' | xargs -n 1 -P 2 sh "$scratch/one.sh" || fail "clang-tidy has findings"
