/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* uv-port, the half of the monitor that touches what the partition says (monitor/port.h).
 *
 * This side makes the console's pty, the socket pair to uv-init and the log files, keeps the pty's master
 * and the near end of the pair in the fd store, and hands them to uv-port, which is forked again whenever
 * it dies; so is it by a restarted monitor. What comes back are fixed records of numbers; a record that
 * isn't one ends that uv-port. Exec requests that were under way when it died are answered with an error:
 * the programs go on, their status is lost. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/log.h"
#include "lib/protocol.h"
#include "model/inventory.h"
#include "monitor/port.h"

#define RESTARTS_USEC (100 * 1000u)     /* not faster than this */
#define WORDS_MAX 256
#define LAST_WORDS_MS 200               /* for them to get into the log; a moment, where nobody else holds the console */

static int port_start(struct ulv_monitor *m);

/* --- fds --------------------------------------------------------------------------------------------- */

static int console_open(struct ulv_monitor *m) {
        _cleanup_close_ int master = -1;
        int kept = store_find(m, "console"), unlock = 0, r;

        if (kept < 0) {
                master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
                if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
                        return -errno;
                r = ulv_monitor_store_fd(m, "console", master);
                if (r < 0)
                        return r;
                kept = store_find(m, "console");
        }
        /* Held open as long as we live: without any slave uv-port would see a hang-up between two users. */
        if (m->console_slave < 0)
                m->console_slave = ioctl(kept, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        return m->console_slave < 0 ? -errno : 0;
}

static int init_open(struct ulv_monitor *m) {
        int pair[2], r;

        /* A kept near end is good if we have the far one still, or a payload has it. Else it was lost with a
         * monitor that died in the middle of a start, and nobody would ever answer at it. */
        if (store_find(m, "init") >= 0 && (m->init_far >= 0 || (m->leader_pidfd >= 0 && !ulv_plugin.no_init)))
                return 0;
        (void) ulv_monitor_forget_fd(m, "init");
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        r = ulv_monitor_store_fd(m, "init", pair[0]);
        (void) ulv_close(pair[0]);
        m->init_far = pair[1];
        return r;
}

/* ROOT/var/log/ultravisor/NAME.WHICH, readable by the group that the directory has (uv-command's). */
static int log_open(const struct ulv_monitor *m, const char *which) {
        _cleanup_close_ int dir = -1, fd = -1;
        char path[MONITOR_ROOT_MAX + 64], name[ULV_NAME_MAX + 16];
        struct stat st, old;

        (void) snprintf(path, sizeof(path), "%s/" ULV_LOG_DIR, m->root);
        (void) snprintf(name, sizeof(name), "%s.%s", m->name, which);
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0 || fstat(dir, &st) < 0)
                return -errno;
        fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
        if (fd < 0 || fstat(fd, &old) < 0)
                return -errno;
        /* Made anew after we gave up CAP_CHOWN: then only root reads it. */
        if (old.st_gid != st.st_gid && fchown(fd, (uid_t) -1, st.st_gid) < 0)
                ulv_log(ULV_LOG_WARNING, "%s stays root's alone", name);
        return ulv_steal_fd(&fd);
}

