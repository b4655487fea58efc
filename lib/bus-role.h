/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the unprivileged roles do alike before their own work begins: options, giving up what they don't
 * need, the event loop, signals, watchdog. */

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "lib/base.h"

struct ulv_role {
        const char *name;       /* of the program */
        char *root;             /* owned; "/" when installed */
        sd_event *event;
};

/* Reads --root, --version, --help; refuses to run as root (the starter gives the account); drops every
 * capability for good. Says on standard error what is wrong. 0; 1 = help or version was printed, end with
 * success; -errno. */
int ulv_role_init(struct ulv_role *r, int argc, char **argv, const char *name, const char *help) ULV_MUST_CHECK;
/* Sends READY=1 with this status. Before: systemd and uv-launch count the role as starting. */
void ulv_role_ready(const char *status);
void ulv_role_done(struct ulv_role *r);
/* Every capability, for good; also uvd's, which has an order of its own for the rest. 0 or -errno. */
int ulv_role_drop_capabilities(void) ULV_MUST_CHECK;

/* ROOT/relative; to be freed. NULL: out of memory. */
char *ulv_role_path(const struct ulv_role *r, const char *relative);
/* Opens the directory ROOT/relative, made with this mode if it is missing; its parents must be there. */
int ulv_role_directory(const struct ulv_role *r, const char *relative, mode_t mode, int *ret_fd) ULV_MUST_CHECK;
/* The uid of another role: its account when installed, else the number of standalone instances. */
int ulv_role_uid(const struct ulv_role *r, const char *account, uid_t standalone, uid_t *ret) ULV_MUST_CHECK;
