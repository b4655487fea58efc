# SPDX-License-Identifier: LGPL-2.1-or-later

# A guest of 512 bytes, for a BIOS. It counts in its second sector how often it was booted, says so on the serial port,
# and waits. Where it can't write it says so.
        .code16
        .globl _start
_start: cli
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x7c00, %sp
        movw $0x0201, %ax
        call disk
        incb 0x7e00
        movw $0x0301, %ax
        call disk
        movw $fixed, %si
        jc 1f
        movw $boot, %si
1:      call say
        movb 0x7e00, %al
        addb $'0', %al
        outb %al, %dx
        movw $end, %si
        call say
2:      hlt
        jmp 2b
disk:   movw $2, %cx
        xorb %dh, %dh
        movb $0x80, %dl
        movw $0x7e00, %bx
        int $0x13
        ret
say:    movw $0x3f8, %dx
3:      lodsb
        testb %al, %al
        jz 4f
        outb %al, %dx
        jmp 3b
4:      ret
fixed:  .asciz "read-only: "
boot:   .asciz "boot: "
end:    .asciz "\r\n"
        .org 510
        .word 0xaa55
