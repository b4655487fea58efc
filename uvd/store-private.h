/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by store.c (what is written and read) and store-file.c (the file: create, check, replace). */

#include <sqlite3.h>

#include "uvd/store.h"

enum statement {
        ST_BEGIN, ST_COMMIT, ST_PUT, ST_GONE, ST_ADD, ST_SETTLE, ST_PRUNE, ST_FIND, ST_HISTORY, ST_OLDEST, ST_ROWS,
        ST_MAX_,
};

struct store {
        sqlite3 *db;
        sqlite3_stmt *statements[ST_MAX_];
        uint64_t unpruned;      /* entries added since history was last cut to its length */
        char broken[256];       /* why no write is taken any more; "" while all is well */
};

int store_errno(struct store *s);
int store_exec(struct store *s, const char *sql) ULV_MUST_CHECK;
