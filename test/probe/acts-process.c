/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Other processes; the kernel's special doors: keys, programs, rings, modules, clocks, other ABIs. */

#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fanotify.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/probe/probe.h"

/* A process of our own uid, to be attacked. */
static pid_t victim(void) {
        pid_t pid = fork();
        if (pid == 0) {
                (void) pause();
                _exit(0);
        }
        return pid;
}
static int done(pid_t pid, int r) {
        (void) kill(pid, SIGKILL);
        return r;
}
/* The process with this name that isn't us: uv-init is PID 1, or stands beside it. */
static pid_t find_uv_init(void) {
        DIR *d = opendir("/proc");
        struct dirent *e;
        pid_t found = 0;

        while (d && !found && (e = readdir(d))) {
                char path[64], name[32] = "";
                FILE *f;
                snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
                if (atoi(e->d_name) > 0 && (f = fopen(path, "r"))) {
                        if (fgets(name, sizeof(name), f) && strcmp(name, "uv-init\n") == 0)
                                found = atoi(e->d_name);
                        (void) fclose(f);
                }
        }
        return found;
}
static int open_of_uv_init(const char *file, int flags) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/%s", (int) find_uv_init(), file);
        return TRIED(open(path, flags));
}
static int trace_me(void) { return TRIED(ptrace(PTRACE_TRACEME, 0, NULL, NULL)); }
static int trace_attach(void) { pid_t v = victim(); return done(v, TRIED(ptrace(PTRACE_ATTACH, v, NULL, NULL))); }
static int trace_uv_init(void) { return TRIED(ptrace(PTRACE_SEIZE, find_uv_init(), NULL, NULL)); }
static char byte;
static int vm_read(void) {
        struct iovec v = { &byte, 1 };
        pid_t pid = victim();
        return done(pid, TRIED(process_vm_readv(pid, &v, 1, &v, 1, 0)));
}
static int vm_write(void) {
        struct iovec v = { &byte, 1 };
        pid_t pid = victim();
        return done(pid, TRIED(process_vm_writev(pid, &v, 1, &v, 1, 0)));
}
static int mem_of_uv_init(void) { return open_of_uv_init("mem", O_RDWR); }
static int maps_of_uv_init(void) { return open_of_uv_init("maps", O_RDONLY); }
static int environ_of_uv_init(void) { return open_of_uv_init("environ", O_RDONLY); }
static int fds_of_uv_init(void) { return open_of_uv_init("fd/3", O_RDONLY); }
static int exe_of_uv_init(void) { return open_of_uv_init("exe", O_WRONLY); }
static int exe_truncate(void) { return open_of_uv_init("exe", O_RDWR | O_TRUNC); }
static int get_fd(pid_t pid, int fd) {
        int pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        return pidfd < 0 ? errno : TRIED(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}
static int getfd_of_uv_init(void) { return get_fd(find_uv_init(), 3); }
static int getfd_of_child(void) { pid_t v = victim(); return done(v, get_fd(v, 1)); }
static int do_kcmp(void) { pid_t v = victim(); return done(v, TRIED(syscall(SYS_kcmp, getpid(), v, 0, 0, 0))); }
static int advise(void) {
        static char page[8192] __attribute__((aligned(4096)));
        struct iovec v = { page, 4096 };
        pid_t pid = victim();
        int pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        return done(pid, pidfd < 0 ? errno : TRIED(syscall(SYS_process_madvise, pidfd, &v, 1, 20 /* MADV_COLD */, 0)));
}
/* Anything of the host's, by name, in our /proc: pid namespaces hide it. */
static int host_processes(void) {
        DIR *d = opendir("/proc");
        struct dirent *e;

        while (d && (e = readdir(d))) {
                char path[64], name[32] = "";
                FILE *f;
                snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
                if (atoi(e->d_name) > 0 && (f = fopen(path, "r"))) {
                        if (fgets(name, sizeof(name), f) && (strncmp(name, "uv-launch", 9) == 0 || strncmp(name, "uv-monitor", 10) == 0 ||
                                                             strncmp(name, "uvd", 3) == 0 || strncmp(name, "uv-port", 7) == 0))
                                return 0;
                        (void) fclose(f);
                }
        }
        return ESRCH;
}
/* The uid that all other partitions' monitors have, from inside. */
static int signal_everybody(void) {
        for (pid_t pid = 2; pid < 32768; pid++)
                if (pid != getpid() && kill(pid, 0) == 0) {
                        char path[64];
                        snprintf(path, sizeof(path), "/proc/%d", (int) pid);
                        if (access(path, F_OK) < 0)
                                return 0;       /* it is there, but not in our /proc */
                }
        return ESRCH;
}

const struct act process_acts[] = {
        { "ptrace", "traceme", trace_me }, { "ptrace", "attach-child", trace_attach }, { "ptrace", "seize-uv-init", trace_uv_init },
        { "process_vm", "read-child", vm_read }, { "process_vm", "write-child", vm_write }, { "uv-init", "mem", mem_of_uv_init },
        { "uv-init", "maps", maps_of_uv_init }, { "uv-init", "environ", environ_of_uv_init }, { "uv-init", "its-socket", fds_of_uv_init },
        { "uv-init", "overwrite-exe", exe_of_uv_init }, { "uv-init", "truncate-exe", exe_truncate },
        { "uv-init", "pidfd_getfd", getfd_of_uv_init }, { "process", "pidfd_getfd-child", getfd_of_child },
        { "process", "kcmp", do_kcmp }, { "process", "process_madvise", advise }, { "process", "host-processes-seen", host_processes },
        { "process", "signal-unseen", signal_everybody }, ACTS_END,
};

/* --- the kernel's doors ---------------------------------------------------------------------------------- */

static int do_add_key(void) { return TRIED(syscall(SYS_add_key, "user", "uvprobe", "x", 1, -2 /* process keyring */)); }
static int do_request_key(void) { return past_rights(syscall(SYS_request_key, "user", "uvprobe", NULL, 0)); }
static int do_keyctl(void) { return TRIED(syscall(SYS_keyctl, 0 /* get keyring id */, -3, 1)); }
static int bpf_program(void) {
        struct bpf_insn code[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
        union bpf_attr a = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (uint64_t) (uintptr_t) code, .insn_cnt = 2,
                             .license = (uint64_t) (uintptr_t) "GPL" };
        return TRIED(syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a)));
}
static int bpf_map(void) {
        union bpf_attr a = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
        return TRIED(syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a)));
}
static int bpf_walk(void) { union bpf_attr a = { 0 }; return past_rights(syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &a, sizeof(a))); }
static int perf(void) {
        struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1 };
        return TRIED(syscall(SYS_perf_event_open, &a, 0, -1, -1, 0));
}
static int uring(void) { char params[256] = { 0 }; return TRIED(syscall(SYS_io_uring_setup, 1, params)); }
static int uring_register(void) { return past_rights(syscall(SYS_io_uring_register, -1, 0, NULL, 0)); }
static int uffd(void) { return TRIED(syscall(SYS_userfaultfd, 1 /* user mode only */)); }
static int fanotify(void) { return TRIED(syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY)); }
static int kexec(void) { return past_rights(syscall(SYS_kexec_load, 0, 99, NULL, 0xffff)); }
static int kexec_file(void) { return past_rights(syscall(SYS_kexec_file_load, -1, -1, 0, "", 0xffff)); }
static int load_module(void) { return past_rights(syscall(SYS_init_module, NULL, 0, "")); }
static int load_module_fd(void) { return past_rights(syscall(SYS_finit_module, -1, "", 0)); }
static int unload_module(void) { return past_rights(syscall(SYS_delete_module, "uvprobe", O_NONBLOCK)); }
static int swap_on(void) { return past_rights(swapon("/nowhere", 0)); }
static int swap_off(void) { return past_rights(swapoff("/nowhere")); }
static int do_reboot(void) { return past_rights(syscall(SYS_reboot, 0, 0, 0, NULL)); }
static int set_time(void) { return TRIED(syscall(SYS_settimeofday, NULL, NULL)); }
static int adjust_time(void) { struct timex t = { .modes = ADJ_TICK, .tick = 1 }; return past_rights(syscall(SYS_adjtimex, &t)); }
static int adjust_clock(void) { struct timex t = { .modes = ADJ_TICK, .tick = 1 }; return past_rights(syscall(SYS_clock_adjtime, 0, &t)); }
static int account(void) { return past_rights(syscall(SYS_acct, "/nowhere")); }
/* Of a file system that is there: a name is looked up before the right is. */
static int quota(void) {
        int fd = open("/", O_RDONLY | O_DIRECTORY);
        return fd < 0 ? errno : TRIED(syscall(SYS_quotactl_fd, fd, 0x800003U << 8 /* off */, 0, NULL));
}
static int ports(void) { return TRIED(syscall(SYS_ioperm, 0x80, 1, 1)); }
static int all_ports(void) { return TRIED(syscall(SYS_iopl, 3)); }
static int ldt(void) { char buf[16]; return TRIED(syscall(SYS_modify_ldt, 0, buf, sizeof(buf))); }
static int kernel_log(void) { char buf[64]; return TRIED(syscall(SYS_syslog, 3, buf, sizeof(buf))); }
static int log_size(void) { return TRIED(syscall(SYS_syslog, 10, NULL, 0)); }
static int move_pages_(void) { return past_rights(syscall(SYS_move_pages, 1, 0, NULL, NULL, NULL, 0)); }
static int migrate(void) { return past_rights(syscall(SYS_migrate_pages, 1, 0, NULL, NULL)); }
static int cookie(void) { char buf[64]; return past_rights(syscall(SYS_lookup_dcookie, 1UL, buf, sizeof(buf))); }
static int personality_(void) { return TRIED(syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */)); }

