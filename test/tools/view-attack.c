/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* view-attack MONITOR_PID MONITOR_SOCKET OTHER: as root, with the memory of a monitor's view, tries what a
 * monitor must not be able to do: write, map writable, punch a hole, each also through a reopening by
 * /proc/self/fd, and to be handed the view of the partition OTHER. Prints "5 of 5 refused". */

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/mman.h>

#include "lib/bus.h"
#include "lib/protocol.h"

/* The monitor keeps the view mapped, and no fd of it: the mapping leads to the file. */
static int view_of(pid_t pid, char *path, size_t size) {
        char dir[64], link[256];
        struct dirent *e;
        int fd = -1;
        DIR *d;

        snprintf(dir, sizeof(dir), "/proc/%d/map_files", pid);
        d = opendir(dir);
        while (d && (e = readdir(d)) && fd < 0) {
                ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

                link[n > 0 ? n : 0] = 0;
                /* uvd's memfd, not the copy of its text that the monitor keeps for a restart. */
                if (ulv_streq(link, "/memfd:uv-view (deleted)")) {
                        snprintf(path, size, "%s/%s", dir, e->d_name);
                        fd = open(path, O_RDONLY | O_CLOEXEC);
                }
        }
        if (d)
                closedir(d);
        return fd;
}

static bool can_write(int fd) { return pwrite(fd, "x", 1, 0) == 1; }
static bool can_map(int fd) { return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED; }
static bool can_punch(int fd) { return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0 || ftruncate(fd, 0) == 0; }

int main(int argc, char **argv) {
        char path[512] = "", link[64], before[64] = "", after[64] = "";
        int fd, again, refused = 0;
        bool r[5];
        sd_bus *bus = NULL;

        if (argc < 4 || (fd = view_of(atoi(argv[1]), path, sizeof(path))) < 0) {
                printf("no view found at process %s\n", argc > 1 ? argv[1] : "?");
                return 2;
        }
        if (pread(fd, before, sizeof(before), 0) != sizeof(before))
                return 2;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        again = open(link, O_RDWR | O_CLOEXEC);
        if (again < 0)
                again = open(path, O_RDWR | O_CLOEXEC);
        /* The strongest fd there is: one that is open for writing already. */
        if (again >= 0 && (fcntl(again, F_GETFL) & O_ACCMODE) == O_RDWR)
                fd = again;
        r[0] = can_write(fd);
        r[1] = can_map(fd);
        r[2] = can_punch(fd);
        r[3] = again >= 0 && (can_write(again) || can_map(again) || can_punch(again));
        r[4] = ulv_bus_connect(NULL, argv[2], &bus) >= 0 &&
               sd_bus_call_method(bus, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Hello", NULL, NULL, "ssss", argv[3],
                                  "00000000000000000000000000000000", "sim", "") >= 0;
        for (int i = 0; i < 5; i++) {
                static const char *const acts[] = { "write", "map writable", "punch a hole or truncate", "reopen for any of them", "another's view" };

                printf("%s: %s\n", acts[i], r[i] ? "ALLOWED" : "refused");
                refused += !r[i];
        }
        /* uvd may have published a new generation meanwhile; magic, version and size never change. */
        if (pread(fd, after, sizeof(after), 0) != sizeof(after) || memcmp(before, after, 16) != 0)
                printf("the view was changed\n"), refused = 0;
        printf("%d of 5 refused\n", refused);
        return refused != 5;
}
