/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uvctl/job.h"
#include "uvctl/text.h"

/* Cuts the next field off *s at a tab; "" when there is none left. */
static const char *field(char **s) {
        char *start = *s, *tab;

        if (!start)
                return "";
        tab = strchr(start, '\t');
        if (tab)
                *tab++ = 0;
        *s = tab;
        return start;
}

/* Cuts the next line off *s; NULL at the end. */
static char *line(char **s) {
        char *start = *s, *end;

        if (!start || !*start)
                return NULL;
        end = strchr(start, '\n');
        if (end)
                *end++ = 0;
        *s = end;
        return start;
}

int plan_parse(const char *text, struct plan *ret) {
        struct plan p = { .summary = "", .explanation = "" };
        size_t most = 1;
        char *rest, *l;

        for (const char *s = text; (s = strchr(s, '\n')); s++)
                most++;
        p.text = strdup(text);
        p.lines = calloc(most, sizeof(*p.lines));
        if (!p.text || !p.lines) {
                plan_done(&p);
                return -ENOMEM;
        }
        rest = p.text;
        while ((l = line(&rest)) && *l) {
                struct plan_line *pl = &p.lines[p.n_lines++];

                pl->name = field(&l);
                pl->action = field(&l);
                pl->text = field(&l);
                pl->note = field(&l);
        }
        l = line(&rest);
        if (l)
                p.summary = l;
        if (rest)
                p.explanation = rest;
        *ret = p;
        return 0;
}

void plan_done(struct plan *p) {
        free(p->text);
        free(p->lines);
        free(p->transaction);
        *p = (struct plan) { .summary = "", .explanation = "" };
}

static void add_safe_line(struct ulv_strbuf *b, const char *s) {
        text_safe(b, s, strlen(s), true);
        if (*s && s[strlen(s) - 1] != '\n')
                ulv_strbuf_addc(b, '\n');
}

int plan_show(struct uvctl *u, const struct plan *p) {
        static const struct table_column columns[] = { { "", false }, { "", false }, { "", false }, { "", false } };
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct table t;
        int r;

        table_init(&t, columns, ULV_ARRAY_SIZE(columns));
        for (size_t i = 0; i < p->n_lines; i++) {
                table_add(&t, p->lines[i].name);
                table_add(&t, p->lines[i].action);
                table_add(&t, p->lines[i].text);
                table_add(&t, p->lines[i].note);
                table_colour(&t, COLOUR_DIM);
        }
        r = table_write(&t, false, u->colour, 0, &b);
        table_done(&t);
        if (r < 0)
                return fail_errno(u, r, "show the plan");
        if (*p->summary)
                add_safe_line(&b, p->summary);
        if (*p->explanation)
                add_safe_line(&b, p->explanation);
        return put(u, &b);
}
