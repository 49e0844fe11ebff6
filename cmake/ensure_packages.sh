# Sourced by the scripts a reader runs: makes sure that Debian or Ubuntu packages are there.
#
#   ensure_packages PACKAGE[=COMMAND]...
#
# A package is there when dpkg says so, or when its command (given after =) is on the PATH from somewhere else. Missing
# ones are installed: at once for root, after a question for others. Returns 1, and says what to type, when it may not.
# A system without apt-get is left alone: whatever is missing there will be named by whoever needs it.

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
      echo "Missing packages. As root, run:"
      echo "  apt-get update && apt-get install -y --no-install-recommends$missing"
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
