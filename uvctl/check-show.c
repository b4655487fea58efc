/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What check found, for people, programs and monitoring systems. */

#include "uvctl/check.h"

#include <stdio.h>

/* The words are a promise to scripts. why: of every finding of this kind; try: of those that say no other. */
static const struct { const char *word; bool critical; const char *why, *try_; } kinds[] = {
        [CHECK_PROCESS] = { "process", true, "it ended, and its monitor hasn't said so", "uvctl logs %s; uvctl restart %s" },
        [CHECK_CGROUP] = { "cgroup", true, "somebody moved it: the limits of its partition don't hold it", "uvctl restart %s" },
        [CHECK_MONITOR] = { "monitor", true, "the partition runs, but nobody would see it end, or change what it has", "uvctl status %s; ps -C uv-monitor-lxc -C uv-monitor-sim" },
        [CHECK_LIMIT] = { "limit", false, "somebody wrote the file, or set a property of the unit", "uvctl check --repair %s" },
        [CHECK_AFFINITY] = { "affinity", false, "somebody changed it (taskset), or the process did, where there is no cpuset", "uvctl check --repair %s" },
        [CHECK_TASK] = { "task", false, "somebody put it there (taskset, CPUAffinity=): the core isn't the partition's alone", "uvctl check --repair %s" },
        [CHECK_INTERRUPT] = { "interrupt", false, "somebody moved it there (smp_affinity, irqbalance)", "uvctl check --repair %s" },
        [CHECK_GUEST] = { "guest", false, "its own checks say so (SELFTEST of uv-call(7))", "uvctl exec %s -- uvguest selftest" },
        [CHECK_UNIT] = { "unit", true, "systemd and the ledger know different things", "" },
        [CHECK_NETNS] = { "netns", true, "it could reach what the other is connected to", "uvctl restart %s" },
        [CHECK_NETWORK] = { "network", true, "somebody changed it, or the definition was since the partition was started", "uvctl restart %s" },
        [CHECK_MOUNT] = { "mount", false, "somebody mounted, unmounted or removed it since the partition was started", "uvctl restart %s" },
        [CHECK_STRAY] = { "stray", true, "nobody answers for what it uses: no row of the ledger counts it", "" },
        [CHECK_LEFTOVER] = { "leftover", false, "somebody made it, or a monitor was killed before it could remove it", "uvctl check --repair" },
        [CHECK_INTERFACE] = { "interface", false, "somebody made it, or somebody else holds its network namespace", "" },
        [CHECK_UIDS] = { "uids", true, "the next partition with this range would share them", "" },
};

const char *check_word(enum check_kind kind) { return kinds[kind].word; }

static void hint(const struct finding *f, char *ret, size_t size) {
        const char *from = f->try_[0] ? f->try_ : kinds[f->kind].try_;
        size_t n = 0;

        ret[0] = 0;
        while (*from && n + 1 < size)
                if (!f->try_[0] && from[0] == '%' && from[1] == 's') {
                        n += (size_t) snprintf(ret + n, size - n, "%s", f->name);
                        n = ULV_MIN(n, size - 1);
                        from += 2;
                } else {
                        ret[n++] = *from++;
                        ret[n] = 0;
                }
}

static const char *outcome(const struct finding *f) {
        return f->outcome == MENDED ? "mended" : f->outcome == WOULD ? "would" : f->outcome == REFUSED ? "refused" : f->mend == MEND_NOT ? "not" : "left";
}

static void add_json(struct json *j, const struct finding *f, bool repair) {
        char text[256];

        hint(f, text, sizeof(text));
        json_object(j, NULL);
        json_string(j, "Name", f->name);
        json_string(j, "Kind", kinds[f->kind].word);
        json_string(j, "Object", f->object);
        json_string(j, "Difference", f->text);
        json_string(j, "Why", kinds[f->kind].why);
        json_string(j, "Try", text);
        if (repair) {
                json_string(j, "Repair", outcome(f));
                json_string(j, "RepairText", f->outcome == REFUSED ? f->refusal : check_mend_text(f));
        }
        json_end(j);
}