/* Where programs of the partition call their monitor (channel/call.h); the backend gives it its place inside. */
static int call_open(struct ulv_monitor *m) {
        _cleanup_close_ int fd = -1;

        if (store_find(m, "call") >= 0)
                return 0;
        fd = socket(AF_UNIX, (ulv_plugin.no_init ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd < 0 ? -errno : ulv_monitor_store_fd(m, "call", fd);
}

int ulv_monitor_call_fd(struct ulv_monitor *m) { return store_find(m, "call"); }

int ulv_monitor_console_fd(struct ulv_monitor *m) { return m->console_slave; }

int ulv_monitor_init_fd(struct ulv_monitor *m) {
        m->init_used = m->init_far >= 0;
        return m->init_far;
}

/* Where there is no uv-init, uv-port isn't to see one end. */
void port_payload_started(struct ulv_monitor *m) {
        if (!ulv_plugin.no_init)
                m->init_far = ulv_close(m->init_far);
}

/* --- records ----------------------------------------------------------------------------------------- */

static int send_record(struct ulv_monitor *m, const struct ulv_port_record *head, const char *text, const int *fds, unsigned n_fds) {
        union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int) * 7)]; } control = { 0 };
        struct iovec iov[2] = { { (void *) (uintptr_t) head, sizeof(*head) }, { (void *) (uintptr_t) text, head->text_len } };
        struct msghdr h = { .msg_iov = iov, .msg_iovlen = head->text_len > 0 ? 2 : 1 };

        if (m->port_fd < 0)
                return -ENOTCONN;
        if (n_fds > 0) {
                struct cmsghdr *c;

                h.msg_control = &control;
                h.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c = CMSG_FIRSTHDR(&h);
                *c = (struct cmsghdr) { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * n_fds) };
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        return sendmsg(m->port_fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int configure(struct ulv_monitor *m) {
        const struct ulv_definition *d = m->seen.definition;
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_CONFIGURE, .number = (uint32_t) m->seen.incarnation,
                                     .value = (int64_t) (d ? d->log_max : ULV_LOG_MAX) };
        int fds[7] = { store_find(m, "console"), store_find(m, "init"), log_open(m, "log.0"), log_open(m, "log.1"), log_open(m, "log.first"),
                       store_find(m, "call"),
                       log_open(m, "said") }, e = 0;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(fds) && e == 0; i++)
                e = fds[i] < 0 ? (fds[i] == -1 ? -EBADF : fds[i]) : 0;
        if (e == 0)
                e = send_record(m, &r, NULL, fds, ULV_ARRAY_SIZE(fds));
        for (size_t i = 2; i < 5; i++)
                (void) ulv_close(fds[i]);
        (void) ulv_close(fds[6]);
        if (e == 0)
                channels_tell(m);
        if (e == 0)
                calls_tell(m);
        return e;
}

/* Shells and scripts tell a program that isn't there from one that can't be executed. */
static const char *exec_error(int64_t value) {
        return value == ENOENT ? ULV_ERROR_NO_PROGRAM : value == EACCES || value == ENOEXEC ? ULV_ERROR_NOT_EXECUTABLE : ULV_ERROR_FAILED;
}

/* What may help; ours to say, since the partition's side sends numbers only. */
static const char *exec_try(int64_t value) {
        switch (value) {
        case ENOENT: case EACCES: case ENOEXEC: return "the path of a program below the partition's Root=";
        case ESRCH: return "--user with a name of that file, or a number";
        case ENOTDIR: return "--chdir with a directory that this user may enter";
        case EPIPE: return "again in a moment; what ran is still running";
        default: return "again when some of them have ended";
        }
}

/* EPIPE: uv-port died, and comes again; who types may do so at once. */
static int console_refused(const struct ulv_monitor *m, sd_bus_message *call, int64_t value) {
        const char *error = value == EPIPE ? ULV_ERROR_UNREACHABLE : value == EBUSY || value == ECANCELED ? ULV_ERROR_CONFLICT : ULV_ERROR_FAILED;

        return sd_bus_reply_method_errorf(call, error, "cannot type into the console of %s\n%s\nuvctl console --%s %s", m->name,
                                          ulv_port_failure(value), value == EBUSY || value == ECANCELED ? "force" : "watch", m->name);
}

static int exec_failed(const struct ulv_monitor *m, sd_bus_message *call, int64_t value) {
        return sd_bus_reply_method_errorf(call, exec_error(value), "cannot run that program in %s\n%s\n%s", m->name,
                                          ulv_port_failure(value), exec_try(value));
}

static void exec_answer(struct ulv_monitor *m, uint32_t number, bool failed, int64_t value) {
        for (unsigned i = 0; i < m->n_execs; i++) {
                sd_bus_message *call = m->execs[i].call;
                bool console = m->execs[i].console;

                if (m->execs[i].number != number)
                        continue;
                m->execs[i] = m->execs[--m->n_execs];
                if (failed)
                        (void) (console ? console_refused(m, call, value) : exec_failed(m, call, value));
                else
                        (void) (console ? sd_bus_reply_method_return(call, NULL) : sd_bus_reply_method_return(call, "i", (int32_t) value));
                sd_bus_message_unref(call);
                return;
        }
}

static void payload_exec_failed(struct ulv_monitor *m, int64_t error) {
        struct ulv_diag d = { 0 };

        ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot start %s", m->name);
        ulv_diag_why(&d, "%s: %s", m->seen.definition ? m->seen.definition->exec : "its program", ulv_port_failure(error));
        ulv_diag_try(&d, "a program that exists below Root=, in Exec= of %s.partition", m->name);
        ulv_monitor_start_failed(m, &d);
}

