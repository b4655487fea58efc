/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* wall SOCKET [UID]: may this uid (default: ours) speak to that socket? 0 = it was answered, 1 = refused, which is
 * called unreachable where the kernel lets it not even connect. */

#include <grp.h>
#include <stdio.h>

#include "lib/bus.h"

int main(int argc, char **argv) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus *bus = NULL;
        int r;

        if (argc < 2)
                return 2;
        if (argc > 2) {
                uid_t uid = (uid_t) strtoul(argv[2], NULL, 10);

                if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
                        return 2;
        }
        r = ulv_bus_connect(NULL, argv[1], &bus);
        if (r >= 0)
                r = sd_bus_call_method(bus, NULL, "/", "org.freedesktop.DBus.Peer", "Ping", &error, NULL, "");
        printf("%s\n", r == -EACCES ? "unreachable" : r < 0 ? "refused" : "answered");
        return r < 0;
}
