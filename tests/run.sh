#!/bin/sh
# Builds the tests and runs them. Installs what is missing on Debian or Ubuntu (asks first, unless root).
#
#   sh tests/run.sh             with g++
#   sh tests/run.sh clang       with clang++, and clang-format and clang-tidy
#   sh tests/run.sh sanitize    with clang++'s address, undefined and float-cast-overflow sanitizers
#   sh tests/run.sh all         these three
#
# Build folders are build/tests*. FEWBIT_WERROR=ON in the environment makes warnings errors.

set -eu
cd "$(dirname "$0")/.."
. cmake/ensure_packages.sh

run() { # name, ctest's options; then cmake's options from "$@"
  folder=$1 ctest_options=$2
  shift 2
  generator=Ninja
  command -v ninja >/dev/null 2>&1 || generator="Unix Makefiles"
  [ ! -f "$folder/CMakeCache.txt" ] || generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$folder/CMakeCache.txt")
  cmake -S . -B "$folder" -G "$generator" -DFEWBIT_BUILD_TESTS=ON -DFEWBIT_BUILD_BENCH=OFF -DFEWBIT_BUILD_EXAMPLES=OFF \
    -DFEWBIT_WERROR="${FEWBIT_WERROR:-OFF}" "$@"
  cmake --build "$folder" -j 2
  # shellcheck disable=SC2086
  (cd "$folder" && ctest -j 2 --output-on-failure --no-tests=error $ctest_options)
}

# The second line runs the kernels of other processors; the third boots an emulated PC for it.
basics="cmake ninja-build=ninja libeigen3-dev catch2 binutils=objdump \
  g++-aarch64-linux-gnu=aarch64-linux-gnu-g++ qemu-user=qemu-x86_64 gcc \
  bochs bochs-term bochsbios vgabios grub-pc-bin grub-common=grub-mkrescue xorriso mtools=mformat bsdutils"
with_gcc() {
  ensure_toolchain g++ $basics
  run build/tests "" -DCMAKE_CXX_COMPILER="$compiler"
}
with_clang() {
  ensure_toolchain clang++ $basics g++ libomp-dev clang-format clang-tidy
  run build/tests-clang "" -DCMAKE_CXX_COMPILER="$compiler"
}
# clang++, because g++ takes three times as long over Eigen with sanitizers. The scripts that look at the library from
# outside stay out: nothing they see changes.
with_sanitizers() {
  ensure_toolchain clang++ $basics g++ libomp-dev libclang-rt-dev
  run build/tests-sanitize "-LE structure|style" -DCMAKE_CXX_COMPILER="$compiler" \
    -DFEWBIT_SANITIZE=address,undefined,float-cast-overflow
}

case ${1:-gcc} in
  gcc | g++) with_gcc ;;
  clang | clang++) with_clang ;;
  sanitize) with_sanitizers ;;
  all)
    with_gcc
    with_clang
    with_sanitizers
    ;;
  *)
    sed -n 's/^#   //p' "$0"
    exit 2
    ;;
esac
