# Which lines of the library the tests ran: at least 98 of a hundred, over all headers that this machine's processor can
# run. Called by tests/run.sh with the folder of a build with -DFEWBIT_COVERAGE=ON whose tests have run, and the compiler.
#
#   sh tests/coverage.sh FOLDER CLANG++
set -eu
cd "$(dirname "$0")/.."
folder=$1
version=$("$2" -dumpversion)
llvm() { # a tool of the compiler's version
  tool=$1
  shift
  for name in "$tool-${version%%.*}" "$tool"; do
    if command -v "$name" >/dev/null; then
      "$name" "$@"
      return
    fi
  done
  echo "no $tool (Debian: apt-get install llvm)" >&2
  return 1
}

llvm llvm-profdata merge -sparse "$folder"/profile/*.profraw -o "$folder/tests.profdata"
set --
for program in $(find "$folder/tests" -maxdepth 2 -type f -executable -name '*test*_*'); do set -- "$@" -object "$program"; done
[ $# -gt 0 ] || { echo "no test programs in $folder"; exit 1; }
shift # the first is named without the word
llvm llvm-cov report "$@" -instr-profile="$folder/tests.profdata" "$PWD/include/fewbit" >"$folder/coverage.txt"
llvm llvm-cov show "$@" -instr-profile="$folder/tests.profdata" "$PWD/include/fewbit" >"$folder/coverage.lines"

avx512=
if grep -qw avx512vl /proc/cpuinfo 2>/dev/null; then avx512=yes; fi
awk -v avx512="$avx512" '
  $1 ~ /\.hpp$/ {
    if ($1 ~ /avx512/ && !avx512) next
    lines += $8; missed += $9
    if ($9 > 0) printf "%6.2f %% of %3d lines of %s\n", 100 - 100 * $9 / $8, $8, $1
  }
  END {
    if (lines == 0) { print "no lines were counted"; exit 1 }
    printf "%.2f %% of %d lines of the library run in tests (coverage.lines in the build folder shows which do not)\n", 100 - 100 * missed / lines, lines
    exit 100 * missed > 2 * lines
  }' "$folder/coverage.txt"
