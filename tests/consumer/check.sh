# A user's project gets fewbit in every way the README offers: find_package from an installed tree, add_subdirectory, and
# no build system at all. No flag of ours may reach its compile commands.
. "$(dirname "$0")/../support/check.sh"

version=$(sed -n 's/^#define FEWBIT_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' "$root/include/fewbit/config.hpp" | paste -sd .)
expected="$version -7"
consumer=$root/tests/consumer
eigen_dir=$(cd "$eigen/../.." && pwd)

quietly() {
  "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; fail "$*"; }
}

# Options a consumer's compile command may hold: its language level, includes, output. Anything else came from us.
commands_are_plain() { # build folder
  sed -n 's/^ *"command": "\(.*\)",*$/\1/p' "$1/compile_commands.json" >"$scratch/commands"
  [ "$(wc -l <"$scratch/commands")" -eq 1 ] || fail "$1 compiles more than its one file"
  set -- $(cat "$scratch/commands")
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      -std=gnu++20 | -std=c++20 | -I*) ;;
      -isystem | -o | -c) shift ;;
      *) cat "$scratch/commands"; fail "$1 reached a user's compile command" ;;
    esac
    shift
  done
}

consume() { # way, options...
  way=$1
  shift
  quietly "$cmake" -S "$consumer" -B "$scratch/$way" -DWAY="$way" -DCMAKE_CXX_COMPILER="$cxx" \
    -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@"
  commands_are_plain "$scratch/$way"
  quietly "$cmake" --build "$scratch/$way"
  answer=$("$scratch/$way/consumer") || fail "$way: the program dies"
  [ "$answer" = "$expected" ] || fail "$way: the program says '$answer', not '$expected'"
}

# The flags of this shell are not fewbit's.
unset CXXFLAGS CPPFLAGS LDFLAGS || true

consume add_subdirectory -DFEWBIT_SOURCE="$root" -DCMAKE_PREFIX_PATH="$eigen_dir"

quietly "$cmake" -S "$root" -B "$scratch/package" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$eigen_dir" \
  -DFEWBIT_BUILD_TESTS=OFF -DFEWBIT_BUILD_BENCH=OFF -DFEWBIT_BUILD_EXAMPLES=OFF
quietly "$cmake" --install "$scratch/package" --prefix "$scratch/staged"
mv "$scratch/staged" "$scratch/prefix" # an installed tree may be moved
diff -r "$root/include/fewbit" "$scratch/prefix/include/fewbit" || fail "the installed headers are not the headers"
if grep -rF -e "$root/include" -e "$scratch/staged" "$scratch/prefix"; then fail "the installed package remembers where it was made"; fi
consume find_package -DCMAKE_PREFIX_PATH="$scratch/prefix;$eigen_dir" -DVERSION_WANTED="$version"
if "$cmake" -S "$consumer" -B "$scratch/too_new" -DWAY=find_package -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$scratch/prefix;$eigen_dir" -DVERSION_WANTED=99.0 >"$scratch/log" 2>&1; then
  fail "find_package(fewbit 99.0) is satisfied with $version"
fi

$cxx -std=c++20 -I "$root/include" -isystem "$eigen" "$consumer/main.cpp" -o "$scratch/alone" || fail "-I include is not enough"
[ "$("$scratch/alone")" = "$expected" ] || fail "-I include: the program says '$("$scratch/alone")', not '$expected'"
echo "$expected from find_package, add_subdirectory and -I include"
