/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/planner-internal.h"

/* What a definition says, and its drop-in of `uvctl set` says otherwise: the drop-in wins, so whoever edits the one and
 * applies it has to be told of the other, at each apply, as long as they differ. */

static void add_set(struct ulv_strbuf *b, const char *what, const char *is, const char *written) {
        ulv_strbuf_addf(b, "%s%s set to %s by " ULV_SET_DROP_IN ", %s without it", b->len > 0 ? "; " : "", what, is, written);
}

static void add_cpu(struct ulv_strbuf *b, const struct ulv_definition *is, const struct ulv_definition *written) {
        struct reason_text was = written->whole_cores ? ulv_reason_text("%u core%s", written->cores, written->cores == 1 ? "" : "s") :
                                 ulv_reason_text("%s share", SHARE(written->share));

        if (is->whole_cores && (!written->whole_cores || is->cores != written->cores))
                add_set(b, "cores", TEXT("%u", is->cores), was.s);
        if (!is->whole_cores && (written->whole_cores || is->share != written->share))
                add_set(b, "share", SHARE(is->share), was.s);
}

static void add_limits(struct ulv_strbuf *b, const struct ulv_definition *is, const struct ulv_definition *written) {
        STACK_TEXT(limits);

        ulv_plan_add_limit_difference(&limits, written, is);
        if (limits.len > 0)
                ulv_strbuf_addf(b, "%s%s by " ULV_SET_DROP_IN, b->len > 0 ? "; " : "", ulv_strbuf_str(&limits));
}

int ulv_plan_kept(struct planner *p, const struct ulv_definition *d) {
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *written = NULL;
        STACK_TEXT(text);
        int r = ulv_bundle_definition_as_written(p->b, d->name, &written);

        if (r != 0)
                return r < 0 ? r : 0;
        add_cpu(&text, d, written);
        if (d->memory != written->memory)
                add_set(&text, "memory", MEMORY(d->memory / ULV_MEMORY_UNIT), MEMORY(written->memory / ULV_MEMORY_UNIT));
        add_limits(&text, d, written);
        if (text.len > 0)
                ulv_plan_line(p, d->name, "kept", "", "%s (uvctl revert %s)", ulv_strbuf_str(&text), d->name);
        return 0;
}
