/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A VM's ends of channels, from inside: names.c says which device is which, device.c opens it, serve.c gives it to
 * programs. */

#include <stddef.h>
#include <stdint.h>

#include "channel/bell.h"
#include "channel/caller.h"
#include "channel/layout.h"

#define VM_CHANNELS_MAX 96
#define VM_LABEL_SIZE 64

struct vm_name { char label[VM_LABEL_SIZE], address[16]; };     /* "feed", "0000:00:10.0" */

/* --- names.c: pure ---------------------------------------------------------------------------------------- */

/* The channels that an SMBIOS table names. The host wrote it; all the same nothing is believed that isn't of the form. */
size_t vm_names(const void *table, size_t len, struct vm_name *ret, size_t max);

/* --- device.c --------------------------------------------------------------------------------------------- */

struct vm_device {
        struct vm_name name;
        unsigned end;
        struct bell bell;               /* memory: resource2; own: rung at the interrupt; peer: resource0 */
        struct channel_page *page;
};

/* Binds it to vfio-pci, and takes its interrupt. 0; -errno, and *ret_what says of what. */
int vm_device_open(const struct vm_name *name, struct vm_device *ret, const char **ret_what);

/* --- relay.c: the virtio port of calls, for several programs ------------------------------------------------ */

#define VM_CALLERS_MAX 8        /* connections without a channel */
struct vm_caller {
        int fd;                         /* -1: none */
        int listens;
        uint32_t waits, number;         /* its question's number on the port, 0: none; and its own */
        uint64_t wants;                 /* the mask of its HELLO */
};

int vm_port(int *timeout);              /* the fd to wait at, -1: none now; timeout: ms until then, -1: for ever */
void vm_from_port(struct vm_caller all[VM_CALLERS_MAX]);
void vm_relay(struct vm_caller all[VM_CALLERS_MAX], struct vm_caller *c, const struct ulv_call *q);
void vm_refuse(struct vm_caller *c, const struct ulv_call *q, uint32_t code);
void vm_caller_gone(struct vm_caller *c);

/* --- serve.c: for ever ------------------------------------------------------------------------------------ */

int vm_serve(void);                     /* the exit status */