/* A payload that comes once for its channels, and may have come. */
static void start_lost_port(struct ulv_monitor *m) {
        const char *labels[ULV_CHANNELS_MAX];
        struct ulv_diag d = { 0 };

        if (!ulv_plugin.fixed_channels || ulv_monitor_channels(m, labels) == 0)
                return;
        ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot start %s", m->name);
        ulv_diag_why(&d, "its uv-port died while it was given its channels");
        ulv_diag_try(&d, "uvctl start %s", m->name);
        ulv_monitor_start_failed(m, &d);
}

/* uv-port has checked these once; it isn't trusted for that. */
static bool record_ok(const struct ulv_port_record *r, ssize_t n) {
        if (n != (ssize_t) sizeof(*r) || r->magic != ULV_PORT_MAGIC || r->text_len != 0)
                return false;
        if (r->kind == ULV_PORT_EXITED)
                return r->value >= 0 && r->value <= 256 + 64;
        if (r->kind == ULV_PORT_SAID || r->kind == ULV_PORT_CALLED)
                return r->value >= 0;
        return r->kind == ULV_PORT_READY || r->kind == ULV_PORT_FAILED;
}

static void on_record(struct ulv_monitor *m, const struct ulv_port_record *r) {
        if (r->kind == ULV_PORT_READY)
                monitor_ready(m);
        else if (r->kind == ULV_PORT_SAID)
                call_said(m, r->number, (uint64_t) r->value);
        else if (r->kind == ULV_PORT_CALLED)
                call_answered(m, r->number, (uint64_t) r->value);
        else if (r->kind == ULV_PORT_FAILED && r->number == 0 && !m->init_ready && (m->payload == PAYLOAD_STARTING || m->payload == PAYLOAD_ENDING))
                payload_exec_failed(m, r->value);
        else if (r->kind == ULV_PORT_EXITED && r->number == 0) {
                (void) snprintf(m->exited, sizeof(m->exited), "%d", (int) r->value);
                monitor_turn(m);
        } else if (r->number != 0)
                exec_answer(m, r->number, r->kind == ULV_PORT_FAILED, r->value);
}

/* --- the process ------------------------------------------------------------------------------------- */

void port_close(struct ulv_monitor *m) {
        siginfo_t si;

        m->port_watch = sd_event_source_disable_unref(m->port_watch);
        m->port_fd = ulv_close(m->port_fd);
        if (m->port_pidfd >= 0) {
                /* End of file is enough for it to go; SIGKILL if it has lost its mind. */
                (void) syscall(SYS_pidfd_send_signal, m->port_pidfd, SIGKILL, NULL, 0);
                (void) waitid(P_PIDFD, (id_t) m->port_pidfd, &si, WEXITED);
                m->port_pidfd = ulv_close(m->port_pidfd);
        }
        while (m->n_execs > 0)
                exec_answer(m, m->execs[0].number, true, EPIPE);
        calls_lost(m);
}

static int on_port_again(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct ulv_monitor *m = userdata;
        int r = m->port_wanted && m->port_fd < 0 ? port_start(m) : 0;

        if (r < 0) {
                ulv_log_errno(r, "uv-port of %s can't be started", m->name);
                (void) monitor_arm(m, &m->port_timer, RESTARTS_USEC * 10, on_port_again);
        }
        return 0;
}

static int on_port(ULV_UNUSED sd_event_source *s, int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct ulv_monitor *m = userdata;
        struct ulv_port_record r;
        ssize_t n = recv(fd, &r, sizeof(r), MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n > 0 && record_ok(&r, n)) {
                on_record(m, &r);
                return 0;
        }
        if (n <= 0 && renew_goes_on(m))
                return 0;
        if (m->port_wanted && (m->payload == PAYLOAD_STARTING || m->payload == PAYLOAD_RUNNING))
                ulv_log(ULV_LOG_WARNING, "uv-port of %s %s: started again", m->name, n > 0 ? "speaks nonsense" : "is gone");
        port_close(m);
        if (m->payload == PAYLOAD_STARTING)
                start_lost_port(m);
        (void) monitor_arm(m, &m->port_timer, RESTARTS_USEC, on_port_again);
        return 0;
}

