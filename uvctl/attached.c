/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mounts and devices of a partition, shown: the planner gives them as "mount:LABEL WANTED REACHED HOW" of each. */

#include <stdio.h>

#include "model/attachment.h"
#include "uvctl/part.h"
#include "uvctl/text.h"

struct attached { char what[ULV_ATTACHMENT_ID_MAX + 16], how[24]; unsigned wanted, reached; };

static bool next(const char **at, struct attached *ret) {
        int n = 0;

        if (sscanf(*at, "%143s %u %u %23s%n", ret->what, &ret->wanted, &ret->reached, ret->how, &n) != 4)
                return false;
        *at += n;
        return true;
}

static const char *name_of(const struct attached *a) {
        const char *colon = strchr(a->what, ':');

        return colon ? colon + 1 : a->what;
}

void attached_json(struct json *j, const char *key, const char *list) {
        struct attached a;

        json_array(j, key);
        while (next(&list, &a)) {
                json_object(j, NULL);
                json_string(j, "Kind", ulv_startswith(a.what, "mount:") ? "mount" : ulv_startswith(a.what, "disk:") ? "disk" : "device");
                json_string(j, "Name", name_of(&a));
                json_u64(j, "Wanted", a.wanted);
                json_u64(j, "Reached", a.reached);
                json_string(j, "How", a.how);
                json_end(j);
        }
        json_end(j);
}

/* "mount:LABEL", "device:NODE", "disk:LABEL" or "disk:PATH" */
static const struct ulv_attachment *find(const struct ulv_definition *d, const struct attached *a) {
        size_t n = strcspn(a->what, ":");

        for (size_t i = 0; d && i < d->n_attachments; i++) {
                const struct ulv_attachment *x = &d->attachments[i];

                if (strncmp(ulv_attachment_kind(x), a->what, n) == 0 && ulv_streq(ulv_attachment_name(x), name_of(a)))
                        return x;
        }
        return NULL;
}

static const char *words(const struct attached *a) {
        if (a->wanted > a->reached)
                return "not attached yet";
        if (a->wanted < a->reached)
                return "on its way out";
        return ulv_streq(a->how, "ro") ? "read-only" : ulv_streq(a->how, "rw") ? "read and write" :
               ulv_streq(a->how, "unfiltered") ? "its node only: no device filter here keeps other devices away" : a->how;
}

void attached_lines(struct ulv_strbuf *b, const struct part *p, const struct ulv_definition *d, void (*label)(struct ulv_strbuf *b, const char *label)) {
        const char *list = row_str(&p->op, "attached");
        struct attached a;

        while (next(&list, &a)) {
                const struct ulv_attachment *x = find(d, &a);
                const char *name = x ? x->label : name_of(&a);

                label(b, ulv_startswith(a.what, "mount:") ? "Mount" : ulv_startswith(a.what, "disk:") ? "Disk" : "Device");
                ulv_strbuf_addf(b, "%u of %u   ", a.reached, a.wanted);
                text_safe(b, name, strlen(name), false);
                if (x) {
                        ulv_strbuf_add(b, "  ");
                        text_safe(b, x->source, strlen(x->source), false);
                }
                if (x && x->target) {
                        ulv_strbuf_add(b, " on ");
                        text_safe(b, x->target, strlen(x->target), false);
                }
                ulv_strbuf_addf(b, ", %s\n", words(&a));
        }
}
