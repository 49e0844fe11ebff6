#!/bin/sh
# Runs the fuzz targets with clang++'s libFuzzer and sanitizers, two at a time.
#
#   sh tests/fuzz/run.sh                   each for FEWBIT_FUZZ_SECONDS (60) seconds
#   sh tests/fuzz/run.sh quantize 600      one of them, longer
#   sh tests/fuzz/run.sh quantize FILE     one of them on this input, once
#
# Each starts from a copy of its corpus, and draws as it likes, or by FEWBIT_FUZZ_SEED. With FEWBIT_FUZZ_FOUND=FOLDER the
# inputs that reach what the corpus does not are left in FOLDER/TARGET, as few as will do. Installs what is missing on Debian or Ubuntu (asks first, unless root).
. "$(dirname "$0")/../support/check.sh"
. "$root/cmake/ensure_packages.sh"
ensure_toolchain clang++ libeigen3-dev catch2 libclang-rt-dev || exit 1
cxx=$compiler

all="product quantize packing npy" # the slowest to compile first
targets=${1:-$all} seconds=${FEWBIT_FUZZ_SECONDS:-60} input=
for target in $targets; do
  [ -f "$root/tests/fuzz/${target}_fuzz.cpp" ] || fail "no target '$target'; there are: $all"
done
if [ -n "${2:-}" ] && [ -f "$2" ]; then input=$2; elif [ -n "${2:-}" ]; then seconds=$2; fi
case $seconds in '' | *[!0-9]*) fail "'$seconds' is neither a number of seconds nor a file" ;; esac

# The kernels are instrumented like everything else, so that their tails and masks count as places to reach.
cat >"$scratch/compile.sh" <<'ONE'
case $1 in
  kernels) source=$root/tests/support/kernels.cpp kernels= ;;
  *) source=$root/tests/fuzz/$1_fuzz.cpp kernels=-DFEWBIT_KERNELS_ELSEWHERE ;;
esac
$cxx -std=c++20 -O1 -g1 -fno-omit-frame-pointer $sanitize -fsanitize=fuzzer-no-link $kernels -I "$root/include" \
  -I "$root/tests" -isystem "$eigen" -c "$source" -o "$scratch/$1.o" >"$scratch/$1.log" 2>&1 ||
  { echo "FAILED: $1 does not compile"; head -40 "$scratch/$1.log"; exit 1; }
ONE
sanitize="-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all"
export scratch root cxx eigen sanitize seconds
for unit in kernels $targets; do echo $unit; done | xargs -n 1 -P 2 sh "$scratch/compile.sh" || fail "compiling"
for target in $targets; do
  $cxx $sanitize -fsanitize=fuzzer "$scratch/$target.o" "$scratch/kernels.o" -o "$scratch/$target" || fail "linking $target"
done

if [ -n "$input" ]; then
  "$scratch/$targets" "$input" || fail "$targets on $input"
  exit 0
fi

# npy writes files: not to a disk, where there is a choice.
[ -n "${TMPDIR:-}" ] || [ ! -w /dev/shm ] || export TMPDIR=/dev/shm
cat >"$scratch/one.sh" <<'ONE'
target=$1 log=$scratch/$1.log work=$scratch/inputs/$1
case $target in product) most=192 ;; npy) most=1024 ;; *) most=512 ;; esac
mkdir -p "$work" "$scratch/broken/$target"
cp "$root/tests/fuzz/corpus/$target"/* "$work"
before=$(ls "$work" | wc -l)
"$scratch/$target" -max_total_time="$seconds" -max_len=$most -timeout=30 -rss_limit_mb=2048 -print_final_stats=1 \
  ${FEWBIT_FUZZ_SEED:+"-seed=$FEWBIT_FUZZ_SEED"} \
  -artifact_prefix="$scratch/broken/$target/" "$work" >"$log" 2>&1
status=$?
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
from=$(sed -n 's/.*INITED cov: \([0-9]*\) .*/\1/p' "$log")
to=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
new=$(sed -n 's/^stat::new_units_added: *//p' "$log")
echo "$target: ${runs:-no} runs, coverage ${from:-nothing} to ${to:-nothing}, $before inputs and ${new:-no} new ones"
if [ $status -eq 0 ]; then
  [ "${runs:-0}" -gt "$before" ] || { echo "FAILED: $target has run nothing but its corpus"; exit 1; }
  exit 0
fi
echo "FAILED: $target, status $status"
sed -e '/NEW_FUNC/d' -e '/^#/d' "$log" | tail -60 # not grep: what broke may be no text
for file in "$scratch/broken/$target"/*; do
  [ -f "$file" ] || continue
  echo "The input in hex: $(od -An -v -tx1 "$file" | tr -d ' \n')"
  echo "To replay it:" # printf, for an echo would make bytes of it
  printf "  printf '%s' >input && sh tests/fuzz/run.sh %s input\n" \
    "$(od -An -v -to1 "$file" | tr -d '\n' | sed 's/ /\\/g')" "$target"
done
exit 1
ONE
echo $targets | tr ' ' '\n' | xargs -n 1 -P 2 sh "$scratch/one.sh" || fail "a law is broken"

[ -n "${FEWBIT_FUZZ_FOUND:-}" ] || exit 0
for target in $targets; do
  found=$FEWBIT_FUZZ_FOUND/$target corpus=$root/tests/fuzz/corpus/$target
  mkdir -p "$scratch/merged/$target" "$found"
  cp "$corpus"/* "$scratch/merged/$target"
  "$scratch/$target" -set_cover_merge=1 -use_counters=0 "$scratch/merged/$target" "$scratch/inputs/$target" \
    >"$scratch/$target.log" 2>&1 || fail "merging $target"
  for file in "$scratch/merged/$target"/*; do
    [ -f "$corpus/${file##*/}" ] || cp "$file" "$found"
  done
  echo "$target: $(ls "$found" | wc -l) inputs in $found"
done
