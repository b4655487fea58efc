/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ROOT/etc/ultravisor/uvd.conf: settings of the daemons. Ours are in [Ledger]; other sections are other
 * roles' and left to them. A mistake in ours is an error: a typing error must not shorten the history. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <stdio.h>

#include "lib/fd.h"
#include "lib/ini.h"
#include "model/quantity.h"

static int on_item(const struct ulv_ini_item *item, void *userdata, struct ulv_diag *reterr) {
        struct uvd *u = userdata;
        uint64_t keep;

        if (item->type != ULV_INI_KEY || !ulv_streq(item->section, "Ledger"))
                return 0;
        if (!ulv_streq(item->key, "HistoryKeep"))
                return ulv_ini_error(item, false, reterr, "unknown key %s in [Ledger]; known is HistoryKeep=", item->key);
        if (ulv_uint_parse(item->value, UVD_HISTORY_MAX, &keep) < 0 || keep < UVD_HISTORY_MIN)
                return ulv_ini_error(item, true, reterr, "HistoryKeep= is a number of entries from %d to %d", UVD_HISTORY_MIN, UVD_HISTORY_MAX);
        u->history_keep = keep;
        return 0;
}

int settings_read(struct uvd *u, struct ulv_diag *reterr) {
        _cleanup_free_ char *path = NULL, *buf = NULL;
        size_t len;
        int r;

        u->history_keep = 10000;
        if (asprintf(&path, "%s/etc/ultravisor/uvd.conf", u->root) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = ulv_read_file_at(AT_FDCWD, path, ULV_INI_FILE_MAX, &buf, &len);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot read %s", path);
                ulv_diag_why(reterr, "%s", strerror(-r));
                ulv_diag_try(reterr, "make it readable by uvd's account: chmod 644 %s", path);
                return 1;
        }
        return ulv_ini_scan(path, buf, len, NULL, on_item, u, reterr);
}
