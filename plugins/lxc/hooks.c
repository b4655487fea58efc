/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel's security hooks, for one container: what the system call filter refuses, refused a second time.
 *
 * Theory of operation. The filter (filter.c) looks at numbers of calls and at registers, before the kernel has begun.
 * This looks at what the kernel is about to do, wherever the call came from and by whichever door: it asks its
 * security modules, of which one is "bpf", and that asks the programs on the cgroup of whoever acts (BPF_LSM_CGROUP,
 * Linux 6.0). Ours say no to the families of sockets that the profile hasn't, to keys, io_uring, userfaultfd and perf, to
 * the terminal commands that nobody has, and to looking into another process where the profile doesn't debug. They judge
 * who has the container's user ids alone: not its builder, which is in the cgroup too, and not the kernel, where it
 * does something in its own name. Neither layer knows of the other; the tables that both go by are in doors.h.
 *
 * A program is loaded for one hook, by the number of its function in the kernel's own description of its types (btf.c):
 * five megabytes, read once in a boot, for the numbers are noted in a file of root's below /run, with the boot's id.
 * All or none is put on; they are gone with the cgroup, and nobody inside can take them off. A kernel that has the
 * hooks but was booted without "bpf" in lsm= takes the programs and never asks them: so the container's first process
 * tries (lxc_hooks_refuse), and if it wasn't refused they are taken off again. What is on the cgroup of a container that
 * runs is thus known to work, by whoever adopts it.
 *
 * The first program on a hook has the kernel write its own code anew, the last one that goes again, for longer than a
 * start takes. So the cgroup above the container's, which outlives it, gets programs that let everything pass. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"
#include "model/inventory.h"
#include "plugins/lxc/bpf.h"
#include "plugins/lxc/btf.h"
#include "plugins/lxc/doors.h"

#define BTF_FILE "/sys/kernel/btf/vmlinux"
#define BTF_MAX (64u << 20)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define NOTE "hooks"            /* below ULV_RUN: the boot's id, then lines: FUNCTION NUMBER */
#define NOTE_MAX 4096
#define PROGRAM_NAME "uv_hook"
#define KEEPER_NAME "uv_hook_keeper" /* at most 15 letters */
#define MODE_ATTACH 0x02        /* the kernel's PTRACE_MODE_ATTACH: into its memory */
#define MODE_REALCREDS 0x10     /* by a call that takes a pid; a look into /proc has 0x08 */
#define NAME_OFFSET 8           /* of the text in the kernel's struct qstr, behind hash and length */

/* --- programs: 1 lets pass, 0 is EPERM --------------------------------------------------------------------- */

/* Loads argument n of the hook. */
static void add_argument(struct bpf_program *p, unsigned dst, int n) {
        bpf_add(p, BPF_LDX | BPF_MEM | BPF_DW, dst, BPF_REG_6, (int16_t) (n * 8), 0);
}
static void add_skip_unless(struct bpf_program *p, unsigned reg, int32_t value, int16_t skip) {
        bpf_add(p, BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, skip, value);
}

/* r6: the arguments, from here on. */
static void judge_containers_alone(struct bpf_program *p) {
        bpf_add(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
        bpf_add(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_uid_gid);
        bpf_add(p, BPF_JMP32 | BPF_JGE | BPF_K, BPF_REG_0, 0, 2, (int32_t) (ULV_UID_BASE + ULV_UID_RANGE));
        bpf_add_return(p, 1);
}

static void refuse(struct bpf_program *p, unsigned rights ULV_UNUSED) { bpf_add_return(p, 0); }

/* (family, type, protocol, kern) */
static void judge_socket(struct bpf_program *p, unsigned rights) {
        for (int i = 0; i < 4; i++)
                add_argument(p, BPF_REG_2 + (unsigned) i, i);
        add_skip_unless(p, BPF_REG_5, 1, 2);    /* the kernel's own */
        bpf_add_return(p, 1);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(door_sockets); i++) {
                const struct door_socket *s = &door_sockets[i];
                int16_t left = (int16_t) ((s->type != DOOR_ANY) + (s->protocol != DOOR_ANY) + 2);

                if (s->rights != 0 && !(s->rights & rights))
                        continue;
                add_skip_unless(p, BPF_REG_2, s->family, left--);
                if (s->type != DOOR_ANY)
                        add_skip_unless(p, BPF_REG_3, s->type, left--);
                if (s->protocol != DOOR_ANY)
                        add_skip_unless(p, BPF_REG_4, s->protocol, left);
                bpf_add_return(p, 1);
        }
        bpf_add_return(p, 0);
}

