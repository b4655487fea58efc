/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* channel stat: what the ends count. They write it into the channel's memory, where the partition's uv-port reads it:
 * it is what they say, and an end that lies, lies here. With --wait it looks again and again, and tells rates. */

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "channel/state.h"
#include "uvctl/channel.h"
#include "uvctl/json.h"

#define INTERVAL_MS 2000
#define ANSWER_MS 2000

struct sample { char id[128]; bool known; struct channel_account s; int64_t at; };
struct look { struct sample *v; size_t n; };

static int64_t now_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool ask_one(struct uvctl *u, const char *partition, const char *label, struct channel_account *ret) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        struct pollfd p = { .events = POLLIN };

        if (client_call(u, &reply, "ChannelState", "ss", partition, label) != 0 || client_read(u, reply, "h", &p.fd) != 0) {
                u->diag = (struct ulv_diag) { 0 };
                return false;
        }
        return poll(&p, 1, ANSWER_MS) == 1 && recv(p.fd, ret, sizeof(*ret), MSG_DONTWAIT) == sizeof(*ret) && ret->magic == ACCOUNT_MAGIC;
}

bool pair_ask(struct uvctl *u, const struct pair *p, struct channel_account *ret) {
        char label[64];

        for (unsigned i = 0; i < 2; i++)
                if (p->end[i] && *row_str(p->end[i], "memory") && ask_one(u, p->end[i]->owner, pair_label(p, label), ret))
                        return true;
        return false;
}

static const char *state_word(uint64_t life) {
        static const char *const words[N_CHANNEL_STATES] = {
                [CHANNEL_DETACHED] = "never used", [CHANNEL_ATTACHING] = "attaching", [CHANNEL_ATTACHED] = "attached",
                [CHANNEL_CLOSED] = "closed", [CHANNEL_GONE] = "gone",
        };

        return life_state(life) < N_CHANNEL_STATES ? words[life_state(life)] : "nonsense";
}

void end_state(const struct channel_account_end *e, struct ulv_strbuf *b) {
        ulv_strbuf_add(b, state_word(e->life));
        if (e->life > 0)
                ulv_strbuf_addf(b, ", epoch %llu", (unsigned long long) life_epoch(e->life));
}

static const struct sample *find(const struct look *l, const char *id) {
        for (size_t i = 0; l && i < l->n; i++)
                if (l->v[i].known && ulv_streq(l->v[i].id, id))
                        return &l->v[i];
        return NULL;
}

/* A second. false: not known; an end that came anew counts from the beginning. */
static bool rate(const struct sample *was, const struct sample *now, unsigned end, unsigned count, uint64_t *ret) {
        const uint64_t *a = was ? was->s.end[end].count : NULL, *b = now->s.end[end].count;

        if (!a || now->at <= was->at || b[count] < a[count])
                return false;
        *ret = (b[count] - a[count]) * 1000000 / (uint64_t) (now->at - was->at);
        return true;
}

static void add_rate(struct table *t, const struct sample *was, const struct sample *now, unsigned end, unsigned count) {
        uint64_t n;

        if (rate(was, now, end, count, &n))
                table_addf(t, "%llu", (unsigned long long) n);
        else
                table_add(t, NULL);
}

static void add_row(struct table *t, const struct pair *p, const struct sample *was, const struct sample *now, unsigned end) {
        static const unsigned shown[] = { COUNT_SENT, COUNT_BYTES, COUNT_RECEIVED, COUNT_BELLS, COUNT_FULL };
        const struct channel_account_end *e = &now->s.end[end];
        char label[64];

        table_add(t, pair_label(p, label));
        table_add(t, pair_owner(p, end));
        table_add(t, now->known ? state_word(e->life) : NULL);
        if (now->known && e->life > 0)
                table_addf(t, "%llu", (unsigned long long) life_epoch(e->life));
        else
                table_add(t, NULL);
        for (size_t i = 0; i < ULV_ARRAY_SIZE(shown); i++)
                if (now->known)
                        table_addf(t, "%llu", (unsigned long long) e->count[shown[i]]);
                else
                        table_add(t, NULL);
        add_rate(t, was, now, end, COUNT_SENT);
        add_rate(t, was, now, end, COUNT_BYTES);
}

