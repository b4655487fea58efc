/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `status NAME`: what is wanted, what is reached, and by what it is enforced, in words that claim no more
 * than that. `status`: the host. `show`: the same facts, for programs. */

#include <inttypes.h>
#include <time.h>

#include "uvctl/defined.h"
#include "uvctl/logs.h"
#include "uvctl/text.h"

/* What the ledger's `how` words mean to a person (model/partition.h has their order). */
static const char *cpu_words(const char *how, bool cores) {
        if (ulv_streq(how, "isolated"))
                return "cpuset isolated";
        if (ulv_streq(how, "limit"))
                return cores ? "cpuset" : "cpu.max";
        if (ulv_streq(how, "affinity"))
                return "affinity only, asked for, not forced";
        if (ulv_streq(how, "tracked"))
                return "nothing, tracked only";
        return *how ? how : "nothing yet";
}

static const char *memory_words(const char *how) {
        if (ulv_streq(how, "limit"))
                return "memory.max";
        if (ulv_streq(how, "preallocated"))
                return "memory.max, all of it there";
        if (ulv_streq(how, "tracked"))
                return "nothing, tracked only";
        return *how ? how : "nothing yet";
}

static void add_label(struct ulv_strbuf *b, const char *label) { ulv_strbuf_addf(b, STATUS_LABEL, label); }

static void add_text(struct ulv_strbuf *b, const char *s) { text_safe(b, s, strlen(s), false); }

/* "hard (own kernel, ...)": the words of the monitor about its containment, spelled out. */
static void add_isolation(struct ulv_strbuf *b, const struct part *p) {
        const char *contain = row_str(&p->op, "contain");
        bool shared = ulv_streq(p->type, "container");
        unsigned n = 0;

        add_label(b, "Isolation");
        add_text(b, *p->isolation ? p->isolation : "none");
        for (const struct part_barrier *w = part_barriers; w->word; w++) {
                if (!strstr(contain, w->word))
                        continue;
                ulv_strbuf_addf(b, "%s%s%s", n == 0 ? " (" : ", ", n == 0 && shared ? "shared kernel, " : "", w->text);
                n++;
        }
        ulv_strbuf_add(b, n > 0 ? ")\n" : "\n");
}

/* Nodes of the cores that p holds, " on node 1" or " on nodes 0,1". */
static void add_nodes(struct ulv_strbuf *b, const struct rows *rows, const struct part *p, const char *kind) {
        struct ulv_cpus nodes = { 0 };

        for (size_t i = 0; i < rows->n_units; i++) {
                const struct ulv_op *op = &rows->units[i];

                if (!ulv_streq(op->kind, kind) || !ulv_streq(op->owner, p->name))
                        continue;
                uint64_t node = ulv_streq(kind, "core") ? row_u64(op, "node") : strtoul(op->id, NULL, 10);

                if (node < ULV_CPU_MAX)
                        ulv_cpus_set(&nodes, (unsigned) node);
        }
        if (ulv_cpus_count(&nodes) == 0)
                return;
        ulv_strbuf_add(b, ulv_cpus_count(&nodes) == 1 ? " on node " : " on nodes ");
        ulv_cpus_format(b, &nodes);
}

/* Ends a line of the block with what enforces it, in one column for cores and memory. */
static void add_enforced(struct ulv_strbuf *b, size_t line, const char *how) {
        while (b->len - line < 44 && ulv_strbuf_error(b) == 0)
                ulv_strbuf_addc(b, ' ');
        ulv_strbuf_add(b, " enforced: ");
        add_text(b, how);
        ulv_strbuf_addc(b, '\n');
}

/* "2 of 4": reached of wanted. Of infrastructure nobody reports what it reached: what it has is all there is. */
static void add_reached(struct ulv_strbuf *b, const struct part *p, uint64_t reached, uint64_t wanted, void (*format)(struct ulv_strbuf *b, uint64_t v)) {
        if (!p->infrastructure) {
                format(b, reached);
                ulv_strbuf_add(b, " of ");
        }
        format(b, wanted);
}

static void add_memory(struct ulv_strbuf *b, const struct rows *rows, const struct part *p) {
        size_t line = b->len;

        add_label(b, "Memory");
        add_reached(b, p, p->memory_reached, p->memory_wanted, ulv_size_format);
        add_nodes(b, rows, p, "memory");
        add_enforced(b, line, memory_words(row_str(&p->op, "memory-how")));
}