#if defined(__x86_64__)
/* The 32-bit door: getpid is 20 there. */
static int int80(void) {
        long r = 20;
        __asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
        if (r < 0)
                errno = (int) -r;
        return r < 0 ? errno : 0;
}
/* Static, so that the addresses are 32 bits long. */
static int int80_mount(void) {
        static const char none[] = "none", target[] = "/tmp", type[] = "tmpfs";
        long r = 21;
        __asm__ volatile("int $0x80" : "+a"(r) : "b"(none), "c"(target), "d"(type), "S"(0), "D"(0) : "memory", "r8", "r9", "r10", "r11");
        if (r < 0)
                errno = (int) -r;
        return r < 0 ? errno : 0;
}
static int x32(void) { return TRIED(syscall(0x40000000L + SYS_getpid)); }
static int x32_ptrace(void) { return TRIED(syscall(0x40000000L + 521, 0, 0, 0, 0)); }
#endif

const struct act kernel_acts[] = {
        { "keyctl", "add_key", do_add_key }, { "keyctl", "request_key", do_request_key }, { "keyctl", "keyring", do_keyctl },
        { "bpf", "program", bpf_program }, { "bpf", "map", bpf_map }, { "bpf", "walk", bpf_walk }, { "perf", "open", perf },
        { "io_uring", "setup", uring }, { "io_uring", "register", uring_register }, { "userfaultfd", "open", uffd },
        { "fanotify", "init", fanotify }, { "kexec", "load", kexec }, { "kexec", "file", kexec_file },
        { "module", "init", load_module }, { "module", "finit", load_module_fd }, { "module", "delete", unload_module },
        { "swap", "on", swap_on }, { "swap", "off", swap_off }, { "reboot", "reboot", do_reboot }, { "clock", "settimeofday", set_time },
        { "clock", "adjtimex", adjust_time }, { "clock", "clock_adjtime", adjust_clock }, { "acct", "acct", account },
        { "quota", "quotactl", quota }, { "io-port", "ioperm", ports }, { "io-port", "iopl", all_ports }, { "ldt", "modify_ldt", ldt },
        { "kernel-log", "syslog", kernel_log }, { "kernel-log", "size", log_size }, { "memory", "move_pages", move_pages_ },
        { "memory", "migrate_pages", migrate }, { "kernel", "lookup_dcookie", cookie }, { "kernel", "personality", personality_ },
#if defined(__x86_64__)
        { "abi", "int80", int80 }, { "abi", "int80-mount", int80_mount }, { "abi", "x32", x32 }, { "abi", "x32-ptrace", x32_ptrace },
#endif
        ACTS_END,
};
