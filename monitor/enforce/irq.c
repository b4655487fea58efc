/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Interrupts stay off cores that are somebody's own.
 *
 * Where each interrupt might go before we first moved it is noted in a file below /run, before it is moved: when the
 * cores are the host's again it may go there again, whichever monitor is left to see to it. The caller holds the
 * slice's lock. Some interrupts can't be moved (the kernel binds a queue of a disk to each CPU): that is said, by
 * number. What somebody else moved meanwhile to where it may be is left there. */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "lib/protocol.h"
#include "model/op.h"
#include "monitor/enforce/enforce.h"

#define IRQS "/proc/irq"
#define NOTE "/" ULV_RUN "/interrupts"  /* lines: NUMBER CPUS, and " fixed" behind one that can't be moved: for `uvctl check` */
#define NOTE_MAX (1024u * 1024)
#define LIST_MAX 4096

struct fitting {
        struct ulv_cpus taken, left;    /* cores that are somebody's own; online CPUs that aren't */
        const char *noted;              /* the file as it was */
        struct ulv_strbuf keep;         /* as it is to be */
        struct ulv_strbuf marked;       /* keep, with the words about what is stuck */
        struct ulv_strbuf moves;        /* lines: NUMBER CPUS */
        struct ulv_strbuf stuck;        /* lines: NUMBER 0 */
};

static bool meets(const struct ulv_cpus *a, const struct ulv_cpus *b) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(a->bits); i++)
                if (a->bits[i] & b->bits[i])
                        return true;
        return false;
}

static struct ulv_cpus without(const struct ulv_cpus *a, const struct ulv_cpus *b) {
        struct ulv_cpus r;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(r.bits); i++)
                r.bits[i] = a->bits[i] & ~b->bits[i];
        return r;
}

static int read_list(int dir, const char *file, struct ulv_cpus *ret) {
        char text[LIST_MAX];
        int r = ulv_cgroup_read(dir, file, text, sizeof(text));

        return r < 0 ? r : ulv_cpus_parse(text, ret);
}

static void add_line(struct ulv_strbuf *b, unsigned n, const struct ulv_cpus *cpus) {
        ulv_strbuf_addf(b, "%u ", n);
        ulv_cpus_format(b, cpus);
        ulv_strbuf_addc(b, '\n');
}

/* The line of that number in text; NULL: none. */
static const char *find_line(const char *text, unsigned n, struct ulv_cpus *ret) {
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                char list[LIST_MAX];
                unsigned number;

                if (sscanf(line, "%u %4095s", &number, list) == 2 && number == n)
                        return ulv_cpus_parse(list, ret) < 0 ? NULL : line;
        }
        return NULL;
}

/* Where may it go now, what is to be remembered? */
static void look(struct fitting *f, unsigned n, const struct ulv_cpus *now) {
        struct ulv_cpus before = *now, want;
        bool noted = find_line(f->noted, n, &before) != NULL;

        if (!noted && !meets(now, &f->taken))
                return;
        want = without(&before, &f->taken);
        if (ulv_cpus_count(&want) == 0)
                want = f->left;
        if (meets(&before, &f->taken)) {
                add_line(&f->keep, n, &before);
                if (noted && !meets(now, &f->taken))
                        return;
        }
        if (memcmp(&want, now, sizeof(want)) != 0)
                add_line(&f->moves, n, &want);
}

static int look_at_all(struct fitting *f) {
        DIR *d = opendir(IRQS);
        struct dirent *e;

        if (!d)
                return -errno;
        while ((e = readdir(d))) {
                char file[64];
                struct ulv_cpus now;

                (void) snprintf(file, sizeof(file), "%.20s/smp_affinity_list", e->d_name);
                if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && read_list(dirfd(d), file, &now) == 0)
                        look(f, (unsigned) strtoul(e->d_name, NULL, 10), &now);
        }
        (void) closedir(d);
        return ulv_strbuf_error(&f->keep) < 0 ? ulv_strbuf_error(&f->keep) : ulv_strbuf_error(&f->moves);
}

static int write_note(const struct ulv_strbuf *b) {
        _cleanup_close_ int fd = -1;

        if (b->len == 0)
                return unlink(NOTE) < 0 && errno != ENOENT ? -errno : 0;
        fd = open(NOTE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;
        int r = ulv_write_all(fd, ulv_strbuf_str(b), b->len);
        return r < 0 ? r : rename(NOTE ".new", NOTE) < 0 ? -errno : 0;
}

static int move_line(const char *line, size_t len, void *userdata) {
        struct fitting *f = userdata;
        char file[64], list[LIST_MAX], text[LIST_MAX];
        unsigned n;

        (void) snprintf(text, sizeof(text), "%.*s", (int) len, line);
        if (sscanf(text, "%u %4095s", &n, list) != 2)
                return 0;
        (void) snprintf(file, sizeof(file), IRQS "/%u/smp_affinity_list", n);
        if (ulv_cgroup_write(AT_FDCWD, file, list) < 0)
                ulv_strbuf_addf(&f->stuck, "%u 0\n", n);
        return 0;
}

static int mark_line(const char *line, size_t len, void *userdata) {
        struct fitting *f = userdata;
        struct ulv_cpus none;

        ulv_strbuf_add_len(&f->marked, line, len);
        ulv_strbuf_add(&f->marked, find_line(ulv_strbuf_str(&f->stuck), (unsigned) strtoul(line, NULL, 10), &none) ? " fixed\n" : "\n");
        return 0;
}

static void say_stuck(const struct fitting *f) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

        for (const char *s = ulv_strbuf_str(&f->stuck); *s; s += strcspn(s, "\n") + 1)
                ulv_strbuf_addf(&b, " %.*s", (int) strcspn(s, " "), s);
        if (b.len > 0)
                ulv_log(ULV_LOG_NOTICE, "interrupts that the kernel doesn't let anybody move from cores of partitions:%s", ulv_strbuf_str(&b));
}

/* In memory that only the call has: a monitor lives long, and does this seldom. */
void ulv_irq_fit(const struct ulv_cpus *taken) {
        _cleanup_free_ char *noted = NULL;
        struct fitting f = { .taken = *taken };
        struct ulv_cpus online;
        size_t len;
        int r;

        if (ulv_read_file_at(AT_FDCWD, NOTE, NOTE_MAX, &noted, &len) < 0 && ulv_cpus_count(taken) == 0)
                return;
        f.noted = noted ? noted : "";
        r = read_list(AT_FDCWD, "/sys/devices/system/cpu/online", &online);
        if (r == 0) {
                f.left = without(&online, taken);
                r = look_at_all(&f);
        }
        /* Remembered first, and forgotten last. */
        if (r == 0 && f.moves.len > 0 && ulv_cpus_count(taken) > 0)
                r = write_note(&f.keep);
        if (r == 0)
                (void) ulv_op_each_line(ulv_strbuf_str(&f.moves), f.moves.len, move_line, &f);
        if (r == 0)
                r = ulv_op_each_line(ulv_strbuf_str(&f.keep), f.keep.len, mark_line, &f);
        if (r == 0)
                r = ulv_strbuf_error(&f.marked) < 0 ? ulv_strbuf_error(&f.marked) : write_note(&f.marked);
        if (r < 0)
                ulv_log_errno(r, "interrupts can't be kept off the cores of partitions");
        say_stuck(&f);
        ulv_strbuf_done(&f.keep);
        ulv_strbuf_done(&f.marked);
        ulv_strbuf_done(&f.moves);
        ulv_strbuf_done(&f.stuck);
}
