/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The view: uvd's read-only memory, read when uvd says that it changed, and taken apart.
 *
 * The text of the last one is kept in memory of our own, in the same two-slot form (a kill in the middle
 * of writing leaves the older one whole), in the fd store under the name "view". From it a restarted
 * monitor knows its payload without uvd, and `uvd --rebuild` makes a new ledger. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "model/op.h"
#include "model/view.h"

void seen_done(struct seen *s) {
        free(s->text);
        free(s->holdings);
        ulv_definition_free(s->definition);
        free(s->definition_text);
        *s = (struct seen) { 0 };
}

/* A view changes with each step of the partition's life, its definition hardly ever: it is parsed when it does. */
static int parse_definition(struct seen *s, const char *name, const char *text) {
        struct ulv_source source = { .buf = text, .len = strlen(text) };
        struct ulv_diag d = { 0 };
        char file[ULV_NAME_MAX + 16];
        int r;

        (void) snprintf(file, sizeof(file), "%s.partition", name);
        source.file = file;
        s->definition_text = strdup(text);
        if (!s->definition_text)
                return -ENOMEM;
        r = ulv_definition_parse(&source, 1, &s->definition, &d);
        if (r > 0)
                ulv_log(ULV_LOG_ERR, "the definition in the view is bad: %s:%u: %s", d.file, d.line, d.what);
        return r < 0 ? r : 0;
}

static int parse_partition(struct seen *s, const struct seen *before, const char *name, const struct ulv_op *op) {
        const char *state = ulv_op_get(op, "state"), *force = ulv_op_get(op, "force"), *wanted = ulv_op_get(op, "wanted"), *text = ulv_op_get(op, "text"),
                   *build = ulv_op_get(op, "build"), *contain = ulv_op_get(op, "contain");

        s->state = state ? ulv_state_from_name(state) : ULV_STATE_INVALID;
        if (s->state < 0)
                return -EBADMSG;
        s->wanted = wanted ? ulv_state_from_name(wanted) : ULV_RUNNING;
        s->force = force && ulv_streq(force, "yes");
        s->ready = ulv_streq0(ulv_op_get(op, "ready"), "yes");
        if (ulv_op_get_u64(op, "leader", &s->leader) < 0 || ulv_op_get_u64(op, "start", &s->start) < 0 ||
            ulv_op_get_u64(op, "incarnation", &s->incarnation) < 0)
                return -EBADMSG;
        (void) snprintf(s->build, sizeof(s->build), "%s", build ? build : "");
        (void) snprintf(s->contain, sizeof(s->contain), "%s", contain ? contain : "");
        return text && !ulv_streq0(text, before->definition_text) ? parse_definition(s, name, text) : 0;
}

static int grant_memory(struct ulv_grant *g, const struct holding *h) {
        const char *slash = strchr(h->id, '/');

        if (!slash || g->n_memory >= ULV_ARRAY_SIZE(g->memory))
                return -EBADMSG;
        g->memory[g->n_memory].node = (unsigned) strtoul(h->id, NULL, 10);
        (void) snprintf(g->memory[g->n_memory].pages, sizeof(g->memory[0].pages), "%.7s", slash + 1);
        g->memory[g->n_memory++].bytes = h->keep * ULV_MEMORY_UNIT;
        g->memory_bytes += h->keep * ULV_MEMORY_UNIT;
        return 0;
}

static int grant_limit(struct ulv_grant *g, const struct holding *h) {
        struct ulv_limit l;

        if (ulv_limit_from_id(h->id, &l) < 0 || g->n_limits == ULV_LIMITS_MAX)
                return -EBADMSG;
        l.amount = h->keep;
        g->limits[g->n_limits++] = l;
        if (l.what == ULV_LIMIT_TASKS)
                g->tasks = l.amount;
        return 0;
}

