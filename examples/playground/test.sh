#!/bin/sh
# Builds the playground and tries it in a headless Chromium, beside the same C interface compiled for this machine.
#
#   sh examples/playground/test.sh
#
# Installs what is missing on Debian and Ubuntu. All goes to build/playground; pictures of the page are kept there.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/examples/playground
build=${FEWBIT_PLAYGROUND_DIR:-$root/build/playground}
cd "$root"

# shellcheck source=../../cmake/ensure_packages.sh
. "$root/cmake/ensure_packages.sh"
ensure_toolchain any libeigen3-dev chromium=chromium nodejs=node npm=npm

sh "$here/build.sh" "$build"
"${CXX:-$compiler}" -std=c++20 -O2 -I include -isystem "${EIGEN_INCLUDE:-/usr/include/eigen3}" \
  "$here/playground.cpp" "$here/native.cpp" -o "$build/native"

driver=playwright-core@1.65.1
if [ "$(cat "$build/npm/driver" 2>/dev/null)" != $driver ]; then
  mkdir -p "$build/npm"
  npm install --no-save --no-package-lock --no-audit --no-fund --prefix "$build/npm" $driver
  echo $driver >"$build/npm/driver"
fi
PLAYGROUND=$build node --test "$here/test.mjs"
