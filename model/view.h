/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A partition's view: a fixed piece of memory (a sealed memfd of uvd's) with two slots and an index.
 * The writer fills the idle slot, then flips the index; a writer killed at any point leaves the other
 * slot whole, so a reader never waits. Little-endian, one writer, any number of readers.
 *
 *   0   magic "ULVVIEW1"      8  u32 version (1)     12 u32 size of a slot
 *   16  u64 boot epoch of uvd 24 u32 index (0 or 1)  28 u32 zero
 *   64  slot 0, then slot 1; each: u64 sequence, u64 generation, u32 length, u32 crc32c of the text, text
 * The sequence is set to 0 before a slot is written and to a new number after; a reader takes the text
 * of the slot that the index names, and takes it again if the sequence changed meanwhile.
 * The text is ulv_ledger_view()'s. */

#include "lib/strbuf.h"

#define ULV_VIEW_SLOT_SIZE (224 * 1024)         /* a full definition, percent-encoded, and its rows */
#define ULV_VIEW_SIZE (64 + 2 * ULV_VIEW_SLOT_SIZE)

/* mem: ULV_VIEW_SIZE zeroed bytes, mapped shared. */
void ulv_view_init(void *mem, uint64_t epoch);
int ulv_view_write(void *mem, uint64_t generation, const char *text, size_t len) ULV_MUST_CHECK;   /* 0 or -E2BIG */
/* Copies the current text out. Trusts nothing in mem beyond `size` bytes. 0; -EBADMSG (not a view);
 * -EAGAIN (the writer flipped too often meanwhile: ask again); -ENOMEM. */
int ulv_view_read(const void *mem, size_t size, struct ulv_strbuf *b, uint64_t *ret_generation, uint64_t *ret_epoch) ULV_MUST_CHECK;
