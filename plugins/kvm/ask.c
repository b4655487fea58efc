/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is asked of libvirt. This file and listen.c know its interface, no other.
 *
 * Theory of operation. A call of libvirt's may take as long as libvirtd, or a QEMU that hangs, likes. So each request
 * has a child with a connection of its own: it asks, writes one answer into a pipe and ends; the monitor's loop goes
 * on meanwhile, and may end the child. The monitor itself has no connection that could be lost: libvirtd may die and
 * come back, and a VM's end is seen at QEMU's pidfd. */

#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/log.h"
#include "plugins/kvm/kvm.h"

#define UNPLUG_PATIENCE 20000   /* ms: a guest lets go of a disk at once, or never */
#define LIBVIRT_LEAST 9000000   /* 9.0.0 */
#define AGENT_SECONDS 5         /* for each of its answers */
#define END_TRIES 100           /* of 50 ms: libvirtd tidies up after a QEMU that was killed */

/* --- in the child -------------------------------------------------------------------------------------------- */

static void say_nothing(ULV_UNUSED void *userdata, ULV_UNUSED virErrorPtr e) {}

static int failed(struct kvm_answer *a, enum kvm_outcome outcome) {
        const char *text = virGetLastErrorMessage(), *end = strstr(text, "\"}: ");

        /* QEMU's own words stand behind the option that it was at, which nobody has to read. */
        if (end && (strstr(text, "unexpectedly closed the monitor") || strstr(text, "exited while connecting to monitor")))
                text = end + strlen("\"}: ");
        a->outcome = outcome;
        (void) snprintf(a->text, sizeof(a->text), "%.*s", (int) strcspn(text, "\n"), text);
        return -1;
}

/* Is no daemon there that could be making a domain now? */
static bool nobody_listens(void) {
        static const char *const paths[] = { "/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(paths); i++) {
                struct sockaddr_un sa = { .sun_family = AF_UNIX };
                _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

                (void) ulv_copy(sa.sun_path, sizeof(sa.sun_path), paths[i]);
                if (fd < 0 || connect(fd, (const struct sockaddr *) &sa, sizeof(sa)) == 0 || (errno != ENOENT && errno != ECONNREFUSED))
                        return false;
        }
        return true;
}

static bool no_such_domain(void) {
        const virError *e = virGetLastError();

        return e && e->code == VIR_ERR_NO_DOMAIN;
}

/* Until libvirt knows it no more: a request to make it may be under way still, from a life before. */
static int end(virConnectPtr c, const char *uuid, struct kvm_answer *a) {
        const struct timespec pause = { 0, 50 * 1000000 };

        for (unsigned i = 0; i < END_TRIES; i++) {
                virDomainPtr d = virDomainLookupByUUIDString(c, uuid);

                if (!d)
                        return no_such_domain() ? 0 : failed(a, KVM_FAILED);
                (void) virDomainDestroy(d);
                (void) virDomainFree(d);
                if (i > 0)
                        (void) nanosleep(&pause, NULL);
        }
        return failed(a, KVM_FAILED);
}

/* Idempotent: what is so already is no error. */
static int change(virDomainPtr d, enum kvm_request request, bool agent) {
        int state = 0, reason = 0;

        /* By its agent, and if that doesn't do it, by the power button. */
        if (request == KVM_SHUTDOWN)
                return agent && virDomainShutdownFlags(d, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT) == 0 ? 0 : virDomainShutdownFlags(d, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN);
        if (virDomainGetState(d, &state, &reason, 0) < 0)
                return -1;
        if ((state == VIR_DOMAIN_PAUSED) == (request == KVM_SUSPEND))
                return 0;
        return request == KVM_SUSPEND ? virDomainSuspend(d) : virDomainResume(d);
}

/* --- a disk comes or goes ------------------------------------------------------------------------------------ */

