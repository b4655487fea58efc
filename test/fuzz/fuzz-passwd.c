/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A partition's /etc/passwd, /etc/group and the user that `uvctl exec` names, as uv-init reads them. Input:
 * the user's name up to the first NUL, then the file. No line, however made, gives an id outside the
 * partition's range, a name that isn't the one asked for, or a text without an end. */

#include <stdint.h>
#include <stdlib.h>

#include "plugins/lxc/init/identity.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) do { if (!(x)) abort(); } while (0)

static char *copy_of(const uint8_t *data, size_t size) {
        char *s = malloc(size + 1);

        MUST(s);
        memcpy(s, data, size);
        s[size] = 0;
        return s;
}

static void check(const struct identity *id) {
        MUST(id->uid <= INIT_ID_MAX && id->gid <= INIT_ID_MAX);
        MUST(id->n_groups >= 0 && id->n_groups <= INIT_GROUPS_MAX);
        for (int i = 0; i < id->n_groups; i++)
                MUST(id->groups[i] <= INIT_ID_MAX);
        MUST(memchr(id->name, 0, sizeof(id->name)) && memchr(id->home, 0, sizeof(id->home)) && memchr(id->shell, 0, sizeof(id->shell)));
        MUST(id->home[0] && id->shell[0]);
}

static void look_up(const char *user, const uint8_t *file, size_t size) {
        struct identity id = { 0 };
        char *text = copy_of(file, size);

        if (valid_name(user) && find_user_in(text, user, 0, &id)) {
                char *again = copy_of(file, size);
                MUST(strcmp(id.name, user) == 0);
                find_groups_in(again, &id);
                check(&id);
                free(again);
        }
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const uint8_t *end = size > 0 && size < 65536 ? memchr(data, 0, size) : NULL;
        unsigned uid = 0, gid = 0;
        bool has_gid;

        if (!end)
                return 0;
        const char *user = (const char *) data;
        look_up(user, end + 1, size - (size_t) (end + 1 - data));
        if (parse_numeric(user, &uid, &gid, &has_gid))
                MUST(uid <= INIT_ID_MAX && gid <= INIT_ID_MAX && user[0] >= '0' && user[0] <= '9');
        return 0;
}
