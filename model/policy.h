/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The policy set: /etc/ultravisor/policies/NN-name.policy, read in name order, validated as a whole.
 * uv-policy(5) is the reference.
 *
 *   [Host]  Cores=N Memory=SIZE          what stays the host's; no key: no claim on idle or on host
 *   [Pool]  Cores=N Overcommit=no|NUMBER 1.5 = shares may sum to one and a half times the threads
 *   [Require "label"]  Match=TERMS Isolation=GRADE
 * TERMS: words that must all match: zone:Z type:T name-glob; "*" matches all.
 * [Host] and [Pool] may be given once in the set; a second one is an error that names the first. */

#include "model/definition.h"

struct ulv_require { char *label, *match; enum ulv_isolation isolation; struct ulv_place at; };

struct ulv_policy {
        bool has_host, has_pool;
        unsigned host_cores; uint64_t host_memory;      /* bytes */
        bool host_has_cores, host_has_memory;
        unsigned pool_cores; bool pool_has_cores; uint64_t overcommit;  /* 1000 = none */
        struct ulv_require *require; size_t n_require;
        struct { struct ulv_place host_cores, host_memory, pool_cores, overcommit; } at;
        char *places;
};
#define ULV_REQUIRE_MAX 256

int ulv_policy_parse(const struct ulv_source *files, size_t n_files, struct ulv_policy **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
void ulv_policy_free(struct ulv_policy *p);
ULV_DEFINE_CLEANUP(struct ulv_policy, ulv_policy_free)
bool ulv_policy_matches(const char *match, const struct ulv_definition *d);
