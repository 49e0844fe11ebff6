# A CPU without AVX runs the same program: it must pick the scalar table and store the same bytes. Then one with AVX2,
# so that dispatch is seen to go both ways whatever machine runs the tests.
. "$(dirname "$0")/../support/check.sh"

is_x86 || skip "not an x86-64 machine"
command -v qemu-x86_64 >/dev/null || skip "no qemu-x86_64 (Debian: apt-get install qemu-user)"

$cxx -std=c++20 -O2 -I "$root/include" -isystem "$eigen" "$root/tests/structure/every_kernel.cpp" -o "$scratch/program"
unset FEWBIT_ISA

native=$("$scratch/program")
scalar=$(FEWBIT_ISA=scalar "$scratch/program")
old=$(qemu-x86_64 -cpu qemu64 "$scratch/program" 2>"$scratch/old.log") || { cat "$scratch/old.log"; fail "the program dies on a CPU without AVX"; }
echo "here      $native"
echo "scalar    $scalar"
echo "qemu64    $old"
[ "${scalar%% *}" = scalar ] || fail "FEWBIT_ISA=scalar did not choose the scalar table"
[ "${old%% *}" = scalar ] || fail "a CPU without AVX must run the scalar table, not ${old%% *}"
[ "${old#* }" = "${native#* }" ] || fail "other bytes on a CPU without AVX"
[ "${scalar#* }" = "${native#* }" ] || fail "other bytes from the scalar table"

# qemu speaks AVX2 from version 7.2.
if qemu-x86_64 -cpu Haswell /bin/true 2>"$scratch/haswell.log" && ! grep -q "doesn't support.*avx2" "$scratch/haswell.log"; then
  new=$(qemu-x86_64 -cpu Haswell "$scratch/program" 2>/dev/null) || fail "the program dies on a Haswell"
  echo "Haswell   $new"
  [ "${new%% *}" = avx2 ] || fail "a CPU with AVX2 and FMA must run the avx2 table, not ${new%% *}"
  [ "${new#* }" = "${native#* }" ] || fail "other bytes on a Haswell"
fi
if cpu_has avx512vl; then expected='avx512|avx2'; elif cpu_has avx2; then expected=avx2; else expected=scalar; fi
echo "${native%% *}" | grep -qxE "$expected" || fail "this CPU should have run $expected"