/* What may be used is what is kept: units on their way to somebody else are out already. */
static int grant_add(struct ulv_grant *g, const struct holding *h, const struct ulv_op *op) {
        const char *threads = ulv_op_get(op, "threads"), *pool = ulv_op_get(op, "cpus");
        struct ulv_cpus cpus;

        if (ulv_streq(h->kind, "core") && h->keep > 0) {
                if (!threads || ulv_cpus_parse(threads, &cpus) < 0)
                        return -EBADMSG;
                ulv_cpus_add(&g->cpus, &cpus);
                g->n_cores++;
        } else if (ulv_streq(h->kind, "memory") && h->keep > 0)
                return grant_memory(g, h);
        else if (ulv_streq(h->kind, "share")) {
                g->share = h->keep;
                if (pool && ulv_cpus_parse(pool, &g->pool) < 0)
                        return -EBADMSG;
        } else if (ulv_streq(h->kind, "limit") && h->keep > 0)
                return grant_limit(g, h);
        else if (ulv_streq(h->kind, "uids"))
                g->uids = (unsigned) strtoul(h->id, NULL, 10);
        return 0;
}

static bool read_channel(struct holding *h, const struct ulv_op *op) {
        const char *memory = ulv_op_get(op, "memory"), *other = ulv_op_get(op, "other"), *kind = ulv_op_get(op, "kind");
        uint64_t end;

        if (ulv_op_get_u64(op, "end", &end) != 0 || end > 1 || ulv_op_get_u64(op, "size", &h->size) != 0)
                return false;
        h->end = (unsigned) end;
        (void) snprintf(h->word, sizeof(h->word), "%.7s", kind ? kind : "");
        return ulv_copy(h->memory, sizeof(h->memory), memory ? memory : "") && ulv_copy(h->other, sizeof(h->other), other ? other : "");
}

static int parse_holding(struct seen *s, const struct ulv_op *op) {
        struct holding h = { .amount = 1 }, *more;
        const char *how = ulv_op_get(op, "how"), *node = ulv_op_get(op, "name");
        int r;

        if (strlen(op->kind) >= sizeof(h.kind) || strlen(op->id) >= sizeof(h.id) || s->n_holdings >= MONITOR_HOLDINGS_MAX)
                return -E2BIG;
        (void) snprintf(h.kind, sizeof(h.kind), "%s", op->kind);
        (void) snprintf(h.id, sizeof(h.id), "%s", op->id);
        (void) snprintf(h.node, sizeof(h.node), "%.31s", node ? node : "");
        h.force = ulv_streq0(ulv_op_get(op, "force"), "yes");
        (void) snprintf(h.how, sizeof(h.how), "%.31s", how ? how : "");
        if (ulv_streq(h.kind, "channel") && !read_channel(&h, op))
                return -EBADMSG;
        if (ulv_op_get_u64(op, "amount", &h.amount) < 0 || ulv_op_get_u64(op, "reached", &h.reached) < 0)
                return -EBADMSG;
        h.keep = h.amount;
        if (ulv_op_get_u64(op, "keep", &h.keep) < 0)
                return -EBADMSG;
        h.keep = ULV_MIN(h.keep, h.amount);
        r = grant_add(&s->grant, &h, op);
        if (r < 0)
                return r;
        if ((s->n_holdings & (s->n_holdings - 1)) == 0) {       /* grows at 0, 1, 2, 4, 8 ... */
                more = realloc(s->holdings, sizeof(h) * ULV_MAX(s->n_holdings * 2, (size_t) 1));
                if (!more)
                        return -ENOMEM;
                s->holdings = more;
        }
        s->holdings[s->n_holdings++] = h;
        return 0;
}

struct parsing { struct seen *seen; const struct seen *before; const char *name; bool has_definition; };

static int parse_line(const char *line, size_t len, void *userdata) {
        struct parsing *p = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        int r = ulv_op_parse(line, len, &op, NULL);

        if (r != 0)
                return r < 0 ? r : -EBADMSG;
        if (!ulv_streq(op.verb, "row"))
                return -EBADMSG;
        if (ulv_streq(op.kind, "partition")) {
                p->has_definition = ulv_op_get(&op, "text") != NULL;
                return ulv_streq(op.id, p->name) ? parse_partition(p->seen, p->before, p->name, &op) : -EBADMSG;
        }
        if (ulv_streq(op.owner, p->name))
                return parse_holding(p->seen, &op);
        return 0;       /* A kind of row that this version has no use for. */
}

