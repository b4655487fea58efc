/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/strbuf.h"

/* What operations of the ledger's form did, for people; report: a monitor told them. 0; -ENOMEM. */
int history_words(struct ulv_strbuf *b, const char *operations, bool report);
