/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base.h"

#define LXC_BTF_NAMES_MAX 16

/* The numbers of some functions in a kernel's description of its types (BTF, /sys/kernel/btf/vmlinux): ret[i] is that of
 * names[i], 0 if there is none. 0; -EBADMSG: it isn't one, it is cut off, or has a kind of type that isn't known. */
int lxc_btf_functions(const void *data, size_t size, const char *const *names, size_t n, uint32_t *ret) ULV_MUST_CHECK;
