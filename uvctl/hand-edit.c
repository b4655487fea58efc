/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two slips of who edits files by hand: the file is written and apply forgotten, so that the partition is
 * said not to be there; and a value is edited that `uvctl set` or `move` has written into 50-set.conf, which
 * wins, so that apply has nothing to do. Both are told. Of the second only where the definition is the younger
 * of the two files: else the drop-in is simply what was wanted last. */

#include <sys/stat.h>

#include "lib/ini.h"
#include "uvctl/files.h"
#include "uvctl/text.h"

/* Of several names on a command line, the one that the refusal is about. */
static bool ends_with_name(const char *what, const char *name) {
        const char *last = strrchr(what, ' ');

        return last && ulv_streq(last + 1, name);
}

void tell_unapplied(struct uvctl *u, const char *name) {
        _cleanup_free_ char *base = files_configuration(u);
        char path[600];

        if (u->diag.code != ULV_EXIT_NOT_FOUND || !base || !ulv_name_is_valid(name) || !ends_with_name(u->diag.what, name))
                return;
        if (snprintf(path, sizeof(path), "%s/partitions/%s.partition", base, name) >= (int) sizeof(path) || access(path, F_OK) < 0)
                return;
        ulv_diag_why(&u->diag, "its file is there (partitions/%s.partition), but counts only once it is applied", name);
        ulv_diag_try(&u->diag, "uvctl apply, then again");
}

/* What set writes: [section] key, and the word that set has for it. */
static const struct settable { const char *section, *key, *word; } settable[] = {
        { "CPU", "Cores", "cores" }, { "CPU", "Share", "share" }, { "Memory", "Size", "memory" },
        { "Limits", "Tasks", "tasks" },
};
#define SETTABLE ULV_ARRAY_SIZE(settable)

struct values { struct { char text[48]; unsigned line; } v[SETTABLE]; };

static int take(const struct ulv_ini_item *item, void *userdata, struct ulv_diag *reterr ULV_UNUSED) {
        struct values *values = userdata;

        for (size_t i = 0; i < SETTABLE && item->type == ULV_INI_KEY; i++)
                if (ulv_streq(item->section, settable[i].section) && ulv_streq(item->key, settable[i].key)) {
                        (void) snprintf(values->v[i].text, sizeof(values->v[i].text), "%s", item->value);
                        values->v[i].line = item->line;
                }
        return 0;
}

static bool is_younger(const struct file_set *f, const char *path, const char *other) {
        char a[800], b[800];
        struct stat x, y;

        (void) snprintf(a, sizeof(a), "%s%s", f->base, f->directory ? path : strchr(path, '/') + 1);
        (void) snprintf(b, sizeof(b), "%s%s", f->base, f->directory ? other : strchr(other, '/') + 1);
        if (stat(a, &x) < 0 || stat(b, &y) < 0)
                return false;
        return x.st_mtim.tv_sec != y.st_mtim.tv_sec ? x.st_mtim.tv_sec > y.st_mtim.tv_sec : x.st_mtim.tv_nsec > y.st_mtim.tv_nsec;
}

static void tell_pair(const struct ulv_source *file, const struct ulv_source *set, const char *name) {
        struct values written = { 0 }, wins = { 0 };
        struct ulv_diag d = { 0 };

        if (ulv_ini_scan(file->file, file->buf, file->len, NULL, take, &written, &d) != 0 ||
            ulv_ini_scan(set->file, set->buf, set->len, NULL, take, &wins, &d) != 0)
                return;
        for (size_t i = 0; i < SETTABLE; i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

                if (!written.v[i].line || !wins.v[i].line || ulv_streq(written.v[i].text, wins.v[i].text))
                        continue;
                ulv_strbuf_addf(&b, "%s: %s=%s (%s.partition:%u) doesn't count: 50-set.conf:%u of `uvctl set` says %s", name, settable[i].key,
                                written.v[i].text, name, written.v[i].line, wins.v[i].line, wins.v[i].text);
                fprintf(stderr, "%s\ntry: uvctl set %s %s=%s\n", ulv_strbuf_str(&b), name, settable[i].word, written.v[i].text);
        }
}

void tell_set_wins(const struct uvctl *u, const struct file_set *f, bool always) {
        for (size_t i = 0; i < f->n && !u->quiet; i++) {
                char name[ULV_NAME_MAX + 1], path[ULV_NAME_MAX + 64];

                if (sscanf(f->v[i].file, "partitions/%63[a-z0-9-].partition", name) != 1 || strchr(f->v[i].file, '.') != strrchr(f->v[i].file, '.'))
                        continue;
                (void) snprintf(path, sizeof(path), "partitions/%s.partition.d/50-set.conf", name);
                for (size_t k = 0; k < f->n; k++)
                        if (ulv_streq(f->v[k].file, path) && (always || is_younger(f, f->v[i].file, path)))
                                tell_pair(&f->v[i], &f->v[k], name);
        }
}