/* (inode, name, context): files without a name of their own are made for io_uring and userfaultfd, and for what is
 * nobody's danger. The first eight bytes tell. */
static void judge_nameless(struct bpf_program *p, unsigned rights ULV_UNUSED) {
        static const char *const refused[] = { "[io_urin", "[userfau" };

        add_argument(p, BPF_REG_3, 1);
        bpf_add(p, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_3, NAME_OFFSET, 0);
        bpf_add(p, BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, -8, 0);
        bpf_add(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_10, 0, 0);
        bpf_add(p, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_1, 0, 0, -8);
        bpf_add(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0, 0, 8);
        bpf_add(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_kernel);
        /* A kernel that is locked down doesn't let programs read: then none of them is made. */
        bpf_add(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, 0);
        bpf_add_return(p, 0);
        bpf_add(p, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_2, BPF_REG_10, -8, 0);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(refused); i++) {
                uint32_t half[2];
                memcpy(half, refused[i], sizeof(half));
                bpf_add(p, BPF_LD | BPF_IMM | BPF_DW, BPF_REG_3, 0, 0, (int32_t) half[0]);
                bpf_add(p, 0, 0, 0, 0, (int32_t) half[1]);
                bpf_add(p, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_2, BPF_REG_3, 2, 0);
                bpf_add_return(p, 0);
        }
        bpf_add_return(p, 1);
}

/* (file, command, argument) */
static void judge_ioctl(struct bpf_program *p, unsigned rights ULV_UNUSED) {
        add_argument(p, BPF_REG_2, 1);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(door_ioctls); i++) {
                add_skip_unless(p, BPF_REG_2, (int32_t) door_ioctls[i], 2);
                bpf_add_return(p, 0);
        }
        bpf_add_return(p, 1);
}

/* (child, mode): what /proc shows of a neighbour it may look at. */
static void judge_access(struct bpf_program *p, unsigned rights ULV_UNUSED) {
        add_argument(p, BPF_REG_2, 1);
        bpf_add(p, BPF_JMP32 | BPF_JSET | BPF_K, BPF_REG_2, 0, 2, MODE_ATTACH | MODE_REALCREDS);
        bpf_add_return(p, 1);
        bpf_add_return(p, 0);
}

/* At most ten hooks of a machine can have programs of cgroups, all of everybody's together. */
static const struct hook {
        void (*judge)(struct bpf_program *p, unsigned rights);
        bool app;               /* not for a profile that debugs */
        bool newer;             /* older kernels ask the one before it */
} hooks[] = {
        { judge_socket, false, false }, { judge_nameless, false, false }, { judge_ioctl, false, false }, { judge_ioctl, false, true },
        { refuse, false, false }, { refuse, false, false }, { refuse, false, false },
        { judge_access, true, false }, { refuse, true, false },
};
#define N_HOOKS ULV_ARRAY_SIZE(hooks)
#define PROGRAMS_MAX 64         /* on one cgroup, everybody's */
_Static_assert(N_HOOKS <= LXC_BTF_NAMES_MAX, "looked up at once");
static const char *const functions[N_HOOKS] = {
        "bpf_lsm_socket_create", "bpf_lsm_inode_init_security_anon", "bpf_lsm_file_ioctl", "bpf_lsm_file_ioctl_compat",
        "bpf_lsm_key_alloc", "bpf_lsm_key_permission", "bpf_lsm_perf_event_open",
        "bpf_lsm_ptrace_access_check", "bpf_lsm_ptrace_traceme",
};

