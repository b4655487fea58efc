/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The configuration directory ROOT/etc/ultravisor: reading all of it, writing single files of it. */

#include "lib/strbuf.h"
#include "model/bundle.h"

struct config_files {
        struct ulv_source *v;   /* path and text are owned */
        size_t n;
        size_t size;            /* bytes of all texts */
};

void config_files_done(struct config_files *f);

/* Reads every definition, drop-in and policy below etc (a directory's fd). A file that can't count (not
 * regular, somebody else's, writable by everybody, too big) adds a line to problems and is left out.
 * 0 or -errno. */
int config_files_read(int etc, struct config_files *ret, struct ulv_strbuf *problems) ULV_MUST_CHECK;

/* What path has now: 0; -ENOENT: no such file; other -errno. *ret_buf is to be freed. */
int config_file_read(int etc, const char *path, char **ret_buf, size_t *ret_len) ULV_MUST_CHECK;
/* Makes path have this text, whole or not at all; buf NULL removes it. A drop-in's directory comes and
 * goes with its files. */
int config_file_write(int etc, const char *path, const char *buf, size_t len) ULV_MUST_CHECK;