static void add_resources(struct ulv_strbuf *b, const struct rows *rows, const struct part *p) {
        size_t line = b->len;

        if (p->has_cores) {
                add_label(b, "Cores");
                add_reached(b, p, p->cores_reached, p->cores_wanted, ulv_strbuf_addu);
                ulv_strbuf_add(b, "    ");
                add_text(b, row_str(&p->op, "cores"));
                add_nodes(b, rows, p, "core");
        } else if (p->has_share) {
                add_label(b, "Share");
                add_reached(b, p, p->share_reached, p->share_wanted, ulv_share_format);
                ulv_strbuf_add(b, " of the pool");
        }
        if (p->has_cores || p->has_share)
                add_enforced(b, line, cpu_words(row_str(&p->op, "cpu-how"), p->has_cores));
        if (p->memory_wanted > 0 || p->memory_reached > 0)
                add_memory(b, rows, p);
        limits_lines(b, p, add_label, add_enforced);
}

/* What it says of itself (STATUS of uv-call(7)). No answer is no words: the rest of the block is worth more. */
static void add_said(struct uvctl *u, struct ulv_strbuf *b, const struct part *p) {
        _cleanup_free_ char *path = NULL, *text = NULL;

        if (p->infrastructure || !p->running || !u->bus || sd_bus_path_encode(ULV_PATH_PARTITION, p->name, &path) < 0 ||
            sd_bus_get_property_string(u->bus, u->service, path, ULV_IF_PARTITION, "StatusText", NULL, &text) < 0 || !text[0])
                return;
        add_label(b, "Says");
        add_text(b, text);
        ulv_strbuf_addc(b, '\n');
}

static void add_state(struct uvctl *u, struct ulv_strbuf *b, const struct part *p) {
        char up[32], when[64];
        time_t t = (time_t) (p->since / 1000000);
        struct tm tm;

        add_label(b, "State");
        if (u->colour)
                ulv_strbuf_add(b, colour_start(state_colour(p)));
        add_text(b, p->state);
        if (u->colour)
                ulv_strbuf_add(b, COLOUR_END);
        if (p->since > 0 && localtime_r(&t, &tm) && strftime(when, sizeof(when), "%F %T", &tm) > 0) {
                uint64_t now = now_usec();

                format_age(up, sizeof(up), now > p->since ? now - p->since : 0);
                ulv_strbuf_addf(b, "%s since %s (%s)", ulv_startswith(p->state, "paus") ? ", runs" : "", when, up);
        }
        if (ulv_streq(row_str(&p->op, "ready"), "yes"))
                ulv_strbuf_add(b, ", ready");
        if (p->running && strstr(row_str(&p->op, "contain"), " agent"))
                ulv_strbuf_add(b, ", agent ready");
        if (row_str(&p->op, "result")[0]) {
                const char *result = row_str(&p->op, "result");

                /* Of one that runs it is what was refused last, and a second line says what helps. */
                ulv_strbuf_add(b, p->running ? ", last refusal: " : ", last result: ");
                text_safe(b, result, strcspn(result, "\n"), false);
        }
        ulv_strbuf_addc(b, '\n');
        if (p->degraded) {
                add_label(b, "Degraded");
                add_text(b, row_str(&p->op, "degraded"));
                ulv_strbuf_addc(b, '\n');
        }
        if (row_str(&p->op, "txn")[0]) {
                add_label(b, "Reaching");
                ulv_strbuf_add(b, "transaction ");
                add_text(b, row_str(&p->op, "txn"));
                ulv_strbuf_addc(b, '\n');
        }
}

