/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The partition's ends of channels, brought to what the view says.
 *
 * uvd gives the fds of an end: new ones to the owner of the memory, else those of the other end's monitor. They are kept
 * in the fd store, by the number of the memory, and given to uv-port, which gives them to programs; nothing of a
 * channel's memory is read or written here, no doorbell is touched. The owner's monitor has the pages allocated first, by a
 * child in the partition's cgroup: so they are its memory, and where its limit is too small, that child alone dies.
 *
 * An end whose memory isn't the one that the other has is asked for again by who doesn't own it. When the other end's
 * partition has ended, uv-port writes that into the memory. */

#include "monitor/monitor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "lib/log.h"
#include "lib/protocol.h"
#include "model/op.h"
#include "monitor/port.h"

#define LATER_USEC (200 * 1000u)
#define ALLOCATE_USEC (60 * 1000 * 1000u)
#define CHANNEL_FDS 3
#define DOOR CHANNEL_FDS                /* number of the fd in the store, where it has one: ulv_monitor_channel_door() */

enum { ALLOCATED, ALLOCATED_ELSEWHERE, NO_MEMORY, NOT_ALLOCATED };       /* what the child ends with */

struct channel {
        struct ulv_monitor *m;
        char id[128], label[ULV_NAME_MAX + 1];  /* id "": a free place */
        unsigned end;
        uint64_t size;
        char memory[CHANNEL_MEMORY_SIZE];       /* the one in the store; "" none */
        char coming[CHANNEL_MEMORY_SIZE];       /* the one that is being allocated, and its fds */
        int fds[CHANNEL_FDS];
        pid_t child;
        sd_event_source *child_watch, *child_timer, *later;
        sd_bus_slot *asked;
        bool seen, connected, unbooked, wait;   /* wait: not to be asked for before the timer */
        char why[MONITOR_RESULT_MAX];           /* it is refused; "" it isn't */
};

static void fd_name(const char *memory, unsigned i, char ret[static 32]) { (void) snprintf(ret, 32, "ch-%s-%u", memory, i); }

static bool stored(const struct ulv_monitor *m, const char *memory, int fds[CHANNEL_FDS]) {
        char name[32];

        for (unsigned i = 0; i < CHANNEL_FDS; i++) {
                fd_name(memory, i, name);
                fds[i] = store_find(m, name);
                if (fds[i] < 0)
                        return false;
        }
        return true;
}

static void forget(struct ulv_monitor *m, const char *memory) {
        char name[32];

        for (unsigned i = 0; i <= DOOR; i++) {
                fd_name(memory, i, name);
                (void) ulv_monitor_forget_fd(m, name);
        }
}

static void end_child(struct channel *c) {
        if (c->child > 0) {
                (void) kill(c->child, SIGKILL);         /* our child, not waited for: the pid is its own */
                (void) waitid(P_PID, (id_t) c->child, NULL, WEXITED);
        }
        c->child = 0;
        c->child_watch = sd_event_source_disable_unref(c->child_watch);
        c->child_timer = sd_event_source_disable_unref(c->child_timer);
        for (unsigned i = 0; i < CHANNEL_FDS; i++)
                c->fds[i] = ulv_close(c->fds[i]);
        c->coming[0] = 0;
}

/* Has it no memory any more: uv-port forgets it too. */
static void let_go(struct channel *c) {
        end_child(c);
        if (!c->memory[0])
                return;
        (void) port_channel(c->m, ULV_PORT_NO_CHANNEL, c->label, 0, NULL, 0);
        forget(c->m, c->memory);
        c->memory[0] = 0;
        if (c->connected)
                call_path(c->m, c->label, false);
        c->connected = false;
}

static void free_channel(struct channel *c) {
        let_go(c);
        sd_bus_slot_unref(c->asked);
        sd_event_source_disable_unref(c->later);
        memset(c, 0, sizeof(*c));
}

