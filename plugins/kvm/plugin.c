/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM's life as monitor/plugin.h asks for it.
 *
 * Theory of operation. libvirt makes the domain, transient and paused (ask.c). QEMU's pidfd is stored before the guest
 * runs a single instruction; then it is let go, and told as started. From there the pidfd is what counts: it says that
 * the VM runs and that it has ended, it kills, and it outlives this process in the starter's store; libvirtd may be
 * dead all the while. Gently stopping, pausing and resuming are requests to libvirtd.
 *
 * A life of the monitor that died in the middle of a start has no pidfd to leave. So where none is known, nothing is
 * proved gone before libvirt has said that it has no such domain, or no libvirtd runs and its pid file names nobody.
 *
 * Limits are those of a container, on the cgroup that QEMU is in (home.c), set before the guest runs. */

#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "lib/log.h"
#include "model/inventory.h"
#include "plugins/kvm/kvm.h"

#define AGAIN_USEC (1000 * 1000u)
#define TIDY_USEC (5 * UINT64_C(1000000))

struct kvm *kvm_get(struct ulv_monitor *m) {
        struct kvm *k = ulv_monitor_data(m);

        if (!k && (k = calloc(1, sizeof(*k)))) {
                *k = (struct kvm) { .m = m, .leader = -1, .asked = -1, .answer = -1, .listener = -1, .news = -1 };
                kvm_identity(ulv_monitor_root(m), ulv_monitor_name(m), k->name, k->uuid);
                ulv_monitor_set_data(m, k);
        }
        return k;
}

static int leader_of(const struct kvm *k) { return k->leader >= 0 ? k->leader : ulv_monitor_leader_pidfd(k->m); }

static int kill_process(int pidfd) {
        return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH ? -errno : 0;
}

/* --- start ------------------------------------------------------------------------------------------------------- */

static int refuse(struct ulv_monitor *m, struct ulv_diag *d, const char *why, const char *try_) {
        ulv_diag_what(d, ULV_EXIT_FAILED, "cannot start %s", ulv_monitor_name(m));
        ulv_diag_why(d, "%s", why);
        ulv_diag_try(d, "%s", try_);
        return -EIO;
}

/* The name of the pty, by which QEMU opens it. */
static int console_path(struct ulv_monitor *m, char path[64]) {
        int fd = ulv_monitor_console_fd(m);

        return fd < 0 || ttyname_r(fd, path, 64) != 0 ? -ENOTTY : 0;
}

/* libvirt would tell of one that isn't, but not what to do. */
static int bridges_are_there(struct ulv_monitor *m, const struct ulv_definition *d, struct ulv_diag *reterr) {
        char path[64], why[160], try_[128];

        for (size_t i = 0; i < d->n_networks; i++) {
                (void) snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", d->networks[i].bridge);
                if (access(path, F_OK) == 0)
                        continue;
                (void) snprintf(why, sizeof(why), "Bridge=%s of [Network \"%s\"] is not there, or no bridge", d->networks[i].bridge, d->networks[i].label);
                (void) snprintf(try_, sizeof(try_), "ip link show type bridge; ip link add %s type bridge", d->networks[i].bridge);
                return refuse(m, reterr, why, try_);
        }
        return 0;
}

static int create(struct kvm *k, const struct ulv_definition *d, const struct ulv_grant *g, struct ulv_diag *reterr) {
        struct kvm_domain domain = { .d = d, .grant = g, .uid = k->uid };
        _cleanup_strbuf_ struct ulv_strbuf xml = { .max = 256 * 1024 };
        struct ulv_link links[ULV_NETWORKS_MAX];
        struct kvm_place place;
        char console[64], disks[512] = "", nvram[600];
        int r;

        for (unsigned i = 0; i < d->n_networks; i++)
                links[i] = ulv_monitor_link(domain.uid, i, &d->networks[i]);
        if ((r = console_path(k->m, console)) < 0 || (r = bridges_are_there(k->m, d, reterr)) < 0 ||
            (r = kvm_disks_make(k->m, d, domain.uid, disks, reterr)) < 0 || (r = kvm_place_make(k->m, d, domain.uid, links, &place, reterr)) < 0)
                return r;
        memcpy(domain.name, k->name, sizeof(domain.name));
        memcpy(domain.uuid, k->uuid, sizeof(domain.uuid));
        domain.kernel = place.kernel[0] ? place.kernel : NULL;
        domain.initrd = place.initrd[0] ? place.initrd : NULL;
        domain.vnc = place.vnc[0] ? place.vnc : NULL;
        domain.console = console;
        domain.call = place.call;
        domain.channels = place.channels;
        domain.n_channels = place.n_channels;
        domain.links = links;
        domain.disks = disks;
        domain.seed = place.seed[0] ? place.seed : NULL;
        (void) snprintf(nvram, sizeof(nvram), "%s/nvram.fd", disks);
        domain.nvram = ulv_streq(d->firmware, "uefi") ? nvram : NULL;
        domain.slice = !ulv_monitor_scope(k->m) ? NULL : ulv_streq(ulv_monitor_slice(k->m), ULV_SLICE_CORES) ? "ultravisor" : "uvpool";
        r = kvm_domain_xml(&domain, &xml);
        return r < 0 ? r : kvm_ask(k, KVM_CREATE, ulv_strbuf_str(&xml));
}

