/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* [Channel "feed"]: an end of shared memory with another partition. Both ends name each other, by the same label; the
 * one that gives Kind= and Size= owns the memory. In the ledger each end is a unit, `channel LABEL@OWNER`, that is
 * this owner's, or idle's, and nobody else's ever; uv-channel(7) is about the memory itself. */

#include "model/definition.h"
#include "model/definition-parts.h"

#define ULV_CHANNEL_ID_MAX 128
#define ULV_CHANNEL_HOST "host"         /* as a peer: the other end is the host's (uvctl channel cat), and has no row of its own */
#define ULV_CHANNEL_SIZE_STEP 4096u
#define ULV_CHANNEL_SIZE_MIN ((uint64_t) 3 * ULV_CHANNEL_SIZE_STEP)
#define ULV_CHANNEL_SIZE_MAX ((uint64_t) 1 << 30)

bool ulv_channel_id_is_valid(const char *id);
void ulv_channel_id(const char *label, const char *owner, char ret[static ULV_CHANNEL_ID_MAX]);
bool ulv_channel_peer_is_valid(const char *peer, const char *owner);
bool ulv_channel_kind_is_valid(const char *kind);       /* "message", "stream", "memory" */
bool ulv_channel_size_is_valid(uint64_t size);
bool ulv_channel_size_fits_vm(uint64_t size);           /* so that it can be a PCI device's memory; 0 too: not the owner's to say */
const struct ulv_channel_end *ulv_channel_find(const struct ulv_definition *d, const char *label);      /* NULL: none */

/* For definition-parts.c. */
int ulv_channels_take(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) ULV_MUST_CHECK;
int ulv_channels_check(struct ulv_parts_parser *p, struct ulv_definition *d, struct ulv_diag *reterr) ULV_MUST_CHECK;
void ulv_channels_format(struct ulv_strbuf *b, const struct ulv_definition *d);
