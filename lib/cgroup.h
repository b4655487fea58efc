/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where cgroups of version 2 are, and who is in which: Documentation/admin-guide/cgroup-v2.rst. They may be mounted
 * anywhere, beside those of version 1. */

#include "lib/base.h"

/* Where they are mounted here, by /proc/self/mountinfo; the path has no "/" at its end. 0; -ENODEV nowhere; -ENAMETOOLONG; -errno. */
int ulv_cgroup_mount(char *ret, size_t size) ULV_MUST_CHECK;

/* The directory that PID 1's own cgroups begin in: the mount, but in a container that has no cgroup namespace. As above. */
int ulv_cgroup_root(char *ret, size_t size) ULV_MUST_CHECK;

/* In the text of /proc/PID/cgroup: the path below the mount, which ends after *ret_len bytes. NULL: the text has none. */
const char *ulv_cgroup_path(const char *text, size_t *ret_len);

/* Is that (without a "/") PID 1's scope of a partition? "ultravisor-NAME.scope", that a monitor has it make; or a VM's, whose
 * name is libvirt's: "machine-qemu\x2d3\x2dultravisor\x2dNAME.scope", with a "-" in NAME written like these. ret: the partition. */
bool ulv_scope_partition(const char *scope, size_t len, char *ret, size_t size);

/* In such a path: how much of it is the cgroup of partition `name`, "/partition-NAME" standalone, its scope where
 * PID 1 made it; what follows, the partition's own init or libvirt made. *ret_parent: without that last part. 0: it isn't in one. */
size_t ulv_cgroup_of_partition(const char *path, size_t len, const char *name, size_t *ret_parent);
