/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Quantities as people write them, and back. Parsers take the whole string: trailing text is refused.
 * All return 0, or -EINVAL (not of the form), -ERANGE (too large). */

#include "lib/strbuf.h"

#define ULV_MEMORY_UNIT ((uint64_t) 2 * 1024 * 1024)   /* the ledger counts memory in 2 MiB */

/* "512M" "2G" "1.5G" "64K" "1T" or plain bytes; binary units. */
int ulv_size_parse(const char *s, uint64_t *ret_bytes) ULV_MUST_CHECK;
/* Shortest exact form: "16G" "512M" "1.5G" "0". */
void ulv_size_format(struct ulv_strbuf *b, uint64_t bytes);
/* Hardware threads with up to 3 decimals, as thousandths: "2" = 2000, "0.25" = 250. */
int ulv_share_parse(const char *s, uint64_t *ret_milli) ULV_MUST_CHECK;
void ulv_share_format(struct ulv_strbuf *b, uint64_t milli);
/* "30s" "2min" "500ms" "1h" or plain seconds, in microseconds. */
int ulv_duration_parse(const char *s, uint64_t *ret_usec) ULV_MUST_CHECK;
void ulv_duration_format(struct ulv_strbuf *b, uint64_t usec);
int ulv_uint_parse(const char *s, uint64_t max, uint64_t *ret) ULV_MUST_CHECK;
int ulv_bool_parse(const char *s, bool *ret) ULV_MUST_CHECK;   /* yes no true false on off 1 0 */

/* Lists of CPUs or cores in the kernel's form, "0-3,7": sorted, without repeats. */
#define ULV_CPU_MAX 8192
struct ulv_cpus { uint64_t bits[ULV_CPU_MAX / 64]; };
int ulv_cpus_parse(const char *s, struct ulv_cpus *ret) ULV_MUST_CHECK;   /* "" is the empty list */
void ulv_cpus_format(struct ulv_strbuf *b, const struct ulv_cpus *c);
static inline void ulv_cpus_set(struct ulv_cpus *c, unsigned i) { c->bits[i / 64] |= UINT64_C(1) << (i % 64); }
static inline bool ulv_cpus_has(const struct ulv_cpus *c, unsigned i) { return i < ULV_CPU_MAX && (c->bits[i / 64] >> (i % 64) & 1); }
unsigned ulv_cpus_count(const struct ulv_cpus *c);
bool ulv_cpus_within(const struct ulv_cpus *a, const struct ulv_cpus *b);       /* each of a is in b */
void ulv_cpus_add(struct ulv_cpus *to, const struct ulv_cpus *c);              /* all of c */
