#!/bin/sh
# Runs a statically linked x86-64 program on a CPU that this machine need not have: the emulator Bochs, which knows
# AVX-512 and its extensions, boots a small kernel (kernel.c) that runs the program. Prints what the program prints, and
# exits with its status; with 206 after an illegal instruction, 198 if the program did not come to an end, and 77 if
# something is missing here.
#
#   sh tests/support/x512/run.sh MODEL PROGRAM [ARGUMENT...]
#
# MODEL is one of `bochs --help cpu`; no argument may contain a space. Booting takes a few seconds.
# X512_TIMEOUT in the environment is the most seconds that a run may take.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
model=$1 program=$2
shift 2

absent() {
  echo "cannot emulate CPUs: no $1 (Debian: apt-get install $2)"
  exit 77
}
for needed in bochs=bochs script=bsdutils gcc=gcc grub-mkrescue=grub-common xorriso=xorriso mformat=mtools; do
  command -v "${needed%%=*}" >/dev/null || absent "${needed%%=*}" "${needed#*=}"
done
bios=/usr/share/bochs/BIOS-bochs-latest
vga=/usr/share/bochs/VGABIOS-lgpl-latest
[ -f $bios ] || absent $bios bochsbios
[ -f $vga ] || absent $vga vgabios
[ -d /usr/lib/grub/i386-pc ] || absent /usr/lib/grub/i386-pc grub-pc-bin

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/disc/boot/grub"
# The linker would warn of pages that are both written and executed: the kernel has no others.
gcc -Wall -Wextra -Werror -O1 -ffreestanding -fno-pic -fno-pie -no-pie -fno-stack-protector -mno-red-zone \
  -mgeneral-regs-only -fno-asynchronous-unwind-tables -nostdlib -static -Wl,-n,--no-warn-rwx-segments,--build-id=none \
  -T "$here/kernel.ld" "$here/boot.S" "$here/kernel.c" -o "$folder/disc/boot/kernel"
cp "$program" "$folder/disc/boot/program"
cat >"$folder/disc/boot/grub/grub.cfg" <<CFG
set timeout=0
menuentry program {
  multiboot /boot/kernel
  module /boot/program program $*
}
CFG
grub-mkrescue -o "$folder/disc.iso" "$folder/disc" >"$folder/rescue.log" 2>&1 || { cat "$folder/rescue.log"; exit 198; }

# sync=none: as fast as it goes. The plugin "unmapped" is what listens for a shutdown.
cat >"$folder/bochsrc" <<RC
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1
cpu: model=$model, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=512, host=512
romimage: file=$bios
vgaromimage: file=$vga
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$folder/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$folder/serial
clock: sync=none, time0=local
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
log: $folder/log
display_library: term
RC

# Its screen wants a terminal, which `script` pretends to be; a Bochs with a debugger waits for "c" before it begins.
(cd "$folder" && TERM=xterm timeout "${X512_TIMEOUT:-300}" script -qfec "sh -c 'echo c | bochs -q -f bochsrc'" screen \
  </dev/null >/dev/null 2>&1) || true
[ -f "$folder/serial" ] || { tail -5 "$folder/log" "$folder/screen" 2>/dev/null; exit 198; }
tr -d '\r' <"$folder/serial" >"$folder/said"
status=$(sed -n '$s/^exit \([0-9]*\)$/\1/p' "$folder/said")
[ -n "$status" ] || { cat "$folder/said"; exit 198; }
# The last line is the kernel's, and so is the end of the line before it.
sed '$d' "$folder/said" | sed '${/^$/d}'
exit "$status"
