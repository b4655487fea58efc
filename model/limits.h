/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* [Limits] of a partition: how many tasks it may have, and how much it may read and write on a block device.
 * One limit is a holding of the ledger, of kind `limit`: its id is the word that `uvctl set` has for it, for a
 * device with the path behind it, and its amount the bound:
 *
 *   id                   in a definition            with uvctl set              amount
 *   tasks                Tasks=500                  tasks=500                   processes and threads
 *   io-read:/dev/vda     IOReadMax=/dev/vda 10M     io-read=/dev/vda:10M        bytes a second
 *   io-write:/dev/vda    IOWriteMax=/dev/vda 10M    io-write=/dev/vda:10M
 *   iops-read:/dev/vda   IOPSReadMax=/dev/vda 500   iops-read=/dev/vda:500      operations a second
 *   iops-write:/dev/vda  IOPSWriteMax=/dev/vda 500  iops-write=/dev/vda:500
 *
 * The path is of a block device, or of any file: then the device of its file system is meant. Only who enforces
 * it looks. "infinity" instead of a bound takes it back. */

#include "lib/strbuf.h"

enum ulv_limit_what { ULV_LIMIT_TASKS, ULV_LIMIT_IO_READ, ULV_LIMIT_IO_WRITE, ULV_LIMIT_IOPS_READ, ULV_LIMIT_IOPS_WRITE, ULV_LIMIT_MAX_ };

#define ULV_LIMITS_MAX 32               /* of one partition */
#define ULV_LIMIT_PATH_MAX 100
#define ULV_LIMIT_TASKS_MIN 8           /* what builds a container is in it too, and does with 3; a little more is needed with images, credentials */
#define ULV_LIMIT_TASKS_MAX 4194304     /* the kernel has no more pids */
#define ULV_LIMIT_TASKS_STANDARD 4096   /* where a definition says nothing: a fork bomb is never the host's trouble */
#define ULV_LIMIT_IOPS_MAX 4294967294   /* of the kernel, too */
#define ULV_LIMIT_AMOUNT_MAX (UINT64_C(1) << 48)

struct ulv_limit {
        enum ulv_limit_what what;
        char path[ULV_LIMIT_PATH_MAX + 1];      /* "" of tasks */
        uint64_t amount;                        /* 0: none */
};

const char *ulv_limit_word(enum ulv_limit_what what);           /* "io-read" */
const char *ulv_limit_key(enum ulv_limit_what what);            /* "IOReadMax" */
bool ulv_limit_same(const struct ulv_limit *a, const struct ulv_limit *b);      /* of the same thing, whatever their amounts */

/* The value of a key or (separator ':') of a set. 0, -EINVAL. */
int ulv_limit_parse(enum ulv_limit_what what, const char *value, char separator, struct ulv_limit *ret) ULV_MUST_CHECK;
/* And back: "/dev/vda 10M", "500"; "infinity" for 0. */
void ulv_limit_format(struct ulv_strbuf *b, const struct ulv_limit *limit, char separator);
/* For people: "500", "10M/s", "500/s", "none"; of tasks what is standard. */
void ulv_limit_add_amount(struct ulv_strbuf *b, enum ulv_limit_what what, uint64_t amount);

struct ulv_limit_id { char s[ULV_LIMIT_PATH_MAX + 16]; };
struct ulv_limit_id ulv_limit_id(const struct ulv_limit *limit);
/* 0; -EINVAL: not the id of a limit. The amount is 0. */
int ulv_limit_from_id(const char *id, struct ulv_limit *ret) ULV_MUST_CHECK;

/* The bound of a VM's memory as a whole, guest's and QEMU's own, which no ledger knows before it runs: buffers of devices, the
 * tables by which it maps the guest's, and where the CPU is emulated the code that it made of the guest's. */
#define ULV_VM_CODE_MB 64
uint64_t ulv_vm_memory(uint64_t guest_bytes, bool emulated);

/* Of a list of n: the entry for the same thing, or NULL. */
struct ulv_limit *ulv_limit_find(struct ulv_limit *v, size_t n, const struct ulv_limit *like);
/* Adds or replaces; amount 0 removes. 0; -E2BIG: more than ULV_LIMITS_MAX. The array has that many. */
int ulv_limit_put(struct ulv_limit *v, size_t *n, const struct ulv_limit *limit) ULV_MUST_CHECK;