static int start(struct ulv_monitor *m, const struct ulv_definition *d, const struct ulv_grant *g, struct ulv_diag *reterr) {
        struct kvm *k = kvm_get(m);
        int r;

        if (!k)
                return -ENOMEM;
        if (g->uids == 0)
                return refuse(m, reterr, "it has no range of user ids", "uvctl check");
        k->tcg = ulv_streq(d->accel, "tcg");
        k->agent = d->agent;
        if (!k->tcg && access("/dev/kvm", F_OK) < 0)
                return refuse(m, reterr, "this machine has no KVM (/dev/kvm)", "Accel=tcg in [VM], if emulation will do: it is slow, and isolates nothing");
        k->ended = k->killed = k->stopping = false;
        k->tidy_until = 0;
        k->uid = ULV_UID_BASE + g->uids * ULV_UID_RANGE;
        r = kvm_attach_started(k, d);
        if (r < 0)
                return r;
        k->paused = KVM_PAUSED_YES;
        k->grant = *g;
        r = ulv_slice_reserve(m, g);
        if (r < 0)
                return r;
        return create(k, d, g, reterr);
}

static void start_failed(struct kvm *k, const struct kvm_answer *a) {
        struct ulv_diag d = { 0 };

        (void) refuse(k->m, &d, a->text, a->outcome == KVM_UNREACHABLE ? "systemctl start libvirtd (packages libvirt-daemon-system and qemu-system-x86)" : "uvctl edit, then start it again");
        ulv_monitor_start_failed(k->m, &d);
}

/* There, and paused. Who it is goes into the store, and it is under its limits, before it may run. */
static void created(struct kvm *k) {
        struct ulv_diag d = { 0 };
        int r = k->leader = kvm_find(k->name, k->uuid, &k->pid);

        if (r < 0)
                return start_failed(k, &(struct kvm_answer) { .outcome = KVM_FAILED, .text = "libvirt has made it, but its QEMU isn't to be found" });
        r = ulv_monitor_store_fd(k->m, "leader", k->leader);
        if (r >= 0)
                r = kvm_home_make(k, &k->grant, &d);
        if (r == 0)
                r = kvm_ask(k, KVM_RESUME, NULL);
        if (r == 0)
                return;
        if (!d.what[0])
                (void) refuse(k->m, &d, d.why[0] ? d.why : strerror(r < 0 ? -r : EIO), d.try_[0] ? d.try_ : "uvctl check");
        ulv_monitor_start_failed(k->m, &d);
}

/* --- what libvirt answered --------------------------------------------------------------------------------------- */

static int on_again(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct kvm *k = userdata;

        k->again = sd_event_source_disable_unref(k->again);
        if (k->stopping && !ulv_monitor_pidfd_dead(leader_of(k)) && k->asked < 0 && kvm_ask(k, KVM_SHUTDOWN, NULL) < 0)
                ulv_log(ULV_LOG_WARNING, "%s can't be asked to stop", k->name);
        return 0;
}

/* No libvirtd: it may come back within the partition's StopTimeout. */
static void ask_again(struct kvm *k, uint64_t usec) {
        if (!k->again)
                (void) sd_event_add_time_relative(ulv_monitor_event(k->m), &k->again, CLOCK_MONOTONIC, usec, 1000, on_again, k);
}

