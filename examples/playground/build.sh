#!/bin/sh
# Builds the playground: one HTML file with the library inside, compiled to WebAssembly.
#
#   sh examples/playground/build.sh [FOLDER]
#
# Installs what is missing on Debian and Ubuntu. The page is FOLDER/index.html, build/playground/index.html otherwise.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/playground}
here=$root/examples/playground
cd "$root"

# shellcheck source=../../cmake/ensure_packages.sh
. "$root/cmake/ensure_packages.sh"
ensure_packages emscripten=em++ nodejs=node libeigen3-dev
eigen=${EIGEN_INCLUDE:-/usr/include/eigen3}

# Debian's Emscripten keeps its libraries compiled in the system's cache, and finds acorn only on this path.
unset EM_CACHE
export NODE_PATH="${NODE_PATH:-/usr/share/nodejs}"

mkdir -p "$build"
exports=$(grep -o 'playground_[a-z_]*(' "$here/playground.hpp" | sed 's/^/,_/; s/($//' | tr -d '\n')

# -fwasm-exceptions: smaller than -fexceptions by a tenth, and needs nothing of JavaScript. -O2: with -O3 -msimd128 a
# million weights take 17 to 24 ms instead of 19 to 29, and the page grows by 15 KB. The JavaScript that em++ writes is
# not used; system.mjs has the little that is asked for.
em++ -std=c++20 -O2 -fwasm-exceptions -DNDEBUG -Wall -Wextra -I include -isystem "$eigen" \
  "$here/playground.cpp" --no-entry -sALLOW_MEMORY_GROWTH=1 -sWASM_BIGINT=1 "-sEXPORTED_FUNCTIONS=_malloc,_free$exports" \
  -o "$build/playground.js"
node "$here/make_page.mjs" "$build/playground.wasm" "$build/index.html"
