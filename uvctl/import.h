/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/base.h"
#include "lib/diag.h"
#include "lib/strbuf.h"

/* A domain of libvirt's, as XML, as a definition; and, a line each, "LINE: <element>: why" for what of it can't be kept.
 * Nothing of the XML is trusted; nothing but memory is used. 0; 1: reterr: it is no such XML, or larger than can be; -ENOMEM. */
int import_domain(const char *xml, size_t len, struct ulv_strbuf *definition, struct ulv_strbuf *lost, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* What the child that calls it may do from then on: write to what it has open, take memory, end. (import-confine.c) */
int import_confine(void) ULV_MUST_CHECK;
