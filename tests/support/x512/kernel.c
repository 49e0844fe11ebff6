// A kernel that runs one program: statically linked, one thread, output to the first serial port. It knows the system
// calls that the C and C++ libraries make for such a program, and no files. Its last line is "exit N"; N is the
// program's status, or 200 + v for the processor's exception v, so that 206 stands for an illegal instruction.
//
// Memory, 512 MiB: the kernel from 1 MiB, the program where it wants to be, its heap behind it up to 256 MiB, mmap from
// 384 MiB downwards, the program's file at 384 MiB, its stack from 448 MiB downwards.

#include <asm/errno.h>
#include <asm/unistd_64.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

static const u64 heap_end = 256ul << 20, file_at = 384ul << 20, stack_end = 448ul << 20, page = 4096;
static u64 heap_start, heap_now, mapped;

// ---------------------------------------------------------------------------------------------- the machine

static void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static u8 in8(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static void write_msr(u32 msr, u64 value) {
  __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}
static u64 cycles(void) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (u64)high << 32 | low;
}

// The compiler calls these two by itself.
void* memcpy(void* to, const void* from, u64 n) {
  void* at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n)::"memory");
  return to;
}
void* memset(void* to, int value, u64 n) {
  void* at = to;
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
  return to;
}

enum { serial = 0x3f8 };
static void serial_start(void) {
  out8(serial + 1, 0);     // no interrupts
  out8(serial + 3, 0x80);  // the next two are the divisor
  out8(serial, 1);
  out8(serial + 1, 0);
  out8(serial + 3, 3);     // 8 bits, no parity, one stop bit
  out8(serial + 2, 0xc7);  // queues, emptied
}
static void put(char c) {
  while ((in8(serial + 5) & 0x20) == 0) {
  }
  out8(serial, (u8)c);
}
static void say(const char* text) {
  while (*text) put(*text++);
}
static void say_number(u64 n, u64 base) {
  char digits[24];
  int i = 0;
  do digits[i++] = "0123456789abcdef"[n % base];
  while (n /= base);
  while (i > 0) put(digits[--i]);
}

__attribute__((noreturn)) static void leave(u64 status) {
  say("\nexit ");
  say_number(status, 10);
  say("\n");
  while ((in8(serial + 5) & 0x40) == 0) {  // until the last character is out
  }
  for (const char* word = "Shutdown"; *word; ++word) out8(0x8900, (u8)*word);  // Bochs listens for it
  for (;;) __asm__ volatile("cli; hlt");
}

// ------------------------------------------------------------------------------------------------ exceptions

struct Exception {
  u64 vector, error, address;
};

void stopped(const struct Exception* e) {
  u64 touched;
  __asm__ volatile("mov %%cr2, %0" : "=r"(touched));
  say("\nexception "), say_number(e->vector, 10), say(", error "), say_number(e->error, 16);
  say(", at "), say_number(e->address, 16), say(", which touched "), say_number(touched, 16);
  if (e->vector == 6) {
    say(", bytes");
    for (int i = 0; i < 12; ++i) say(" "), say_number(((const u8*)e->address)[i], 16);
  }
  leave(200 + e->vector);
}

// ---------------------------------------------------------------------------------------------- system calls

// As syscall_entry pushes them.
struct Call {
  u64 number, a, b, c, d, e, f;
};

static u64 write(u64 file, const char* text, u64 n) {
  if (file != 1 && file != 2) return (u64)-EBADF;
  for (u64 i = 0; i < n; ++i) put(text[i]);
  return n;
}

static u64 map(u64 size, u64 flags) {
  const u64 anonymous = 0x20;
  size = (size + page - 1) / page * page;
  if (!(flags & anonymous)) return (u64)-EBADF;
  if (size > mapped - heap_end) return (u64)-ENOMEM;
  mapped -= size;
  memset((void*)mapped, 0, size);
  return mapped;
}

