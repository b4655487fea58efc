/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The ledger's log on disk: a SQLite file ledger.db in uvd's state directory. Three tables:
 *   state(key, row)     the ledger's rows as the one text form has them: all that recovery reads
 *   history(...)        every transaction and report: who, when, why, before (undo) and after
 *   meta(key, value)    the version of this schema
 * Only uvd opens it, one process at a time; nothing here knows the bus. */

#include "lib/diag.h"
#include "lib/strbuf.h"

/* A test of migrations brings a later one, and the steps to it (STORE_LATER). */
#ifndef STORE_SCHEMA
#define STORE_SCHEMA 1
#endif

struct store;

/* One entry of history. Strings belong to the caller. */
struct store_entry {
        uint64_t seq;           /* 0 when added: the next one */
        uint64_t time;          /* realtime, us */
        uint64_t generation;
        const char *id, *subject, *reason, *state, *operations, *undo, *after;
};

/* What store_open() found, where it isn't an errno. The diag has the three lines. */
enum store_refusal {
        STORE_MISSING = 1,      /* no ledger.db (no diag) */
        STORE_CORRUPT,          /* not a ledger, or damaged: untouched */
        STORE_NEWER,            /* of a newer version: untouched */
        STORE_BUSY,             /* another process has it open */
};

/* Finishes an interrupted install, opens, checks integrity, migrates older schemas. */
int store_open(const char *dir, struct store **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
void store_close(struct store *s);
ULV_DEFINE_CLEANUP(struct store, store_close)

/* Builds a new ledger.db from rows and entries of history (lines of store_dump_history(), may be ""), and
 * puts it in the place of what is there, which stays beside it as ledger.db.old. After a crash at any
 * point either the old or the new one is whole and in force. */
int store_install(const char *dir, const char *rows, size_t rows_len, const char *history, size_t history_len,
                  struct ulv_diag *reterr) ULV_MUST_CHECK;

/* All rows of `state`, a line each. */
int store_rows(struct store *s, struct ulv_strbuf *b) ULV_MUST_CHECK;

/* One commit: begin, any of the four, then commit or rollback. After a failed commit the outcome is
 * unknown until the file is opened again: the store refuses all further writes (-EROFS). */
int store_begin(struct store *s) ULV_MUST_CHECK;
int store_apply(struct store *s, const char *changes, size_t len) ULV_MUST_CHECK;      /* row and gone lines */
int store_replace(struct store *s, const char *rows, size_t len) ULV_MUST_CHECK;       /* instead of all there is */
int store_add(struct store *s, const struct store_entry *e) ULV_MUST_CHECK;
int store_settle(struct store *s, const char *id, const char *state) ULV_MUST_CHECK;
int store_load_history(struct store *s, const char *lines, size_t len) ULV_MUST_CHECK; /* -EBADMSG: not such lines */
int store_drop_history(struct store *s) ULV_MUST_CHECK;
int store_commit(struct store *s, uint64_t history_keep) ULV_MUST_CHECK;
void store_rollback(struct store *s);

/* The first outcome of a transaction. 0, or 1: not known. state and undo are appended. */
int store_find(struct store *s, const char *id, uint64_t *ret_generation, struct ulv_strbuf *state, struct ulv_strbuf *undo) ULV_MUST_CHECK;
/* Lines "row history SEQ - ..." newest first: those that touch owner ("" = all), before a seq (0 = newest). */
int store_history(struct store *s, const char *owner, uint64_t before, unsigned limit, struct ulv_strbuf *b) ULV_MUST_CHECK;
/* All of them, oldest first. */
int store_dump_history(struct store *s, struct ulv_strbuf *b) ULV_MUST_CHECK;

/* The words of SQLite for its last error. */
const char *store_error_text(struct store *s);
