/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What libvirt tells by itself: that the guest was paused or goes on, that its agent answers or is gone, that the guest has
 * taken or given memory.
 *
 * Theory of operation. A child of the monitor has the connection, and libvirt's own event loop: it sleeps in poll() until
 * libvirtd says something, and each thing that it says is one fixed record in a pipe, which is a source of the monitor's loop.
 * So everything that happens comes as an event, and nobody polls. Why not libvirt's loop inside the monitor's
 * (virEventRegisterImpl)? Its handlers would fit, but its calls wait for their answer, the opening of a connection and the
 * registration of callbacks among them: with a libvirtd that is there and silent (SIGSTOP) virConnectOpen() doesn't return,
 * and keep-alive counts only once it has. Here that holds the child alone. Keep-alive ends a connection that has died later.
 *
 * The child's first words are how things are now; then come changes. So an event that was told while nobody listened is no
 * loss. When it ends (libvirtd has died) another one is begun, later each time, at most every 10 s: libvirtd's start tells
 * nobody. */

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/log.h"
#include "plugins/kvm/kvm.h"

#define ALIVE_SECONDS 5
#define ALIVE_TRIES 3
#define AGAIN_MIN_USEC (500 * 1000u)
#define AGAIN_MAX_USEC (10 * 1000 * 1000u)
#define AGENT "org.qemu.guest_agent.0"

/* --- in the child -------------------------------------------------------------------------------------------- */

static void tell(void *to, enum kvm_event event) {
        const struct kvm_news n = { .event = event };

        if (write(*(int *) to, &n, sizeof(n)) != sizeof(n))
                _exit(1);               /* the monitor has gone */
}

static int on_lifecycle(ULV_UNUSED virConnectPtr c, ULV_UNUSED virDomainPtr d, int event, ULV_UNUSED int detail, void *to) {
        if (event == VIR_DOMAIN_EVENT_SUSPENDED || event == VIR_DOMAIN_EVENT_RESUMED)
                tell(to, event == VIR_DOMAIN_EVENT_SUSPENDED ? KVM_PAUSED : KVM_GOES_ON);
        else if (event == VIR_DOMAIN_EVENT_CRASHED || (event == VIR_DOMAIN_EVENT_STOPPED && detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED))
                tell(to, KVM_CRASHED);
        return 0;
}

static void on_agent(ULV_UNUSED virConnectPtr c, ULV_UNUSED virDomainPtr d, int state, ULV_UNUSED int reason, void *to) {
        tell(to, state == VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED ? KVM_AGENT_UP : KVM_AGENT_DOWN);
}

static void on_close(ULV_UNUSED virConnectPtr c, ULV_UNUSED int reason, ULV_UNUSED void *opaque) { _exit(0); }

/* The number in an element of libvirt's own XML of a domain that we wrote: it has one of that kind. */
static const char *element(const char *xml, const char *from, const char *name) {
        const char *at = strstr(xml, from);

        return at ? strstr(at, name) : NULL;
}

static void tell_now(virDomainPtr d, int *to) {
        char *xml = virDomainGetXMLDesc(d, 0);
        const char *agent = xml ? element(xml, "name='" AGENT "'", "state='") : NULL;
        int state = 0, reason = 0;

        if (!xml || virDomainGetState(d, &state, &reason, 0) < 0)
                _exit(1);
        tell(to, state == VIR_DOMAIN_PAUSED ? KVM_PAUSED : KVM_GOES_ON);
        tell(to, agent && ulv_startswith(agent, "state='connected'") ? KVM_AGENT_UP : KVM_AGENT_DOWN);
        free(xml);
}

static void listen_child(const struct kvm *k, ULV_UNUSED const void *data, int to) {
        virConnectPtr c;
        virDomainPtr d;

        if (virEventRegisterDefaultImpl() < 0 || !(c = virConnectOpen(KVM_URI)) || !(d = virDomainLookupByUUIDString(c, k->uuid)) ||
            virConnectSetKeepAlive(c, ALIVE_SECONDS, ALIVE_TRIES) < 0 || virConnectRegisterCloseCallback(c, on_close, NULL, NULL) < 0 ||
            virConnectDomainEventRegisterAny(c, d, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), &to, NULL) < 0 ||
            virConnectDomainEventRegisterAny(c, d, VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_agent), &to, NULL) < 0)
                _exit(1);
        tell_now(d, &to);
        while (virEventRunDefaultImpl() == 0)
                ;
}

/* --- in the monitor -------------------------------------------------------------------------------------------- */

void kvm_listen_no_more(struct kvm *k) {
        k->listen_again = sd_event_source_disable_unref(k->listen_again);
        k->news_source = sd_event_source_disable_unref(k->news_source);
        kvm_child_end(&k->listener, &k->news);
}

static int on_again(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        kvm_listen(userdata);
        return 0;
}

static void later(struct kvm *k) {
        uint64_t usec = k->listen_delay;

        kvm_listen_no_more(k);
        k->listen_delay = ULV_MIN(ULV_MAX(2 * usec, (uint64_t) AGAIN_MIN_USEC), (uint64_t) AGAIN_MAX_USEC);
        if (sd_event_add_time_relative(ulv_monitor_event(k->m), &k->listen_again, CLOCK_MONOTONIC, k->listen_delay, 1000, on_again, k) < 0)
                ulv_log(ULV_LOG_WARNING, "nobody listens any more to what libvirt tells about %s", k->name);
}

static int on_news(ULV_UNUSED sd_event_source *s, int fd, ULV_UNUSED uint32_t revents, void *userdata) {
        struct kvm *k = userdata;
        struct kvm_news n;

        if (read(fd, &n, sizeof(n)) != sizeof(n)) {
                kvm_heard(k, &(struct kvm_news) { .event = KVM_AGENT_DOWN });   /* for all that is known */
                later(k);
                return 0;
        }
        k->listen_delay = 0;
        kvm_heard(k, &n);
        return 0;
}

void kvm_listen(struct kvm *k) {
        int r;

        kvm_listen_no_more(k);
        r = kvm_child_begin(k, listen_child, NULL, &k->listener, &k->news);
        if (r == 0)
                r = sd_event_add_io(ulv_monitor_event(k->m), &k->news_source, k->news, EPOLLIN, on_news, k);
        if (r < 0)
                later(k);
}
