# The layering: a header includes only layers above its own, the standard library, and Eigen from eigen/ on down.
# Also: no cycle, no #include between FEWBIT_..._BEGIN and FEWBIT_..._END, every fence is closed, the umbrella
# reaches everything but io/, and nobody names Eigen::internal.
. "$(dirname "$0")/../support/check.sh"

cd "$root/include"
find fewbit -name '*.hpp' | sort >"$scratch/headers"
[ -s "$scratch/headers" ] || fail "no headers"

# One line "header included" for every #include; the inclusion of a C file or of a quoted name is an error below.
while read -r header; do
  awk -v header="$header" '/^[ \t]*#[ \t]*include/ {
    sub(/^[ \t]*#[ \t]*include[ \t]*/, ""); sub(/[ \t]*(\/\/.*|\/\*.*)?$/, ""); print header, $0 }' "$header"
done <"$scratch/headers" >"$scratch/includes"
grep -q 'fewbit/fewbit.hpp <fewbit/' "$scratch/includes" || fail "found no includes in fewbit.hpp: this script reads nothing"

awk '
  BEGIN {
    above["config"] = ""
    above["core"] = "config core"
    above["kernel"] = "config core kernel"
    above["grid"] = "config core grid"
    above["estimate"] = "config core kernel grid estimate"
    above["storage"] = "config core kernel storage"
    above["eigen"] = "config core storage eigen"
    above["quantize"] = "config core kernel grid estimate storage eigen quantize"
    above["ops"] = above["quantize"] " ops"
    above["io"] = above["ops"] " io"
    above["umbrella"] = "config core kernel grid estimate storage eigen quantize ops"
    eigen = " eigen quantize ops io "
    system_only["kernel"] = " immintrin.h arm_neon.h cpuid.h sys/auxv.h asm/hwcap.h "
    system_only["storage"] = " sys/mman.h "
    system_only["eigen"] = " omp.h "
    system_only["io"] = " unistd.h "
  }
  function layer(header, part, n) {
    n = split(header, part, "/")
    if (n == 3) return part[2]
    if (header == "fewbit/fewbit.hpp") return "umbrella"
    if (header == "fewbit/config.hpp") return "config"
    return "?"
  }
  function wrong(why) { print $1 ": includes " $2 ", " why; bad = 1 }
  {
    from = layer($1)
    if (!(from in above)) { print $1 ": no such layer; teach tests/structure/layers.sh where it stands"; bad = 1; next }
    if ($2 !~ /^<.*>$/) { wrong("write it as <...>"); next }
    name = substr($2, 2, length($2) - 2)
    if (name ~ /^fewbit\//) {
      to = layer(name)
      if (index(" " above[from] " ", " " to " ") == 0) wrong("and " from " may see only: " (above[from] ? above[from] : "nothing"))
    } else if (name ~ /^(Eigen|unsupported)\//) {
      if (index(eigen, " " from " ") == 0) wrong("and " from " is above the Eigen line")
    } else if (name !~ /^[a-z_0-9]+$/ && index(system_only[from], " " name " ") == 0) {
      wrong("which is neither fewbit, nor Eigen, nor a C++ standard header")
    }
  }
  END { exit bad }
' "$scratch/includes" || fail "layering"

while read -r header; do
  awk -v header="$header" '
    /^[ \t]*FEWBIT_[A-Z0-9]+_BEGIN/ { if (open) { print header ":" NR ": a fence inside a fence"; bad = 1 } open = NR }
    /^[ \t]*FEWBIT_[A-Z0-9]+_END/ { if (!open) { print header ":" NR ": ends no fence"; bad = 1 } open = 0 }
    /^[ \t]*#[ \t]*include/ && open { print header ":" NR ": #include inside the fence of line " open; bad = 1 }
    END { if (open) { print header ":" open ": the fence is never closed"; bad = 1 } exit bad }
  ' "$header" || fail "fences"
done <"$scratch/headers"

# tsort names the loop, if there is one.
sed -n 's/^\([^ ]*\) <\(fewbit\/.*\)>$/\1 \2/p' "$scratch/includes" >"$scratch/edges"
tsort "$scratch/edges" >"$scratch/order" 2>"$scratch/loop" || { cat "$scratch/loop"; fail "headers include each other in a circle"; }

awk '
  { n[$1]++; to[$1, n[$1]] = $2 }
  END {
    stack[depth = 1] = "fewbit/fewbit.hpp"
    while (depth > 0) {
      header = stack[depth--]
      if (seen[header]++) continue
      print header
      for (i = 1; i <= n[header]; ++i) stack[++depth] = to[header, i]
    }
  }' "$scratch/edges" | sort >"$scratch/reached"
grep -v '^fewbit/io/' "$scratch/headers" | comm -3 - "$scratch/reached" >"$scratch/missing"
[ ! -s "$scratch/missing" ] || { cat "$scratch/missing"; fail "fewbit.hpp must reach these, or must not (second column)"; }

cd "$root"
folders=
for folder in include tests bench examples; do [ ! -d $folder ] || folders="$folders $folder"; done
if grep -rnE --include='*.hpp' --include='*.cpp' --include='*.h' 'Eigen::internal|namespace internal' $folders; then
  fail "Eigen::internal belongs to Eigen"
fi
echo "$(wc -l <"$scratch/headers") headers, $(wc -l <"$scratch/includes") includes in order"