static struct channel *find(const struct ulv_monitor *m, const char *id) {
        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++)
                if (ulv_streq(m->channels[i].id, id))
                        return &m->channels[i];
        return NULL;
}

static struct channel *get(struct ulv_monitor *m, const struct holding *h) {
        struct channel *c = find(m, h->id);

        if (!c && !(c = find(m, "")))
                return NULL;
        if (c->id[0])
                return c;
        *c = (struct channel) { .m = m, .end = h->end, .size = h->size, .fds = { -1, -1, -1 } };
        (void) snprintf(c->id, sizeof(c->id), "%s", h->id);
        (void) snprintf(c->label, sizeof(c->label), "%.*s", (int) strcspn(h->id, "@"), h->id);
        return c;
}

static void tell_port(struct channel *c) {
        int fds[CHANNEL_FDS], door, r;
        char name[32];

        if (!c->memory[0] || !stored(c->m, c->memory, fds) || c->m->port_fd < 0)
                return;         /* a uv-port that comes is told all of them */
        r = port_channel(c->m, ULV_PORT_CHANNEL, c->label, c->end, fds, CHANNEL_FDS);
        fd_name(c->memory, DOOR, name);
        door = store_find(c->m, name);
        if (r == 0 && door >= 0)
                r = port_channel(c->m, ULV_PORT_DOOR, c->label, 0, &door, 1);
        if (r < 0)
                ulv_log_errno(r, "uv-port can't be given channel %s", c->label);
}

static int on_later(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        struct channel *c = userdata;

        c->wait = false;
        monitor_turn(c->m);
        return 0;
}

static void ask_later(struct channel *c) {
        c->wait = true;
        c->later = sd_event_source_disable_unref(c->later);
        if (sd_event_add_time_relative(c->m->event, &c->later, CLOCK_MONOTONIC, LATER_USEC, 0, on_later, c) < 0)
                c->wait = false;
}

static void refuse(struct channel *c, const char *why, const char *try_) {
        (void) snprintf(c->why, sizeof(c->why), "channel %.63s: %s\n%s", c->label, why, try_);
        ulv_log(ULV_LOG_WARNING, "channel %s isn't there: %s", c->label, why);
        end_child(c);
}

/* --- fds that came ----------------------------------------------------------------------------------------- */

static int keep_fds(struct channel *c) {
        char name[32];
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < CHANNEL_FDS; i++) {
                fd_name(c->coming, i, name);
                r = ulv_monitor_store_fd(c->m, name, c->fds[i]);
        }
        if (r < 0) {
                forget(c->m, c->coming);
                return r;
        }
        memcpy(c->memory, c->coming, sizeof(c->memory));
        end_child(c);
        tell_port(c);
        return 0;
}

static void arrived(struct channel *c) {
        int r = keep_fds(c);

        if (r < 0)
                refuse(c, strerror(-r), "fewer channels, or uvctl status");
        monitor_turn(c->m);
}

static int on_child(ULV_UNUSED sd_event_source *s, const siginfo_t *si, void *userdata) {
        struct channel *c = userdata;
        int status = si->si_code == CLD_EXITED ? si->si_status : NO_MEMORY;

        c->child = 0;
        c->unbooked = status == ALLOCATED_ELSEWHERE;
        if (status == ALLOCATED || status == ALLOCATED_ELSEWHERE) {
                arrived(c);
                return 0;
        }
        refuse(c, status == NO_MEMORY ? "its pages can't be allocated within the partition's memory" : "its pages can't be allocated",
               "a larger Size= in [Memory], or a smaller one in [Channel]");
        monitor_turn(c->m);
        return 0;
}

static int on_child_late(ULV_UNUSED sd_event_source *s, ULV_UNUSED uint64_t usec, void *userdata) {
        const struct channel *c = userdata;

        (void) kill(c->child, SIGKILL);
        return 0;
}

