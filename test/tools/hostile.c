/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* hostile unread SOCKET   asks the planner for everything, again and again, and never reads an answer: is it dropped?
 *                         1 = it never is
 * hostile hold SOCKET N   connects N times, says nothing, and prints how many of them it is left with
 * hostile zeros SOCKET    has a sealed memfd of 64G restored, and prints the refusal */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/bus.h"
#include "lib/protocol.h"

#define CALLS 5000u
#define HELD_MAX 4096u

static int unread(const char *path) {
        struct pollfd p = { 0 };
        sd_bus *bus;
        int r;

        if (ulv_bus_connect(NULL, path, &bus) < 0)
                return 2;
        for (unsigned i = 0; i < CALLS; i++) {
                sd_bus_message *m = NULL;
                uint64_t cookie;        /* whoever takes it wants a reply */

                r = sd_bus_message_new_method_call(bus, &m, NULL, ULV_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
                if (r >= 0)
                        r = sd_bus_send(bus, m, &cookie);
                sd_bus_message_unref(m);
                if (r < 0 || (r = sd_bus_flush(bus)) < 0)
                        break;
        }
        p.fd = sd_bus_get_fd(bus);      /* asked for nothing, it tells of an end only */
        r = poll(&p, 1, 20000);
        printf("%s\n", r > 0 ? "dropped" : "not dropped");
        return r <= 0;
}

/* How many were answered and are open, and how many closed? */
static void look(struct pollfd *v, unsigned n, unsigned *served, unsigned *closed) {
        *served = *closed = 0;
        for (unsigned i = 0; i < n; i++) {
                v[i].events = POLLIN;
                (void) poll(&v[i], 1, 0);
                *closed += (v[i].revents & (POLLHUP | POLLERR)) != 0;
                *served += v[i].revents == POLLIN;
        }
}

static int hold(const char *path, unsigned n) {
        static struct pollfd v[HELD_MAX];
        static sd_bus *bus[HELD_MAX];
        unsigned served = 0, closed = 0;

        (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit) { HELD_MAX + 64, HELD_MAX + 64 });
        n = ULV_MIN(n, HELD_MAX);
        for (unsigned i = 0; i < n; i++) {
                if (ulv_bus_connect(NULL, path, &bus[i]) < 0)
                        return 2;
                v[i].fd = sd_bus_get_fd(bus[i]);
        }
        for (unsigned i = 0; i < 600 && served + closed < n; i++) {     /* a minute at most */
                (void) nanosleep(&(struct timespec) { 0, 100000000 }, NULL);
                look(v, n, &served, &closed);
        }
        printf("%u\n", served);
        return 0;
}

static int zeros(const char *path) {
        int fd = memfd_create("zeros", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus *bus;

        if (fd < 0 || ftruncate(fd, INT64_C(64) << 30) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ||
            ulv_bus_connect(NULL, path, &bus) < 0)
                return 2;
        if (sd_bus_call_method(bus, NULL, ULV_PATH, ULV_IF_MANAGER, "Restore", &error, NULL, "h", fd) >= 0)
                return 1;
        printf("%s\n", error.message);
        return 0;
}

int main(int argc, char **argv) {
        if (argc == 3 && ulv_streq(argv[1], "unread"))
                return unread(argv[2]);
        if (argc == 4 && ulv_streq(argv[1], "hold"))
                return hold(argv[2], (unsigned) strtoul(argv[3], NULL, 10));
        if (argc == 3 && ulv_streq(argv[1], "zeros"))
                return zeros(argv[2]);
        return 2;
}