static void add_block(struct uvctl *u, struct ulv_strbuf *b, const struct rows *rows, const struct part *p, const char *files,
                      const struct ulv_definition *d) {
        ulv_strbuf_add(b, p->name);
        if (*p->description) {
                ulv_strbuf_add(b, " - ");
                add_text(b, p->description);
        }
        ulv_strbuf_addc(b, '\n');
        add_state(u, b, p);
        add_said(u, b, p);
        add_label(b, "Type");
        ulv_strbuf_addf(b, "%s, zone %s", *p->type ? p->type : p->role, *p->zone ? p->zone : "-");
        if (*files) {
                ulv_strbuf_add(b, ", defined in ");
                add_text(b, files);
        }
        ulv_strbuf_addc(b, '\n');
        if (p->running && !p->infrastructure)
                add_isolation(b, p);
        add_resources(b, rows, p);
        attached_lines(b, p, d, add_label);
        if (d)
                defined_add(b, u->root, p, d);
        if (row_str(&p->op, "unit")[0]) {
                add_label(b, "Unit");
                add_text(b, row_str(&p->op, "unit"));
                if (p->leader > 0)
                        ulv_strbuf_addf(b, ", leader %" PRIu64, p->leader);
                ulv_strbuf_addc(b, '\n');
        } else if (p->leader > 0)
                ulv_strbuf_addf(b, STATUS_LABEL "%" PRIu64 "\n", "Leader", p->leader);
        if (p->old_code)
                ulv_strbuf_addf(b, STATUS_LABEL "old: %s is of another build than this uvctl; uvctl upgrade\n", "Code", p->infrastructure ? "it" : "its monitor");
        rows_notes(rows, b);
}

/* Text and files of the definition in force; "" for infrastructure, which has none. */
static int get_definition(struct uvctl *u, const struct part *p, sd_bus_message **m, const char **ret_text, const char **ret_files) {
        int r;

        *ret_text = *ret_files = "";
        if (p->infrastructure)
                return 0;
        r = client_call(u, m, "Definition", "s", p->name);
        if (r == ULV_EXIT_NOT_FOUND) {  /* removed from the files, still in the ledger */
                u->diag = (struct ulv_diag) { 0 };
                return 0;
        }
        return r != 0 ? r : client_read(u, *m, "ss", ret_text, ret_files);
}

static int status_of(struct uvctl *u, const struct rows *rows, const struct part *p) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        _cleanup_message_ sd_bus_message *m = NULL;
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
        const char *text, *files;
        int r;

        r = get_definition(u, p, &m, &text, &files);
        if (r == 0 && defined_parse(p->name, text, &d) < 0)
                r = fail_errno(u, -ENOMEM, "read the definition");
        if (r != 0)
                return r;
        add_block(u, &b, rows, p, files, d);
        r = put(u, &b);
        if (r == 0 && !p->infrastructure)
                r = logs_last(u, p->name, given(u, OPT_LINES) ? u->lines : 5);
        return r;
}

/* Exit code of a state, as systemctl status has it: 3 is "not active"; 9 is our own "degraded". */
static int state_code(const struct part *p) {
        if (p->degraded)
                return ULV_EXIT_DEGRADED;
        return ulv_streq(p->state, "defined") || ulv_streq(p->state, "failed") ? ULV_EXIT_NOT_ACTIVE : ULV_EXIT_OK;
}

static int put_json(struct uvctl *u, struct json *j) {
        int r = put(u, &j->b);

        ulv_strbuf_done(&j->b);
        return r;
}

/* "key: value"; further lines of a value stand under its first. */
static void add_fact(struct ulv_strbuf *b, unsigned width, const char *key, const char *value) {
        size_t n = strcspn(value, "\n");

        ulv_strbuf_addf(b, "%*s: ", (int) width, key);
        text_safe(b, *value ? value : "-", *value ? n : 1, false);
        ulv_strbuf_addc(b, '\n');
        for (value += n; *value && value[1]; value += n) {
                value++;
                n = strcspn(value, "\n");
                ulv_strbuf_addf(b, "%*s", (int) width + 2, "");
                text_safe(b, value, n, false);
                ulv_strbuf_addc(b, '\n');
        }
}

/* A fact as JSON: what counts is a number, what is asked is a boolean, the rest are words. */
static void json_fact(struct json *j, const char *key, const char *value) {
        static const char *const numbers[] = { "Generation", "DefinitionsVersion", "Definitions", "Jobs", "TransactionsDone", "TransactionsUndone" };
        static const char *const booleans[] = { "KVM", "FilesDiffer" };
        uint64_t n;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(numbers); i++)
                if (ulv_streq(key, numbers[i]) && ulv_uint_parse(value, UINT64_MAX, &n) == 0) {
                        json_u64(j, key, n);
                        return;
                }
        for (size_t i = 0; i < ULV_ARRAY_SIZE(booleans); i++)
                if (ulv_streq(key, booleans[i])) {
                        json_bool(j, key, ulv_streq(value, "yes"));
                        return;
                }
        json_string(j, key, value);
}

