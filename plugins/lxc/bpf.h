/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small programs of the kernel's own kind, put together by hand: devices.c, hooks.c. */

#include <linux/bpf.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BPF_PROGRAM_MAX 640
struct bpf_program { struct bpf_insn insns[BPF_PROGRAM_MAX]; unsigned n; };

/* What doesn't fit makes a program that the kernel refuses, for it ends without a return. */
static inline void bpf_add(struct bpf_program *p, uint8_t code, unsigned dst, unsigned src, int16_t off, int32_t imm) {
        if (p->n < BPF_PROGRAM_MAX)
                p->insns[p->n++] = (struct bpf_insn) { .code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm };
}
static inline void bpf_add_return(struct bpf_program *p, int value) {
        bpf_add(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
        bpf_add(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}
static inline int sys_bpf(int command, union bpf_attr *a) { return (int) syscall(SYS_bpf, command, a, sizeof(*a)); }
