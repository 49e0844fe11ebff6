# One program, on CPUs from before AVX to AVX-512, whatever machine runs the tests: each must choose the table it should,
# meet no instruction it does not know, and store the same bytes. qemu runs programs as they are, but knows no AVX-512;
# Bochs boots a small kernel to run them (tests/support/x512/run.sh). Then the tests of the kernels that take seconds
# run on an AVX-512 of the emulator, for machines that have none.
. "$(dirname "$0")/../support/check.sh"

# emulator, its name for the CPU, the table that must run
models='
qemu   qemu64               scalar
qemu   Nehalem              scalar
qemu   Haswell              avx2
qemu   EPYC                 avx2
bochs  athlon64_clawhammer  scalar
bochs  core2_penryn_t9600   scalar
bochs  corei7_sandy_bridge_2600k  scalar
bochs  corei7_haswell_4770  avx2
bochs  ryzen                avx2
bochs  corei7_skylake_x     avx512
bochs  corei3_cnl           avx512
bochs  corei7_icelake_u     avx512vbmi
bochs  tigerlake            avx512vbmi
'
tests_on=corei7_skylake_x

is_x86 || skip "not an x86-64 machine"
bochs=$root/tests/support/x512/run.sh
unset FEWBIT_ISA

$cxx -std=c++20 -O2 -static -I "$root/include" -isystem "$eigen" "$root/tests/structure/every_kernel.cpp" \
  -o "$scratch/program" || fail "does not compile"
native=$("$scratch/program")
scalar=$(FEWBIT_ISA=scalar "$scratch/program")
echo "$native here"
[ "${scalar%% *}" = scalar ] || fail "FEWBIT_ISA=scalar did not choose the scalar table"
[ "${scalar#* }" = "${native#* }" ] || fail "other bytes from the scalar table"
if cpu_has avx512vl; then expected='avx512vbmi|avx512vnni|avx512|avx2'; elif cpu_has avx2; then expected=avx2; else expected=scalar; fi
echo "${native%% *}" | grep -qxE "$expected" || fail "this CPU should have run $expected"

missing=
run_on() { # emulator, CPU, table
  status=0
  case $1 in
    qemu)
      if ! command -v qemu-x86_64 >/dev/null; then
        missing="no qemu-x86_64 (Debian: apt-get install qemu-user)"
        return
      fi
      said=$(qemu-x86_64 -cpu "$2" "$scratch/program" 2>"$scratch/qemu.log") || status=$?
      # From version 7.2 on it speaks AVX2; an older one warns that it will not.
      if [ "$3" = avx2 ] && grep -q "doesn't support.*avx2" "$scratch/qemu.log"; then
        echo "this qemu has no AVX2: no $2"
        return
      fi
      ;;
    bochs)
      said=$(sh "$bochs" "$2" "$scratch/program") || status=$?
      if [ $status -eq 77 ]; then
        missing=$said
        return
      fi
      ;;
  esac
  echo "$said $2"
  case $status in
    0) ;;
    132 | 206) fail "an illegal instruction on $1's $2" ;;
    *) fail "exit status $status on $1's $2" ;;
  esac
  [ "${said%% *}" = "$3" ] || fail "$1's $2 must run the $3 table, not ${said%% *}"
  [ "${said#* }" = "${native#* }" ] || fail "other bytes on $1's $2"
}
echo "$models" >"$scratch/models"
while read -r emulator model table; do
  [ -z "$emulator" ] || run_on "$emulator" "$model" "$table" </dev/null
done <"$scratch/models"
[ -z "$missing" ] || skip "$missing"

cd "$root/tests"
for source in support/catch_main.cpp support/kernels.cpp kernel/dispatch_test.cpp kernel/exhaustive_test.cpp; do
  $cxx -std=c++20 -O1 -DFEWBIT_KERNELS_ELSEWHERE -I "$root/include" -I "$root/tests" -c "$source" \
    -o "$scratch/$(basename "$source" .cpp).o" || fail "does not compile: $source"
done
$cxx -static "$scratch"/*.o -o "$scratch/tests" \
  2>"$scratch/link.log" || skip "all models agree; no static tests with this Catch2: $(head -1 "$scratch/link.log")"
echo "the tests, on $tests_on:"
sh "$bochs" $tests_on "$scratch/tests" || fail "on $tests_on"
