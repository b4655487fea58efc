/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Users of the container's root. The C library's getpwnam() would load name service modules out of a root
 * that isn't ours, and a static program can't; so the two files are read here, inside the container, where
 * a symbolic link or a FIFO in their place harms nobody but its maker. */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugins/lxc/init/uv-init.h"

#define FILE_MAX (1024 * 1024)

/* Reads a regular file of at most FILE_MAX bytes, NUL-terminated; NULL with errno if it can't be. */
static char *read_whole(const char *path) {
        struct stat st;
        char *buf = NULL;
        size_t len = 0;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

        if (fd < 0)
                return NULL;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
                errno = EBADF;
        else if ((buf = malloc((size_t) st.st_size + 1))) {
                ssize_t n;
                while (len < (size_t) st.st_size && (n = read(fd, buf + len, (size_t) st.st_size - len)) > 0)
                        len += (size_t) n;
                buf[len] = 0;
        }
        int saved = errno;
        (void) close(fd);
        errno = saved;
        return buf;
}

/* Splits a line at its colons, in place. Returns the number of fields; what is over max stays in the last. */
static unsigned split(char *line, char **fields, unsigned max) {
        unsigned n = 0;

        while (n < max) {
                fields[n++] = line;
                char *colon = n < max ? strchr(line, ':') : NULL;
                if (!colon)
                        break;
                *colon = 0;
                line = colon + 1;
        }
        return n;
}

/* Digits only: "+0", " 0" and "" are names to this, and no such name can be (CVE-2026-30892's lesson). */
static bool parse_id(const char *s, unsigned *ret) {
        unsigned v = 0;

        if (!*s)
                return false;
        for (; *s; s++) {
                if (!isdigit((unsigned char) *s))
                        return false;
                v = v * 10 + (unsigned) (*s - '0');
                if (v > INIT_ID_MAX)
                        return false;
        }
        *ret = v;
        return true;
}

static bool valid_name(const char *s) {
        size_t n = strlen(s);

        if (n == 0 || n >= sizeof(((struct identity *) 0)->name))
                return false;
        if (!isalpha((unsigned char) *s) && *s != '_')
                return false;
        for (; *s; s++)
                if (!isalnum((unsigned char) *s) && !strchr("_.-", *s))
                        return false;
        return true;
}

/* Fills id from the first line of a passwd text that has this name, or this uid if name is NULL. The text
 * is taken apart. true: found. */
static bool find_user_in(char *text, const char *name, unsigned uid, struct identity *id) {
        char *line;

        while ((line = strsep(&text, "\n"))) {
                char *f[7];
                unsigned u, g;
                if (split(line, f, 7) != 7 || !parse_id(f[2], &u) || !parse_id(f[3], &g))
                        continue;
                if (name ? strcmp(f[0], name) != 0 : u != uid)
                        continue;
                *id = (struct identity) { .uid = u, .gid = g };
                snprintf(id->name, sizeof(id->name), "%s", f[0]);
                snprintf(id->home, sizeof(id->home), "%s", *f[5] ? f[5] : "/");
                snprintf(id->shell, sizeof(id->shell), "%s", *f[6] ? f[6] : "/bin/sh");
                return true;
        }
        return false;
}

static int find_user(const char *name, unsigned uid, struct identity *id) {
        char *text = read_whole("/etc/passwd");

        if (!text)
                return errno == ENOENT ? ESRCH : errno;
        bool found = find_user_in(text, name, uid, id);
        free(text);
        return found ? 0 : ESRCH;
}

static bool is_member(char *members, const char *name) {
        char *m;

        while ((m = strsep(&members, ",")))
                if (strcmp(m, name) == 0)
                        return true;
        return false;
}

/* The groups of a group text that list this user. */
static void find_groups_in(char *text, struct identity *id) {
        char *line;

        while (id->n_groups < INIT_GROUPS_MAX && (line = strsep(&text, "\n"))) {
                char *f[4];
                unsigned g;
                if (split(line, f, 4) == 4 && parse_id(f[2], &g) && g != id->gid && is_member(f[3], id->name))
                        id->groups[id->n_groups++] = g;
        }
}

/* No /etc/group: no such groups. */
static void find_groups(struct identity *id) {
        char *text = read_whole("/etc/group");

        if (text)
                find_groups_in(text, id);
        free(text);
}

/* "UID" or "UID:GID". */
static bool parse_numeric(const char *user, unsigned *ret_uid, unsigned *ret_gid, bool *ret_has_gid) {
        char copy[32], *gid;

        if (snprintf(copy, sizeof(copy), "%s", user) >= (int) sizeof(copy))
                return false;
        gid = strchr(copy, ':');
        if (gid)
                *gid++ = 0;
        *ret_has_gid = gid != NULL;
        return parse_id(copy, ret_uid) && (!gid || parse_id(gid, ret_gid));
}

/* A uid that isn't in the file is allowed: images for one service often lack it. */
static int find_numeric(const char *user, struct identity *id) {
        unsigned u, g = 0;
        bool has_gid;

        if (!parse_numeric(user, &u, &g, &has_gid))
                return ESRCH;
        if (find_user(NULL, u, id) != 0) {
                *id = (struct identity) { .uid = u, .gid = u, .home = "/", .shell = "/bin/sh" };
                snprintf(id->name, sizeof(id->name), "%u", u);
        }
        if (has_gid)
                id->gid = g;
        return 0;
}

int identity_find(const char *user, struct identity *ret) {
        struct identity id = { 0 };
        int r;

        if (!*user)
                user = "0";
        if (isdigit((unsigned char) *user))
                r = find_numeric(user, &id);
        else
                r = valid_name(user) ? find_user(user, 0, &id) : ESRCH;
        if (r != 0)
                return r;
        find_groups(&id);
        *ret = id;
        return 0;
}