// brk. Memory that comes back is as good as new: calloc() counts on it.
static u64 grow(u64 end) {
  if (end < heap_start || end > heap_end) return heap_now;
  if (end > heap_now) memset((void*)heap_now, 0, end - heap_now);
  return heap_now = end;
}

static u64 describe(u64 file, u8* stat) {
  if (file > 2) return (u64)-EBADF;
  memset(stat, 0, 144);
  *(u32*)(stat + 24) = 020620;  // st_mode: a character device
  return 0;
}

static u64 answer(const struct Call* call) {
  const u64 a = call->a, b = call->b, c = call->c;
  switch (call->number) {
    case __NR_write: return write(a, (const char*)b, c);
    case __NR_writev: {
      const struct {
        const char* text;
        u64 n;
      }* part = (const void*)b;
      u64 written = 0;
      for (u64 i = 0; i < c; ++i) written += write(a, part[i].text, part[i].n);
      return written;
    }
    case __NR_mmap: return map(b, call->d);
    case __NR_brk: return grow(a);

    // Nothing is forbidden, and nothing comes back.
    case __NR_mprotect:
    case __NR_munmap:
    case __NR_madvise: return 0;

    // Files: none but the first three, which are a device.
    case __NR_fstat: return describe(a, (u8*)b);
    case __NR_newfstatat: return a <= 2 ? describe(a, (u8*)c) : (u64)-ENOENT;
    case __NR_read: return 0;
    case __NR_close: return 0;
    case __NR_lseek: return (u64)-ESPIPE;
    case __NR_ioctl: return (u64)-ENOTTY;
    case __NR_access:
    case __NR_open:
    case __NR_openat:
    case __NR_readlink:
    case __NR_readlinkat: return (u64)-ENOENT;

    // One process and one thread, whom nobody sends signals.
    case __NR_rt_sigaction:
    case __NR_rt_sigprocmask:
    case __NR_sigaltstack:
    case __NR_set_robust_list:
    case __NR_futex: return 0;
    case __NR_getpid:
    case __NR_gettid:
    case __NR_set_tid_address: return 1;
    case __NR_arch_prctl:
      if (a != 0x1002) return (u64)-EINVAL;  // ARCH_SET_FS: where thread-local variables are
      write_msr(0xc0000100, b);
      return 0;
    case __NR_prlimit64:  // asked for the size of the stack
      if (call->d) ((u64*)call->d)[0] = 8 << 20, ((u64*)call->d)[1] = ~0ul;
      return 0;
    case __NR_clone:
    case __NR_fork:
    case __NR_mremap:
    case __NR_uname:
    case __NR_sched_getaffinity:
    case __NR_rseq: return (u64)-ENOSYS;  // the libraries know what to do instead

    case __NR_exit:
    case __NR_exit_group: leave(a & 0xff);
    case __NR_tkill: leave(128 + b);  // abort() sends itself a signal
    case __NR_tgkill: leave(128 + c);

    // Time: as if a cycle were a nanosecond. Chance: the same on every run.
    case __NR_clock_gettime: {
      const u64 now = cycles(), second = 1000000000;
      ((u64*)b)[0] = now / second, ((u64*)b)[1] = now % second;
      return 0;
    }
    case __NR_time: return 1;
    case __NR_getrandom:
      for (u64 i = 0; i < b; ++i) ((u8*)a)[i] = (u8)(167 * i + 13);
      return b;
  }
  say("\nsystem call "), say_number(call->number, 10), say(" is unknown\n");
  return (u64)-ENOSYS;
}

void system_call(struct Call* call) { call->number = answer(call); }

// --------------------------------------------------------------------------------------------------- starting

extern const u8 exceptions[32][16];
extern void syscall_entry(void);
extern void enter(u64 entry, const u64* stack);

