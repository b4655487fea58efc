/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/build.h"
#include "uvctl/rows.h"

#include <inttypes.h>

#define ROWS_MAX 1000000        /* of a machine that nobody has yet: a bound on a bad answer */

const char *row_str(const struct ulv_op *op, const char *key) {
        const char *value = ulv_op_get(op, key);

        return value ? value : "";
}

uint64_t row_u64(const struct ulv_op *op, const char *key) {
        const char *s = row_str(op, key);
        uint64_t v = 0;

        return *s && ulv_uint_parse(s, UINT64_MAX, &v) == 0 ? v : 0;
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
        p->old_code = p->leader > 0 && !ulv_streq(row_str(op, "build"), ulv_build);
}

static bool is_io(const struct rows *r, const char *owner) {
        for (size_t i = 0; i < r->n_io; i++)
                if (ulv_streq(r->io[i], owner))
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
static void count_threads(struct rows *r, const struct ulv_op *op) {
        struct cores *c = ulv_streq(op->owner, "host") ? &r->of_host : ulv_streq(op->owner, "pool") ? &r->of_pool : NULL;
        struct ulv_cpus cpus;

        if (!c)
                return;
        c->cores++;
        c->threads += ulv_cpus_parse(row_str(op, "threads"), &cpus) == 0 ? ulv_cpus_count(&cpus) : 1;
}

static void read_parameter(struct rows *r, const struct ulv_op *op) {
        if (ulv_streq(op->id, "pool.source"))
                r->pool = ulv_streq(row_str(op, "value"), "host") ? &r->of_host : &r->of_pool;
        else if (ulv_streq(op->id, "pool.overcommit"))
                r->overcommit = row_u64(op, "value");
}

static int count_amount(struct rows *r, const struct ulv_op *op, bool core) {
        uint64_t node = core ? row_u64(op, "node") : strtoul(op->id, NULL, 10);
        uint64_t amount = core ? 1 : row_u64(op, "amount") * ULV_MEMORY_UNIT;
        struct node_sum *n = node_sum(r, (unsigned) ULV_MIN(node, (uint64_t) UINT32_MAX));

        if (!n)
                return -ENOMEM;
        count(r, core ? &r->cores : &r->memory, op->owner, amount);
        count(r, core ? &n->cores : &n->memory, op->owner, amount);
        return 0;
}

static int count_unit(struct rows *r, const struct ulv_op *op) {
        uint64_t amount;

        if (ulv_streq(op->kind, "core")) {
                count_threads(r, op);
                return count_amount(r, op, true);
        }
        if (ulv_streq(op->kind, "memory"))
                return count_amount(r, op, false);
        if (ulv_streq(op->kind, "share") && !ulv_streq(op->owner, "idle")) {
                amount = row_u64(op, "amount");
                r->share_given += amount;
                r->share_holders += amount > 0;
        } else if (ulv_streq(op->kind, "inventory")) {
                r->imagined = ulv_streq(row_str(op, "kind"), "imagined");
                (void) snprintf(r->machine, sizeof(r->machine), "%s", row_str(op, "name"));
        } else if (ulv_streq(op->kind, "ledger"))
                r->stale = ulv_streq(row_str(op, "stale"), "yes");
        else if (ulv_streq(op->kind, "parameter"))
                read_parameter(r, op);
        return 0;
}

/* Units count to I/O partitions by name, and those are known once all rows are read. */
static int count_units(struct rows *r) {
        int q = 0;

        r->io = calloc(r->n_parts + 1, sizeof(*r->io));
        if (!r->io)
                return -ENOMEM;
        for (size_t i = 0; i < r->n_parts; i++)
                if (ulv_streq(r->parts[i].role, "io"))
                        r->io[r->n_io++] = r->parts[i].name;
        for (size_t i = 0; i < r->n_units && q == 0; i++)
                q = count_unit(r, &r->units[i]);
        return q;
}

/* Room for all partitions at once: growing step by step would copy them several times over. */
static int make_room(struct rows *r, const char *text) {
        static const char word[] = "row partition ";
        size_t n = 0;

        for (const char *s = text; (s = strstr(s, word)); s += sizeof(word) - 1)
                n++;
        n = ULV_MIN(n, (size_t) ROWS_MAX);
        r->parts = calloc(n + 1, sizeof(*r->parts));
        if (!r->parts)
                return -ENOMEM;
        r->size_parts = n + 1;
        return 0;
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

/* Rows that nothing here shows are not even parsed. */
static bool wanted(const char *line, size_t len) {
        static const char *const unused[] = { "row uids ", "row transaction " };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(unused); i++)
                if (len > strlen(unused[i]) && memcmp(line, unused[i], strlen(unused[i])) == 0)
                        return false;
        return true;
}

static int keep_part(struct rows *r, struct ulv_op *op) {
        if (!grow((void **) &r->parts, r->n_parts, &r->size_parts, sizeof(*r->parts)))
                return -ENOMEM;
        r->parts[r->n_parts] = (struct part) { .op = *op };
        *op = (struct ulv_op) { 0 };
        read_part(&r->parts[r->n_parts++]);
        return 0;
}

static int keep_unit(struct rows *r, struct ulv_op *op) {
        if (!grow((void **) &r->units, r->n_units, &r->size_units, sizeof(*r->units)))
                return -ENOMEM;
        r->units[r->n_units++] = *op;
        *op = (struct ulv_op) { 0 };
        return 0;
}

static int read_line(const char *line, size_t len, void *userdata) {
        struct rows *r = userdata;
        _cleanup_op_ struct ulv_op op = { 0 };
        int q;

        if (!wanted(line, len))
                return 0;
        if (r->n_parts + r->n_units >= ROWS_MAX)
                return -E2BIG;
        q = ulv_op_parse(line, len, &op, NULL);
        if (q != 0)
                return q < 0 ? q : -EBADMSG;
        if (ulv_streq(op.kind, "partition"))
                return keep_part(r, &op);
        return keep_unit(r, &op);
}

void rows_done(struct rows *r) {
        for (size_t i = 0; i < r->n_parts; i++)
                ulv_op_done(&r->parts[i].op);
        for (size_t i = 0; i < r->n_units; i++)
                ulv_op_done(&r->units[i]);
        free(r->parts);
        free(r->units);
        free(r->nodes);
        free(r->io);
        *r = (struct rows) { 0 };
}

const struct part *rows_part(const struct rows *r, const char *name) {
        for (size_t i = 0; i < r->n_parts; i++)
                if (ulv_streq(r->parts[i].name, name))
                        return &r->parts[i];
        return NULL;
}

/* One call's worth of rows. */
static int add_rows(struct uvctl *u, const char *kind, struct rows *rows) {
        _cleanup_message_ sd_bus_message *m = NULL;
        const char *text;
        int r;

        r = client_call(u, &m, "Rows", "s", kind);
        if (r == 0)
                r = client_read(u, m, "ts", &rows->generation, &text);
        if (r != 0)
                return r;
        r = rows->parts ? 0 : make_room(rows, text);
        if (r == 0)
                r = ulv_op_each_line(text, strlen(text), read_line, rows);
        return r < 0 ? fail_errno(u, r, "read the ledger's rows") : 0;
}

int rows_get(struct uvctl *u, enum rows_extent extent, struct rows *ret) {
        int r;

        *ret = (struct rows) { .overcommit = 1000, .pool = &ret->of_host };
        r = add_rows(u, extent == ROWS_ALL ? "" : "partition", ret);
        if (r == 0 && extent == ROWS_SUMMARY)
                r = add_rows(u, "inventory", ret);
        if (r == 0 && extent == ROWS_SUMMARY)
                r = add_rows(u, "ledger", ret);
        if (r == 0 && count_units(ret) < 0)
                r = fail_errno(u, -ENOMEM, "read the ledger's rows");
        if (r != 0)
                rows_done(ret);
        return r;
}

void rows_notes(const struct rows *r, struct ulv_strbuf *b) {
        if (r->imagined)
                ulv_strbuf_addf(b, "TRACKED ONLY: %s is an imagined machine, nothing here is enforced.\n", r->machine);
        if (r->stale)
                ulv_strbuf_add(b, "STALE: the ledger's keeper (uvd) can't be reached; these are its last words.\n");
}

/* The ledger's own words. What counts or tells a time is a number, wherever it stands; all else is as it is written. */
void row_values_json(struct json *j, const struct ulv_op *op) {
        static const char *const numbers[] = {
                "amount", "reached", "keep", "wanted", "total", "node", "leader", "start", "since", "incarnation", "generation",
                "restarts", "restarted",
        };

        json_object(j, "Values");
        for (unsigned i = 0; i < op->n_kv; i++) {
                const struct ulv_op_kv *kv = &op->kv[i];
                bool number = false;
                uint64_t v;

                for (size_t k = 0; k < ULV_ARRAY_SIZE(numbers) && !number; k++)
                        number = ulv_streq(kv->key, numbers[k]) && ulv_uint_parse(kv->value, UINT64_MAX, &v) == 0;
                if (number)
                        json_u64(j, kv->key, v);
                else
                        json_string(j, kv->key, kv->value);
        }
        json_end(j);
}

static void add_pair(struct ulv_strbuf *b, const struct part *p, uint64_t reached, uint64_t wanted,
                     void (*format)(struct ulv_strbuf *b, uint64_t v)) {
        /* What the ultravisor keeps itself is held, not reached: nobody reports about it. */
        if (p->infrastructure)
                reached = wanted;
        if (reached == 0 && wanted == 0)
                ulv_strbuf_addc(b, '-');
        else
                format(b, reached);
        if (reached != wanted) {
                ulv_strbuf_add(b, " of ");
                format(b, wanted);
        }
}

void part_add_cpu(struct ulv_strbuf *b, const struct part *p) {
        if (p->has_cores) {
                add_pair(b, p, p->cores_reached, p->cores_wanted, ulv_strbuf_addu);
                ulv_strbuf_add(b, p->cores_wanted == 1 ? " core" : " cores");
        } else if (p->has_share) {
                add_pair(b, p, p->share_reached, p->share_wanted, ulv_share_format);
                ulv_strbuf_add(b, " share");
        } else
                ulv_strbuf_addc(b, '-');
}

void part_add_memory(struct ulv_strbuf *b, const struct part *p) {
        add_pair(b, p, p->memory_reached, p->memory_wanted, ulv_size_format);
}
