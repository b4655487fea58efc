/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* upgrade: what runs other code than this uvctl, which is always the newest, is replaced by itself as it is on disk.
 *
 * The roles first, by whoever started them: all of them may die at any time (systemctl restart; a standalone one is
 * killed, and uv-launch revives it). Then the monitors, one after the other: each is asked to end, its starter brings a
 * new one, and that adopts the partition. The next one's turn comes when the ledger has the new monitor's word, and the
 * partition's first process is the one that it was. Killed in the middle it leaves nothing to be mended: what is still
 * old is found by the next one. */

#include <inttypes.h>
#include <signal.h>
#include <sys/syscall.h>

#include "lib/fd.h"
#include "lib/build.h"
#include "model/name.h"
#include "uvctl/part.h"

#define STEP_USEC 20000u
#define PATIENCE_USEC UINT64_C(10000000)        /* for one process to be back */

struct upgrade { struct uvctl *u; struct json j; unsigned left; };

/* Who was to be replaced, over the life of a set of rows. */
struct target { char name[ULV_NAME_MAX + 1]; uint64_t leader, start; };

static const struct { const char *row, *unit; } roles[] = {
        { "ultravisor", "uvd.service" }, { "operations", "uv-operations.service" }, { "command", "uv-command.service" },
};

static struct target target_of(const struct part *p) {
        struct target t = { .leader = p->leader, .start = row_u64(&p->op, "start") };

        (void) snprintf(t.name, sizeof(t.name), "%s", p->name);
        return t;
}

static int told(struct upgrade *g, const struct target *t, const char *what, const char *how) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        if (g->u->output == OUTPUT_JSON) {
                json_object(&g->j, NULL);
                json_string(&g->j, "Name", t->name);
                json_string(&g->j, "Result", what);
                json_u64(&g->j, "Leader", t->leader);
                json_end(&g->j);
                return 0;
        }
        if (g->u->quiet)
                return 0;
        ulv_strbuf_addf(&b, "%-16s  %s%s\n", t->name, what, how);
        return put(g->u, &b);
}

/* Of a process that is the ledger's, and no other with its number. */
static int kill_exactly(const struct target *t) {
        _cleanup_close_ int fd = (int) syscall(SYS_pidfd_open, (pid_t) t->leader, 0);

        if (fd < 0)
                return -errno;
        if (process_start_ticks(t->leader) != t->start)
                return -ESRCH;
        return syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

enum { NEW, NOT_YET, STOPPED, LOST };

static bool is_same(const struct target *t, const struct part *p) { return p && p->leader == t->leader && row_u64(&p->op, "start") == t->start; }

/* It isn't what it was. An end that somebody wanted, or in order, isn't ours. */
static bool is_lost(const struct part *p) { return p && !ulv_streq(row_str(&p->op, "wanted"), "defined") && !ulv_streq(p->state, "defined"); }

/* What became of it: NEW is of this build, and what it was. A monitor that reports at all has adopted its partition or
 * has told of its end; -exit code. */
static int look(struct uvctl *u, const struct target *t, bool role) {
        struct rows rows;
        const struct part *p;
        int r = rows_get(u, ROWS_PARTITIONS, &rows);

        if (r != 0)
                return -r;
        p = rows_part(&rows, t->name);
        if (role || is_same(t, p))
                r = p && !p->old_code && p->leader > 0 ? NEW : NOT_YET;
        else
                r = is_lost(p) ? LOST : STOPPED;
        rows_done(&rows);
        return r;
}

/* As look(); what can't be reached for a moment is asked again. */
static int wait_until_new(struct uvctl *u, const struct target *t, bool role) {
        int r = NOT_YET;

        for (uint64_t waited = 0; r == NOT_YET && waited < PATIENCE_USEC; waited += STEP_USEC) {
                (void) usleep(STEP_USEC);
                r = look(u, t, role);
                if (r == -ULV_EXIT_UNREACHABLE && (client_reconnect(u) == 0 || waited + STEP_USEC < PATIENCE_USEC)) {
                        u->diag = (struct ulv_diag) { 0 };
                        r = NOT_YET;
                }
        }
        return r;
}

static int failed(struct uvctl *u, const struct target *t, const char *why, const char *try_) {
        ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "%s could not be upgraded; nothing after it was touched", t->name);
        ulv_diag_why(&u->diag, "%s", why);
        ulv_diag_try(&u->diag, "%s", try_);
        return ULV_EXIT_FAILED;
}

