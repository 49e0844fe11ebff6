# Sourced by the scripts a reader runs: makes sure that Debian or Ubuntu packages are there, and a compiler.
#
#   ensure_packages PACKAGE[=COMMAND]...
#
# A package is there when dpkg says so, or when its command (given after =) is on the PATH from somewhere else. Missing
# ones are installed: at once for root, after a question for others. Returns 1, and says what to type, when it may not.
# A system without apt-get is left alone: whatever is missing there will be named by whoever needs it.
#
#   ensure_toolchain g++|clang++|any PACKAGE[=COMMAND]...
#
# The same, and sets $compiler to a compiler that is new enough; returns 1 if none can be had.

ensure_packages() {
  missing=
  for wanted in "$@"; do
    package=${wanted%%=*}
    if [ "$package" != "$wanted" ] && command -v "${wanted#*=}" >/dev/null 2>&1; then continue; fi
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) || status=
    [ "$status" = "install ok installed" ] || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "No apt-get here; going on without what Debian calls:$missing"
    return 0
  fi

  as_root=
  if [ "$(id -u)" -ne 0 ]; then
    if ! [ -t 0 ] || ! command -v sudo >/dev/null 2>&1; then
      echo "Missing packages. As root, run:" >&2
      echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
      return 1
    fi
    printf 'Install with sudo:%s? [y/N] ' "$missing"
    read -r answer
    case $answer in
      y | Y | yes) as_root=sudo ;;
      *) return 1 ;;
    esac
  fi
  echo "Installing:$missing"
  # shellcheck disable=SC2086
  $as_root apt-get update -qq &&
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# Whether a compiler is there and new enough.
usable_compiler() {
  version=$("$1" -dumpversion 2>/dev/null) || return 1
  oldest=12
  case $("$1" --version 2>/dev/null) in *clang*) oldest=14 ;; esac
  [ "${version%%.*}" -ge $oldest ] 2>/dev/null
}

find_compiler() {
  for compiler in "$@"; do
    usable_compiler "$compiler" && return 0
  done
  return 1
}

# The unversioned package of a distribution may be too old where a numbered one is not.
ensure_toolchain() {
  gcc="g++ g++-15 g++-14 g++-13 g++-12"
  clang="clang++ clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14"
  case $1 in
    g++) names=$gcc package=g++ numbered=g++-12 ;;
    clang++) names=$clang package=clang numbered=clang-14 ;;
    *) names="$gcc $clang" package=g++ numbered=g++-12 ;;
  esac
  shift
  # shellcheck disable=SC2086
  {
    find_compiler $names || set -- "$@" $package
    ensure_packages "$@" || return 1
    find_compiler $names || { ensure_packages $numbered && find_compiler $names; } || {
      echo "No compiler: g++ 12 or clang++ 14, or a newer one, is needed; none of these is: $names" >&2
      return 1
    }
  }
}
