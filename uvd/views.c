/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The view of each partition: a memfd that uvd alone can write, through the one mapping made before the
 * seals. F_SEAL_FUTURE_WRITE refuses every later write, writable mapping and hole to anyone, root too; mode
 * 0400 and a read-only fd are what its monitor gets. A new one per life of uvd: its epoch tells. Only the
 * pages that hold text exist, so an idle view takes two or three pages of the 448K of its size. */

#include "uvd/uvd.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/protocol.h"
#include "model/view.h"

#define VIEW_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U         /* linux 6.3 */
#endif

static int make_memfd(void) {
        int fd = memfd_create("uv-view", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

        if (fd < 0 && errno == EINVAL)  /* before Linux 6.3 */
                fd = memfd_create("uv-view", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        return fd < 0 ? -errno : fd;
}

/* The same file, opened anew without the right to write. */
static int reopen_readonly(int fd) {
        char path[64];
        int ro;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ro = open(path, O_RDONLY | O_CLOEXEC);
        return ro < 0 ? -errno : ro;
}

static int seal(int fd, void **ret_mem, int *ret_ro) {
        void *mem;
        int ro;

        if (ftruncate(fd, ULV_VIEW_SIZE) < 0)
                return -errno;
        mem = mmap(NULL, ULV_VIEW_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mem == MAP_FAILED)
                return -errno;
        ro = fchmod(fd, 0400) < 0 || fcntl(fd, F_ADD_SEALS, VIEW_SEALS) < 0 ? -errno : reopen_readonly(fd);
        if (ro < 0) {
                (void) munmap(mem, ULV_VIEW_SIZE);
                return ro;
        }
        *ret_mem = mem;
        *ret_ro = ro;
        return 0;
}

static int write_view(struct uvd *u, struct guest *g) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};
        int r;

        r = ulv_ledger_view(u->ledger, g->name, &b);
        return r < 0 ? r : ulv_view_write(g->view, ulv_ledger_generation(u->ledger), ulv_strbuf_str(&b), b.len);
}

int view_open(struct uvd *u, struct guest *g) {
        _cleanup_close_ int fd = -1;
        int r;

        if (g->view)
                return write_view(u, g);
        fd = make_memfd();
        if (fd < 0)
                return fd;
        r = seal(fd, &g->view, &g->view_fd);
        if (r < 0)
                return r;
        ulv_view_init(g->view, u->epoch);
        r = write_view(u, g);
        if (r < 0)
                view_close(g);
        return r;
}

int view_update(struct uvd *u, struct guest *g) {
        int r = write_view(u, g);

        if (r >= 0 && g->peer)
                (void) sd_bus_emit_signal(g->peer->bus, ULV_PATH_MONITOR, ULV_IF_MONITOR, "ViewChanged", "t", ulv_ledger_generation(u->ledger));
        if (r >= 0 && g->peer)
                (void) ulv_bus_peer_overdue(g->peer);   /* drops it; disconnected() then clears g->peer */
        return r;
}

void view_close(struct guest *g) {
        if (g->view)
                (void) munmap(g->view, ULV_VIEW_SIZE);
        g->view = NULL;
        g->view_fd = ulv_close(g->view_fd);
}