static bool has_device(virDomainPtr d, const char *alias) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        _cleanup_free_ char *xml = virDomainGetXMLDesc(d, 0);

        ulv_strbuf_addf(&b, "<alias name='%s'/>", alias);
        return !xml || strstr(xml, ulv_strbuf_str(&b));
}

/* One that is there already, of a request whose asker died, is no error. */
static void attach(virDomainPtr d, const char *xml, struct kvm_answer *a) {
        const char *at = strstr(xml, "<alias name='ua-disk-");
        char alias[128];

        if (virDomainAttachDeviceFlags(d, xml, VIR_DOMAIN_AFFECT_LIVE) == 0)
                return;
        (void) failed(a, KVM_FAILED);
        if (at && sscanf(at, "<alias name='%127[a-z0-9-]", alias) == 1 && has_device(d, alias))
                a->outcome = KVM_DONE;
}

struct unplug { const char *alias; bool removed, refused, late; };

static void on_removed(ULV_UNUSED virConnectPtr c, ULV_UNUSED virDomainPtr d, const char *alias, void *userdata) {
        struct unplug *u = userdata;

        u->removed |= ulv_streq(alias, u->alias);
}

static void on_refused(ULV_UNUSED virConnectPtr c, ULV_UNUSED virDomainPtr d, const char *alias, void *userdata) {
        struct unplug *u = userdata;

        u->refused |= ulv_streq(alias, u->alias);
}

static void on_late(ULV_UNUSED int timer, void *userdata) { ((struct unplug *) userdata)->late = true; }

/* Gone is what QEMU says is gone (DEVICE_DELETED); that it was asked to take it away means nothing. */
static int detach(virConnectPtr c, virDomainPtr d, const char *alias, struct kvm_answer *a) {
        struct unplug u = { .alias = alias };

        if (virConnectDomainEventRegisterAny(c, d, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_removed), &u, NULL) < 0 ||
            virConnectDomainEventRegisterAny(c, d, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, VIR_DOMAIN_EVENT_CALLBACK(on_refused), &u, NULL) < 0 ||
            virEventAddTimeout(UNPLUG_PATIENCE, on_late, &u, NULL) < 0)
                return -1;
        if (!has_device(d, alias))
                return 0;
        if (virDomainDetachDeviceAlias(d, alias, VIR_DOMAIN_AFFECT_LIVE) < 0 && has_device(d, alias))
                return -1;
        while (!u.removed && !u.refused && !u.late && has_device(d, alias))
                if (virEventRunDefaultImpl() < 0)
                        return -1;
        if (u.removed || !has_device(d, alias))
                return 0;
        a->outcome = KVM_FAILED;
        (void) snprintf(a->text, sizeof(a->text), "%s", u.refused ? "the guest refuses to let go of it" : "the guest hasn't let go of it in 20 seconds");
        return 0;
}

/* Of an older libvirt it isn't known what it makes of our XML: nothing is begun. */
static bool is_too_old(virConnectPtr c, struct kvm_answer *a) {
        unsigned long v = 0;

        if (virConnectGetLibVersion(c, &v) < 0 || v >= LIBVIRT_LEAST)
                return false;
        a->outcome = KVM_FAILED;
        (void) snprintf(a->text, sizeof(a->text), "libvirt %lu.%lu.%lu is older than 9.0, the least that this version knows", v / 1000000, v / 1000 % 1000, v % 1000);
        return true;
}

/* A guest that was paused has missed that time: its agent sets its clock. */
static int set_clock(virDomainPtr d) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return virDomainSetTime(d, now.tv_sec, (unsigned) now.tv_nsec, 0);
}