static void changed(struct kvm *k, enum kvm_request request, const struct kvm_answer *a) {
        k->freeze_error = a->outcome == KVM_DONE ? 0 : -EIO;
        k->paused = a->outcome != KVM_DONE ? KVM_PAUSED_UNKNOWN : request == KVM_SUSPEND ? KVM_PAUSED_YES : KVM_PAUSED_NO;
        if (k->leader < 0) {
                if (a->outcome == KVM_DONE && request == KVM_RESUME && k->agent_up && kvm_ask(k, KVM_CLOCK, NULL) < 0)
                        ulv_log(ULV_LOG_WARNING, "the clock of %s isn't set", k->name);
                ulv_monitor_look(k->m);
                return;
        }
        if (a->outcome != KVM_DONE)
                return start_failed(k, a);
        kvm_place_booted(k->m);
        kvm_listen(k);
        ulv_monitor_started(k->m, ulv_steal_fd(&k->leader), k->pid);
}

void kvm_answered(struct kvm *k, enum kvm_request request, const struct kvm_answer *a) {
        if (a->outcome != KVM_DONE && request != KVM_CREATE)
                ulv_log(ULV_LOG_WARNING, "libvirt, asked about %s: %s", k->name, a->text);
        if (request == KVM_END) {
                pid_t pid;
                _cleanup_close_ int fd = kvm_find(k->name, k->uuid, &pid);

                k->ended = a->outcome == KVM_DONE && fd < 0;
        } else if (request == KVM_ATTACH || request == KVM_DETACH)
                kvm_attach_answered(k, a);
        else if (k->killed)
                return;
        else if (request == KVM_CREATE && a->outcome == KVM_DONE)
                created(k);
        else if (request == KVM_CREATE)
                start_failed(k, a);
        else if (request == KVM_SHUTDOWN && a->outcome != KVM_DONE)
                ask_again(k, AGAIN_USEC);
        else if (request != KVM_SHUTDOWN && request != KVM_CLOCK)
                changed(k, request, a);
        if (k->stopping && request != KVM_SHUTDOWN)
                ask_again(k, 0);
        kvm_attach_go(k);
}

/* It may be somebody else's doing (virsh), and be told of something that we asked for before its answer comes. */
void kvm_heard(struct kvm *k, const struct kvm_news *n) {
        bool agent = n->event == KVM_AGENT_UP;

        switch (n->event) {
        case KVM_PAUSED:
        case KVM_GOES_ON:
                if (k->asked < 0)
                        k->paused = n->event == KVM_PAUSED ? KVM_PAUSED_YES : KVM_PAUSED_NO;
                break;
        case KVM_AGENT_UP:
        case KVM_AGENT_DOWN:
                if (k->agent && k->agent_up != agent)
                        ulv_log(ULV_LOG_INFO, "the guest's agent of %s %s", ulv_monitor_name(k->m), agent ? "answers" : "doesn't answer");
                k->agent_up = k->agent && agent;
                ulv_monitor_look(k->m);
                break;
        case KVM_CRASHED:
                ulv_log(ULV_LOG_WARNING, "the guest of %s has crashed, says libvirt", ulv_monitor_name(k->m));
                break;
        }
}

/* --- end --------------------------------------------------------------------------------------------------------- */

static int ask_stop(struct ulv_monitor *m) {
        struct kvm *k = kvm_get(m);

        if (!k)
                return -ENOMEM;
        k->stopping = true;
        if (k->asked < 0)
                ask_again(k, 0);        /* else when what is asked now is answered */
        return 0;
}

static int do_kill(struct ulv_monitor *m) {
        struct kvm *k = kvm_get(m);
        _cleanup_close_ int found = -1;
        int leader, r;
        pid_t pid;

        if (!k)
                return -ENOMEM;
        k->killed = true;
        k->stopping = false;
        if (k->request != KVM_END)
                kvm_ask_no_more(k);
        leader = leader_of(k);
        if (leader >= 0)
                return kill_process(leader);
        found = kvm_find(k->name, k->uuid, &pid);
        r = found >= 0 ? kill_process(found) : 0;
        if (r == 0 && !k->ended && k->asked < 0)
                r = kvm_ask(k, KVM_END, NULL);
        return r;
}

/* After QEMU's death libvirt gives what it had back to the host, its console among it: by name. Whoever got that name
 * meanwhile (the next pty has the number of the last) would be robbed of it, so its word is waited for; not for ever. */
static bool is_tidied_up(struct kvm *k) {
        uint64_t now;

        (void) sd_event_now(ulv_monitor_event(k->m), CLOCK_MONOTONIC, &now);
        if (!k->tidy_until) {
                k->tidy_until = now + TIDY_USEC;
                return kvm_ask(k, KVM_END, NULL) < 0;
        }
        if (k->asked >= 0 && now < k->tidy_until)
                return false;
        kvm_ask_no_more(k);
        return true;
}

