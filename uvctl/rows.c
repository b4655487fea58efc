/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uvctl/rows.h"

#include <inttypes.h>

#define ROWS_MAX 1000000        /* of a machine that nobody has yet: a bound on a bad answer */

const char *row_str(const struct ulv_op *op, const char *key) {
        const char *s = ulv_op_get(op, key);

        return s ? s : "";
}

uint64_t row_u64(const struct ulv_op *op, const char *key) {
        uint64_t v = 0;

        return ulv_op_get_u64(op, key, &v) == 0 ? v : 0;
}

static void read_part(struct part *p) {
        const struct ulv_op *op = &p->op;

        p->name = op->id;
        p->type = row_str(op, "type");
        p->role = row_str(op, "role");
        p->state = row_str(op, "state");
        p->zone = row_str(op, "zone");
        p->isolation = row_str(op, "isolation");
        p->description = row_str(op, "description");
        p->infrastructure = ulv_streq(p->role, "infrastructure");
        p->running = ulv_streq(p->state, "running");
        p->degraded = row_str(op, "degraded")[0] && !ulv_streq(row_str(op, "degraded"), "no");
        p->cores_wanted = row_u64(op, "cores-wanted");
        p->cores_reached = row_u64(op, "cores-reached");
        p->share_wanted = row_u64(op, "share-wanted");
        p->share_reached = row_u64(op, "share-reached");
        p->memory_wanted = row_u64(op, "memory-wanted");
        p->memory_reached = row_u64(op, "memory-reached");
        p->has_cores = p->cores_wanted > 0 || p->cores_reached > 0;
        p->has_share = p->share_wanted > 0 || p->share_reached > 0;
        p->leader = row_u64(op, "leader");
        p->since = row_u64(op, "since");
}

/* Room for one more element of an array; false = no memory. */
static bool grow(void **array, size_t n, size_t *size, size_t element) {
        size_t more = ULV_MAX(*size * 2, (size_t) 32);
        void *p;

        if (n < *size)
                return true;
        p = reallocarray(*array, more, element);
        if (!p)
                return false;
        *array = p;
        *size = more;
        return true;
}

static bool wanted_kind(const char *line, size_t len) {
        static const char *const unused[] = { "row uids ", "row transaction " };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(unused); i++)
                if (len > strlen(unused[i]) && memcmp(line, unused[i], strlen(unused[i])) == 0)
                        return false;
        return true;
}

static int read_line(const char *line, size_t len, void *userdata) {
        struct rows *r = userdata;
        struct ulv_op op = { 0 };
        int q;

        if (!wanted_kind(line, len))
                return 0;
        if (r->n_parts + r->n_units >= ROWS_MAX)
                return -E2BIG;
        q = ulv_op_parse(line, len, &op, NULL);
        if (q != 0)
                return q < 0 ? q : -EBADMSG;
        if (ulv_streq(op.kind, "partition")) {
                if (!grow((void **) &r->parts, r->n_parts, &r->size_parts, sizeof(*r->parts)))
                        goto no_memory;
                r->parts[r->n_parts] = (struct part) { .op = op };
                read_part(&r->parts[r->n_parts++]);
        } else {
                if (!grow((void **) &r->units, r->n_units, &r->size_units, sizeof(*r->units)))
                        goto no_memory;
                r->units[r->n_units++] = op;
        }
        return 0;
no_memory:
        ulv_op_done(&op);
        return -ENOMEM;
}

void rows_done(struct rows *r) {
        for (size_t i = 0; i < r->n_parts; i++)
                ulv_op_done(&r->parts[i].op);
        for (size_t i = 0; i < r->n_units; i++)
                ulv_op_done(&r->units[i]);
        free(r->parts);
        free(r->units);
        free(r->nodes);
        *r = (struct rows) { 0 };
}

const struct part *rows_part(const struct rows *r, const char *name) {
        for (size_t i = 0; i < r->n_parts; i++)
                if (ulv_streq(r->parts[i].name, name))
                        return &r->parts[i];
        return NULL;
}

static bool is_io(const struct rows *r, const char *owner) {
        for (size_t i = 0; i < r->n_parts; i++)
                if (ulv_streq(r->parts[i].role, "io") && ulv_streq(r->parts[i].name, owner))
                        return true;
        return false;
}

static void count(const struct rows *r, struct sum *s, const char *owner, uint64_t amount) {
        static const char *const ours[] = { "host", "ultravisor", "command", "operations" };

        s->total += amount;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(ours); i++)
                if (ulv_streq(owner, ours[i])) {
                        s->host += amount;
                        return;
                }
        if (ulv_streq(owner, "idle"))
                s->idle += amount;
        else if (ulv_streq(owner, "pool"))
                s->pool += amount;
        else if (is_io(r, owner))
                s->io += amount;
        else
                s->partitions += amount;
}

static struct node_sum *node_sum(struct rows *r, unsigned node) {
        struct node_sum *nodes;
        size_t i;

