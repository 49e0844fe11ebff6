# From the boot loader's 32-bit mode to the kernel's C: long mode, with every vector register switched on that the
# processor has.

        .section .multiboot, "a"
        .set magic, 0x1badb002
        .set flags, 3                   # modules on page boundaries, and a memory map
        .balign 4
        .long magic, flags, -(magic + flags)

        .text
        .code32
        .globl _start
_start: cli
        movl $stack_top, %esp
        movl %ebx, %esi                 # what the boot loader has to say: kept for the kernel

        # The first 4 GiB of memory at their own addresses, in pages of 2 MiB.
        movl $third_level + 3, fourth_level
        movl $third_level, %edi
        movl $second_level + 3, %eax    # 3: present, writable
        movl $4, %ecx
1:      movl %eax, (%edi)
        addl $4096, %eax
        addl $8, %edi
        loop 1b
        movl $second_level, %edi
        movl $0x83, %eax                # 0x80: a large page
        movl $2048, %ecx
2:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 2b
        movl $fourth_level, %eax
        movl %eax, %cr3

        # CR4: PAE, OSFXSR, OSXMMEXCPT; OSXSAVE where there is an XSAVE (bit 26 of ECX).
        movl $1, %eax
        cpuid
        movl %cr4, %eax
        orl $0x620, %eax
        testl $1 << 26, %ecx
        jz 3f
        orl $0x40000, %eax
3:      movl %eax, %cr4
        movl $0xc0000080, %ecx          # EFER: long mode, and the syscall instruction
        rdmsr
        orl $0x101, %eax
        wrmsr
        movl %cr0, %eax
        andl $~0xc, %eax                # neither emulate nor trap the floating-point unit
        orl $0x80000023, %eax           # paging, native floating-point errors, protected mode
        movl %eax, %cr0
        lgdt gdt_pointer
        ljmp $8, $long_mode

        .code64
long_mode:
        movl $16, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        xorl %eax, %eax
        movl %eax, %fs
        movl %eax, %gs
        movl $stack_top, %esp

        # XCR0: of x87, SSE, AVX and the three parts of AVX-512 (0xe7), what the processor offers.
        movq %cr4, %rax
        testl $0x40000, %eax
        jz 4f
        movl $0xd, %eax
        xorl %ecx, %ecx
        cpuid
        andl $0xe7, %eax
        xorl %edx, %edx
        xorl %ecx, %ecx
        xsetbv
4:      fninit
        movl %esi, %edi
        call kernel
5:      hlt
        jmp 5b

# void enter(entry, stack). The program runs in the kernel's ring: there is nothing to protect from it.
        .globl enter
enter:  movq %rsi, %rsp
        xorl %edx, %edx                 # no function to call at exit
        xorl %ebp, %ebp
        jmp *%rdi

# What the syscall instruction jumps to, on the program's stack: below the 128 bytes it may use without asking, its
# registers become a struct Call. RAX comes back changed; RCX and R11 are the instruction's own.
        .globl syscall_entry
syscall_entry:
        leaq -128(%rsp), %rsp
        pushq %rcx
        pushq %rbp
        pushq %r9
        pushq %r8
        pushq %r10
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %rax
        movq %rsp, %rdi
        movq %rsp, %rbp
        andq $-16, %rsp
        call system_call
        movq %rbp, %rsp
        popq %rax
        popq %rdi
        popq %rsi
        popq %rdx
        popq %r10
        popq %r8
        popq %r9
        popq %rbp
        popq %rcx
        leaq 128(%rsp), %rsp
        jmp *%rcx

# 32 entries of 16 bytes, one for each exception; those that come without an error code get one.
        .globl exceptions
        .balign 16
exceptions:
        .set vector, 0
        .rept 32
        .balign 16
        .if vector != 8 && vector != 17 && (vector < 10 || vector > 14)
        pushq $0
        .endif
        pushq $vector
        jmp exception
        .set vector, vector + 1
        .endr
exception:
        movq %rsp, %rdi
        andq $-16, %rsp
        call stopped

        .data
        .balign 8
gdt:    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff         # 64-bit code, data
gdt_pointer:
        .word 23
        .long gdt

        .bss
        .balign 4096
fourth_level:
        .skip 4096
third_level:
        .skip 4096
second_level:
        .skip 4 * 4096
        .skip 65536
stack_top:

        .section .note.GNU-stack, "", @progbits