static int gone(struct ulv_monitor *m) {
        struct kvm *k = kvm_get(m);

        if (!k)
                return -ENOMEM;
        if (k->tidy_until)
                return !is_tidied_up(k);
        if (k->asked >= 0)
                return 1;
        if (leader_of(k) < 0)
                return !k->ended;
        return !ulv_monitor_pidfd_dead(leader_of(k)) || !is_tidied_up(k);
}

static int cleanup(struct ulv_monitor *m) {
        struct kvm *k = kvm_get(m);

        if (!k)
                return -ENOMEM;
        int r;

        kvm_ask_no_more(k);
        kvm_listen_no_more(k);
        k->again = sd_event_source_disable_unref(k->again);
        k->leader = ulv_close(k->leader);
        kvm_disks_forget(m);
        kvm_attach_forget(k);
        r = kvm_home_leave(m, &k->looks);
        return r < 0 ? r : kvm_place_remove(m);
}

/* --- while it runs ----------------------------------------------------------------------------------------------- */

static int adopt(struct ulv_monitor *m, const struct ulv_definition *d, int leader_pidfd) {
        struct kvm *k = kvm_get(m);

        if (!k)
                return -ENOMEM;
        k->tcg = ulv_streq(d->accel, "tcg");
        k->agent = d->agent;
        if (leader_pidfd < 0)
                return 1;       /* do_kill() looks for what a start left half done */
        kvm_place_booted(m);
        kvm_attach_load(k);
        kvm_listen(k);
        return ULV_MIN(kvm_home_find(k, ulv_monitor_pidfd_pid(leader_pidfd)), 0);
}

static int enforce(struct ulv_monitor *m, const struct ulv_grant *g, struct ulv_enforced *ret, struct ulv_diag *reterr) {
        struct kvm *k = kvm_get(m);
        pid_t pid = ulv_monitor_leader(m);

        if (!k)
                return -ENOMEM;
        k->uid = ULV_UID_BASE + g->uids * ULV_UID_RANGE;
        return pid > 0 ? kvm_home_enforce(k, pid, g, ret, true, reterr) : 0;    /* before: created() */
}

static int do_signal(struct ulv_monitor *m, int signo) { return signo == SIGKILL ? do_kill(m) : -EOPNOTSUPP; }

static int freeze(struct ulv_monitor *m, bool frozen) {
        struct kvm *k = kvm_get(m);
        int r;

        if (!k)
                return -ENOMEM;
        if (k->paused == (frozen ? KVM_PAUSED_YES : KVM_PAUSED_NO))
                return 0;
        if (k->asked >= 0)
                return 1;
        r = k->freeze_error;
        k->freeze_error = 0;
        if (r == 0)
                r = kvm_ask(k, frozen ? KVM_SUSPEND : KVM_RESUME, NULL);
        return r < 0 ? r : 1;
}

static bool may_freeze(ULV_UNUSED struct ulv_monitor *m) { return true; }

/* Where no controller counts, a sum over processes would leave out the guest's memory, which is shared. */
static int usage(struct ulv_monitor *m, struct ulv_usage *ret) {
        _cleanup_close_ int cgroup = ulv_cgroup_open(ulv_monitor_cgroup(m), false);

        return ulv_cgroup_has(cgroup, "memory.current") ? ulv_cgroup_usage(m, ret) : kvm_process_usage(ulv_monitor_leader(m), ret);
}

static const char *contain(struct ulv_monitor *m) {
        const struct kvm *k = kvm_get(m);

        if (!k || !k->agent_up)
                return k && k->tcg ? "tcg confined" : "kvm confined";
        return k->tcg ? "tcg confined agent" : "kvm confined agent";
}

const struct ulv_plugin ulv_plugin = {
        .version = ULV_PLUGIN_VERSION,
        .name = "kvm",
        .type = "vm",
        .leader_fd_name = "leader",
        .start = start,
        .adopt = adopt,
        .enforce = enforce,
        .ask_stop = ask_stop,
        .kill = do_kill,
        .gone = gone,
        .cleanup = cleanup,
        .signal = do_signal,
        .freeze = freeze,
        .may_freeze = may_freeze,
        .usage = usage,
        .attached = kvm_attach_how,
        .attach = kvm_attach,
        .detach = kvm_detach,
        .contain = contain,
        .fixed_channels = true,
        .no_init = true,
        .narrow = kvm_narrow,
};
