/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of the backend for VMs. plugin.c is the life of one, domain.c its XML (pure), ask.c what is asked of
 * libvirt, process.c QEMU as a process of this host, place.c its files, narrow.c what the monitor gives up. */

#include "lib/strbuf.h"
#include "monitor/plugin.h"

/* --- domain.c: pure ---------------------------------------------------------------------------------------- */

#define KVM_NAME_MAX 96
/* An end of a channel: a PCI device of the guest, served at a socket. */
struct kvm_channel { const char *label; char path[108]; };
#define KVM_CHANNELS_MAX 96     /* places for them on the PCI bus: slots 16 to 27 with 8 functions each */
struct kvm_domain {
        const struct ulv_definition *d;
        const struct ulv_grant *grant;
        char name[KVM_NAME_MAX], uuid[37];      /* kvm_identity() */
        const char *kernel, *initrd;            /* paths of the VM's own copies; NULL: none */
        const char *console;                    /* the pty */
        const char *vnc;                        /* path of the socket, NULL: none */
        unsigned uid;                           /* uid and gid of QEMU */
        const struct kvm_channel *channels;
        unsigned n_channels;
};

/* Which domain of libvirt's is this partition of this instance? Always the same one. */
void kvm_identity(const char *root, const char *partition, char name[static KVM_NAME_MAX], char uuid[static 37]);
/* The number of CPUs that the guest sees: one for each thread of its cores, or for each begun thread of its share. */
unsigned kvm_vcpus(const struct ulv_grant *g);
int kvm_domain_xml(const struct kvm_domain *k, struct ulv_strbuf *b) ULV_MUST_CHECK;

/* --- ask.c: one child for each request, so that a libvirtd that doesn't answer holds nobody ---------------------- */

enum kvm_request { KVM_CREATE, KVM_SHUTDOWN, KVM_SUSPEND, KVM_RESUME, KVM_END };
enum kvm_outcome { KVM_DONE, KVM_FAILED, KVM_UNREACHABLE };
struct kvm_answer { enum kvm_outcome outcome; char text[400]; };

struct kvm;
/* One at a time. 0: going on, kvm_answered() comes; -errno. xml: of KVM_CREATE, else NULL. */
int kvm_ask(struct kvm *k, enum kvm_request request, const char *xml) ULV_MUST_CHECK;
void kvm_ask_no_more(struct kvm *k);            /* ends the child that is at it */
void kvm_answered(struct kvm *k, enum kvm_request request, const struct kvm_answer *a);         /* plugin.c */

/* --- process.c ----------------------------------------------------------------------------------------------- */

/* The pidfd of the domain's QEMU; -ENOENT: there is none. */
int kvm_find(const char *name, const char *uuid, pid_t *ret_pid) ULV_MUST_CHECK;
/* All threads of a process on these CPUs, and on no other; threads that are on some of them stay there, as long as
 * together they use all. 0: read back; 1: not so; -errno. */
int kvm_pin(pid_t pid, const struct ulv_cpus *cpus) ULV_MUST_CHECK;
int kvm_process_usage(pid_t pid, struct ulv_usage *ret) ULV_MUST_CHECK;

/* --- place.c: ROOT/run/ultravisor/vm/NAME --------------------------------------------------------------------- */

struct kvm_place {
        char kernel[512], initrd[512], vnc[108];        /* "" what it has none of */
        struct kvm_channel channels[ULV_CHANNELS_MAX];
        unsigned n_channels;
};
/* Makes it, with sockets for its ends of channels, which the monitor is given, and with copies of the files that it boots: libvirt gives them to the VM's uid, and they are of no other VM. */
int kvm_place_make(struct ulv_monitor *m, const struct ulv_definition *d, unsigned uid, struct kvm_place *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
void kvm_place_booted(struct ulv_monitor *m);   /* QEMU has them in memory now */
int kvm_place_remove(struct ulv_monitor *m) ULV_MUST_CHECK;

/* --- plugin.c, narrow.c ---------------------------------------------------------------------------------------- */

struct kvm {
        struct ulv_monitor *m;
        char name[KVM_NAME_MAX], uuid[37];
        bool tcg;
        int leader;                     /* pidfd, until it is the monitor's */
        pid_t pid;
        bool ended;                     /* proved: libvirt has no such domain */
        bool killed, stopping;          /* stopping: it was asked, or is to be, to shut down */
        enum { KVM_PAUSED_UNKNOWN, KVM_PAUSED_NO, KVM_PAUSED_YES } paused;
        int freeze_error;               /* of the last request to pause or resume */
        sd_event_source *again;         /* asks it to stop once more */

        /* ask.c */
        int asked, answer;              /* the child's pidfd and pipe */
        enum kvm_request request;
        sd_event_source *source;
};
int kvm_narrow(struct ulv_monitor *m, enum ulv_stage stage);