/* Where the limit is reached, it is this process that dies of it, and not one of the partition. */
static _Noreturn void allocate(const struct channel *c) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        bool elsewhere = !ulv_plugin.join;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (fd < 0 || write(fd, "1000", 4) != 4)
                _exit(NOT_ALLOCATED);
        if (ulv_plugin.join && ulv_plugin.join(c->m) < 0)
                elsewhere = true;
        if (fallocate(c->fds[0], 0, 0, (off_t) c->size) < 0)
                _exit(errno == ENOMEM || errno == ENOSPC ? NO_MEMORY : NOT_ALLOCATED);
        _exit(elsewhere ? ALLOCATED_ELSEWHERE : ALLOCATED);
}

static int begin_allocation(struct channel *c) {
        int r;

        c->child = fork();
        if (c->child == 0)
                allocate(c);
        if (c->child < 0) {
                c->child = 0;
                return -errno;
        }
        r = sd_event_add_child(c->m->event, &c->child_watch, c->child, WEXITED, on_child, c);
        return r < 0 ? r : sd_event_add_time_relative(c->m->event, &c->child_timer, CLOCK_MONOTONIC, ALLOCATE_USEC, 0, on_child_late, c);
}

static int on_given(sd_bus_message *reply, void *userdata, ULV_UNUSED sd_bus_error *error) {
        struct channel *c = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        const char *memory;
        int fds[CHANNEL_FDS], r;

        c->asked = sd_bus_slot_unref(c->asked);
        if (e && ulv_streq(e->name, ULV_ERROR_FAILED)) {
                refuse(c, e->message ? e->message : e->name, "uvctl status");
                monitor_turn(c->m);
                return 1;
        }
        r = e ? -EAGAIN : sd_bus_message_read(reply, "shhh", &memory, &fds[0], &fds[1], &fds[2]);
        if (r >= 0 && !ulv_copy(c->coming, sizeof(c->coming), memory))
                r = -EBADMSG;
        for (unsigned i = 0; r >= 0 && i < CHANNEL_FDS; i++)
                r = c->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);      /* those of the message end with it */
        if (r >= 0 && c->end == 0)
                r = begin_allocation(c);
        else if (r >= 0)
                arrived(c);
        if (r < 0) {
                end_child(c);
                ask_later(c);
        }
        return 1;
}

/* --- following ------------------------------------------------------------------------------------------------ */

static bool is_memory(const char *other) { return strlen(other) == CHANNEL_MEMORY_SIZE - 1; }

static void ask(struct channel *c) {
        int r = sd_bus_call_method_async(c->m->bus, &c->asked, NULL, ULV_PATH_MONITOR, ULV_IF_MONITOR, "Channel", on_given, c, "s", c->id);

        if (r < 0) {
                ulv_log_errno(r, "channel %s can't be asked for", c->label);
                ask_later(c);
        }
}

/* From who has it, or a new one: the owner's, or that of a payload that won't get another and is alone. */
static bool may_ask(const struct channel *c, const struct holding *h) {
        if (ulv_plugin.fixed_channels && c->m->payload == PAYLOAD_RUNNING)
                return false;
        return c->end == 0 || is_memory(h->other) || (ulv_plugin.fixed_channels && !h->other[0]);
}

static void follow_one(struct channel *c, const struct holding *h) {
        bool fixed = ulv_plugin.fixed_channels && c->m->payload == PAYLOAD_RUNNING, connected;
        int fds[CHANNEL_FDS];

        c->seen = true;
        if (h->keep == 0) {
                let_go(c);
                return;
        }
        if (!c->memory[0] && h->memory[0] && !c->m->channels_adopted && stored(c->m, h->memory, fds)) {
                memcpy(c->memory, h->memory, sizeof(c->memory));
                c->unbooked = ulv_streq(h->how, "unbooked");
                tell_port(c);
        }
        if (c->memory[0] && c->end == 1 && !fixed && is_memory(h->other) && !ulv_streq(h->other, c->memory))
                let_go(c);
        connected = c->memory[0] && ulv_streq(h->other, c->memory);
        if (c->connected && !connected && c->memory[0])
                (void) port_channel(c->m, ULV_PORT_PEER_GONE, c->label, 0, NULL, 0);
        if (c->connected != connected)
                call_path(c->m, c->label, connected);
        c->connected = connected;
        if (!c->memory[0] && !c->coming[0] && !c->asked && !c->wait && !c->why[0] && may_ask(c, h))
                ask(c);
}

