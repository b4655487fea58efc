/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a partition may be given and lose again while it runs: directories of the host, [Mount "data"], its devices,
 * [Device "fuse"], and disks of a VM, [Block "root"]. In the ledger each is a unit:
 *
 *   mount LABEL@OWNER      a directory may be given to many; this is one partition's use of it
 *   block ID               a disk of the inventory: one owner
 *   device NAME            another device of the host by the name of its node below /dev: one owner
 *   device NAME@OWNER      one whose every open is an instance of its own (fuse, kvm, net/tun ...): for many
 *   disk LABEL@OWNER       a disk over an image that is only read: many may be over one image
 *   disk PATH              an image that is written itself, by its path without the first /: one owner
 *
 * What has an @OWNER is this owner's, or idle's, and nobody else's ever. */

#include "model/definition.h"
#include "model/definition-parts.h"

#define ULV_ATTACHMENT_ID_MAX 128

/* Can there be such a "mount", "device" or "disk"? (block: the inventory says.) */
bool ulv_attachment_id_is_valid(const char *kind, const char *id);
/* Is that a kind of unit that an attachment may be? */
bool ulv_attachment_is_kind(const char *kind);
/* The kind of one that isn't a block device of the inventory. */
const char *ulv_attachment_kind(const struct ulv_attachment *a);
/* What people know it by, beside its label: a device's node, an image that is written itself; else its label. */
const char *ulv_attachment_name(const struct ulv_attachment *a);
/* The owner that an id names, NULL if none. */
const char *ulv_attachment_owner(const char *id);
/* The id of one that isn't a block device of the inventory. */
void ulv_attachment_id(const struct ulv_attachment *a, const char *owner, char ret[static ULV_ATTACHMENT_ID_MAX]);
/* The name of a device's node, below /dev; NULL: a mount. */
const char *ulv_attachment_node(const struct ulv_attachment *a);
/* The one that a unit of the ledger stands for; node: name= of a block device's row, else NULL. NULL: none. */
const struct ulv_attachment *ulv_attachment_find(const struct ulv_definition *d, const char *kind, const char *id, const char *node);
/* Do both say the same? */
bool ulv_attachment_same(const struct ulv_attachment *a, const struct ulv_attachment *b);

/* For definition-parts.c. */
bool ulv_attachment_is_section(const char *section);
int ulv_attachments_take(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) ULV_MUST_CHECK;
int ulv_attachments_check(struct ulv_parts_parser *p, struct ulv_definition *d, struct ulv_diag *reterr) ULV_MUST_CHECK;
void ulv_attachments_format(struct ulv_strbuf *b, const struct ulv_definition *d);
void ulv_attachments_free(struct ulv_definition *d);
