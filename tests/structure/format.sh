# The sources are as clang-format 14 leaves them. Other versions disagree with it in places, so they are not asked.
. "$(dirname "$0")/../support/check.sh"

tool=
for name in clang-format-14 clang-format; do
  if command -v $name >/dev/null && $name --version | grep -q 'version 14\.'; then tool=$name && break; fi
done
[ -n "$tool" ] || skip "no clang-format 14 (Debian 12: apt-get install clang-format)"

cd "$root"
for folder in include tests bench examples; do
  [ ! -d $folder ] || find $folder -name '*.hpp' -o -name '*.cpp'
done >"$scratch/files"
[ -s "$scratch/files" ] || fail "no sources"
xargs "$tool" --dry-run -Werror --style=file <"$scratch/files" || fail "run: $tool -i \$(git ls-files '*.hpp' '*.cpp')"
echo "$(wc -l <"$scratch/files") files"