/* What an earlier life of this monitor kept, and the view doesn't know: the ledger never heard of it. */
static void forget_strays(struct ulv_monitor *m) {
        for (unsigned i = m->n_kept; i-- > 0; ) {
                char memory[CHANNEL_MEMORY_SIZE] = "";
                bool known = false;

                if (!ulv_startswith(m->kept[i].name, "ch-"))
                        continue;
                (void) snprintf(memory, sizeof(memory), "%.16s", m->kept[i].name + 3);
                for (size_t k = 0; k < ULV_CHANNELS_MAX; k++)
                        known = known || ulv_streq(m->channels[k].memory, memory);
                if (!known) {
                        forget(m, memory);
                        i = m->n_kept;
                }
        }
}

void channels_follow(struct ulv_monitor *m) {
        if (!m->channels && !(m->channels = calloc(ULV_CHANNELS_MAX, sizeof(*m->channels))))
                return;
        for (size_t i = 0; i < ULV_CHANNELS_MAX; i++)
                m->channels[i].seen = false;
        for (size_t i = 0; i < m->seen.n_holdings; i++) {
                const struct holding *h = &m->seen.holdings[i];
                struct channel *c = ulv_streq(h->kind, "channel") ? get(m, h) : NULL;

                if (c)
                        follow_one(c, h);
        }
        for (size_t i = 0; i < ULV_CHANNELS_MAX; i++)
                if (m->channels[i].id[0] && !m->channels[i].seen)
                        free_channel(&m->channels[i]);
        if (!m->channels_adopted)
                forget_strays(m);
        m->channels_adopted = true;
}

bool channels_are_there(const struct ulv_monitor *m) {
        for (size_t i = 0; i < m->seen.n_holdings; i++) {
                const struct holding *h = &m->seen.holdings[i];
                const struct channel *c = ulv_streq(h->kind, "channel") && h->keep > 0 ? find(m, h->id) : NULL;

                if (c && !c->why[0] && (!c->memory[0] || !ulv_streq(c->memory, h->memory)))
                        return false;
        }
        return true;
}

unsigned ulv_monitor_channels(const struct ulv_monitor *m, const char *labels[ULV_CHANNELS_MAX]) {
        unsigned n = 0;

        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++)
                if (m->channels[i].id[0] && m->channels[i].memory[0])
                        labels[n++] = m->channels[i].label;
        return n;
}

int ulv_monitor_channel_door(struct ulv_monitor *m, const char *label, int fd) {
        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++) {
                struct channel *c = &m->channels[i];
                char name[32];

                if (!c->memory[0] || !ulv_streq(c->label, label))
                        continue;
                fd_name(c->memory, DOOR, name);
                return fd < 0 ? ulv_monitor_forget_fd(m, name) : ulv_monitor_store_fd(m, name, fd);
        }
        return -ENOENT;
}

void channels_tell(struct ulv_monitor *m) {
        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++)
                if (m->channels[i].id[0])
                        tell_port(&m->channels[i]);
}

void channels_paths(struct ulv_monitor *m) {
        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++)
                if (m->channels[i].id[0])
                        call_path(m, m->channels[i].label, m->channels[i].connected);
}

void channels_unask(struct ulv_monitor *m) {
        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++)
                m->channels[i].asked = sd_bus_slot_unref(m->channels[i].asked);
}

void channels_end(struct ulv_monitor *m) {
        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++)
                if (m->channels[i].id[0])
                        free_channel(&m->channels[i]);
        if (m->channels)
                forget_strays(m);
        free(m->channels);
        m->channels = NULL;
}

