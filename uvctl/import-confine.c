/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* No file, no socket, no program, no other process, from here on; and so much memory and time: for a child that reads what
 * strangers wrote, and answers through what it has open. */

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uvctl/import.h"

#define ROOM (256 * 1024 * 1024u)       /* of memory */
#define NOBODY 65534

/* A sanitizer has system calls of its own, and much address space: what the child may do is the other build's to prove. */
#ifdef __SANITIZE_ADDRESS__
int import_confine(void) { return 0; }
#else

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the number of this architecture's system calls"
#endif
#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Of another interface of the kernel (int 0x80) the same numbers mean other calls. */
static const struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_write), ALLOW(SYS_brk), ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_mremap), ALLOW(SYS_futex), ALLOW(SYS_getrandom), ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

int import_confine(void) {
        static const struct sock_fprog program = { .len = ULV_ARRAY_SIZE(filter), .filter = (struct sock_filter *) filter };
        static const struct rlimit room = { ROOM, ROOM }, time = { 10, 10 }, none = { 0, 0 };

        if (setrlimit(RLIMIT_AS, &room) < 0 || setrlimit(RLIMIT_CPU, &time) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 || setrlimit(RLIMIT_NOFILE, &none) < 0)
                return -errno;
        if (geteuid() == 0 && (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
                return -errno;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}
#endif