static int upgrade_role(struct upgrade *g, const struct target *t, const char *unit) {
        bool installed = ulv_streq(g->u->root, "/") && access("/run/systemd/system", F_OK) == 0;
        int r;

        if (given(g->u, OPT_DRY_RUN))
                return told(g, t, "would be restarted", "");
        r = installed ? systemctl("restart", unit, false) : kill_exactly(t);
        if (r < 0 && r != -ESRCH)       /* dead already, it comes back anyway */
                return failed(g->u, t, r == -EIO ? "systemctl failed; it says above why" : strerror(-r), installed ? "systemctl status uvd uv-operations uv-command" : "again");
        r = wait_until_new(g->u, t, true);
        if (r != NEW)
                return r < 0 ? -r : failed(g->u, t, "it runs the old code, restarted or not: is this uvctl the one that was installed with it?", "systemctl status; uvctl list -a -o json");
        return told(g, t, "restarted", "");
}

/* After the roles were restarted, or a monitor has died, its connection takes a moment to be there again. */
static int ask_to_renew(struct uvctl *u, const struct target *t) {
        for (uint64_t waited = 0;; waited += STEP_USEC) {
                _cleanup_message_ sd_bus_message *reply = NULL;
                int r = client_call(u, &reply, "Renew", "su", t->name, given(u, OPT_FORCE) ? ULV_FLAG_FORCE : 0);

                if (r != ULV_EXIT_UNREACHABLE || waited >= PATIENCE_USEC)
                        return r;
                u->diag = (struct ulv_diag) { 0 };
                client_disconnect(u);
                (void) usleep(STEP_USEC);
        }
}

static int upgrade_monitor(struct upgrade *g, const struct target *t) {
        char why[256];
        int r;

        if (given(g->u, OPT_DRY_RUN))
                return told(g, t, "would get a new monitor", "");
        r = ask_to_renew(g->u, t);
        if (r == ULV_EXIT_CONFLICT) {
                g->left++;
                (void) snprintf(why, sizeof(why), ": %.200s", g->u->diag.why);
                g->u->diag = (struct ulv_diag) { 0 };
                return told(g, t, "left as it is", why);
        }
        if (r == ULV_EXIT_NOT_ACTIVE)   /* it has ended since */
                return 0;
        if (r != 0)
                return r;
        r = wait_until_new(g->u, t, false);
        if (r < 0)
                return -r;
        if (r == LOST)
                return failed(g->u, t, "its first process isn't the one that it was: it didn't outlive its old monitor", "uvctl status, uvctl logs, and the journal of its monitor");
        if (r == NOT_YET)
                return failed(g->u, t, "its new monitor hasn't reported in time, or is of the old code", "uvctl status, and the journal of its monitor");
        return r == STOPPED ? told(g, t, "ended meanwhile", "") : told(g, t, "new monitor", ", the partition as it was");
}

/* One that was dying when its new monitor came is adopted, and ends a moment later. */
static int look_again(struct uvctl *u, const struct target *t, size_t n) {
        struct rows rows;
        int r = rows_get(u, ROWS_PARTITIONS, &rows);

        if (r != 0)
                return r;
        for (size_t i = 0; i < n && r == 0; i++) {
                const struct part *p = rows_part(&rows, t[i].name);

                if (is_same(&t[i], p) || !is_lost(p))
                        continue;
                ulv_diag_what(&u->diag, ULV_EXIT_FAILED, "%s isn't what it was before the upgrade", t[i].name);
                ulv_diag_why(&u->diag, "its first process was %" PRIu64 "; now its state is %s", t[i].leader, p->state);
                ulv_diag_try(&u->diag, "uvctl status %s, uvctl history %s", t[i].name, t[i].name);
                r = ULV_EXIT_FAILED;
        }
        rows_done(&rows);
        return r;
}