static void add_text(struct ulv_strbuf *b, const struct finding *f, bool repair) {
        char text[256];

        hint(f, text, sizeof(text));
        ulv_strbuf_addf(b, "%s  %s  %s\n", f->name, kinds[f->kind].word, f->text);
        if (f->outcome == MENDED) {
                ulv_strbuf_addf(b, "    mended: %s\n", check_mend_text(f));
                return;
        }
        ulv_strbuf_addf(b, "    why: %s\n", kinds[f->kind].why);
        if (f->outcome == WOULD)
                ulv_strbuf_addf(b, "    would: %s\n", check_mend_text(f));
        else if (f->outcome == REFUSED)
                ulv_strbuf_addf(b, "    refused: %s\n", f->refusal);
        else if (repair)
                ulv_strbuf_addf(b, "    left: %s\n", f->mend == MEND_NOT ? check_mend_text(f) : "it is there again");
        if (text[0])
                ulv_strbuf_addf(b, "    try: %s\n", text);
}

static void add_sum(struct ulv_strbuf *b, const struct check *c, size_t mended) {
        ulv_strbuf_addf(b, "%zu difference%s; %u partition%s and %u limit%s compared\n", c->n_found, c->n_found == 1 ? "" : "s", c->partitions,
                        c->partitions == 1 ? "" : "s", c->limits, c->limits == 1 ? "" : "s");
        if (mended > 0)
                ulv_strbuf_addf(b, "%zu mended\n", mended);
        if (c->unsettled > 0)
                ulv_strbuf_addf(b, "%u changed all the time, and %s compared\n", c->unsettled, c->unsettled == 1 ? "isn't" : "aren't");
        if (c->weaker[0])
                ulv_strbuf_addf(b, "missing on this machine: %s\n", c->weaker);
        if (c->skipped[0])
                ulv_strbuf_addf(b, "not compared, for only root may see it: %s\n", c->skipped);
}

int check_show(struct check *c) {
        bool repair = given(c->u, OPT_REPAIR);
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct json j = { 0 };
        size_t mended = 0;
        int r;

        json_array(&j, NULL);
        for (size_t i = 0; i < c->n_found; i++) {
                add_json(&j, &c->found[i], repair);
                add_text(&b, &c->found[i], repair);
                mended += c->found[i].outcome == MENDED;
        }
        json_end(&j);
        if (c->u->legend && !c->u->quiet)
                add_sum(&b, c, mended);
        r = put(c->u, c->u->output == OUTPUT_JSON ? &j.b : &b);
        ulv_strbuf_done(&j.b);
        return r;
}

/* One line, and the exit status, of the plugin interface that Nagios and its relatives have. */
int check_nagios(struct check *c, int r) {
        static const char *const words[] = { "OK", "WARNING", "CRITICAL", "UNKNOWN" };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        size_t left = 0;
        int state = 0;

        for (size_t i = 0; i < c->n_found; i++)
                if (c->found[i].outcome != MENDED) {
                        left++;
                        state = ULV_MAX(state, kinds[c->found[i].kind].critical ? 2 : 1);
                }
        if (r != 0)
                state = 3;
        ulv_strbuf_addf(&b, "ULTRAVISOR %s - ", words[state]);
        if (r != 0)
                ulv_strbuf_addf(&b, "%s%s%s", c->u->diag.what[0] ? c->u->diag.what : "it isn't known why", c->u->diag.why[0] ? ": " : "", c->u->diag.why);
        else {
                ulv_strbuf_addf(&b, "%u partition%s, %zu difference%s", c->partitions, c->partitions == 1 ? "" : "s", left, left == 1 ? "" : "s");
                for (size_t i = 0; i < c->n_found; i++)
                        if (c->found[i].outcome != MENDED && (state == 1 || kinds[c->found[i].kind].critical)) {
                                ulv_strbuf_addf(&b, ": %s %s", c->found[i].name, c->found[i].text);
                                break;
                        }
        }
        for (char *s = b.s; s && *s; s++)
                if (*s == '|' || (unsigned char) *s < 0x20)
                        *s = '/';
        if (r == 0)
                ulv_strbuf_addf(&b, " | partitions=%u drift=%zu limits=%u unsettled=%u", c->partitions, left, c->limits, c->unsettled);
        ulv_strbuf_addc(&b, '\n');
        c->u->diag = (struct ulv_diag) { 0 };
        return put(c->u, &b) != 0 ? 3 : state;
}
