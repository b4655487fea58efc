/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The inside of the backend for VMs. plugin.c is the life of one, domain.c its XML (pure), ask.c what is asked of
 * libvirt, listen.c what it tells, process.c QEMU as a process of this host, home.c its cgroup and limits, place.c its files,
 * disks.c what it writes, seed.c what cloud-init reads, run.c tools under its uid, narrow.c what the monitor gives up. */

#include "lib/strbuf.h"
#include "monitor/enforce/enforce.h"
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
        const char *disks;                      /* directory of what is written over images */
        const char *nvram;                      /* the firmware's variables; NULL: a BIOS */
        const char *seed;                       /* the ISO for cloud-init, NULL: none */
        const struct ulv_link *links;           /* one for each network */
        const char *slice;                      /* "ultravisor": of PID 1's that its scope is to be in; NULL: not PID 1's */
        unsigned uid;                           /* uid and gid of QEMU */
        const char *call;                       /* path of the socket that the guest's virtio port leads to */
        const struct kvm_channel *channels;
        unsigned n_channels;
};

/* Which domain of libvirt's is this partition of this instance? Always the same one. */
void kvm_identity(const char *root, const char *partition, char name[static KVM_NAME_MAX], char uuid[static 37]);
/* The number of CPUs that the guest sees: one for each thread of its cores, or for each begun thread of its share. */
unsigned kvm_vcpus(const struct ulv_grant *g);
#define KVM_SPARE_PORTS 8
static inline bool kvm_disk_is_over(const struct ulv_attachment *a) { return ulv_streq(a->writable, "kept") || ulv_streq(a->writable, "ephemeral"); }
/* slot: its number among those of its bus. boot: its turn, 0 if none. */
void kvm_disk_xml(struct ulv_strbuf *b, const struct ulv_attachment *a, const char *dir, unsigned slot, unsigned boot);
int kvm_domain_xml(const struct kvm_domain *k, struct ulv_strbuf *b) ULV_MUST_CHECK;

/* --- ask.c: one child for each request, so that a libvirtd that doesn't answer holds nobody ---------------------- */

enum kvm_request { KVM_CREATE, KVM_SHUTDOWN, KVM_SUSPEND, KVM_RESUME, KVM_CLOCK, KVM_ATTACH, KVM_DETACH, KVM_END };
enum kvm_outcome { KVM_DONE, KVM_FAILED, KVM_UNREACHABLE };
struct kvm_answer { enum kvm_outcome outcome; char text[400]; };

#define KVM_URI "qemu:///system"
struct kvm;
/* A child of the monitor's that may hang in libvirt; what it writes to its end of the pipe is read from ours. */
typedef void (*kvm_child_t)(const struct kvm *k, const void *data, int to);
int kvm_child_begin(struct kvm *k, kvm_child_t run, const void *data, int *ret_pidfd, int *ret_pipe) ULV_MUST_CHECK;
void kvm_child_end(int *pidfd, int *pipe);      /* -1: there is none */
/* One at a time. 0: going on, kvm_answered() comes; -errno. xml: of KVM_CREATE and KVM_ATTACH; KVM_DETACH: the alias. */
int kvm_ask(struct kvm *k, enum kvm_request request, const char *xml) ULV_MUST_CHECK;
void kvm_ask_no_more(struct kvm *k);            /* ends the child that is at it */
void kvm_answered(struct kvm *k, enum kvm_request request, const struct kvm_answer *a);         /* plugin.c */

/* --- listen.c: what libvirt tells by itself ------------------------------------------------------------------- */

enum kvm_event { KVM_PAUSED = 1, KVM_GOES_ON, KVM_CRASHED, KVM_AGENT_UP, KVM_AGENT_DOWN };
struct kvm_news { enum kvm_event event; };
void kvm_listen(struct kvm *k);                 /* begins, or begins anew */
void kvm_listen_no_more(struct kvm *k);
void kvm_heard(struct kvm *k, const struct kvm_news *n);        /* plugin.c */

/* --- process.c ----------------------------------------------------------------------------------------------- */

/* The pidfd of the domain's QEMU; -ENOENT: there is none. */
int kvm_find(const char *name, const char *uuid, pid_t *ret_pid) ULV_MUST_CHECK;
/* All threads of QEMU on these CPUs, and on no other; each: the guest's CPUs each on one of them. 0: read back; 1: not so; -errno. */
int kvm_pin(pid_t pid, const struct ulv_cpus *cpus, bool each) ULV_MUST_CHECK;
/* Are there pages behind all of the guest's memory? */
bool kvm_has_all(pid_t pid, uint64_t bytes);
int kvm_process_usage(pid_t pid, struct ulv_usage *ret) ULV_MUST_CHECK;

/* --- home.c --------------------------------------------------------------------------------------------------- */

