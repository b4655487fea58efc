/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Addresses of networks as people write them, and back. The whole string is taken; what isn't of the form is
 * -EINVAL. Pure: no resolver, no locale. */

#include "lib/strbuf.h"

struct ulv_address {
        uint8_t family;         /* 4 or 6; 0: none */
        uint8_t prefix;         /* length of the network part; 32 or 128 where none was asked for */
        uint8_t bytes[16];      /* network order; IPv4 in the first four */
};

/* "10.0.0.20", "fd00::20"; with_prefix: "10.0.0.20/24", and only that. */
int ulv_address_parse(const char *s, bool with_prefix, struct ulv_address *ret) ULV_MUST_CHECK;
/* The usual short form (RFC 5952). */
void ulv_address_format(struct ulv_strbuf *b, const struct ulv_address *a, bool with_prefix);
/* Is a in the network of n? */
bool ulv_address_is_in(const struct ulv_address *a, const struct ulv_address *n);
/* Can one host have it: not 0, not multicast, not a broadcast of all. */
bool ulv_address_is_host(const struct ulv_address *a);

/* "52:54:00:0a:00:30": of one card, so neither a group's nor all zero. */
int ulv_mac_parse(const char *s, uint8_t ret[static 6]) ULV_MUST_CHECK;
