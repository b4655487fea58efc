/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sections of a definition that have a label, of which there may be several: [Network "lan"], [Credential "tls.key"],
 * [Mount "data"], [Device "fuse"] (attachment.c), [Channel "feed"] (channel.c).
 * Private to model/definition*.c. */

#include "model/config.h"

#define PART_KEYS_MAX 9

/* While a definition is read: which part is written to, and where each key of each part was given. */
struct ulv_parts_parser {
        unsigned network, credential, attachment, channel;       /* the current ones, by index */
        struct ulv_key_place networks[ULV_NETWORKS_MAX][PART_KEYS_MAX], credentials[ULV_CREDENTIALS_MAX][PART_KEYS_MAX];
        struct ulv_key_place attachments[ULV_ATTACHMENTS_MAX][PART_KEYS_MAX], channels[ULV_CHANNELS_MAX][PART_KEYS_MAX];
        struct ulv_key_place network_at[ULV_NETWORKS_MAX], credential_at[ULV_CREDENTIALS_MAX], attachment_at[ULV_ATTACHMENTS_MAX],
                channel_at[ULV_CHANNELS_MAX];   /* the sections */
};

bool ulv_parts_have(const char *section);
/* As the handler of ulv_ini_scan(), for items of such sections. */
int ulv_parts_take(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* When all files are in: what needs more than one key. Gives interfaces that have none their names. */
int ulv_parts_check(struct ulv_parts_parser *p, struct ulv_definition *d, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Behind what stands in b already: text of other sections, or nothing. */
void ulv_parts_format(struct ulv_strbuf *b, const struct ulv_definition *d);
void ulv_parts_free(struct ulv_definition *d);

/* Absolute, other than /, and without the components that would make it mean another place than it says. 0, -EINVAL, -ENOMEM. */
int ulv_part_parse_path(const char *v, char **field) ULV_MUST_CHECK;
/* A new element of an array, all zero but its label, which is its first field. */
int ulv_part_append(void **array, size_t *n, size_t size, const char *label) ULV_MUST_CHECK;
