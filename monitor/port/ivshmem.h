/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The server's side of QEMU's ivshmem protocol, for a channel that has two ends and no more. Everything is said in five
 * messages, that fit into an empty socket; nothing is ever read, so there is nothing that a hostile QEMU could say. In
 * the guest the device's IVPosition is the number of the end, and doorbell `(other end) << 16` rings the other. */

/* fd: QEMU's connection, that nothing was sent to. 0; -errno: it isn't served. */
int ivshmem_greet(int fd, unsigned end, int memory, const int bell[2]);
