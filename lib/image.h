/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where images and writable layers lie, for uvctl, which fills them, and the container's monitor, which
 * mounts them. Both directories are root's, and what is in them is root's alone to reach (store/ and
 * writable/ 0700): what a container's root makes set-user-id is no host user's. uv-command may see which names there are.
 *
 *   ROOT/var/lib/ultravisor/images/            locked (flock): shared by a start while it pins, exclusive by a change
 *       NAME -> store/ID                       what the name means now; changed by one rename
 *       store/ID/                              never changed once it is there
 *           tree/                              the root file system, ids as on disk
 *           info                               lines of Key=value: Name= Made= Source= Size=
 *           host-usr                           there: the host's /usr is mounted over tree/usr
 *       .new-ID/                               being filled; its filler holds a lock on it
 *   ROOT/var/lib/ultravisor/writable/
 *       PARTITION/ or PARTITION.ephemeral/     a layer: kept, or of one life
 *           image -> store/ID                  the pin: this image is in use
 *           name -> NAME                       the image's name when it was pinned
 *           upper/ work/                       overlayfs's; ids as inside the container
 *       .new-PARTITION/ .gone-*                being made; being removed
 */

#include "lib/base.h"

#define ULV_IMAGES "var/lib/ultravisor/images"          /* below ROOT */
#define ULV_WRITABLE "var/lib/ultravisor/writable"
#define ULV_DISKS "var/lib/ultravisor/disks"            /* what VMs write over images (plugins/kvm/disks.c) */
#define ULV_EPHEMERAL ".ephemeral"
#define ULV_IMAGE_STORE "store/"
#define ULV_IMAGE_ID 16                                 /* hex digits */

/* Is s "store/ID"? */
static inline bool ulv_image_target_is_valid(const char *s) {
        return ulv_startswith(s, ULV_IMAGE_STORE) && strlen(s) == strlen(ULV_IMAGE_STORE) + ULV_IMAGE_ID &&
               strspn(s + strlen(ULV_IMAGE_STORE), "0123456789abcdef") == ULV_IMAGE_ID;
}
