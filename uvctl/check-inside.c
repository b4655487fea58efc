/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check, of what a container lives in: its network namespace, its root and what is mounted into it.
 *
 * All that is read are words of the kernel about its first process: namespace links and mountinfo. No path of the
 * container is opened, for what is behind it may be the container's own file system, which answers when it likes.
 * What a definition says now may be meant for the next start. So a source counts as another one only where the host
 * shows that something was mounted over it, or where the kernel says that it was removed. */

#include "uvctl/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "uvctl/defined.h"

#define DELETED "//deleted"

struct mount { unsigned id, parent; char device[24], *root, *point; const char *optional; };
struct mounts { char *text; struct mount *v; size_t n; };

static void mounts_done(struct mounts *m) {
        free(m->text);
        free(m->v);
}

/* "\040" and the like, in place. */
static void unescape(char *s) {
        char *to = s;

        for (; *s; s++, to++)
                if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
                        *to = (char) ((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
                        s += 3;
                } else
                        *to = *s;
        *to = 0;
}

static bool mount_parse(char *line, struct mount *ret) {
        char *word[7], *save = NULL;

        for (unsigned i = 0; i < 6; i++)
                if (!(word[i] = strtok_r(i == 0 ? line : NULL, " ", &save)))
                        return false;
        *ret = (struct mount) { .id = (unsigned) strtoul(word[0], NULL, 10), .parent = (unsigned) strtoul(word[1], NULL, 10), .root = word[3], .point = word[4] };
        (void) snprintf(ret->device, sizeof(ret->device), "%.23s", word[2]);
        ret->optional = save ? save : "";       /* "shared:5 master:2 - TYPE SOURCE OPTIONS" */
        unescape(ret->root);
        unescape(ret->point);
        return true;
}

static bool mounts_read(const char *path, struct mounts *ret) {
        size_t lines = 1;

        *ret = (struct mounts) { .text = check_read_all(path) };
        for (const char *s = ret->text; s && *s; s++)
                lines += *s == '\n';
        ret->v = ret->text ? calloc(lines, sizeof(*ret->v)) : NULL;
        for (char *line = ret->v ? ret->text : NULL, *next; line && *line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                ret->n += mount_parse(line, &ret->v[ret->n]);
        }
        return ret->n > 0;
}

/* What stands on top there: the one that no other has for its parent at the same point. NULL: nothing is mounted there. */
static const struct mount *top_at(const struct mounts *m, const char *point) {
        const struct mount *top = NULL;

        for (size_t i = 0; i < m->n; i++)
                if (ulv_streq(m->v[i].point, point) && (!top || m->v[i].parent == top->id))
                        top = &m->v[i];
        return top;
}

static bool is_below(const char *path, const char *point) {
        size_t n = ulv_streq(point, "/") ? 0 : strlen(point);

        return strncmp(path, point, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* Where a path of the host lies: which directory of which file system; without what is mounted just there, if asked. */
static bool resolve(const struct mounts *host, const char *path, bool beneath, char device[static 24], char *dir, size_t size) {
        const struct mount *best = NULL;
        const char *rest;

        for (size_t i = 0; i < host->n; i++) {
                const struct mount *m = &host->v[i];

                if (is_below(path, m->point) && !(beneath && ulv_streq(path, m->point)) && (!best || strlen(m->point) > strlen(best->point)))
                        best = top_at(host, m->point);
        }
        if (!best)
                return false;
        memcpy(device, best->device, sizeof(best->device));
        rest = path + (ulv_streq(best->point, "/") ? 0 : strlen(best->point));
        return (size_t) snprintf(dir, size, "%s%s", ulv_streq(best->root, "/") && *rest ? "" : best->root, rest) < size;
}

/* --- one directory of the host in a container --------------------------------------------------------------- */

static void check_source(struct check *c, const struct part *p, const struct mounts *host, const struct mount *m, const char *source) {
        _cleanup_free_ char *real = realpath(source, NULL);
        char device[24], dir[4352];
        size_t n = strlen(m->root), deleted = strlen(DELETED);
        struct finding *f = NULL;

        if (n > deleted && ulv_streq(m->root + n - deleted, DELETED))
                f = check_find(c, CHECK_MOUNT, p->name, m->point, "%.200s, which is its %.100s, was removed from the host", source, m->point);
        else if (real && resolve(host, real, true, device, dir, sizeof(dir)) && ulv_streq(device, m->device) && ulv_streq(dir, m->root) && top_at(host, real) &&
                 resolve(host, real, false, device, dir, sizeof(dir)) && (!ulv_streq(device, m->device) || !ulv_streq(dir, m->root)))
                f = check_find(c, CHECK_MOUNT, p->name, m->point, "something is mounted over %.200s on the host: its %.100s is what lies beneath", source, m->point);
        if (f)
                (void) snprintf(f->try_, sizeof(f->try_), "findmnt %.100s; then uvctl restart %s, if it is to have what is there now", source, p->name);
}

/* The one on top at a point, or where there are several, the one of them that is the source. */
static void check_point(struct check *c, const struct part *p, const struct mounts *host, const struct mounts *in, const char *point, const char *source) {
        const struct mount *top = top_at(in, point), *ours = NULL;
        _cleanup_free_ char *real = source ? realpath(source, NULL) : NULL;
        char device[24], dir[4352];

        if (!top) {
                (void) check_find(c, CHECK_MOUNT, p->name, point, "nothing is mounted at its %.200s", point);
                return;
        }
        if (!source)
                return;
        for (size_t i = 0; real && resolve(host, real, false, device, dir, sizeof(dir)) && i < in->n; i++)
                if (ulv_streq(in->v[i].point, point) && ulv_streq(in->v[i].device, device) && ulv_streq(in->v[i].root, dir))
                        ours = &in->v[i];
        if (ours && ours != top)
                (void) check_find(c, CHECK_MOUNT, p->name, point, "something else is mounted over its %.200s, inside", point);
        else
                check_source(c, p, host, top, source);
}

static bool attached(const struct part *p, const char *what) {
        const char *list = row_str(&p->op, "attached");
        char id[160], how[24];
        unsigned wanted, reached;

        for (int n = 0; sscanf(list, "%159s %u %u %23s%n", id, &wanted, &reached, how, &n) == 4; list += n)
                if (ulv_streq(id, what) && wanted == reached && wanted > 0)
                        return true;
        return false;
}

static struct ulv_definition *definition_of(struct check *c, const struct part *p) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct ulv_definition *d = NULL;
        const char *text, *files;

        if (client_call(c->u, &m, "Definition", "s", p->name) != 0 || client_read(c->u, m, "ss", &text, &files) != 0 || defined_parse(p->name, text, &d) < 0)
                c->u->diag = (struct ulv_diag) { 0 };   /* removed meanwhile, or of another version */
        return d;
}

static void check_mounts(struct check *c, const struct part *p, const struct ulv_definition *d, const struct mounts *in, const struct mounts *host) {
        check_point(c, p, host, in, "/", d->root && *d->root ? d->root : NULL);
        for (size_t i = 0; i < d->n_attachments; i++) {
                const struct ulv_attachment *a = &d->attachments[i];
                char what[160];

                (void) snprintf(what, sizeof(what), "mount:%.100s", a->label);
                if (a->target && attached(p, what))
                        check_point(c, p, host, in, a->target, a->source);
        }
}

/* "shared:5" of a mount that the host has in the same group: what is mounted there on one side comes up on the other. */
static void check_propagation(struct check *c, const struct part *p, const struct mounts *in, const struct mounts *host) {
        for (size_t i = 0; i < in->n; i++) {
                const char *tag = strstr(in->v[i].optional, "shared:"), *end = strstr(in->v[i].optional, " - ");
                char word[32];

                if (!tag || !end || tag > end)
                        continue;
                (void) snprintf(word, sizeof(word), "%.*s ", (int) strcspn(tag, " "), tag);
                for (size_t k = 0; k < host->n; k++)
                        if (ulv_startswith(host->v[k].optional, word)) {
                                (void) check_find(c, CHECK_MOUNT, p->name, word, "mounts at its %.200s and the host's %.200s propagate to each other", in->v[i].point, host->v[k].point);
                                break;
                        }
        }
}

/* --- namespaces ---------------------------------------------------------------------------------------------- */

static uint64_t netns(uint64_t pid) {
        char path[64];
        struct stat st;

        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/ns/net", pid);
        return stat(path, &st) < 0 ? 0 : st.st_ino;
}

static void check_netns(struct check *c, const struct part *p) {
        uint64_t own = netns(p->leader), host = netns((uint64_t) getpid());
        __typeof__(c->nets) nets;

        if (own == 0)
                return;
        if (own == host)
                (void) check_find(c, CHECK_NETNS, p->name, "host", "process %" PRIu64 " is in the host's network namespace", p->leader);
        for (size_t i = 0; i < c->n_nets; i++)
                if (c->nets[i].inode == own)
                        (void) check_find(c, CHECK_NETNS, p->name, c->nets[i].name, "it is in the same network namespace as %s", c->nets[i].name);
        nets = reallocarray(c->nets, c->n_nets + 1, sizeof(*nets));
        if (!nets)
                return;
        c->nets = nets;
        nets[c->n_nets].inode = own;
        nets[c->n_nets++].name = p->name;
}

void check_inside(struct check *c, const struct part *p) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
        struct mounts in, host = { 0 };
        char path[64];

        if (!ulv_streq(p->type, "container"))
                return;
        if (!c->root) {
                check_skip(c, "networks and mounts");
                return;
        }
        check_netns(c, p);
        d = definition_of(c, p);
        if (d)
                check_networks(c, p, d);
        (void) snprintf(path, sizeof(path), "/proc/%" PRIu64 "/mountinfo", p->leader);
        if (mounts_read(path, &in) && mounts_read("/proc/self/mountinfo", &host)) {
                if (d)
                        check_mounts(c, p, d, &in, &host);
                check_propagation(c, p, &in, &host);
        }
        mounts_done(&in);
        mounts_done(&host);
}

/* Monitors mount in namespaces of their own. What is seen by the host below our directories wasn't put there by us, or
 * was left by one that was killed on the way. */
void check_host_mounts(struct check *c) {
        static const char *const dirs[] = { "run/ultravisor/", "var/lib/ultravisor/writable/" };
        struct mounts host;

        if (mounts_read("/proc/self/mountinfo", &host))
                for (size_t i = 0; i < host.n; i++)
                        for (size_t k = 0; k < ULV_ARRAY_SIZE(dirs); k++) {
                                char below[512];
                                struct finding *f;

                                (void) snprintf(below, sizeof(below), "%s%s%s", c->u->root, ulv_streq(c->u->root, "/") ? "" : "/", dirs[k]);
                                if (!ulv_startswith(host.v[i].point, below))
                                        continue;
                                f = check_find(c, CHECK_LEFTOVER, "-", host.v[i].point, "something is mounted at %.400s on the host", host.v[i].point);
                                if (f)
                                        (void) snprintf(f->try_, sizeof(f->try_), "umount %.240s", host.v[i].point);
                        }
        mounts_done(&host);
}
