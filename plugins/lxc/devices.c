/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The device filter of a container's cgroup.
 *
 * Theory of operation. Which device nodes a container has is decided by its /dev (tree.c); that it makes no
 * others, by its user namespace and MOUNT_ATTR_NODEV. This is the layer below both: a program of the kernel's own
 * that is asked at each open and each mknod of a device by anybody in the cgroup, wherever the node comes
 * from, and says yes to a list. It needs a cgroup2 directory but no controller, and is gone with it. It is
 * loaded while the monitor still has CAP_SYS_ADMIN; nobody inside can take it off. */

#include <linux/bpf.h>
#include <sys/syscall.h>

#include "plugins/lxc/lxc.h"
#include "plugins/lxc/sys.h"

#define ANY_MINOR -1
static const struct { int major, minor; } allowed[] = {
        { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 },       /* null zero full random urandom */
        { 5, 0 }, { 5, 2 }, { 136, ANY_MINOR },                 /* tty, ptmx, pseudo-terminals: the console too */
};
#define INSNS_PER_DEVICE 4
#define INSNS_MAX (8 + INSNS_PER_DEVICE * ULV_ARRAY_SIZE(allowed) + 2)

struct program { struct bpf_insn insns[INSNS_MAX]; unsigned n; };

static void add(struct program *p, uint8_t code, unsigned dst, unsigned src, int16_t off, int32_t imm) {
        p->insns[p->n++] = (struct bpf_insn) { .code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm };
}
static void add_return(struct program *p, int value) {
        add(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
        add(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}
static void add_load(struct program *p, unsigned dst, size_t offset) {
        add(p, BPF_LDX | BPF_MEM | BPF_W, dst, BPF_REG_1, (int16_t) offset, 0);
}

/* r2 type, then access; r4 major; r5 minor. */
static void compile(struct program *p) {
        add_load(p, BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, major));
        add_load(p, BPF_REG_5, offsetof(struct bpf_cgroup_dev_ctx, minor));
        add_load(p, BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
        /* A character device (the low half), not to be made (the high half). */
        add(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff | BPF_DEVCG_ACC_MKNOD << 16);
        add(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_2, 0, 2, BPF_DEVCG_DEV_CHAR);
        add_return(p, 0);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(allowed); i++) {
                bool any = allowed[i].minor == ANY_MINOR;
                add(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, any ? 2 : 3, allowed[i].major);
                if (!any)
                        add(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 2, allowed[i].minor);
                add_return(p, 1);
        }
        add_return(p, 0);
}

static int sys_bpf(int command, union bpf_attr *a) { return (int) syscall(SYS_bpf, command, a, sizeof(*a)); }

int lxc_devices_filter(int cgroup) {
        struct program p = { 0 };

        compile(&p);
        union bpf_attr load = {
                .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uint64_t) (uintptr_t) p.insns, .insn_cnt = p.n,
                .license = (uint64_t) (uintptr_t) "GPL", .prog_name = "uv_devices",
        };
        _cleanup_close_ int prog = sys_bpf(BPF_PROG_LOAD, &load);
        if (prog < 0)
                return -errno;
        union bpf_attr attach = {
                .target_fd = (uint32_t) cgroup, .attach_bpf_fd = (uint32_t) prog, .attach_type = BPF_CGROUP_DEVICE,
                .attach_flags = BPF_F_ALLOW_MULTI,
        };
        return sys_bpf(BPF_PROG_ATTACH, &attach) < 0 ? -errno : 0;
}

/* Programs that are on this very cgroup: ours is the only one that anybody puts there. */
bool lxc_devices_filtered(int cgroup) {
        union bpf_attr query = { .query = { .target_fd = (uint32_t) cgroup, .attach_type = BPF_CGROUP_DEVICE } };

        return sys_bpf(BPF_PROG_QUERY, &query) == 0 && query.query.prog_cnt > 0;
}