/* --- the numbers of the hooks' functions ------------------------------------------------------------------- */

static int read_kernel(uint32_t ids[N_HOOKS]) {
        _cleanup_close_ int fd = open(BTF_FILE, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *data = NULL;
        size_t size;
        int r = fd < 0 ? -errno : ulv_read_fd(fd, BTF_MAX, &data, &size);

        return r < 0 ? r : lxc_btf_functions(data, size, functions, N_HOOKS, ids);
}

/* The note that says `boot`, and all of our functions in their order. 0; -ENOENT: there is none such. */
static int read_note(int dir, const char *boot, uint32_t ids[N_HOOKS]) {
        _cleanup_free_ char *text = NULL;
        uint32_t found[N_HOOKS];
        size_t len;

        if (ulv_read_file_at(dir, NOTE, NOTE_MAX, &text, &len) < 0 || !ulv_startswith(text, boot))
                return -ENOENT;
        char *at = text + strlen(boot);
        for (size_t i = 0; i < N_HOOKS; i++) {
                char *end;
                if (!ulv_startswith(at, functions[i]) || at[strlen(functions[i])] != ' ')
                        return -ENOENT;
                found[i] = (uint32_t) strtoul(at + strlen(functions[i]) + 1, &end, 10);
                if (*end != '\n')
                        return -ENOENT;
                at = end + 1;
        }
        memcpy(ids, found, sizeof(found));
        return *at ? -ENOENT : 0;
}

/* One that can't be written, or that another monitor writes at this moment, is read from the kernel again. */
static void write_note(int dir, const char *boot, const uint32_t ids[N_HOOKS]) {
        char text[NOTE_MAX];
        int n = snprintf(text, sizeof(text), "%s", boot);

        for (size_t i = 0; i < N_HOOKS; i++)
                n += snprintf(text + n, sizeof(text) - (size_t) n, "%s %u\n", functions[i], ids[i]);
        int r = ulv_write_file_atomic(dir, NOTE, text, (size_t) n, 0600);
        if (r < 0 && r != -ENOENT && r != -EEXIST)
                ulv_log_errno(r, "the numbers of the kernel's security hooks can't be kept for the next start");
}

static int find_ids(const char *root, uint32_t ids[N_HOOKS]) {
        char path[4096];
        _cleanup_free_ char *boot = NULL;
        size_t len;

        (void) snprintf(path, sizeof(path), "%s/" ULV_RUN, root);
        _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = ulv_read_file_at(AT_FDCWD, BOOT_ID, 64, &boot, &len);
        if (r < 0)
                return r;
        if (dir >= 0 && read_note(dir, boot, ids) == 0)
                return 0;
        r = read_kernel(ids);
        if (r == 0 && dir >= 0)
                write_note(dir, boot, ids);
        return r;
}

/* --- the cgroup -------------------------------------------------------------------------------------------- */

static int load(const struct bpf_program *p, uint32_t id, const char *name) {
        union bpf_attr a = {
                .prog_type = BPF_PROG_TYPE_LSM, .expected_attach_type = BPF_LSM_CGROUP, .attach_btf_id = id,
                .insns = (uint64_t) (uintptr_t) p->insns, .insn_cnt = p->n, .license = (uint64_t) (uintptr_t) "GPL",
        };

        memcpy(a.prog_name, name, strlen(name));
        int fd = sys_bpf(BPF_PROG_LOAD, &a);
        return fd < 0 ? -errno : fd;
}

static int attach(int cgroup, int program, int command) {
        union bpf_attr a = {
                .target_fd = (uint32_t) cgroup, .attach_bpf_fd = (uint32_t) program, .attach_type = BPF_LSM_CGROUP,
                .attach_flags = command == BPF_PROG_ATTACH ? BPF_F_ALLOW_MULTI : 0,
        };
        return sys_bpf(command, &a) < 0 ? -errno : 0;
}

/* Ours of this name, told from a manager's by it; as many as may be on one cgroup. */
static size_t find_programs(int cgroup, const char *name, int ret[PROGRAMS_MAX]) {
        uint32_t ids[PROGRAMS_MAX], flags[PROGRAMS_MAX];
        size_t n = 0;
        union bpf_attr query = { .query = { .target_fd = (uint32_t) cgroup, .attach_type = BPF_LSM_CGROUP, .prog_cnt = PROGRAMS_MAX,
                                            .prog_ids = (uint64_t) (uintptr_t) ids, .prog_attach_flags = (uint64_t) (uintptr_t) flags } };

        if (sys_bpf(BPF_PROG_QUERY, &query) < 0)
                return 0;
        for (uint32_t i = 0; i < query.query.prog_cnt && i < PROGRAMS_MAX; i++) {
                union bpf_attr get = { .prog_id = ids[i] };
                struct bpf_prog_info info = { 0 };
                int fd = sys_bpf(BPF_PROG_GET_FD_BY_ID, &get);
                union bpf_attr ask = { .info = { .bpf_fd = (uint32_t) fd, .info_len = sizeof(info), .info = (uint64_t) (uintptr_t) &info } };

                if (fd >= 0 && sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) == 0 && ulv_streq(info.name, name))
                        ret[n++] = fd;
                else
                        (void) ulv_close(fd);
        }
        return n;
}

