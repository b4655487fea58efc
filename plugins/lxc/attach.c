/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Attaching and detaching while the container runs, on the monitor's side; attach.h tells who has which rights.
 *
 * Theory of operation. What is attached is written down in the partition's directory below run/ultravisor, by the id of
 * each mount, which the kernel gives before the mount is hung in anywhere. So the intent is there before the act, and
 * whoever comes after a killed monitor asks the kernel which of them came about: what is not in the container's
 * mountinfo was never attached, or is gone. One thing is done at a time:
 *
 *   attach   ask uv-attach for the mount; write down its id; open the device filter; a child places it
 *   detach   a child takes it away and proves that nobody uses it (detach.c); close the filter; strike it out */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/log.h"
#include "lib/fd.h"
#include "model/attachment.h"
#include "model/op.h"
#include "plugins/lxc/lxc.h"
#include "plugins/lxc/detach.h"

#define PATIENCE_USEC (60 * 1000 * 1000u)       /* a source on a file server may be slow */
#define FILE_NAME "attached"

struct lxc_attaching {
        enum { PREPARING, OPENING, PLACING, REMOVING, CLOSING } step;
        struct lxc_attached it;
        char path[4096];                /* where it stands inside */
        int mnt;
        uint64_t number;                /* of the question to uv-attach */
        bool force;
        int words;                      /* a child's, to us: a struct ulv_diag, or nothing if all went well */
        pid_t pid;
        sd_event_source *child, *timer;
};

/* --- what is attached ------------------------------------------------------------------------------------- */

static struct lxc_attached *find(const struct lxc *c, const char *key) {
        for (size_t i = 0; i < c->n_attached; i++)
                if (ulv_streq(c->attached[i].key, key))
                        return &c->attached[i];
        return NULL;
}

static struct lxc_attached *append(struct lxc *c, const struct lxc_attached *it) {
        struct lxc_attached *more = reallocarray(c->attached, c->n_attached + 1, sizeof(*more));

        if (!more)
                return NULL;
        c->attached = more;
        more[c->n_attached] = *it;
        return &more[c->n_attached++];
}

static void strike(struct lxc *c, const char *key) {
        struct lxc_attached *it = find(c, key);

        if (it)
                *it = c->attached[--c->n_attached];
}

static void fill(struct lxc_attached *it, const struct ulv_attachment *a) {
        *it = (struct lxc_attached) { .read_only = a->read_only, .device = a->device };
        (void) snprintf(it->key, sizeof(it->key), "%s %.80s", a->device ? "device" : "mount", a->device ? ulv_attachment_node(a) : a->label);
}

int lxc_attach_expect(struct lxc *c, const struct ulv_definition *d, struct ulv_diag *reterr) {
        c->n_attached = 0;
        for (size_t i = 0; i < d->n_attachments; i++) {
                const struct ulv_attachment *a = &d->attachments[i];
                struct lxc_attached it;

                fill(&it, a);
                if (a->device && lxc_attach_look(a->source, a->read_only, &it.node, reterr) != 0)
                        return 1;
                if (!append(c, &it))
                        return -ENOMEM;
        }
        return 0;
}

void lxc_attach_made(struct lxc *c, size_t index, uint64_t mount) {
        if (index < c->n_attached)
                c->attached[index].mount = mount;
}

size_t lxc_attach_nodes(const struct lxc *c, struct lxc_node *ret) {
        size_t n = 0;

        for (size_t i = 0; i < c->n_attached && n < ULV_ATTACHMENTS_MAX; i++)
                if (c->attached[i].device)
                        ret[n++] = c->attached[i].node;
        return n;
}

int lxc_attach_save(struct lxc *c) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        int dir = ulv_monitor_run_dir(c->m), r;

        for (size_t i = 0; i < c->n_attached; i++) {
                const struct lxc_attached *it = &c->attached[i];

                ulv_op_begin(&b, "row", it->device ? "device" : "mount", strchr(it->key, ' ') + 1, "-");
                ulv_op_add_u64(&b, "mount", it->mount);
                ulv_op_add(&b, "access", it->read_only ? "ro" : "rw");
                if (it->device) {
                        ulv_op_add(&b, "type", it->node.block ? "block" : "char");
                        ulv_op_add_u64(&b, "major", it->node.major);
                        ulv_op_add_u64(&b, "minor", it->node.minor);
                }
                ulv_op_end(&b);
        }
        if ((r = ulv_strbuf_error(&b)) < 0)
                return r;
        /* Not synced: it is to outlive us, not the kernel that has the mounts. */
        _cleanup_close_ int fd = openat(dir, FILE_NAME ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 || write(fd, ulv_strbuf_str(&b), b.len) != (ssize_t) b.len || renameat(dir, FILE_NAME ".new", dir, FILE_NAME) < 0)
                return errno ? -errno : -EIO;
        return 0;
}

