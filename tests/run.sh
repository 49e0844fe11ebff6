#!/bin/sh
# Builds the tests and runs them. Installs what is missing on Debian or Ubuntu (asks first, unless root).
#
#   sh tests/run.sh                 with g++
#   sh tests/run.sh clang           with clang++, and clang-format and clang-tidy
#   sh tests/run.sh all             these two, sanitize and thread
#
# By themselves, each of minutes to hours:
#
#   sh tests/run.sh sanitize        with clang++'s address, undefined and conversion sanitizers; which lines ran
#   sh tests/run.sh sanitize-gcc    with g++'s address and undefined sanitizers
#   sh tests/run.sh thread          with clang++'s thread sanitizer (`thread few`: where there are threads); thread-gcc: g++'s
#   sh tests/run.sh clang-scripts   what clang++ and its tools see from outside, without the test programs
#   sh tests/run.sh bytes           one hash from every compiler, optimisation, instruction set and number of threads
#   sh tests/run.sh exhaustive      every float there is, on every instruction set
#   sh tests/run.sh fuzz            libFuzzer, a minute a target; `fuzz product 600`: one target, longer
#   sh tests/run.sh gates           instruction counts of kernels; `gates accept` takes the new ones
#   sh tests/run.sh mutation        faults planted one at a time: does a test notice?
#   sh tests/run.sh windows         mingw's g++, run by wine
#   sh tests/run.sh wasm            emscripten, run by node
#
# Build folders are build/tests*. FEWBIT_WERROR=ON in the environment makes warnings errors.

set -eu
cd "$(dirname "$0")/.."
. cmake/ensure_packages.sh

targets= # of cmake; empty means all
run() { # name, ctest's options; then cmake's options from "$@"
  folder=$1 ctest_options=$2
  shift 2
  generator=Ninja
  command -v ninja >/dev/null 2>&1 || generator="Unix Makefiles"
  [ ! -f "$folder/CMakeCache.txt" ] || generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$folder/CMakeCache.txt")
  cmake -S . -B "$folder" -G "$generator" -DFEWBIT_BUILD_TESTS=ON -DFEWBIT_BUILD_BENCH=OFF -DFEWBIT_BUILD_EXAMPLES=OFF \
    -DFEWBIT_WERROR="${FEWBIT_WERROR:-OFF}" "$@"
  # shellcheck disable=SC2086
  case $ctest_options in
    "-L structure|style") ;;
    *) cmake --build "$folder" -j 2 ${targets:+--target $targets} ;;
  esac
  # shellcheck disable=SC2086
  (cd "$folder" && ctest -j 2 --output-on-failure --no-tests=error $ctest_options)
}

# valgrind counts instructions, python3 remakes recorded vectors. The second line runs the kernels of other processors; the third boots an emulated PC for it.
basics="cmake ninja-build=ninja libeigen3-dev catch2 binutils=objdump valgrind python3 \
  g++-aarch64-linux-gnu=aarch64-linux-gnu-g++ qemu-user=qemu-x86_64 gcc \
  bochs bochs-term bochsbios vgabios grub-pc-bin grub-common=grub-mkrescue xorriso mtools=mformat bsdutils"
with_gcc() {
  ensure_toolchain g++ $basics
  run build/tests "" -DCMAKE_CXX_COMPILER="$compiler"
}
clang_tools="g++ libomp-dev clang-format clang-tidy"
with_clang() {
  ensure_toolchain clang++ $basics $clang_tools
  run build/tests-clang "${1:-}" -DCMAKE_CXX_COMPILER="$compiler"
}

# The scripts that look at the library from outside stay out of sanitizers: nothing they see changes.
sanitized() { # folder, sanitizers, options of cmake...
  folder=$1 sanitizers=$2
  shift 2
  run "$folder" "-LE structure|style" -DCMAKE_CXX_COMPILER="$compiler" -DFEWBIT_SANITIZE="$sanitizers" "$@"
}
# With which lines ran, for it costs no second build.
with_sanitizers() {
  ensure_toolchain clang++ $basics g++ libomp-dev libclang-rt-dev llvm=llvm-cov
  rm -rf build/tests-sanitize/profile
  LLVM_PROFILE_FILE="$PWD/build/tests-sanitize/profile/%p.profraw" && export LLVM_PROFILE_FILE
  sanitized build/tests-sanitize address,undefined,float-cast-overflow,implicit-conversion -DFEWBIT_COVERAGE=ON
  unset LLVM_PROFILE_FILE
  sh tests/coverage.sh build/tests-sanitize "$compiler"
}
with_gcc_sanitizers() {
  ensure_toolchain g++ $basics
  sanitized build/tests-sanitize-gcc address,undefined,float-cast-overflow
}
with_thread_sanitizer() { # compiler, few
  ensure_toolchain "$1" $basics g++ libomp-dev libclang-rt-dev
  if [ "${2:-}" = few ]; then
    targets="test_threads test_concurrent"
    run "build/tests-thread-${1%++}" "-R test_threads|test_concurrent" -DCMAKE_CXX_COMPILER="$compiler" -DFEWBIT_SANITIZE=thread
    targets=
  else
    sanitized "build/tests-thread-${1%++}" thread
  fi
}

script() { # folder, a structural test, its arguments...
  SCRATCH=$PWD/build/$1 && export SCRATCH
  shift
  CXX=$compiler sh "$@"
}
every_compiler="clang clang-19 libomp-dev"

stage=${1:-gcc}
[ $# -eq 0 ] || shift
case $stage in
  gcc | g++) with_gcc ;;
  clang | clang++) with_clang ;;
  clang-scripts) with_clang "-L structure|style" ;;
  sanitize) with_sanitizers ;;
  sanitize-gcc) with_gcc_sanitizers ;;
  thread) with_thread_sanitizer clang++ "$@" ;;
  thread-gcc) with_thread_sanitizer g++ ;;
  all)
    with_gcc
    with_clang
    with_sanitizers
    with_thread_sanitizer clang++
    ;;
  bytes)
    ensure_toolchain g++ $basics $every_compiler
    script tests-bytes tests/structure/same_bytes.sh "$@"
    ;;
  exhaustive)
    ensure_toolchain g++ $basics
    run build/tests "-C long -L long" -DCMAKE_CXX_COMPILER="$compiler"
    ;;
  fuzz) sh tests/fuzz/run.sh "$@" ;;
  gates)
    ensure_toolchain g++ libeigen3-dev valgrind
    script tests-gates tests/gates/gates.sh "$@"
    ;;
  windows)
    ensure_toolchain g++ libeigen3-dev catch2 g++-mingw-w64-x86-64-posix=x86_64-w64-mingw32-g++-posix \
      wine64=/usr/lib/wine/wine64
    script tests-windows tests/structure/windows.sh
    ;;
  wasm)
    ensure_toolchain g++ libeigen3-dev catch2 emscripten=emcc nodejs=node
    script tests-wasm tests/structure/wasm.sh
    ;;
  mutation)
    ensure_toolchain clang++ $basics python3
    CXX=$compiler python3 tests/mutation/mutate.py "$@"
    ;;
  help | --help | -h) sed -n 's/^#   //p' "$0" ;;
  *)
    sed -n 's/^#   //p' "$0" >&2
    exit 2
    ;;
esac
