# Instructions beyond the plain target appear only inside the kernels made for them. A program compiled with no -m flag
# is disassembled; one AVX instruction in, say, a weak std:: function would crash an older CPU far from any kernel.
. "$(dirname "$0")/../support/check.sh"

is_x86 || skip "not an x86-64 machine"
command -v objdump >/dev/null || skip "no objdump (Debian: apt-get install binutils)"

for level in -O0 -O2; do
  # Linked, because objdump takes a minute for an object's thousands of sections.
  $cxx -std=c++20 $level -I "$root/include" -isystem "$eigen" "$root/tests/structure/every_kernel.cpp" \
    -o "$scratch/program" || fail "does not compile at $level"
  objdump -d -C --no-show-raw-insn "$scratch/program" >"$scratch/program.s"
  # Function lines read "0000000000000000 <name>:", instruction lines "  4:<tab>mnemonic operands".
  # A function belongs to the kernel whose namespace it is in: the qualified name, or the arguments of a template,
  # carries fewbit::kernel::avx2:: or fewbit::kernel::avx512::.
  awk -F '\t' -v level="$level" '
    function report(what) {
      if (shown[name, what]++ == 0) printf "%s: %s in %s: %s\n", level, what, name, $2
      bad = 1
    }
    /^[0-9a-f]+ <.*>:$/ {
      name = $0; sub(/^[0-9a-f]+ </, "", name); sub(/>:$/, "", name)
      avx512 = index(name, "fewbit::kernel::avx512::") > 0
      avx2 = index(name, "fewbit::kernel::avx2::") > 0
      functions++
      next
    }
    NF < 2 { next }
    {
      split($2, word, " ")
      op = word[1]
      if (op ~ /^(rep|repz|repnz|lock|data16|bnd|notrack)$/) op = word[2]
      instructions++
      is512 = $2 ~ /%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])/
      isVector = op ~ /^v[a-z]/ && op !~ /^(verr|verw|vm[a-z]*)$/ || $2 ~ /%ymm/
      # What -mavx2 switches on besides AVX: SSE3, SSSE3, SSE4, POPCNT, and its companions BMI, FMA and F16C.
      isExtra = op ~ /^(popcnt|pext|pdep|bzhi|andn|bextr|mulx|rorx|sarx|shlx|shrx|crc32[bwlq]?)$/ ||
                op ~ /^(round[sp][sd]|blend(v)?p[sd]|pblend(w|vb)|ptest|dpp[sd]|insertps|extractps|mpsadbw|phminposuw)$/ ||
                op ~ /^(pshufb|palignr|pabs[bwd]|psign[bwd]|ph(add|sub)(w|d|sw)|pmaddubsw|pmulhrsw|lddqu|mov(ddup|s[hl]dup))$/ ||
                op ~ /^(pm(ax|in)(s[bd]|u[wd])|pmul(dq|ld)|pmov[sz]x[bwd][wdq]|packusdw|pcmp(eqq|gtq|[ei]str[im])|p(ins|ext)r[bdq]|h(add|sub)p[sd]|addsubp[sd])$/
      if (is512) { if (avx512) in512++; else report("an AVX-512 instruction") }
      else if (isVector) { if (avx2) in2++; else if (!avx512) report("an AVX instruction") }
      else if (isExtra && !avx2 && !avx512) report("an instruction beyond SSE2")
    }
    END {
      print level ": " functions " functions, " instructions " instructions, " in2 + 0 " of AVX in kernel::avx2, " in512 + 0 " of AVX-512 in kernel::avx512"
      print in2 + 0, in512 + 0 >"/dev/stderr"
      exit bad
    }' "$scratch/program.s" 2>"$scratch/counts" || fail "instructions leak out of the kernels"
  # A table that left no instruction behind was not looked at.
  read -r in2 in512 <"$scratch/counts"
  [ ! -f "$root/include/fewbit/kernel/avx2.hpp" ] || [ "$in2" -gt 0 ] || fail "no AVX in kernel::avx2: is it compiled at all?"
  [ ! -f "$root/include/fewbit/kernel/avx512.hpp" ] || [ "$in512" -gt 0 ] || fail "no AVX-512 in kernel::avx512"
done
