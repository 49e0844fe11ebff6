#!/bin/sh
# Computes every figure that the two documents print, and says how many come out to the last digit.
#
#   sh examples/reproduce.sh
#
# Installs what is missing on Debian and Ubuntu, builds the examples and compares each one with its record. CXX chooses
# the compiler; FEWBIT_REPRODUCE_DIR the build folder, which is build/reproduce otherwise.
set -u

root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
build=${FEWBIT_REPRODUCE_DIR:-$root/build/reproduce}

# shellcheck source=../cmake/ensure_packages.sh
. "$root/cmake/ensure_packages.sh"
set -- cmake=cmake libeigen3-dev
command -v ninja >/dev/null 2>&1 || set -- "$@" make=make
if [ -z "${CXX:-}" ]; then
  ensure_toolchain any "$@" || exit 1
else
  ensure_packages "$@" || exit 1
  compiler=$CXX
  if ! usable_compiler "$compiler"; then
    echo "CXX=$CXX is no g++ 12 or clang++ 14, or a newer one" >&2
    exit 1
  fi
fi

generator="Unix Makefiles"
if command -v ninja >/dev/null 2>&1; then generator=Ninja; fi
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || jobs=2
log=$build/build.log

mkdir -p "$build" || exit 1
# A folder that was configured otherwise cannot be configured anew with another generator or compiler.
choice="$root, $generator, $compiler"
if [ "$(cat "$build/choice" 2>/dev/null)" != "$choice" ]; then rm -rf "$build/CMakeCache.txt" "$build/CMakeFiles"; fi
echo "Building the examples with $compiler; this takes a minute or two"
if ! {
  cmake -S "$root" -B "$build" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release \
    -DFEWBIT_BUILD_EXAMPLES=ON -DFEWBIT_BUILD_TESTS=OFF -DFEWBIT_BUILD_BENCH=OFF \
    -DFEWBIT_WERROR="${FEWBIT_WERROR:-OFF}" &&
    echo "$choice" >"$build/choice" && cmake --build "$build" --parallel "$jobs"
} >"$log" 2>&1; then
  tail -n 40 "$log"
  echo "The examples could not be built; all of it is in $log" >&2
  exit 1
fi

output=$build/examples/output
failed=0 agreed=0 all=0
mkdir -p "$output"
rm -f "$output/demo.png" "$output/perplexity.counts"

# "12 of 12 published figures reproduced" as "12 12".
closing_line() {
  sed -n 's/^\([0-9][0-9]*\) of \([0-9][0-9]*\) published figures reproduced$/\1 \2/p' "$1" 2>/dev/null
}

# run FOLDER NAME [definitions of run_and_compare.cmake...]: one program, one line. Adds what it closes with.
run() {
  folder=$1 name=$2
  shift 2
  text=$output/$name.txt
  rm -f "$text"
  if cmake -DPROGRAM="$build/examples/$folder/$name" -DEXPECTED="$root/examples/$folder/$name.expected" \
    -DOUTPUT="$text" "$@" -P "$root/examples/support/run_and_compare.cmake" >"$output/$name.log" 2>&1; then
    result="as recorded"
  else
    result="FAILED"
    failed=$((failed + 1))
  fi
  # How many figures there are is the record's to say: a program that crashed has lost its own.
  of=$(closing_line "$root/examples/$folder/$name.expected")
  if [ -n "$of" ]; then
    line=$(closing_line "$text")
    reproduced=${line% *}
    agreed=$((agreed + ${reproduced:-0})) all=$((all + ${of#* }))
    result="$result, ${reproduced:-0} of ${of#* } published figures"
  fi
  printf '  %-24s %s\n' "$folder/$name" "$result"
  case $result in FAILED*) cat "$output/$name.log" ;; esac
}

language_model() { # NAME
  run language_model "$1" -DDIRECTORY="$root/examples/language_model" "-DWITHOUT=,? +[0-9]+(/s| bytes/s)"
}
# The table of perplexities takes minutes of one processor: beside the others, where there are two.
(
  language_model perplexity
  echo "$failed $agreed $all" >"$output/perplexity.counts"
) >"$output/perplexity.lines" &
table=$!

for expected in "$root"/examples/blog/*.expected "$root"/examples/demo/*.expected "$root"/examples/tour/*.expected \
  "$root"/examples/calibration/*.expected "$root"/examples/qlora/*.expected \
  "$root"/examples/playground/*.expected; do
  folder=${expected%/*}
  name=${expected##*/}
  run "${folder##*/}" "${name%.expected}"
done
run pictures pictures "-DARGUMENTS=.|$root/examples/language_model/perplexity.expected"
for kept in "$root"/examples/pictures/*.svg "$root"/examples/pictures/*.png; do
  if cmp -s "$kept" "$output/${kept##*/}"; then result="as kept"; else result="FAILED" failed=$((failed + 1)); fi
  printf '  %-24s %s\n' "pictures/${kept##*/}" "$result"
done
run inspect inspect -DARGUMENTS=sample.npy -DDIRECTORY="$root/examples/inspect" "-DWITHOUT= +[0-9.]+ ms"
language_model generate
echo "The table of perplexities takes some three minutes"
wait "$table"
cat "$output/perplexity.lines"
read -r more reproduced of <"$output/perplexity.counts"
failed=$((failed + more)) agreed=$((agreed + reproduced)) all=$((all + of))

echo
if [ -f "$output/demo.png" ]; then echo "The demo's matrices: $output/demo.png"; fi
echo "$agreed of $all published figures reproduced"
if [ "$failed" -ne 0 ]; then echo "Programs that failed: $failed" >&2; fi
[ "$failed" -eq 0 ] && [ "$all" -gt 0 ] && [ "$agreed" -eq "$all" ]