static int load_line(const char *line, size_t len, void *userdata) {
        struct lxc *c = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        struct lxc_attached it = { 0 };
        uint64_t major = 0, minor = 0;

        if (ulv_op_parse(line, len, &op, NULL) != 0 || ulv_op_get_u64(&op, "mount", &it.mount) != 0 || ulv_op_get_u64(&op, "major", &major) < 0 ||
            ulv_op_get_u64(&op, "minor", &minor) < 0)
                return -EBADMSG;
        it.device = ulv_streq(op.kind, "device");
        it.read_only = ulv_streq0(ulv_op_get(&op, "access"), "ro");
        it.node = (struct lxc_node) { .block = ulv_streq0(ulv_op_get(&op, "type"), "block"), .read_only = it.read_only,
                                      .major = (unsigned) major, .minor = (unsigned) minor };
        (void) snprintf(it.key, sizeof(it.key), "%s %.80s", it.device ? "device" : "mount", op.id);
        return append(c, &it) ? 0 : -ENOMEM;
}

void lxc_attach_load(struct lxc *c) {
        _cleanup_close_ int fd = openat(ulv_monitor_run_dir(c->m), FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r = fd < 0 ? -errno : ulv_read_fd(fd, 1024 * 1024, &text, &len);

        c->n_attached = 0;
        if (r >= 0)
                r = ulv_op_each_line(text, len, load_line, c);
        if (r < 0 && r != -ENOENT)
                ulv_log_errno(r, "what an earlier monitor attached can't be read");
}

void lxc_attach_forget(struct lxc *c) {
        c->n_attached = 0;
        (void) unlinkat(ulv_monitor_run_dir(c->m), FILE_NAME, 0);
        c->helper_source = sd_event_source_disable_unref(c->helper_source);
        c->helper = ulv_close(c->helper);
}

const char *lxc_attach_how(struct ulv_monitor *m, const char *key) {
        const struct lxc *c = lxc_get(m);
        const struct lxc_attached *it = c ? find(c, key) : NULL;

        if (!it || (c->attaching && c->attaching->step <= PLACING && ulv_streq(c->attaching->it.key, key)))
                return NULL;
        return it->device && !c->devices ? "unfiltered" : it->read_only ? "ro" : "rw";
}

/* --- ends --------------------------------------------------------------------------------------------------- */

/* d: NULL: it is done. */
static void done(struct lxc *c, struct ulv_diag *d, bool later) {
        struct lxc_attaching *x = ulv_steal(c->attaching);

        if (d && !d->what[0]) {
                struct ulv_diag full;

                ulv_diag_what(&full, ULV_EXIT_FAILED, x->step <= PLACING ? "cannot attach %s" : "cannot detach %s", strchr(x->it.key, ' ') + 1);
                ulv_diag_why(&full, "%s", d->why);
                ulv_diag_try(&full, "%s", d->try_);
                *d = full;
        }
        (void) ulv_close(x->mnt);
        (void) ulv_close(x->words);
        sd_event_source_disable_unref(x->child);
        sd_event_source_disable_unref(x->timer);
        free(x);
        ulv_monitor_attach_done(c->m, d, later);
}

static void fail_errno(struct lxc *c, int r, const char *what) {
        struct ulv_diag d = { 0 };

        ulv_diag_why(&d, "%s: %s", what, strerror(-r));
        ulv_diag_try(&d, "the same again; uvctl check");
        done(c, &d, false);
}

static void save_or_say(struct lxc *c) {
        int r = lxc_attach_save(c);

        if (r < 0)
                ulv_log_errno(r, "what is attached can't be kept for a restart of this monitor");
}

/* --- uv-attach -------------------------------------------------------------------------------------------- */

static int ask(struct lxc *c, int kind, const char *source) {
        static uint64_t counter;
        struct lxc_attach_ask q = { .number = ++counter, .kind = kind, .read_only = c->attaching->it.read_only };

        (void) snprintf(q.source, sizeof(q.source), "%s", source);
        if (kind == LXC_ASK_FILTER)
                q.n_nodes = (unsigned) lxc_attach_nodes(c, q.nodes);
        c->attaching->number = q.number;
        if (send(c->helper, &q, sizeof(q), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(q))
                return 0;
        return errno == EPIPE || errno == ECONNRESET || errno == EBADF ? -EPERM : -errno;
}

static void place(struct lxc *c);

static void on_prepared(struct lxc *c, const struct lxc_attach_answer *a, int fd) {
        struct lxc_attaching *x = c->attaching;
        struct statx st;
        int r;

        if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
                return fail_errno(c, fd < 0 ? -EBADF : -errno, "the mount that uv-attach made");
        x->mnt = fd;
        x->it.mount = st.stx_mnt_id;
        x->it.node = a->node;
        if (!append(c, &x->it))
                return fail_errno(c, -ENOMEM, "writing it down");
        r = lxc_attach_save(c);
        if (r < 0) {
                strike(c, x->it.key);
                return fail_errno(c, r, "writing it down");
        }
        if (!x->it.device || !c->devices)
                return place(c);
        x->step = OPENING;
        r = ask(c, LXC_ASK_FILTER, "");
        if (r < 0) {
                strike(c, x->it.key);
                save_or_say(c);
                fail_errno(c, r, "opening the device filter");
        }
}

static void on_answer(struct lxc *c, struct lxc_attach_answer *a, int fd) {
        struct lxc_attaching *x = c->attaching;

        if (!x || a->number != x->number || (x->step != PREPARING && x->step != OPENING && x->step != CLOSING)) {
                (void) ulv_close(fd);   /* nobody waits for it any more */
                return;
        }
        if (a->failed) {
                (void) ulv_close(fd);
                a->diag.what[0] = 0;
                if (x->step == OPENING)
                        strike(c, x->it.key);
                save_or_say(c);
                done(c, &a->diag, false);
        } else if (x->step == PREPARING)
                on_prepared(c, a, fd);
        else if (x->step == OPENING)
                place(c);
        else
                done(c, NULL, false);
}

static int on_helper(ULV_UNUSED sd_event_source *s, ULV_UNUSED int unused, ULV_UNUSED uint32_t revents, void *userdata) {
        struct lxc *c = userdata;
        union { struct cmsghdr align; char buf[CMSG_SPACE(sizeof(int))]; } control;
        struct lxc_attach_answer a;
        struct iovec iov = { .iov_base = &a, .iov_len = sizeof(a) };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(c->helper, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        struct cmsghdr *h0 = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;
        int fd = -1;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (h0 && h0->cmsg_level == SOL_SOCKET && h0->cmsg_type == SCM_RIGHTS)
                memcpy(&fd, CMSG_DATA(h0), sizeof(fd));
        if (n == sizeof(a)) {
                on_answer(c, &a, fd);
                return 0;
        }
        (void) ulv_close(fd);
        /* Somebody killed it. What comes next needs another monitor. */
        c->helper_source = sd_event_source_disable_unref(c->helper_source);
        c->helper = ulv_close(c->helper);
        if (c->attaching && c->attaching->pid == 0) {
                if (c->attaching->step == OPENING)
                        strike(c, c->attaching->it.key);
                save_or_say(c);
                fail_errno(c, -EPIPE, "uv-attach, which opens the host's side of it, was killed");
        }
        return 0;
}

static int on_helper_ended(ULV_UNUSED sd_event_source *s, ULV_UNUSED const siginfo_t *si, void *userdata) {
        struct lxc *c = userdata;

        c->helper_child = sd_event_source_disable_unref(c->helper_child);
        return 0;
}

/* 3: its socket; 4: the container's user namespace; 5: the container's cgroup, if there is one. */
static _Noreturn void become_helper(struct lxc *c, int socket, int user_ns, int cgroup) {
        char path[512], uid[16];
        char *argv[] = { (char *) "uv-attach", uid, NULL }, *env[] = { NULL };
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);
        char *slash = n > 0 ? (path[n] = 0, strrchr(path, '/')) : NULL;
        int high[3] = { fcntl(socket, F_DUPFD, 10), fcntl(user_ns, F_DUPFD, 10), cgroup >= 0 ? fcntl(cgroup, F_DUPFD, 10) : -1 };
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) snprintf(uid, sizeof(uid), "%u", (unsigned) c->uid_base);
        if (!slash || high[0] < 0 || high[1] < 0 || dup2(high[0], 3) < 0 || dup2(high[1], 4) < 0)
                _exit(1);
        if (high[2] >= 0)
                (void) dup2(high[2], 5);
        else
                (void) close(5);
        (void) close_range(6, ~0U, 0);
        (void) snprintf(slash, 16, "/uv-attach");
        (void) execve(path, argv, env);
        _exit(1);
}

/* What an earlier monitor meant to attach, or somebody inside took away. */
static void drop_what_is_not_there(struct lxc *c) {
        size_t before = c->n_attached;

        for (size_t i = c->n_attached; i-- > 0; )
                if (!lxc_detach_is_there(ulv_monitor_leader(c->m), c->attached[i].mount))
                        strike(c, (const char *) c->attached[i].key);
        if (c->n_attached != before)
                save_or_say(c);
}

int lxc_attach_begin(struct lxc *c) {
        _cleanup_close_ int user_ns = -1, cgroup = -1;
        char path[64];
        int ends[2], r;

        drop_what_is_not_there(c);
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/user", (int) ulv_monitor_leader(c->m));
        user_ns = open(path, O_RDONLY | O_CLOEXEC);
        if (user_ns < 0)
                return -errno;
        cgroup = ulv_cgroup_open(ulv_monitor_cgroup(c->m), false);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        pid_t pid = vfork();         /* it shares our memory until it executes */
        if (pid == 0)
                become_helper(c, ends[1], user_ns, cgroup);
        r = pid < 0 ? -errno : 0;
        (void) close(ends[1]);
        c->helper = ends[0];
        if (r == 0)
                r = sd_event_add_child(ulv_monitor_event(c->m), &c->helper_child, pid, WEXITED, on_helper_ended, c);
        if (r >= 0)
                r = sd_event_add_io(ulv_monitor_event(c->m), &c->helper_source, c->helper, EPOLLIN, on_helper, c);
        if (r < 0)
                c->helper = ulv_close(c->helper);
        return r < 0 ? r : 0;
}

/* --- the child that enters the container ------------------------------------------------------------------ */

static void on_placed(struct lxc *c, struct ulv_diag *d) {
        struct lxc_attaching *x = c->attaching;

        if (!d)
                return done(c, NULL, false);
        /* What is written down and not there is closed to it again with the next change, if not by this one. */
        strike(c, x->it.key);
        save_or_say(c);
        if (x->it.device && c->devices)
                (void) ask(c, LXC_ASK_FILTER, "");
        done(c, d, false);
}

static void on_removed(struct lxc *c, struct ulv_diag *d, bool later) {
        struct lxc_attaching *x = c->attaching;
        int r;

        if (d || later)
                return done(c, d, later);
        strike(c, x->it.key);
        save_or_say(c);
        if (!x->it.device || !c->devices)
                return done(c, NULL, false);
        x->step = CLOSING;
        x->pid = 0;
        r = ask(c, LXC_ASK_FILTER, "");
        if (r < 0)
                fail_errno(c, r, "closing the device filter");
}

static int on_child(ULV_UNUSED sd_event_source *s, const siginfo_t *si, void *userdata) {
        struct lxc *c = userdata;
        struct lxc_attaching *x = c->attaching;
        struct ulv_diag d = { 0 };
        bool told = read(x->words, &d, sizeof(d)) == sizeof(d), later = si->si_code == CLD_EXITED && si->si_status == LXC_DETACH_LATER;

        x->child = sd_event_source_disable_unref(x->child);
        if (!told && !later && (si->si_code != CLD_EXITED || si->si_status != 0)) {
                ulv_diag_why(&d, "the process that enters the partition for it was killed, or took longer than a minute");
                ulv_diag_try(&d, "the same again");
                told = true;
        }
        d.what[0] = 0;
        if (x->step == PLACING)
                on_placed(c, told ? &d : NULL);
        else
                on_removed(c, told ? &d : NULL, later);
        return 0;
}

static int on_late(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct lxc *c = userdata;
        struct lxc_attaching *x = c->attaching;

        if (x->pid > 0)
                (void) kill(x->pid, SIGKILL);   /* our child, not waited for: the pid is its own */
        else
                fail_errno(c, -ETIMEDOUT, "the host's side of it");
        return 0;
}

static _Noreturn void work(struct lxc *c, int words) {
        const struct lxc_attaching *x = c->attaching;
        struct ulv_diag d = { 0 };
        int r;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (x->step == PLACING) {
                r = lxc_detach_enter(ulv_monitor_leader_pidfd(c->m), (const int[]) { x->mnt, words }, 2, &d);
                if (r == 0)
                        r = lxc_attach_place(x->path, x->it.device, x->mnt, &d);
        } else {
                const struct lxc_detach what = {
                        .leader = ulv_monitor_leader(c->m), .leader_pidfd = ulv_monitor_leader_pidfd(c->m), .mount = x->it.mount,
                        .node = x->it.device ? &x->it.node : NULL, .force = x->force, .cgroup = ulv_monitor_cgroup(c->m), .words = words,
                };

                r = lxc_detach_remove(&what, &d);
        }
        if (r == 1 && write(words, &d, sizeof(d)) != sizeof(d))
                _exit(1);
        _exit(r == LXC_DETACH_LATER ? LXC_DETACH_LATER : 0);
}

static int start_child(struct lxc *c) {
        struct lxc_attaching *x = c->attaching;
        int words[2], r;

        if (pipe2(words, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        x->words = words[0];
        x->pid = fork();
        if (x->pid == 0)
                work(c, words[1]);
        r = x->pid < 0 ? -errno : 0;
        (void) close(words[1]);
        return r < 0 ? r : sd_event_add_child(ulv_monitor_event(c->m), &x->child, x->pid, WEXITED, on_child, c);
}

static void place(struct lxc *c) {
        int r;

        c->attaching->step = PLACING;
        r = start_child(c);
        if (r >= 0)
                return;
        strike(c, c->attaching->it.key);
        save_or_say(c);
        fail_errno(c, r, "a process that enters the partition");
}

/* --- as monitor/plugin.h wants it ------------------------------------------------------------------------- */

static int begin(struct lxc *c, int step) {
        struct lxc_attaching *x;

        if (c->attaching)
                return -EBUSY;
        x = calloc(1, sizeof(*x));
        if (!x)
                return -ENOMEM;
        *x = (struct lxc_attaching) { .step = step, .mnt = -1, .words = -1 };
        c->attaching = x;
        return sd_event_add_time_relative(ulv_monitor_event(c->m), &x->timer, CLOCK_MONOTONIC, PATIENCE_USEC, 0, on_late, c);
}

static int begun(struct lxc *c, int r) {
        if (r >= 0)
                return 0;
        if (r != -EBUSY && c->attaching) {
                sd_event_source_disable_unref(c->attaching->timer);
                (void) ulv_close(c->attaching->words);
                free(ulv_steal(c->attaching));
        }
        return r;
}

int lxc_attach(struct ulv_monitor *m, ULV_UNUSED const char *key, const struct ulv_attachment *a) {
        struct lxc *c = lxc_get(m);
        int r = c ? begin(c, PREPARING) : -ENOMEM;

        if (r >= 0) {
                fill(&c->attaching->it, a);
                (void) snprintf(c->attaching->path, sizeof(c->attaching->path), "%s", a->device ? a->source : a->target);
                r = c->helper < 0 ? -EPERM : ask(c, a->device ? LXC_ASK_DEVICE : LXC_ASK_MOUNT, a->source);
        }
        return c ? begun(c, r) : r;
}

int lxc_detach(struct ulv_monitor *m, const char *key, bool force) {
        struct lxc *c = lxc_get(m);
        const struct lxc_attached *it = c ? find(c, key) : NULL;
        int r;

        if (!it)
                return c ? -ENOENT : -ENOMEM;
        if (it->device && c->devices && c->helper < 0)
                return -EPERM;          /* to close the filter */
        r = begin(c, REMOVING);
        if (r >= 0) {
                c->attaching->it = *it;
                c->attaching->force = force;
                r = start_child(c);
        }
        return begun(c, r);
}