static void add_json(struct json *j, const struct pair *p, const struct sample *was, const struct sample *now, unsigned end) {
        static const char *const names[ACCOUNT_COUNTERS] = { "Sent", "Received", "Wakeups", "Bytes", "Refused" };
        char label[64];
        uint64_t n;

        json_object(j, NULL);
        json_string(j, "Channel", pair_label(p, label));
        json_string(j, "Partition", pair_owner(p, end));
        json_string(j, "State", state_word(now->s.end[end].life));
        json_u64(j, "Epoch", life_epoch(now->s.end[end].life));
        for (unsigned i = 0; i < ACCOUNT_COUNTERS; i++)
                json_u64(j, names[i], now->s.end[end].count[i]);
        if (rate(was, now, end, COUNT_SENT, &n))
                json_u64(j, "SentPerSecond", n);
        if (rate(was, now, end, COUNT_BYTES, &n))
                json_u64(j, "BytesPerSecond", n);
        json_end(j);
}

/* Those that are named, or all. */
static int select_pairs(struct uvctl *u, const struct rows *r, int argc, char **argv, struct pair **ret, size_t *ret_n) {
        struct pair *v = calloc(r->n_units + (size_t) argc + 1, sizeof(*v));
        size_t n = 0;
        int q = 0;

        if (!v)
                return fail_errno(u, -ENOMEM, "list channels");
        for (int i = 0; q == 0 && i < argc; i++)
                q = pair_find(u, r, argv[i], &v[n++]);
        for (size_t i = 0; argc == 0 && i < r->n_units; i++)
                n += pair_of(r, &r->units[i], &v[n]);
        if (q != 0) {
                free(v);
                return q;
        }
        *ret = v;
        *ret_n = n;
        return 0;
}

static int write_out(struct uvctl *u, const struct pair *v, const struct look *before, const struct look *l) {
        static const struct table_column columns[] = {
                { "CHANNEL", false }, { "END", false }, { "STATE", false }, { "EPOCH", true }, { "SENT", true }, { "BYTES", true }, { "RECEIVED", true },
                { "WAKEUPS", true }, { "REFUSED", true }, { "SENT/S", true }, { "BYTES/S", true },
        };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        struct table t;
        int q = 0;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        json_array(&j, NULL);
        for (size_t i = 0; i < l->n; i++)
                for (unsigned end = 0; end < 2; end++) {
                        const struct sample *was = find(before, l->v[i].id);

                        if (u->output != OUTPUT_JSON)
                                add_row(&t, &v[i], was, &l->v[i], end);
                        else if (l->v[i].known)
                                add_json(&j, &v[i], was, &l->v[i], end);
                }
        json_end(&j);
        if (u->output != OUTPUT_JSON)
                q = table_write(&t, u->legend, u->colour, 0, &b);
        table_done(&t);
        q = q < 0 ? fail_errno(u, q, "show the table") : put(u, u->output == OUTPUT_JSON ? &j.b : &b);
        ulv_strbuf_done(&j.b);
        return q == 0 && fflush(stdout) != 0 ? fail_errno(u, -errno, "write to standard output") : q;
}

/* One look, shown against the one before, which it replaces. */
static int look_once(struct uvctl *u, int argc, char **argv, struct look *before) {
        struct pair *pairs = NULL;
        struct look l = { 0 };
        struct rows r;
        int q = rows_get(u, ROWS_ALL, &r);

        if (q != 0)
                return q;
        q = select_pairs(u, &r, argc, argv, &pairs, &l.n);
        if (q == 0 && !(l.v = calloc(l.n + 1, sizeof(*l.v))))
                q = fail_errno(u, -ENOMEM, "ask for counters");
        for (size_t i = 0; q == 0 && i < l.n; i++) {
                (void) snprintf(l.v[i].id, sizeof(l.v[i].id), "%s", pair_row(&pairs[i])->id);
                l.v[i].known = pair_ask(u, &pairs[i], &l.v[i].s);
                l.v[i].at = now_usec();
        }
        if (q == 0)
                q = write_out(u, pairs, before, &l);
        free(before->v);
        *before = l;
        free(pairs);
        rows_done(&r);
        return q;
}

int channel_stat(struct uvctl *u, int argc, char **argv) {
        int64_t end = !given(u, OPT_WAIT) ? 0 : u->wait_usec == UINT64_MAX ? INT64_MAX : now_usec() + (int64_t) ULV_MIN(u->wait_usec, (uint64_t) INT64_MAX / 2), left;
        struct look before = { 0 };
        int r;

        r = look_once(u, argc, argv, &before);
        while (r == 0 && (left = end - now_usec()) > 0) {
                (void) poll(NULL, 0, (int) ULV_MIN(left / 1000 + 1, (int64_t) INTERVAL_MS));
                r = look_once(u, argc, argv, &before);
        }
        free(before.v);
        return r;
}
