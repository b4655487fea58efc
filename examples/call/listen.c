/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A program of a container that says that it is ready, and then is asked by its monitor: cc listen.c -o listen, uv-call(7).
 * It answers yes to all but a RESIZE to less than 32M of memory. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <ultravisor-call.h>

static int ask(int fd, uint16_t verb, uint64_t a, uint64_t b, const char *text) {
        struct ulv_call c = { .magic = ULV_CALL_MAGIC, .verb = verb, .number = 1, .value = { a, b } };

        (void) snprintf(c.text, sizeof(c.text), "%s", text);
        if (send(fd, &c, sizeof(c), 0) != sizeof(c) || recv(fd, &c, sizeof(c), 0) != sizeof(c))
                return -1;
        return (int) c.code;
}

int main(void) {
        struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = ULV_CALL_SOCKET_PATH };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct ulv_call q;

        if (fd < 0 || connect(fd, (struct sockaddr *) &a, sizeof(a)) < 0) {
                perror(ULV_CALL_SOCKET_PATH);
                return 1;
        }
        if (ask(fd, ULV_CALL_STATUS, 0, 0, "listening") != ULV_CALL_OK || ask(fd, ULV_CALL_READY, 0, 0, "") != ULV_CALL_OK ||
            ask(fd, ULV_CALL_HELLO, ULV_CALL_VERSION, ULV_CALL_LISTENS(ULV_CALL_STOP) | ULV_CALL_LISTENS(ULV_CALL_RESIZE), "") != ULV_CALL_OK)
                return 1;
        while (recv(fd, &q, sizeof(q), 0) == sizeof(q)) {
                q.answer = 1;
                q.code = q.verb == ULV_CALL_RESIZE && q.value[1] < 32u * 1024 * 1024 ? ULV_CALL_REFUSED : ULV_CALL_OK;
                if (send(fd, &q, sizeof(q), 0) != sizeof(q))
                        return 1;
        }
        return 0;
}
