/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tools, as the VM's uid. What reads an image or a file of the host on a VM's behalf does so with its rights and no
 * others: so what it can't reach is known before QEMU is started, and a tool that an image fools has the VM's files only. */

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "plugins/kvm/kvm.h"

#define PATIENCE 30             /* s */

_Noreturn void kvm_run_fail(const char *try_, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vdprintf(STDERR_FILENO, format, ap);
        va_end(ap);
        (void) dprintf(STDERR_FILENO, "\t%s\n", try_);
        _exit(1);
}

static _Noreturn void child(unsigned uid, void (*work)(const void *arg), const void *arg, int out, pid_t parent) {
        sigset_t none;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        sigemptyset(&none);
        if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                _exit(1);
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent || syscall(SYS_close_range, 3u, ~0u, 4u) < 0)        /* CLOEXEC */
                kvm_run_fail("", "becoming the VM's uid: %s", strerror(errno));
        (void) alarm(PATIENCE);
        work(arg);
        _exit(0);
}

/* Its first line; the rest is nobody's. */
static void listen_to(int fd, char *text, size_t size) {
        char rest[256];
        size_t len = 0;
        ssize_t n;

        while (len + 1 < size && (n = read(fd, text + len, size - 1 - len)) > 0)
                len += (size_t) n;
        while (read(fd, rest, sizeof(rest)) > 0)
                ;
        text[len] = 0;
        text[strcspn(text, "\n")] = 0;
}

int kvm_run(unsigned uid, void (*work)(const void *arg), const void *arg, const char *what, const char *try_, struct ulv_diag *reterr) {
        pid_t parent = getpid(), pid;
        char text[512], *tab;
        int p[2], status;

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                child(uid, work, arg, p[1], parent);
        (void) ulv_close(p[1]);
        if (pid > 0)
                listen_to(p[0], text, sizeof(text));
        (void) ulv_close(p[0]);
        while (pid > 0 && waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (pid < 0)
                return -EAGAIN;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        tab = strchr(text, '\t');
        if (tab)
                *tab++ = 0;
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "%s", what);
        ulv_diag_why(reterr, "%s", WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "it took more than half a minute" : text[0] ? text : "a process for it has died");
        ulv_diag_try(reterr, "%s", tab && *tab ? tab : try_);
        return 1;
}
