/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/strbuf.h"

/* What a transaction's operations do, as one would say it: "start web: 1 core, 128M". 0 or -ENOMEM. */
int history_words(struct ulv_strbuf *b, const char *operations);
