/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The partition's end of `uvctl copy`: a child of uv-init that is already who it is to be. */

#include <sys/prctl.h>
#include <unistd.h>

#include "lib/copy.h"
#include "plugins/lxc/init/uv-init.h"

void copy_main(const char *const *argv) {
        (void) prctl(PR_SET_NAME, "uv-copy", 0, 0, 0);
        _exit(copy_end(argv));
}
