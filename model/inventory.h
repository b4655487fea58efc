/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What there is to give: cores, memory, devices, and facts about what the machine can enforce.
 * uvd fills one from sysfs (uvd/discover.c); ulv_inventory_parse() reads the file of --inventory:
 *
 *   [Machine]
 *   Name=epyc-256
 *   # part: a part of this machine, enforced. imagined: tracked only, said loudly.
 *   Kind=imagined
 *   # part only: names of cgroups, units and interfaces begin with it
 *   Prefix=n1
 *   # uid ranges of 64K: first and count
 *   UIDRanges=1-2047
 *   [Node "0"]
 *   CPUs=0-63,128-191
 *   # pairs (first, last) with this distance are one core; 0 or no key: one thread a core
 *   ThreadStride=128
 *   Memory=256G
 *   HugePages2M=0
 *   HugePages1G=0
 *   [Device "0000:18:00.0"]
 *   Kind=pci
 *   Group=12
 *   # of a disk (Kind=block): of its node, /dev/vdb
 *   Name=vdb
 *   Description=...
 */

#include "lib/diag.h"
#include "lib/strbuf.h"
#include "model/quantity.h"

enum ulv_inventory_kind { ULV_INVENTORY_REAL, ULV_INVENTORY_PART, ULV_INVENTORY_IMAGINED };

struct ulv_inv_core { unsigned id; unsigned node; struct ulv_cpus *threads; /* owned */ unsigned n_threads; };
struct ulv_inv_memory { unsigned node; char pages[8]; /* "4K" "2M" "1G" */ uint64_t amount; /* in 2 MiB */ };
struct ulv_inv_device { char kind[16]; /* pci block net */ char id[128]; char attrs[512]; /* KEY=VALUE words of the one text form */ };

struct ulv_inventory {
        enum ulv_inventory_kind kind;
        char name[64];          /* of the machine */
        char prefix[32];        /* "" or names begin with it */
        unsigned uids_first, uids_last;                 /* uid ranges, see ULV_UID_BASE */
        struct ulv_inv_core *cores; size_t n_cores;     /* sorted by id */
        struct ulv_inv_memory *memory; size_t n_memory; /* sorted by node, pages */
        struct ulv_inv_device *devices; size_t n_devices;
        char controllers[128];  /* cgroup v2 controllers usable here, space separated; "" = none */
        bool kvm;
};

/* Uid ranges. Range N (1..2047) is the 65536 ids from ULV_UID_BASE + N * 65536: above systemd's
 * container range (ends 0x6FFFFFFF, systemd's UIDS-GIDS), below its foreign range (0x7FFE0000).
 * Range 0 is ours: + N is the uid of partition N's uv-port, and the roles of a standalone instance: */
#define ULV_UID_BASE 0x70000000u
#define ULV_UID_RANGE 65536u
#define ULV_UID_RANGES 2047u
#define ULV_GID_ROLES (ULV_UID_BASE + 0xF000u)  /* every role and monitor of ours is in it, no partition is */
#define ULV_UID_UVD (ULV_UID_BASE + 0xF001u)
#define ULV_UID_COMMAND (ULV_UID_BASE + 0xF002u)
#define ULV_UID_OPERATIONS (ULV_UID_BASE + 0xF003u)
#define ULV_UID_SIM (ULV_UID_BASE + 0xF004u)

int ulv_inventory_parse(const char *file, const char *buf, size_t len, struct ulv_inventory **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
void ulv_inventory_free(struct ulv_inventory *inv);
ULV_DEFINE_CLEANUP(struct ulv_inventory, ulv_inventory_free)
