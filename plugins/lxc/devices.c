/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The device filter of a container's cgroup.
 *
 * Theory of operation. Which device nodes a container has is decided by its /dev (tree.c); that it makes no
 * others, by its user namespace and MOUNT_ATTR_NODEV. This is the layer below both: a program of the kernel's own
 * that is asked at each open and each mknod of a device by anybody in the cgroup, wherever the node comes
 * from, and says yes to a list, in which the devices of [Device] are too. It needs a cgroup2 directory but no controller, and is gone with it. It is
 * loaded while the monitor still has CAP_SYS_ADMIN, and replaced at once by a longer or shorter one by uv-attach; nobody inside can take it off. */

#include <stddef.h>

#include "plugins/lxc/bpf.h"
#include "plugins/lxc/lxc.h"

#define PROGRAM_NAME "uv_devices"
#define ANY_MINOR -1
static const struct { int major, minor; } allowed[] = {
        { 1, 3 }, { 1, 5 }, { 1, 7 }, { 1, 8 }, { 1, 9 },       /* null zero full random urandom */
        { 5, 0 }, { 5, 2 }, { 136, ANY_MINOR },                 /* tty, ptmx, pseudo-terminals: the console too */
};
#define INSNS_PER_DEVICE 6
#define INSNS_MAX (10 + INSNS_PER_DEVICE * (ULV_ARRAY_SIZE(allowed) + ULV_ATTACHMENTS_MAX) + 2)

_Static_assert(INSNS_MAX <= BPF_PROGRAM_MAX, "the longest list fits");

static void add_load(struct bpf_program *p, unsigned dst, size_t offset) {
        bpf_add(p, BPF_LDX | BPF_MEM | BPF_W, dst, BPF_REG_1, (int16_t) offset, 0);
}

/* Each test that fails jumps behind the rule: over those that follow it, and its two instructions of return. */
static void add_rule(struct bpf_program *p, int type, int major, int minor, bool read_only) {
        int16_t left = (int16_t) (2 + (minor != ANY_MINOR) + read_only + 2);

        bpf_add(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_3, 0, --left, type);
        bpf_add(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, --left, major);
        if (minor != ANY_MINOR)
                bpf_add(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, --left, minor);
        if (read_only)
                bpf_add(p, BPF_JMP | BPF_JSET | BPF_K, BPF_REG_2, 0, --left, BPF_DEVCG_ACC_WRITE);
        bpf_add_return(p, 1);
}

/* r2: what for; r3: its type; r4 major; r5 minor. */
static void compile(struct bpf_program *p, const struct lxc_node *nodes, size_t n) {
        add_load(p, BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, major));
        add_load(p, BPF_REG_5, offsetof(struct bpf_cgroup_dev_ctx, minor));
        add_load(p, BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
        bpf_add(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
        bpf_add(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_3, 0, 0, 0xffff);
        bpf_add(p, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_2, 0, 0, 16);
        /* The builder, which is in the cgroup, makes the nodes of those that are given; nobody makes another one. */
        for (size_t i = 0; i < n && i < ULV_ATTACHMENTS_MAX; i++)
                add_rule(p, nodes[i].block ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, (int) nodes[i].major, (int) nodes[i].minor, nodes[i].read_only);
        bpf_add(p, BPF_JMP | BPF_JSET | BPF_K, BPF_REG_2, 0, 1, BPF_DEVCG_ACC_MKNOD);
        bpf_add(p, BPF_JMP | BPF_JA, 0, 0, 2, 0);
        bpf_add_return(p, 0);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(allowed); i++)
                add_rule(p, BPF_DEVCG_DEV_CHAR, allowed[i].major, allowed[i].minor, false);
        bpf_add_return(p, 0);
}

/* Ours on this very cgroup, told from a manager's by its name. -1: none. */
static int open_present(int cgroup) {
        uint32_t ids[16];
        union bpf_attr query = { .query = { .target_fd = (uint32_t) cgroup, .attach_type = BPF_CGROUP_DEVICE, .prog_cnt = ULV_ARRAY_SIZE(ids),
                                            .prog_ids = (uint64_t) (uintptr_t) ids } };

        if (sys_bpf(BPF_PROG_QUERY, &query) < 0)
                return -1;
        for (uint32_t i = 0; i < query.query.prog_cnt; i++) {
                union bpf_attr get = { .prog_id = ids[i] };
                struct bpf_prog_info info = { 0 };
                int fd = sys_bpf(BPF_PROG_GET_FD_BY_ID, &get);
                union bpf_attr ask = { .info = { .bpf_fd = (uint32_t) fd, .info_len = sizeof(info), .info = (uint64_t) (uintptr_t) &info } };

                if (fd >= 0 && sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) == 0 && ulv_streq(info.name, PROGRAM_NAME))
                        return fd;
                (void) ulv_close(fd);
        }
        return -1;
}

int lxc_devices_filter(int cgroup, const struct lxc_node *nodes, size_t n) {
        struct bpf_program p = { 0 };

        compile(&p, nodes, n);
        union bpf_attr load = {
                .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uint64_t) (uintptr_t) p.insns, .insn_cnt = p.n,
                .license = (uint64_t) (uintptr_t) "GPL", .prog_name = PROGRAM_NAME,
        };
        _cleanup_close_ int prog = sys_bpf(BPF_PROG_LOAD, &load);
        if (prog < 0)
                return -errno;
        _cleanup_close_ int present = open_present(cgroup);
        union bpf_attr attach = {
                .target_fd = (uint32_t) cgroup, .attach_bpf_fd = (uint32_t) prog, .attach_type = BPF_CGROUP_DEVICE,
                .attach_flags = BPF_F_ALLOW_MULTI | (present >= 0 ? BPF_F_REPLACE : 0), .replace_bpf_fd = (uint32_t) ULV_MAX(present, 0),
        };
        return sys_bpf(BPF_PROG_ATTACH, &attach) < 0 ? -errno : 0;
}

bool lxc_devices_filtered(int cgroup) {
        union bpf_attr query = { .query = { .target_fd = (uint32_t) cgroup, .attach_type = BPF_CGROUP_DEVICE } };

        return sys_bpf(BPF_PROG_QUERY, &query) == 0 && query.query.prog_cnt > 0;
}
