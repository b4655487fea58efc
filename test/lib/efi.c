/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A guest for UEFI: says that it was booted, and waits. (81-kvm-disks.bats) */
typedef struct { char pad[64]; struct out { void *reset; unsigned long (__attribute__((ms_abi)) *print)(struct out *, const unsigned short *); } *out; } table;
static const unsigned short text[] = u"booted by UEFI\r\n";
unsigned long __attribute__((ms_abi)) efi_main(void *image, table *t);
unsigned long __attribute__((ms_abi)) efi_main(void *image, table *t) {
        (void) image;
        t->out->print(t->out, text);
        for (;;)
                __asm__ volatile("pause");
}
