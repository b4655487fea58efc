/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The whole log as text, for people's eyes and for restore:
 *
 *   ultravisor-ledger 1 GENERATION
 *   row ...                         every row of the ledger, sorted
 *   row history SEQ - ...           every entry of history, oldest first, each followed by its texts:
 *   +operations / +undo / +after LINE
 *   end CRC32C                      of all bytes before this line, 8 hex digits
 *
 * The last line proves that the file is whole. */

#include "uvd/uvd.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/log.h"
#include "lib/crc32c.h"

#define MAGIC "ultravisor-ledger 1 "
#define HISTORY "row history "

int backup_write(const struct ulv_ledger *l, struct store *s, struct ulv_strbuf *b) {
        int r;

        ulv_strbuf_addf(b, MAGIC "%llu\n", (unsigned long long) ulv_ledger_generation(l));
        r = ulv_ledger_dump(l, NULL, b);
        if (r >= 0)
                r = store_dump_history(s, b);
        if (r < 0)
                return r;
        ulv_strbuf_addf(b, "end %08x\n", ulv_crc32c(ulv_strbuf_str(b), b->len));
        return ulv_strbuf_error(b);
}

static int bad(struct ulv_diag *reterr, const char *why) {
        ulv_diag_what(reterr, ULV_EXIT_USAGE, "not a whole backup of a ledger; nothing was changed");
        ulv_diag_why(reterr, "%s", why);
        ulv_diag_try(reterr, "another backup file");
        return 1;
}

int backup_parse(const char *buf, size_t len, struct backup *ret, struct ulv_diag *reterr) {
        const size_t end_len = sizeof("end 01234567\n") - 1, magic_len = sizeof(MAGIC) - 1;
        const char *rows, *history, *end;
        unsigned long long generation;
        char sum[16], *after;

        if (len < magic_len || memcmp(buf, MAGIC, magic_len) != 0)
                return bad(reterr, "it does not begin with \"" MAGIC "\"");
        if (len < magic_len + 2 + end_len || memchr(buf, 0, len))
                return bad(reterr, "it is too short, or holds binary data");
        end = buf + len - end_len;
        (void) snprintf(sum, sizeof(sum), "end %08x\n", ulv_crc32c(buf, (size_t) (end - buf)));
        if (end[-1] != '\n' || memcmp(end, sum, end_len) != 0)
                return bad(reterr, "its last line does not prove the rest: it was cut or changed");
        generation = strtoull(buf + magic_len, &after, 10);
        rows = memchr(buf, '\n', len);
        if (after != rows || !rows)
                return bad(reterr, "its first line names no generation");
        rows++;
        /* Rows come first; kinds are sorted, but "history" is none of the ledger's. */
        history = strncmp(rows, HISTORY, sizeof(HISTORY) - 1) == 0 ? rows : strstr(rows, "\n" HISTORY);
        if (!history || history > end)
                history = end;
        else if (history != rows)
                history++;
        *ret = (struct backup) { .generation = generation, .rows = rows, .rows_len = (size_t) (history - rows),
                                 .history = history, .history_len = (size_t) (end - history) };
        return 0;
}

static int find_live(const struct ulv_partition_info *p, void *userdata) {
        if (ulv_streq(p->role, "infrastructure") || !ulv_state_is_live(p->state))
                return 0;
        (void) snprintf(userdata, ULV_NAME_MAX + 1, "%s", p->name);
        return 1;
}

bool ledger_is_live(const struct ulv_ledger *l, char name[static ULV_NAME_MAX + 1]) {
        return ulv_ledger_each_partition(l, find_live, name) > 0;
}

static int refuse_live(const char *name, struct ulv_diag *reterr) {
        ulv_diag_what(reterr, ULV_EXIT_CONFLICT, "cannot restore while partitions run");
        ulv_diag_why(reterr, "%s is live, and a restored ledger would not know what it holds", name);
        ulv_diag_try(reterr, "uvctl stop --all, then again");
        return 1;
}

/* All of it in one commit. After an error of the store, memory and disk may differ: -EOWNERDEAD. */
static int replace(struct uvd *u, const struct backup *b) {
        int r = store_begin(u->store);

        if (r >= 0 && (r = store_replace(u->store, b->rows, b->rows_len)) >= 0 && (r = store_drop_history(u->store)) >= 0)
                r = store_load_history(u->store, b->history, b->history_len);
        if (r < 0) {
                store_rollback(u->store);
                return r;
        }
        return store_commit(u->store, u->history_keep) < 0 ? -EOWNERDEAD : 0;
}

int backup_restore(struct uvd *u, const char *buf, size_t len, struct ulv_diag *reterr) {
        ULV_CLEANUP(ulv_ledger_freep) struct ulv_ledger *l = NULL;
        _cleanup_strbuf_ struct ulv_strbuf discard = {};
        char name[ULV_NAME_MAX + 1];
        struct backup b;
        int r;

        if (ledger_is_live(u->ledger, name))
                return refuse_live(name, reterr);
        r = backup_parse(buf, len, &b, reterr);
        if (r != 0)
                return r;
        r = ulv_ledger_load(b.rows, b.rows_len, &l, reterr);
        if (r == 0)
                r = ulv_ledger_check(l, reterr);
        if (r != 0)
                return r;
        r = replace(u, &b);
        if (r == -EBADMSG)
                return bad(reterr, "an entry of its history cannot be read");
        if (r < 0)
                return r;
        ulv_ledger_free(u->ledger);
        u->ledger = ulv_steal(l);
        u->epoch++;             /* mirrors and views of before are of another ledger */
        r = ulv_ledger_drain_changes(u->ledger, &discard);
        /* What was live when the backup was made isn't now: its monitor finds that out and reports it. */
        guests_review_all(u);
        return r;
}