        for (i = 0; i < r->n_nodes && r->nodes[i].node <= node; i++)
                if (r->nodes[i].node == node)
                        return &r->nodes[i];
        nodes = reallocarray(r->nodes, r->n_nodes + 1, sizeof(*nodes));
        if (!nodes)
                return NULL;
        r->nodes = nodes;
        memmove(nodes + i + 1, nodes + i, (r->n_nodes - i) * sizeof(*nodes));
        nodes[i] = (struct node_sum) { .node = node };
        r->n_nodes++;
        return &nodes[i];
}

/* The pool is the cores that `pool` owns, or the host's while parameter pool.source says so. */
static void count_pool(struct rows *r, const struct ulv_op *op) {
        struct ulv_cpus cpus;

        if (!ulv_streq(op->owner, r->pool_is_host ? "host" : "pool"))
                return;
        r->pool_cores++;
        r->pool_threads += ulv_cpus_parse(row_str(op, "threads"), &cpus) == 0 ? ulv_cpus_count(&cpus) : 1;
}

static int count_unit(struct rows *r, const struct ulv_op *op) {
        struct node_sum *n;
        uint64_t amount = row_u64(op, "amount");

        if (ulv_streq(op->kind, "core")) {
                n = node_sum(r, (unsigned) row_u64(op, "node"));
                if (!n)
                        return -ENOMEM;
                count(r, &r->cores, op->owner, 1);
                count(r, &n->cores, op->owner, 1);
                count_pool(r, op);
        } else if (ulv_streq(op->kind, "memory")) {
                n = node_sum(r, (unsigned) strtoul(op->id, NULL, 10));
                if (!n)
                        return -ENOMEM;
                count(r, &r->memory, op->owner, amount * ULV_MEMORY_UNIT);
                count(r, &n->memory, op->owner, amount * ULV_MEMORY_UNIT);
        } else if (ulv_streq(op->kind, "share") && !ulv_streq(op->owner, "idle")) {
                r->share_given += amount;
                r->share_holders += amount > 0;
        }
        return 0;
}

/* Parameters and the inventory come first: the sums depend on them. */
static int count_all(struct rows *r) {
        int q;

        r->pool_is_host = true;
        r->overcommit = 1000;
        for (size_t i = 0; i < r->n_units; i++) {
                const struct ulv_op *op = &r->units[i];

                if (ulv_streq(op->kind, "inventory")) {
                        r->imagined = ulv_streq(row_str(op, "kind"), "imagined");
                        (void) snprintf(r->machine, sizeof(r->machine), "%s", row_str(op, "name"));
                } else if (ulv_streq(op->kind, "parameter") && ulv_streq(op->id, "pool.source"))
                        r->pool_is_host = ulv_streq(row_str(op, "value"), "host");
                else if (ulv_streq(op->kind, "parameter") && ulv_streq(op->id, "pool.overcommit"))
                        r->overcommit = row_u64(op, "value");
        }
        for (size_t i = 0; i < r->n_units; i++) {
                q = count_unit(r, &r->units[i]);
                if (q < 0)
                        return q;
        }
        return 0;
}

uint64_t rows_share_idle(const struct rows *r) {
        uint64_t capacity = r->pool_threads * r->overcommit;

        return capacity > r->share_given ? capacity - r->share_given : 0;
}

int rows_get(struct uvctl *u, const char *kind, struct rows *ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        struct rows rows = { 0 };
        const char *text;
        int r;

        r = client_call(u, &m, "Rows", "s", kind);
        if (r == 0)
                r = client_read(u, m, "ts", &rows.generation, &text);
        if (r != 0)
                return r;
        r = ulv_op_each_line(text, strlen(text), read_line, &rows);
        if (r == 0)
                r = count_all(&rows);
        if (r != 0) {
                rows_done(&rows);
                return fail_errno(u, r, "read the ledger's rows");
        }
        *ret = rows;
        return 0;
}

void rows_pair(char *buf, size_t size, uint64_t reached, uint64_t wanted, void (*format)(struct ulv_strbuf *b, uint64_t v)) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        if (reached == 0 && wanted == 0)
                ulv_strbuf_addc(&b, '-');
        else
                format(&b, reached);
        if (reached != wanted) {
                ulv_strbuf_add(&b, " of ");
                format(&b, wanted);
        }
        (void) snprintf(buf, size, "%s", ulv_strbuf_str(&b));
}

void part_cpu(const struct part *p, char *buf, size_t size) {
        char pair[64];

        if (p->has_cores) {
                rows_pair(pair, sizeof(pair), p->cores_reached, p->cores_wanted, ulv_strbuf_addu);
                (void) snprintf(buf, size, "%s core%s", pair, p->cores_wanted == 1 ? "" : "s");
        } else if (p->has_share) {
                rows_pair(pair, sizeof(pair), p->share_reached, p->share_wanted, ulv_share_format);
                (void) snprintf(buf, size, "%s share", pair);
        } else
                (void) snprintf(buf, size, "-");
}

void part_memory(const struct part *p, char *buf, size_t size) {
        rows_pair(buf, size, p->memory_reached, p->memory_wanted, ulv_size_format);
}