static void catch_exceptions(void) {
  static struct {
    u16 low, segment, kind, middle;
    u32 high, zero;
  } gates[32];
  static struct {
    u16 padding[3], limit;
    u64 base;
  } pointer;
  for (int i = 0; i < 32; ++i) {
    const u64 at = (u64)exceptions[i];
    gates[i].low = (u16)at, gates[i].middle = (u16)(at >> 16), gates[i].high = (u32)(at >> 32);
    gates[i].segment = 8, gates[i].kind = 0x8e00;  // present, an interrupt gate
  }
  pointer.limit = sizeof gates - 1, pointer.base = (u64)gates;
  __asm__ volatile("lidt %0" ::"m"(pointer.limit), "m"(pointer.base));
}

// The parts of an ELF file that say what to load where.
struct Elf {
  u8 magic[16];
  u16 type, machine;
  u32 version;
  u64 entry, segments, sections;
  u32 flags;
  u16 size, segment_size, segment_count;
};
struct Segment {
  u32 type, flags;
  u64 offset, address, physical, in_file, in_memory, align;
};

// Copies the program to its place; the address of its own table of segments.
static u64 load(const struct Elf* elf) {
  const struct Segment* s = (const void*)((u64)elf + elf->segments);
  u64 table = 0;
  for (u64 i = 0; i < elf->segment_count; ++i) {
    if (s[i].type != 1) continue;  // PT_LOAD
    memcpy((void*)s[i].address, (const u8*)elf + s[i].offset, s[i].in_file);
    memset((void*)(s[i].address + s[i].in_file), 0, s[i].in_memory - s[i].in_file);
    const u64 end = s[i].address + s[i].in_memory;
    if (end > heap_start) heap_start = end;
    if (s[i].offset <= elf->segments && elf->segments < s[i].offset + s[i].in_file)
      table = s[i].address + elf->segments - s[i].offset;
  }
  heap_start = heap_now = (heap_start + page - 1) / page * page;
  return table;
}

// argc, arguments, no environment, and what the C library asks of the kernel, as the ABI lays them out.
static const u64* first_stack(char* words, const struct Elf* elf, u64 segments) {
  static const u64 random[2] = {0x0123456789abcdef, 0xfedcba9876543210};
  const u64 facts[][2] = {{3, segments},
                          {4, sizeof(struct Segment)},
                          {5, elf->segment_count},
                          {6, page},
                          {9, elf->entry},
                          {11, 0},
                          {12, 0},
                          {13, 0},
                          {14, 0},
                          {23, 0},
                          {25, (u64)random},
                          {0, 0}};
  u64 *const stack = (u64*)(stack_end - 8192), *at = stack + 1;
  stack[0] = 0;
  for (; *words; ++stack[0]) {
    *at++ = (u64)words;
    while (*words && *words != ' ') ++words;
    if (*words) *words++ = 0;
  }
  *at++ = 0;
  *at++ = 0;
  memcpy(at, facts, sizeof facts);
  return stack;
}

struct Module {
  u32 start, end, words, reserved;
};

void kernel(const u32* multiboot) {
  serial_start();
  catch_exceptions();
  write_msr(0xc0000081, 8ul << 32);           // what syscall does: the code segment,
  write_msr(0xc0000082, (u64)syscall_entry);  // where to,
  write_msr(0xc0000084, 0x700);               // and no trap, interrupt and backward string meanwhile

  const struct Module* program = (const void*)(u64)multiboot[6];
  if (!(multiboot[0] & 8) || multiboot[5] != 1) say("no program"), leave(199);
  static char words[1024];
  const char* given = (const char*)(u64)program->words;
  for (u64 i = 0; given[i] && i + 1 < sizeof words; ++i) words[i] = given[i];
  const struct Elf* elf = memcpy((void*)file_at, (const void*)(u64)program->start, program->end - program->start);
  mapped = file_at;
  const u64 segments = load(elf);
  enter(elf->entry, first_stack(words, elf, segments));
}