static bool is_selected(const struct part *p, int argc, char **argv) {
        for (int i = 0; i < argc; i++)
                if (ulv_name_matches(argv[i], p->name))
                        return true;
        return argc == 0;
}

/* The ledger's list, as it was at the start: what starts meanwhile starts by the new code. */
static int find_old(struct uvctl *u, int argc, char **argv, struct target **ret, size_t *ret_n, struct target old_roles[static 3]) {
        struct target *t;
        struct rows rows;
        size_t n = 0;
        int r = rows_get(u, ROWS_PARTITIONS, &rows);

        if (r != 0)
                return r;
        for (int i = 0; i < argc && r == 0; i++)
                if (!strpbrk(argv[i], "*?") && !rows_part(&rows, argv[i]))
                        r = no_such_partition(u, argv[i]);
        t = r == 0 ? calloc(rows.n_parts + 1, sizeof(*t)) : NULL;
        for (size_t i = 0; t && i < rows.n_parts; i++) {
                const struct part *p = &rows.parts[i];

                if (!p->old_code)
                        continue;
                for (size_t k = 0; p->infrastructure && k < ULV_ARRAY_SIZE(roles); k++)
                        if (ulv_streq(roles[k].row, p->name))
                                old_roles[k] = target_of(p);
                if (!p->infrastructure && is_selected(p, argc, argv))
                        t[n++] = target_of(p);
        }
        rows_done(&rows);
        if (r == 0 && !t)
                r = fail_errno(u, -ENOMEM, "list what runs");
        *ret = t;
        *ret_n = n;
        return r;
}

/* Asked before anything is done: a half of the roles restarted, and the monitors not, is no state to be left in. */
static int check_may(struct upgrade *g, const struct target old[static 3]) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        bool installed = ulv_streq(g->u->root, "/");

        for (size_t i = 0; i < ULV_ARRAY_SIZE(roles); i++)
                if (old[i].name[0])
                        ulv_strbuf_addf(&b, "%s%s", b.len > 0 ? ", " : "", installed ? roles[i].unit : old[i].name);
        if (b.len == 0 || geteuid() == 0 || given(g->u, OPT_DRY_RUN))
                return 0;
        ulv_diag_what(&g->u->diag, ULV_EXIT_DENIED, "nothing was upgraded: only root may restart the roles that run old code");
        ulv_diag_why(&g->u->diag, "these do: %s; the monitors' turn comes after theirs", ulv_strbuf_str(&b));
        ulv_diag_try(&g->u->diag, installed ? "sudo uvctl upgrade" : "sudo uvctl --root %s upgrade", g->u->root);
        return ULV_EXIT_DENIED;
}

static int run_all(struct upgrade *g, int argc, char **argv) {
        _cleanup_free_ struct target *t = NULL;
        struct target old[ULV_ARRAY_SIZE(roles)] = { 0 };
        size_t n = 0;
        int r = find_old(g->u, argc, argv, &t, &n, old);

        if (r == 0)
                r = check_may(g, old);
        for (size_t i = 0; r == 0 && i < ULV_ARRAY_SIZE(roles); i++)
                if (old[i].name[0])
                        r = upgrade_role(g, &old[i], roles[i].unit);
        for (size_t i = 0; r == 0 && i < n; i++)
                r = upgrade_monitor(g, &t[i]);
        return r == 0 && n > 0 && !given(g->u, OPT_DRY_RUN) ? look_again(g->u, t, n) : r;
}

int verb_upgrade(struct uvctl *u, int argc, char **argv) {
        struct upgrade g = { .u = u };
        int r, s;

        json_array(&g.j, NULL);
        r = run_all(&g, argc, argv);
        json_end(&g.j);
        s = u->output == OUTPUT_JSON ? put(u, &g.j.b) : 0;
        ulv_strbuf_done(&g.j.b);
        if (r == 0 && g.left > 0)
                r = fail(u, ULV_EXIT_CONFLICT, "not all monitors were upgraded", "somebody runs a program or types in these partitions",
                         "uvctl upgrade again when that has ended, or --force, which ends such connections");
        return r != 0 ? r : s;
}
