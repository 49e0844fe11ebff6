# Words that mark something unfinished, and checks that cannot fail. Spelled so that this file does not find itself.
. "$(dirname "$0")/../support/check.sh"

cd "$root"
folders=
for folder in include tests bench examples cmake; do [ ! -d $folder ] || folders="$folders $folder"; done
# The texts of the language model are King James's.
if grep -rnIwEi --exclude=held_out.txt --exclude=calibration.txt --exclude=generate.expected '[T]ODO|[F]IXME|[X]XX|not [i]mplemented|[u]nimplemented|[p]laceholder|for [n]ow' $folders; then
  fail "finish it, or describe it as it is"
fi
if grep -rnE '(REQUIRE|CHECK)\([t]rue\)|[S]UCCEED\(' --include='*.cpp' --include='*.hpp' $folders; then
  fail "a check that cannot fail"
fi
if grep -rnIE '(^|[^A-Za-z0-9_$}])/([w]ork|[h]ome|[t]mp|[r]oot)/' $folders CMakeLists.txt; then fail "a path of one machine"; fi
