/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which starter there is, and what both need: before a monitor is started, ROOT/run/ultravisor/uvd/type/NAME tells
 * uv-monitor which backend to become. The file is there as long as the partition is live, so a monitor that PID 1 started
 * by itself (systemctl start) finds none, and asks whether its partition is to run. */

#include "uvd/starter.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "lib/fd.h"
#include "lib/protocol.h"

/* Installed, below "/", PID 1 starts what runs; a root of its own has its uv-launch. */
static const struct starter_ops *ops(const struct uvd *u) {
        return !u->root[0] && sd_booted() > 0 ? &starter_systemd : &starter_launch;
}

static int open_types(const struct uvd *u) {
        int dir = openat(u->run_fd, "uvd/type", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return dir < 0 ? -errno : dir;
}

/* What lives below /run needs no sync, and is read only after the start that follows it. */
static int write_run_file(int dir, const char *name, const char *text) {
        _cleanup_free_ char *there = NULL;
        _cleanup_close_ int fd = -1;
        size_t len;

        if (ulv_read_file_at(dir, name, 64, &there, &len) >= 0 && ulv_streq(there, text))
                return 0;
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;
        return ulv_write_all(fd, text, strlen(text));
}

static const struct { const char *type, *backend; } backends[] = { { "container", "lxc" }, { "vm", "kvm" }, { "sim", "sim" } };

/* A monitor's program stands beside ours; that of VMs is in a package of its own. */
bool starter_has_monitor(const char *type, char *ret_program, size_t size) {
        char path[4096];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

        ret_program[0] = 0;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(backends); i++)
                if (ulv_streq(backends[i].type, type))
                        (void) snprintf(ret_program, size, "uv-monitor-%s", backends[i].backend);
        if (n <= 0 || !ret_program[0])
                return true;            /* who starts it will say what is wrong */
        path[n] = 0;
        (void) snprintf(strrchr(path, '/') + 1, 64, "%s", ret_program);
        return access(path, F_OK) == 0 || errno != ENOENT;
}

/* why: "", or what uv-monitor.c knows beside a start. */
static int write_type(struct uvd *u, const char *name, const char *why) {
        struct ulv_partition_info p;
        _cleanup_close_ int dir = -1;
        char text[16];

        if (ulv_ledger_partition(u->ledger, name, &p) != 0)
                return -ENOENT;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(backends); i++)
                if (ulv_streq(backends[i].type, p.type)) {
                        dir = open_types(u);
                        (void) snprintf(text, sizeof(text), "%s%s\n", backends[i].backend, why);
                        return dir < 0 ? dir : write_run_file(dir, name, text);
                }
        return -EOPNOTSUPP;
}

int starter_write_type(struct uvd *u, const char *name) { return write_type(u, name, ""); }

void starter_forget_type(struct uvd *u, const char *name) {
        _cleanup_close_ int dir = open_types(u);

        if (dir >= 0)
                (void) unlinkat(dir, name, 0);
}

int starter_connect(struct uvd *u) { return ops(u)->connect(u); }

int starter_attach(struct uvd *u) { return ops(u)->attach(u); }

void starter_forget_old_types(struct uvd *u) {
        int fd = open_types(u);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;

        if (!d) {
                (void) ulv_close(fd);
                return;
        }
        while ((e = readdir(d)))
                if (e->d_name[0] != '.' && !guest_find(u, e->d_name))
                        (void) unlinkat(fd, e->d_name, 0);
        (void) closedir(d);
}

int starter_start(struct uvd *u, const char *name) {
        const struct guest *g = guest_find(u, name);
        struct ulv_partition_info p;
        int r;

        /* Of what was started before, this only finds out whether it runs: that it was stopped meanwhile is its end, and
         * not the beginning of another life. */
        r = ulv_ledger_partition(u->ledger, name, &p) != 0 ? -ENOENT :
            write_type(u, name, g && g->stopped ? " stop" : p.state != ULV_STARTING ? " look" : "");
        return r < 0 ? r : ops(u)->start(u, name);
}

int starter_token(struct uvd *u, struct guest *g, const char *said) { return ops(u)->token(u, g, said); }
void starter_stop(struct uvd *u, const char *name) { ops(u)->stop(u, name); }

void starter_free(struct uvd *u) {
        if (u->starter)
                ops(u)->free(u);
}