struct kvm;
int kvm_home_find(struct kvm *k, pid_t pid);
/* Where QEMU, that is there and paused, is to be, and what it may use. 0; 1: reterr; -errno. */
int kvm_home_make(struct kvm *k, const struct ulv_grant *g, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* As ulv_plugin.enforce; started: the guest has run. */
int kvm_home_enforce(struct kvm *k, pid_t pid, const struct ulv_grant *g, struct ulv_enforced *ret, bool started, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* Nothing runs: removes it. -EBUSY: not yet. */
int kvm_home_leave(struct ulv_monitor *m, unsigned *looks) ULV_MUST_CHECK;

/* --- place.c: ROOT/run/ultravisor/vm/NAME --------------------------------------------------------------------- */

struct kvm_place {
        char kernel[512], initrd[512], vnc[108], seed[512];     /* "" what it has none of */
        char call[108];
        struct kvm_channel channels[ULV_CHANNELS_MAX];
        unsigned n_channels;
};
/* Makes it, with sockets for its ends of channels, which the monitor is given, and with copies of the files that it boots: libvirt gives them to the VM's uid, and they are of no other VM. */
int kvm_place_make(struct ulv_monitor *m, const struct ulv_definition *d, unsigned uid, const struct ulv_link *links,
                   struct kvm_place *ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
void kvm_place_booted(struct ulv_monitor *m);   /* QEMU has them in memory now */
int kvm_place_remove(struct ulv_monitor *m) ULV_MUST_CHECK;

/* --- run.c: tools, as the VM's uid ----------------------------------------------------------------------------- */

/* Runs work in a child under uid and waits for it, half a minute at most. It ends by _exit(), or becomes a program; what it
 * wrote to stderr ("why", or "why\ttry") is what went wrong. 0; 1: reterr, with what and try_ as given; -errno. */
int kvm_run(unsigned uid, void (*work)(const void *arg), const void *arg, const char *what, const char *try_, struct ulv_diag *reterr) ULV_MUST_CHECK;
_Noreturn void kvm_run_fail(const char *try_, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- disks.c: ROOT/var/lib/ultravisor/disks/NAME ----------------------------------------------------------------- */

/* What is written over images, and the firmware's variables. Made where it isn't there yet; what an ephemeral disk's last
 * life left is gone. dir: its path. */
int kvm_disks_make(struct ulv_monitor *m, const struct ulv_definition *d, unsigned uid, char dir[static 512], struct ulv_diag *reterr) ULV_MUST_CHECK;
/* One of them; for one that is attached later, too. */
int kvm_disk_make(struct ulv_monitor *m, const struct ulv_attachment *a, unsigned uid, char dir[static 512], struct ulv_diag *reterr) ULV_MUST_CHECK;
void kvm_disks_forget(struct ulv_monitor *m);   /* of a life that has ended: what is ephemeral */

void kvm_disk_forget(struct ulv_monitor *m, const char *label);         /* of one that is detached: what is ephemeral */

/* --- attach.c ----------------------------------------------------------------------------------------------------- */

#define KVM_KEY_MAX 160
struct kvm_attached {
        char key[KVM_KEY_MAX], label[ULV_NAME_MAX + 1];
        unsigned slot;                  /* its number on its bus */
        bool cdrom, read_only, coming;  /* coming: not there yet */
};
int kvm_attach_started(struct kvm *k, const struct ulv_definition *d) ULV_MUST_CHECK;   /* it begins with all of these */
void kvm_attach_load(struct kvm *k);            /* what a monitor before this one noted */
void kvm_attach_forget(struct kvm *k);
const char *kvm_attach_how(struct ulv_monitor *m, const char *key);
int kvm_attach(struct ulv_monitor *m, const char *key, const struct ulv_attachment *a);
int kvm_detach(struct ulv_monitor *m, const char *key, bool force);
void kvm_attach_go(struct kvm *k);              /* libvirt may be asked something now */
void kvm_attach_answered(struct kvm *k, const struct kvm_answer *a);

/* --- seed.c ------------------------------------------------------------------------------------------------------- */

/* What cloud-init is told of the networks. Pure. */
int kvm_network_config(const struct ulv_definition *d, const struct ulv_link *links, struct ulv_strbuf *b) ULV_MUST_CHECK;
/* seed/seed.iso for cloud-init, in the directory place. */
int kvm_seed_make(const struct ulv_definition *d, const struct ulv_link *links, int place, unsigned uid, struct ulv_diag *reterr) ULV_MUST_CHECK;

/* --- plugin.c, narrow.c ---------------------------------------------------------------------------------------- */

struct kvm {
        struct ulv_monitor *m;
        char name[KVM_NAME_MAX], uuid[37];
        bool tcg;
        int leader;                     /* pidfd, until it is the monitor's */
        pid_t pid;
        bool ended;                     /* proved: libvirt has no such domain */
        uint64_t tidy_until;            /* QEMU has died, and libvirt is given until then to tidy up; 0: it hasn't */
        bool killed, stopping;          /* stopping: it was asked, or is to be, to shut down */
        enum { KVM_PAUSED_UNKNOWN, KVM_PAUSED_NO, KVM_PAUSED_YES } paused;
        int freeze_error;               /* of the last request to pause or resume */
        sd_event_source *again;         /* asks it to stop once more */
        unsigned uid;                   /* QEMU's */

        /* attach.c */
        struct kvm_attached attached[ULV_ATTACHMENTS_MAX];
        size_t n_attached;
        enum kvm_change { KVM_CHANGE_NONE, KVM_CHANGE_ATTACH, KVM_CHANGE_DETACH } change;       /* what is to be, or is, asked */
        char changing[KVM_KEY_MAX], *change_xml;
        bool agent, agent_up;           /* it has one, that answers */
        struct ulv_grant grant;         /* of the start */
        unsigned looks;                 /* at a scope that is empty and stands */

        /* ask.c */
        int asked, answer;              /* the child's pidfd and pipe */
        enum kvm_request request;
        sd_event_source *source;

        /* listen.c */
        int listener, news;
        sd_event_source *news_source, *listen_again;
        uint64_t listen_delay;
};
struct kvm *kvm_get(struct ulv_monitor *m);     /* NULL: no memory */
int kvm_narrow(struct ulv_monitor *m, enum ulv_stage stage);
