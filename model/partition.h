/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Partition states and their graph. The ledger moves a partition along these edges only.
 *
 *              +-------------------------------------------------+
 *              v                                                 |
 *   defined -> starting -> running <-> pausing/paused ->  stopping
 *      ^          |           |             |                |
 *      |          v           v             v                |
 *      +------- failed <------+-------------+----------------+
 *
 *   defined   known, holds nothing, nothing runs
 *   starting  holds its resources; the monitor builds it
 *   running   its first process is alive
 *   pausing   asked to freeze, not proved yet      paused   proved frozen
 *   stopping  asked to stop; resources stay its own until the monitor proved it gone
 *   failed    ended by itself with an error, or could not start; holds nothing
 */

#include "lib/base.h"

enum ulv_state {
        ULV_DEFINED, ULV_STARTING, ULV_RUNNING, ULV_PAUSING, ULV_PAUSED, ULV_STOPPING, ULV_FAILED,
        ULV_STATE_MAX_, ULV_STATE_INVALID = -EINVAL,
};

const char *ulv_state_name(enum ulv_state s);
enum ulv_state ulv_state_from_name(const char *s);                      /* ULV_STATE_INVALID if none */
bool ulv_state_may(enum ulv_state from, enum ulv_state to);             /* is there an edge? */
bool ulv_state_is_live(enum ulv_state s);       /* a payload may exist: starting .. stopping */

/* Isolation, computed from what is enforced now; ordered, so that < means weaker. */
enum ulv_isolation { ULV_ISOLATION_NONE, ULV_ISOLATION_SOFT, ULV_ISOLATION_FIRM, ULV_ISOLATION_HARD, ULV_ISOLATION_INVALID = -EINVAL };
const char *ulv_isolation_name(enum ulv_isolation i);
enum ulv_isolation ulv_isolation_from_name(const char *s);

/* The grade of a partition from what enforces it. limits: the weakest of its [Limits], "" if it has none. contain: the monitor's words for its containment
 * ("userns", "seccomp", "nocaps", "devices", "anydevice", "hooked", "nohook",
 * "apparmor", "nesting", "kvm", "tcg", "confined", "simulated"; beside them "freezer", "agent": what else it has); cpu, memory:
 * the weakest `how` of its holdings, in order of strength: "tracked" < "affinity" (asked only) <
 * "limit" (cpu.max, memory.max, cpuset) < "isolated" (a valid cpuset partition), "preallocated".
 * FACE.md "Isolation, said honestly". */
enum ulv_isolation ulv_isolation_grade(const char *type, const char *contain, const char *cpu_how, const char *memory_how, const char *limits_how, bool whole_cores);