static void serve(const struct kvm *k, const char *xml, struct kvm_answer *a) {
        enum kvm_request request = k->request;
        const char *uuid = k->uuid;
        virConnectPtr c;
        virDomainPtr d;

        if (request == KVM_DETACH && virEventRegisterDefaultImpl() < 0) {
                (void) failed(a, KVM_FAILED);
                return;
        }
        c = virConnectOpen(KVM_URI);
        if (!c) {
                (void) failed(a, KVM_UNREACHABLE);
                if (request == KVM_END && nobody_listens())
                        a->outcome = KVM_DONE;
                return;
        }
        if (request == KVM_END) {
                (void) end(c, uuid, a);
                return;
        }
        if (request == KVM_CREATE && is_too_old(c, a))
                return;
        d = request == KVM_CREATE ? virDomainCreateXML(c, xml, VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_VALIDATE) : virDomainLookupByUUIDString(c, uuid);
        if (d && k->agent)
                (void) virDomainAgentSetResponseTimeout(d, AGENT_SECONDS, 0);
        if (d && request == KVM_ATTACH)
                attach(d, xml, a);
        else if (!d || (request == KVM_DETACH && detach(c, d, xml, a) < 0) || (request == KVM_CLOCK && set_clock(d) < 0) ||
                 (request < KVM_CLOCK && request != KVM_CREATE && change(d, request, k->agent_up) < 0))
                (void) failed(a, KVM_FAILED);
}

static void ask_child(const struct kvm *k, const void *xml, int to) {
        struct kvm_answer a = { .outcome = KVM_DONE };

        serve(k, xml, &a);
        _exit(write(to, &a, sizeof(a)) == sizeof(a) ? 0 : 1);
}

static _Noreturn void child(const struct kvm *k, kvm_child_t run, const void *data, int to, pid_t parent) {
        sigset_t none;

        sigemptyset(&none);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent || dup2(to, 3) < 0 ||
            syscall(SYS_close_range, 4u, ~0u, 0) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) < 0)
                _exit(1);
        virSetErrorFunc(NULL, say_nothing);
        run(k, data, 3);
        _exit(1);
}

/* --- in the monitor -------------------------------------------------------------------------------------------- */

int kvm_child_begin(struct kvm *k, kvm_child_t run, const void *data, int *ret_pidfd, int *ret_pipe) {
        pid_t parent = getpid(), pid;
        int p[2], fd;

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                child(k, run, data, p[1], parent);
        (void) ulv_close(p[1]);
        fd = pid < 0 ? -1 : (int) syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0) {
                (void) ulv_close(p[0]);                 /* its write fails, and it ends */
                return -EAGAIN;
        }
        *ret_pidfd = fd;
        *ret_pipe = p[0];
        return 0;
}

/* Has ended, or is to: gone in a moment. */
void kvm_child_end(int *pidfd, int *pipe) {
        siginfo_t si;

        if (*pidfd < 0)
                return;
        (void) syscall(SYS_pidfd_send_signal, *pidfd, SIGKILL, NULL, 0);
        (void) waitid(P_PIDFD, (id_t) *pidfd, &si, WEXITED);
        *pidfd = ulv_close(*pidfd);
        *pipe = ulv_close(*pipe);
}

void kvm_ask_no_more(struct kvm *k) {
        k->source = sd_event_source_disable_unref(k->source);
        kvm_child_end(&k->asked, &k->answer);
}

static int on_answer(ULV_UNUSED sd_event_source *s, ULV_UNUSED int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct kvm *k = userdata;
        struct kvm_answer a;

        if (read(k->answer, &a, sizeof(a)) != sizeof(a))
                a = (struct kvm_answer) { .outcome = KVM_FAILED, .text = "the process that asked libvirt has died" };
        a.text[sizeof(a.text) - 1] = 0;
        kvm_ask_no_more(k);
        kvm_answered(k, k->request, &a);
        return 0;
}

int kvm_ask(struct kvm *k, enum kvm_request request, const char *xml) {
        int r;

        if (k->asked >= 0)
                return -EBUSY;
        k->request = request;
        r = kvm_child_begin(k, ask_child, xml, &k->asked, &k->answer);
        if (r == 0)
                r = sd_event_add_io(ulv_monitor_event(k->m), &k->source, k->asked, EPOLLIN, on_answer, k);
        if (r < 0)
                kvm_ask_no_more(k);
        return r;
}
