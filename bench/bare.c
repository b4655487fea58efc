/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The least that a unit of Type=notify can run: it is ready at once, and stays until it is ended. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void) {
        const char *to = getenv("NOTIFY_SOCKET");
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (!to || fd < 0 || strlen(to) >= sizeof(sa.sun_path))
                return 1;
        memcpy(sa.sun_path, to, strlen(to) + 1);
        if (sendto(fd, "READY=1", 7, 0, (const struct sockaddr *) &sa, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(to))) != 7)
                return 1;
        for (;;)
                (void) pause();
}