/* --- what uvd hears, and asks --------------------------------------------------------------------------------- */

void channel_report(struct ulv_monitor *m, const struct holding *h, struct ulv_strbuf *b) {
        const struct channel *c = find(m, h->id);
        const char *how;

        if (!c)
                return;
        if (c->why[0] || h->keep == 0) {
                ulv_op_begin(b, c->why[0] ? "refused" : "letgo", "channel", h->id, m->name);
                if (c->why[0])
                        ulv_op_add(b, "reason", c->why);
                ulv_op_end(b);
                return;
        }
        if (!c->memory[0] && c->end == 0)
                return;         /* not yet: who waits for the channel waits for its memory */
        how = !c->memory[0] ? "waiting" : c->unbooked ? "unbooked" : "shared";
        if (h->reached == 1 && ulv_streq(h->how, how) && ulv_streq(h->memory, c->memory))
                return;
        ulv_op_begin(b, "reached", "channel", h->id, m->name);
        ulv_op_add_u64(b, "amount", 1);
        ulv_op_add(b, "how", how);
        if (c->memory[0])
                ulv_op_add(b, "memory", c->memory);
        ulv_op_end(b);
}

int channel_supply(struct ulv_monitor *m, sd_bus_message *call, sd_bus_error *error) {
        const struct channel *c;
        int fds[CHANNEL_FDS], r;
        const char *id;

        r = sd_bus_message_read(call, "s", &id);
        if (r < 0)
                return r;
        c = id[0] ? find(m, id) : NULL;
        if (!c || !c->memory[0] || !stored(m, c->memory, fds))
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "the channel isn't there\nits other end has no memory\n");
        return sd_bus_reply_method_return(call, "shhh", c->memory, fds[0], fds[1], fds[2]);
}

static const struct holding *holding_of(const struct ulv_monitor *m, const struct channel *c) {
        for (size_t i = 0; i < m->seen.n_holdings; i++)
                if (ulv_streq(m->seen.holdings[i].kind, "channel") && ulv_streq(m->seen.holdings[i].id, c->id))
                        return &m->seen.holdings[i];
        return NULL;
}

int channel_host(struct ulv_monitor *m, sd_bus_message *call, bool open, sd_bus_error *error) {
        _cleanup_close_ int ours = -1, theirs = -1;
        const struct channel *c = NULL;
        const struct holding *h;
        const char *label;
        int p[2], r;

        r = sd_bus_message_read(call, "s", &label);
        if (r < 0)
                return r;
        for (size_t i = 0; m->channels && i < ULV_CHANNELS_MAX; i++)
                if (m->channels[i].id[0] && ulv_streq(m->channels[i].label, label))
                        c = &m->channels[i];
        h = c ? holding_of(m, c) : NULL;
        if (!c || !c->memory[0])
                return sd_bus_error_setf(error, ULV_ERROR_NOT_ACTIVE, "%s has no channel %.63s now\n%s\nuvctl channel list %s", m->name, label,
                                         !c ? "none of that name is given to it" : c->why[0] ? c->why : "its memory isn't there yet", m->name);
        if (open && (!h || !ulv_streq(h->other, "host")))
                return sd_bus_error_setf(error, ULV_ERROR_USAGE, "the host has no end of channel %.63s of %s\nanother partition has the other one\n"
                                         "Peer=host in its definition, in a [Channel] of its own", label, m->name);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
                return -errno;
        ours = p[0];
        theirs = p[1];
        r = port_channel(m, ULV_PORT_HOST, c->label, open ? 0 : 1, &ours, 1);
        if (r < 0)
                return sd_bus_error_setf(error, ULV_ERROR_UNREACHABLE, "channel %.63s of %s can't be had now\nits uv-port isn't there (%s)\nagain in a moment",
                                         label, m->name, strerror(-r));
        return sd_bus_reply_method_return(call, "h", theirs);
}
