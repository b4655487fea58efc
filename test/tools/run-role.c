/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* run-role PROGRAM ROOT [ARG...]: runs a role as the standalone starter would, once, in the foreground: its uid,
 * its environment, no starter behind it. For what it says when it refuses to start. Ends it after 5 s. */

#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/base.h"
#include "model/inventory.h"

int main(int argc, char **argv) {
        const char *bin = getenv("ULV_BIN");
        char path[512], inventory[512], run[512];
        uid_t uid;

        if (argc < 3)
                return 2;
        uid = ulv_streq(argv[1], "uvd") ? ULV_UID_UVD : ulv_streq(argv[1], "uv-command") ? ULV_UID_COMMAND : ULV_UID_OPERATIONS;
        snprintf(path, sizeof(path), "%s/%s", bin ? bin : "build/bin", argv[1]);
        snprintf(inventory, sizeof(inventory), "%s/machine.inventory", argv[2]);
        setenv("ULTRAVISOR_ROOT", argv[2], 1);
        setenv("ULTRAVISOR_INVENTORY", inventory, 1);
        /* What the starter makes for it. */
        snprintf(run, sizeof(run), "%s/run", argv[2]);
        (void) mkdir(run, 0755);
        snprintf(run, sizeof(run), "%s/run/ultravisor", argv[2]);
        (void) mkdir(run, 0755);
        snprintf(run, sizeof(run), "%s/run/ultravisor/%s", argv[2], ulv_streq(argv[1], "uvd") ? "uvd" : argv[1] + 3);
        (void) mkdir(run, 0755);
        if (chown(run, uid, uid) < 0)
                return 2;
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
                return 2;
        /* A library for the role alone, not for us. */
        if (getenv("ULV_PRELOAD"))
                setenv("LD_PRELOAD", getenv("ULV_PRELOAD"), 1);
        (void) dup2(2, 1);
        alarm(5);
        argv[2] = path;
        execv(path, argv + 2);
        perror(path);
        return 2;
}