int seen_parse(struct seen *ret, const char *name, const char *text, size_t len, uint64_t generation) {
        struct seen s = { .generation = generation, .state = ULV_STATE_INVALID, .grant.tasks = ULV_LIMIT_TASKS_STANDARD };
        struct parsing p = { .seen = &s, .before = ret, .name = name };
        int r;

        s.text = strndup(text, len);
        if (!s.text)
                return -ENOMEM;
        r = ulv_op_each_line(text, len, parse_line, &p);
        if (r == 0 && s.state < 0)
                r = -EBADMSG;
        if (r < 0) {
                seen_done(&s);
                return r;
        }
        if (p.has_definition && !s.definition_text) {   /* it is the one that we had */
                s.definition = ulv_steal(ret->definition);
                s.definition_text = ulv_steal(ret->definition_text);
        }
        s.valid = true;
        s.grant.generation = generation;
        seen_done(ret);
        *ret = s;
        return 0;
}

bool grant_same(const struct ulv_grant *a, const struct ulv_grant *b) {
        if (memcmp(&a->cpus, &b->cpus, sizeof(a->cpus)) != 0 || memcmp(&a->pool, &b->pool, sizeof(a->pool)) != 0 ||
            a->share != b->share || a->n_memory != b->n_memory || a->memory_bytes != b->memory_bytes || a->uids != b->uids ||
            a->n_limits != b->n_limits)
                return false;
        for (unsigned i = 0; i < a->n_limits; i++)
                if (!ulv_limit_same(&a->limits[i], &b->limits[i]) || a->limits[i].amount != b->limits[i].amount)
                        return false;
        for (unsigned i = 0; i < a->n_memory; i++)
                if (a->memory[i].node != b->memory[i].node || a->memory[i].bytes != b->memory[i].bytes || !ulv_streq(a->memory[i].pages, b->memory[i].pages))
                        return false;
        return true;
}

/* A memfd that can't shrink under our feet, or a read of it could end us. */
int view_map(struct ulv_monitor *m, int fd) {
        struct stat st;
        void *p;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size < ULV_VIEW_SIZE || !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
                return -EBADMSG;
        p = mmap(NULL, ULV_VIEW_SIZE, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        if (m->map)
                (void) munmap((void *) (uintptr_t) m->map, m->map_size);
        m->map = p;
        m->map_size = ULV_VIEW_SIZE;
        return 0;
}

int view_take(struct ulv_monitor *m) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        uint64_t generation, epoch;
        int r;

        if (!m->map)
                return -ENOTCONN;
        r = ulv_view_read(m->map, m->map_size, &b, &generation, &epoch);
        if (r < 0)
                return r;
        r = seen_parse(&m->seen, m->name, ulv_strbuf_str(&b), b.len, generation);
        if (r < 0)
                return r;
        if (m->held && (r = ulv_view_write(m->held, generation, ulv_strbuf_str(&b), b.len)) < 0)
                ulv_log_errno(r, "the view can't be kept for a restart");
        return 0;
}

static void *map_held(int fd) {
        struct stat st;
        void *p;

        if (fstat(fd, &st) < 0 || st.st_size != ULV_VIEW_SIZE)
                return NULL;
        p = mmap(NULL, ULV_VIEW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return p == MAP_FAILED ? NULL : p;
}

int view_held_open(struct ulv_monitor *m) {
        _cleanup_close_ int fd = -1;
        int old = store_find(m, "view");

        m->held = old >= 0 ? map_held(old) : NULL;
        if (m->held)
                return 0;
        fd = memfd_create("uv-view-held", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0 || ftruncate(fd, ULV_VIEW_SIZE) < 0 || fchmod(fd, 0600) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
                return -errno;
        m->held = map_held(fd);
        if (!m->held)
                return -ENOMEM;
        ulv_view_init(m->held, 0);
        return ulv_monitor_store_fd(m, "view", fd);
}

const char *view_held_text(struct ulv_monitor *m, struct ulv_strbuf *b) {
        uint64_t generation, epoch;

        if (!m->held || ulv_view_read(m->held, ULV_VIEW_SIZE, b, &generation, &epoch) < 0)
                return "";
        return ulv_strbuf_str(b);
}
