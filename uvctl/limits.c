/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* [Limits] of a partition, shown: the planner gives them as "ID WANTED REACHED HOW" of each, in one word list. */

#include <inttypes.h>
#include <stdio.h>

#include "uvctl/part.h"
#include "uvctl/text.h"

static bool next_word(const char **at, char *word, size_t size) {
        size_t n = strcspn(*at, " ");

        if (n == 0 || n >= size)
                return false;
        memcpy(word, *at, n);
        word[n] = 0;
        *at += n + ((*at)[n] == ' ');
        return true;
}

bool part_next_limit(const char **at, struct part_limit *ret) {
        char id[sizeof(struct ulv_limit_id)], wanted[24], reached[24];

        if (!next_word(at, id, sizeof(id)) || !next_word(at, wanted, sizeof(wanted)) || !next_word(at, reached, sizeof(reached)) ||
            !next_word(at, ret->how, sizeof(ret->how)) || ulv_limit_from_id(id, &ret->limit) < 0)
                return false;
        ret->limit.amount = strtoull(wanted, NULL, 10);
        ret->reached = strtoull(reached, NULL, 10);
        return true;
}

void limits_json(struct json *j, const char *key, const char *list) {
        struct part_limit l;

        json_array(j, key);
        while (part_next_limit(&list, &l)) {
                json_object(j, NULL);
                json_string(j, "Limit", ulv_limit_word(l.limit.what));
                json_string(j, "Path", l.limit.path);
                json_u64(j, "Wanted", l.limit.amount);
                json_u64(j, "Reached", l.reached);
                json_string(j, "How", l.how);
                json_end(j);
        }
        json_end(j);
}

/* What the `how` of a limit means to a person. */
static const char *words(const struct part_limit *l) {
        bool tasks = l->limit.what == ULV_LIMIT_TASKS;

        if (ulv_streq(l->how, "limit"))
                return tasks ? "pids.max" : "io.max";
        if (ulv_streq(l->how, "tracked"))
                return tasks ? "nothing, tracked only (no pids controller)" : "nothing, tracked only (no io controller)";
        if (ulv_streq(l->how, "nodevice"))
                return "nothing: there is no such disk now";
        return ulv_streq(l->how, "-") ? "nothing yet" : l->how;
}

void limits_lines(struct ulv_strbuf *b, const struct part *p, void (*label)(struct ulv_strbuf *b, const char *label),
                  void (*enforced)(struct ulv_strbuf *b, size_t line, const char *how)) {
        static const char *const labels[] = { "Tasks", "IO read", "IO write", "IOPS read", "IOPS write" };
        const char *list = row_str(&p->op, "limits");
        struct part_limit l;

        while (part_next_limit(&list, &l)) {
                size_t line = b->len;

                label(b, labels[l.limit.what]);
                ulv_limit_add_amount(b, l.limit.what, l.reached);
                ulv_strbuf_add(b, " of ");
                ulv_limit_add_amount(b, l.limit.what, l.limit.amount);
                if (l.limit.path[0])
                        ulv_strbuf_add(b, " on ");
                text_safe(b, l.limit.path, strlen(l.limit.path), false);
                enforced(b, line, words(&l));
        }
}