/* Status() answers a{ss}: facts about the roles, the machine, and problems of files. */
static int status_host(struct uvctl *u) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        const char *key, *value;
        unsigned width = 0;
        int r;

        r = client_call(u, &m, "Status", "");
        if (r != 0)
                return r;
        json_object(&j, NULL);
        for (int pass = 0; pass < 2; pass++) {
                r = sd_bus_message_rewind(m, 1);
                if (r >= 0)
                        r = sd_bus_message_enter_container(m, 'a', "{ss}");
                while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0) {
                        if (pass == 0) {
                                width = ULV_MAX(width, (unsigned) strlen(key));
                                json_fact(&j, key, value);
                                continue;
                        }
                        add_fact(&b, ULV_MIN(width, 40u), key, value);
                }
                if (r < 0) {
                        ulv_strbuf_done(&j.b);
                        return fail_errno(u, r, "read the status");
                }
        }
        json_end(&j);
        if (u->output == OUTPUT_JSON)
                return put_json(u, &j);
        ulv_strbuf_done(&j.b);
        return put(u, &b);
}

static int show_json(struct uvctl *u, const struct rows *rows, int argc, char **argv, int *code) {
        struct json j = { 0 };
        int r = 0;

        json_array(&j, NULL);
        for (int i = 0; i < argc && r == 0; i++) {
                _cleanup_message_ sd_bus_message *m = NULL;
                ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
                const struct part *p = rows_part(rows, argv[i]);
                const char *text = "", *files = "";

                r = get_definition(u, p, &m, &text, &files);
                if (r == 0 && defined_parse(p->name, text, &d) < 0)
                        r = fail_errno(u, -ENOMEM, "read the definition");
                json_object(&j, NULL);
                part_json(&j, p);
                if (d)
                        defined_json(&j, p, d);
                json_string(&j, "Files", files);
                json_string(&j, "Definition", text);
                json_end(&j);
                *code = *code ? *code : state_code(p);
        }
        json_end(&j);
        if (r == 0)
                r = put(u, &j.b);
        ulv_strbuf_done(&j.b);
        return r;
}

static int check_names(struct uvctl *u, const struct rows *rows, int argc, char **argv) {
        for (int i = 0; i < argc; i++)
                if (!rows_part(rows, argv[i]))
                        return no_such_partition(u, argv[i]);
        return 0;
}

int verb_status(struct uvctl *u, int argc, char **argv) {
        struct rows rows;
        int r, code = 0;

        if (argc == 0)
                return status_host(u);
        r = rows_get(u, ROWS_ALL, &rows);
        if (r != 0)
                return r;
        r = check_names(u, &rows, argc, argv);
        if (r == 0 && u->output == OUTPUT_JSON)
                r = show_json(u, &rows, argc, argv, &code);
        for (int i = 0; i < argc && r == 0 && u->output != OUTPUT_JSON; i++) {
                const struct part *p = rows_part(&rows, argv[i]);

                if (i > 0)
                        putchar('\n');
                r = status_of(u, &rows, p);
                code = code ? code : state_code(p);
        }
        rows_done(&rows);
        return r != 0 ? r : code;
}

/* "Name=web": what part_json() knows, one line each, then the definition. */
static int show_one(struct uvctl *u, const struct part *p) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        _cleanup_message_ sd_bus_message *m = NULL;
        const char *text, *files;
        int r;

        r = get_definition(u, p, &m, &text, &files);
        if (r != 0)
                return r;
        part_properties(&b, p);
        ulv_strbuf_add(&b, "Files=");
        add_text(&b, files);
        ulv_strbuf_addc(&b, '\n');
        if (*text) {
                ulv_strbuf_add(&b, "\n# the definition in force\n");
                text_safe(&b, text, strlen(text), true);
        }
        return put(u, &b);
}

int verb_show(struct uvctl *u, int argc, char **argv) {
        struct rows rows;
        int r, unused = 0;

        r = rows_get(u, ROWS_PARTITIONS, &rows);
        if (r != 0)
                return r;
        r = check_names(u, &rows, argc, argv);
        if (r == 0 && u->output == OUTPUT_JSON)
                r = show_json(u, &rows, argc, argv, &unused);
        for (int i = 0; i < argc && r == 0 && u->output != OUTPUT_JSON; i++) {
                if (i > 0)
                        putchar('\n');
                r = show_one(u, rows_part(&rows, argv[i]));
        }
        rows_done(&rows);
        return r;
}