/* Shares our memory until it executes: what it writes is its own frame's. */
static void port_child(const struct ulv_monitor *m, int fd, const char *path, const char *uid) {
        const char *argv[] = { "uv-port", m->name, "--uid", uid, NULL };
        char root[MONITOR_ROOT_MAX + 32], *env[] = { root, NULL };      /* so that one sees whose it is */
        sigset_t none;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        sigemptyset(&none);
        (void) snprintf(root, sizeof(root), "ULTRAVISOR_ROOT=%s", m->root);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);       /* two must never read the same sockets */
        if (null < 0 || dup2(null, 0) < 0 || (fd == ULV_PORT_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, ULV_PORT_FD)) < 0 ||
            syscall(SYS_close_range, ULV_PORT_FD + 1, ~0u, 0) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                _exit(126);
        (void) execve(path, (char **) (uintptr_t) argv, env);
        _exit(127);
}

static int port_path(char *path, size_t size) {
        ssize_t n = readlink("/proc/self/exe", path, size - 16);
        char *slash;

        if (n <= 0)
                return -ENOENT;
        path[n] = 0;
        slash = strrchr(path, '/');
        memcpy(slash + 1, "uv-port", sizeof("uv-port"));
        return 0;
}

static int port_start(struct ulv_monitor *m) {
        char path[4096], uid[16];
        int pair[2], r;
        pid_t pid;

        if (m->seen.grant.uids == 0)
                return -ENODATA;        /* The uid that uv-port gets is the partition's range's. */
        r = port_path(path, sizeof(path));
        if (r < 0)
                return r;
        (void) snprintf(uid, sizeof(uid), "%u", ULV_UID_BASE + m->seen.grant.uids);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        pid = vfork();
        if (pid == 0)
                port_child(m, pair[1], path, uid);
        (void) ulv_close(pair[1]);
        if (pid < 0) {
                (void) ulv_close(pair[0]);
                return -EAGAIN;
        }
        m->port_fd = pair[0];
        m->port_pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        r = configure(m);
        if (r >= 0)
                r = sd_event_add_io(m->event, &m->port_watch, m->port_fd, EPOLLIN, on_port, m);
        if (r < 0)
                port_close(m);
        return r;
}

int port_open(struct ulv_monitor *m) {
        int r = console_open(m);

        if (r >= 0)
                r = init_open(m);
        return r < 0 ? r : call_open(m);
}

int port_begin(struct ulv_monitor *m) {
        int r = port_open(m);

        m->port_wanted = true;
        return r < 0 || m->port_fd >= 0 ? r : port_start(m);
}

bool port_retire(struct ulv_monitor *m) { return m->port_fd >= 0 && shutdown(m->port_fd, SHUT_WR) == 0; }

/* The payload is gone: console and sockets end with it. */
void port_done(struct ulv_monitor *m) {
        struct ulv_port_record end = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_END };
        struct pollfd exited = { .fd = m->port_pidfd, .events = POLLIN };

        m->port_wanted = false;
        m->console_slave = ulv_close(m->console_slave);         /* it would keep the console from its end */
        if (m->port_fd >= 0 && send_record(m, &end, NULL, NULL, 0) >= 0)
                (void) poll(&exited, 1, LAST_WORDS_MS);
        port_close(m);
        m->init_far = ulv_close(m->init_far);
        (void) ulv_monitor_forget_fd(m, "console");
        (void) ulv_monitor_forget_fd(m, "init");
        (void) ulv_monitor_forget_fd(m, "call");
        channels_end(m);
        calls_end(m);
}

/* --- requests ---------------------------------------------------------------------------------------- */

static void pack(struct ulv_strbuf *b, const char *s) { ulv_strbuf_add_len(b, s, strlen(s) + 1); }

static int pack_words(sd_bus_message *call, struct ulv_strbuf *b, uint16_t *ret_n) {
        const char *word;
        uint16_t n = 0;
        int r = sd_bus_message_enter_container(call, 'a', "s");

        while (r >= 0 && (r = sd_bus_message_read(call, "s", &word)) > 0) {
                if (n >= WORDS_MAX)
                        return -E2BIG;
                pack(b, word);
                n++;
        }
        *ret_n = n;
        return r < 0 ? r : sd_bus_message_exit_container(call);
}

static int read_stdio(sd_bus_message *call, int fds[3]) {
        unsigned n = 0;
        int r = sd_bus_message_enter_container(call, 'a', "h"), fd;

        while (r >= 0 && (r = sd_bus_message_read(call, "h", &fd)) > 0) {
                if (n >= 3)
                        return -EINVAL;
                fds[n++] = fd;          /* the message's, alive as long as it is */
        }
        return r < 0 ? r : n == 3 ? 0 : -EINVAL;
}

