/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What this machine has, from a sysfs root ("/sys", or a captured tree). */

#include "model/inventory.h"

#define DISCOVER_DEVICES_MAX 4096u

int discover(const char *sysfs, struct ulv_inventory **ret) ULV_MUST_CHECK;

/* --- shared by discover*.c ---------------------------------------------------------------------------- */

/* An attribute file below dirfd, without its last newline, "" if it can't be read. buf: size bytes. */
const char *sysfs_read(int dirfd, const char *path, char *buf, size_t size);
/* The last component of a link's target, "" if there is none. */
const char *sysfs_link(int dirfd, const char *path, char *buf, size_t size);
/* Calls f for each name in dirfd/path but those with a dot in front; a missing directory has none. */
int sysfs_each(int dirfd, const char *path, int (*f)(int dirfd, const char *name, void *userdata), void *userdata) ULV_MUST_CHECK;
int discover_devices(int sysfs, struct ulv_inventory *inv) ULV_MUST_CHECK;
int discover_memory(int sysfs, struct ulv_inventory *inv) ULV_MUST_CHECK;
void discover_controllers(struct ulv_inventory *inv);