static void remove_programs(int cgroup, const char *name) {
        int programs[PROGRAMS_MAX];
        size_t n = find_programs(cgroup, name, programs);

        for (size_t i = 0; i < n; i++) {
                (void) attach(cgroup, programs[i], BPF_PROG_DETACH);
                (void) close(programs[i]);
        }
}

static bool has_programs(int cgroup, const char *name) {
        int programs[PROGRAMS_MAX];
        size_t n = find_programs(cgroup, name, programs);

        for (size_t i = 0; i < n; i++)
                (void) close(programs[i]);
        return n > 0;
}

static int put_one(int cgroup, size_t i, uint32_t id, unsigned rights, const char *name) {
        struct bpf_program p = { 0 };

        if ((hooks[i].app && rights) || (hooks[i].newer && id == 0))
                return 0;
        if (id == 0)
                return -EOPNOTSUPP;
        if (ulv_streq(name, PROGRAM_NAME)) {
                judge_containers_alone(&p);
                hooks[i].judge(&p, rights);
        } else
                bpf_add_return(&p, 1);
        _cleanup_close_ int fd = load(&p, id, name);
        return fd < 0 ? fd : attach(cgroup, fd, BPF_PROG_ATTACH);
}

/* All or none. */
static int put_programs(int cgroup, const uint32_t ids[N_HOOKS], unsigned rights, const char *name) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < N_HOOKS; i++)
                r = put_one(cgroup, i, ids[i], rights, name);
        if (r < 0)
                remove_programs(cgroup, name);
        return r;
}

int lxc_hooks_put(int cgroup, const char *root, unsigned rights) {
        _cleanup_close_ int above = openat(cgroup, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        uint32_t ids[N_HOOKS] = { 0 };
        int r = find_ids(root, ids);

        if (r == 0)
                r = put_programs(cgroup, ids, rights, PROGRAM_NAME);
        if (r == 0 && above >= 0 && !has_programs(above, KEEPER_NAME))
                (void) put_programs(above, ids, 0, KEEPER_NAME);        /* without them it takes longer */
        return r;
}

void lxc_hooks_remove(int cgroup) { remove_programs(cgroup, PROGRAM_NAME); }
bool lxc_hooks_there(int cgroup) { return has_programs(cgroup, PROGRAM_NAME); }

/* A socket that every kernel has, that nobody is hurt by, and that no profile's list has. */
bool lxc_hooks_refuse(void) {
        _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);

        return fd < 0 && errno == EPERM;
}
