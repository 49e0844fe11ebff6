# Sourced by the structural tests. Gives them:
#   root     the repository               cxx      the compiler (CXX, else c++)
#   eigen    Eigen's include folder       scratch  an empty folder of their own
#   fail TEXT    says why, and exits 1    skip TEXT    this machine cannot run the test: exits 77
#   clean        the flags of a user who watches for warnings
#   in_halves COMMAND...    runs a program of tests in two processes, of which one does what begins with 'every'
# Every script also runs by hand: sh tests/structure/layers.sh

set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here
while [ ! -f "$root/include/fewbit/config.hpp" ]; do
  [ "$root" != / ] || { echo "no include/fewbit/config.hpp above $here"; exit 1; }
  root=$(dirname "$root")
done
cxx=${CXX:-c++}
cmake=${CMAKE:-cmake}
eigen=${EIGEN_INCLUDE:-/usr/include/eigen3}
clean="-Wall -Wextra -Werror"

if [ -n "${SCRATCH:-}" ]; then
  rm -rf "$SCRATCH"
  mkdir -p "$SCRATCH"
  scratch=$SCRATCH
else
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
fi

fail() {
  echo "FAILED: $*"
  exit 1
}
skip() {
  echo "skipped: $*"
  exit 77
}

in_halves() {
  "$@" "~[.]every *" >"$scratch/half.log" 2>&1 &
  half=$! status=0
  "$@" "~[.]~every *" || status=$?
  wait $half || status=$?
  cat "$scratch/half.log"
  return $status
}

# An instruction set that this CPU has, by the name in /proc/cpuinfo.
cpu_has() { grep -qw "$1" /proc/cpuinfo 2>/dev/null; }
is_x86() { case $(uname -m) in x86_64 | amd64) true ;; *) false ;; esac; }