/* u16 argc, u16 envc, user, cwd, argv..., env..., each word with its NUL. */
static int pack_exec(sd_bus_message *call, struct ulv_strbuf *b, int fds[3]) {
        _cleanup_strbuf_ struct ulv_strbuf words = { .max = ULV_PORT_TEXT_MAX };
        const char *user, *cwd;
        uint16_t n[2];
        int r;

        if ((r = pack_words(call, &words, &n[0])) < 0 || (r = pack_words(call, &words, &n[1])) < 0 ||
            (r = sd_bus_message_read(call, "ss", &user, &cwd)) < 0 || (r = read_stdio(call, fds)) < 0)
                return r;
        if (n[0] == 0)
                return -EINVAL;
        ulv_strbuf_add_len(b, (const char *) n, sizeof(n));
        pack(b, user);
        pack(b, cwd);
        ulv_strbuf_add_len(b, ulv_strbuf_str(&words), words.len);
        return ulv_strbuf_error(&words) < 0 ? ulv_strbuf_error(&words) : ulv_strbuf_error(b);
}

/* Numbers begin anywhere in each life of a monitor: uv-init may still run programs for the one before, and
 * the end of such a one mustn't be taken for that of a new one. 0 is the partition's own. */
static uint32_t exec_number(struct ulv_monitor *m) {
        if (m->next_exec == 0 && getrandom(&m->next_exec, sizeof(m->next_exec), 0) != sizeof(m->next_exec))
                m->next_exec = (uint32_t) getpid() << 12;
        return ++m->next_exec ? m->next_exec : ++m->next_exec;
}

int port_exec(struct ulv_monitor *m, sd_bus_message *call) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = ULV_PORT_TEXT_MAX };
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_EXEC };
        int fds[3], e;

        if (m->n_execs >= MONITOR_EXECS_MAX)
                return -EBUSY;
        e = pack_exec(call, &b, fds);
        if (e < 0)
                return e;
        r.number = exec_number(m);
        r.text_len = (uint32_t) b.len;
        e = send_record(m, &r, ulv_strbuf_str(&b), fds, 3);
        if (e < 0)
                return e;
        m->execs[m->n_execs++] = (struct exec_request) { r.number, sd_bus_message_ref(call), false };
        return 0;
}

/* The size is the typist's terminal's: a program on the console draws for whoever types. 0: leave it. */
int port_console(struct ulv_monitor *m, sd_bus_message *call) {
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_CONSOLE };
        struct winsize size = { 0 };
        uint32_t flags;
        int fd, e;

        e = sd_bus_message_read(call, "uqqh", &flags, &size.ws_row, &size.ws_col, &fd);
        if (e < 0)
                return e;
        if (m->n_execs >= MONITOR_EXECS_MAX)
                return -EBUSY;
        r.number = exec_number(m);
        r.value = (flags & ULV_FLAG_FORCE) != 0;
        e = send_record(m, &r, NULL, &fd, 1);
        if (e < 0)
                return e;
        if (size.ws_row > 0 && size.ws_col > 0)
                (void) ioctl(store_find(m, "console"), TIOCSWINSZ, &size);
        m->execs[m->n_execs++] = (struct exec_request) { r.number, sd_bus_message_ref(call), true };
        return 0;
}

int port_channel(struct ulv_monitor *m, uint32_t kind, const char *label, unsigned number, const int *fds, unsigned n_fds) {
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = kind, .number = number, .text_len = (uint32_t) strlen(label) };

        return send_record(m, &r, label, fds, n_fds);
}

int port_view(struct ulv_monitor *m, const char *text, size_t len) {
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_VIEW, .value = (int64_t) m->seen.generation, .text_len = (uint32_t) len };

        return send_record(m, &r, text, NULL, 0);
}

int port_call(struct ulv_monitor *m, const struct ulv_call *q) {
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_CALL, .text_len = sizeof(*q) };

        return send_record(m, &r, (const char *) q, NULL, 0);
}

int port_signal(struct ulv_monitor *m, int signo) {
        struct ulv_port_record r = { .magic = ULV_PORT_MAGIC, .kind = ULV_PORT_SIGNAL, .number = (uint32_t) signo };

        return send_record(m, &r, NULL, NULL, 0);
}

void port_forget_execs(struct ulv_monitor *m) {
        while (m->n_execs > 0)
                sd_bus_message_unref(m->execs[--m->n_execs].call);
}
