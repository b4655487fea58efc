/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection to the planner (uv-command): of an installed Ultravisor org.ultravisor1 on the system bus, where
 * polkit decides who may what; else, and where there is no bus, the same objects on the private socket
 * ROOT/run/ultravisor/command/public. It is made at the first call: verbs that read only files never make it.
 *
 * On the bus the planner is spoken to by its unique name: what ends when that name is gone is lost with it, and
 * signals under another name aren't its.
 *
 * The planner may be killed at any time, and is back in a moment with all that it knew but its jobs. Nobody
 * who types a verb shall see that: where there is an instance, connecting is tried for a while; a call that
 * was lost on its way is sent again if doing it twice is doing it once. What isn't so is told as unknown. */

#include <stdarg.h>

#include "lib/bus.h"
#include "uvctl/uvctl.h"

static int unreachable(struct uvctl *u, const char *path, int r) {
        bool installed = ulv_streq(u->root, "/");

        if (r == -EACCES || r == -EPERM) {
                (void) fail(u, ULV_EXIT_DENIED, "this user may not speak to the planner", "", "sudo uvctl ...");
                ulv_diag_why(&u->diag, "%s: %s", path, strerror(-r));
                return ULV_EXIT_DENIED;
        }
        (void) fail(u, ULV_EXIT_UNREACHABLE, "cannot reach the planner (uv-command)", "", "");
        ulv_diag_why(&u->diag, "%s: %s", path, strerror(-r));
        if (installed && access("/etc/ultravisor", F_OK) == 0)
                ulv_diag_try(&u->diag, "systemctl start ultravisor.target; why it isn't there: journalctl -u uvd -u uv-command");
        else if (installed)
                ulv_diag_try(&u->diag, "uvctl --root DIR ..., if your Ultravisor runs below a directory (`make run`: build/run)");
        else
                ulv_diag_try(&u->diag, "uvd --standalone --root %s", u->root);
        return ULV_EXIT_UNREACHABLE;
}

#define CONNECT_USEC ((uint64_t) 2 * 1000000)
#define CONNECT_STEP_USEC 20000u
#define AGAIN_MAX 5

/* Nobody listens, but somebody may be about to: the directory of the socket is there. */
static bool may_come(const char *path, int r) {
        _cleanup_free_ char *directory = strndup(path, strlen(path) - strlen("/public"));

        return (r == -ENOENT || r == -ECONNREFUSED || r == -EPIPE || r == -ECONNRESET) && directory && access(directory, F_OK) == 0;
}

/* Who has the name on the bus now; to be freed. */
static int name_owner(sd_bus *bus, char **ret) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *owner;
        char *copy;
        int r;

        r = sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", NULL,
                               &reply, "s", ULV_SERVICE);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &owner);
        if (r < 0)
                return r;
        copy = strdup(owner);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

/* 0; 1: there is a bus, and nobody has the name. */
static int connect_system(struct uvctl *u, sd_bus **bus) {
        int r = *bus ? 0 : sd_bus_open_system(bus);

        if (r < 0)
                return r;
        r = name_owner(*bus, &u->service);
        if (r < 0)
                return sd_bus_is_open(*bus) > 0 ? 1 : r;
        /* An agent of polkit in this session may ask for a password. */
        (void) sd_bus_set_allow_interactive_authorization(*bus, u->tty_err);
        u->bus = ulv_steal(*bus);
        return 0;
}

static int connect_patiently(struct uvctl *u, const char *path) {
        bool installed = ulv_streq(u->root, "/");
        sd_bus *bus = NULL;
        int r;

        for (uint64_t waited = 0;; waited += CONNECT_STEP_USEC) {
                int s = installed ? connect_system(u, &bus) : -ENOENT;

                if (s == 0)
                        return 0;
                r = ulv_bus_connect(NULL, path, &u->bus);
                if (r >= 0 || waited >= CONNECT_USEC || (!may_come(path, r) && !(s == 1 && r == -EACCES)))
                        break;
                (void) usleep(CONNECT_STEP_USEC);
        }
        sd_bus_close_unref(bus);
        return r;
}

int client_connect(struct uvctl *u) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (u->bus)
                return 0;
        if (asprintf(&path, "%s%srun/ultravisor/%s", u->root, ulv_streq(u->root, "/") ? "" : "/", ULV_SOCKET_PUBLIC) < 0) {
                path = NULL;
                return fail_errno(u, -ENOMEM, "connect");
        }
        r = connect_patiently(u, path);
        return r < 0 ? unreachable(u, path, r) : 0;
}

bool client_lost(const struct uvctl *u, int r) {
        _cleanup_free_ char *owner = NULL;

        if (r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE || r == -ESHUTDOWN || (u->bus && sd_bus_is_open(u->bus) <= 0))
                return true;
        /* The bus answers for who is gone, in several words. */
        return u->bus && u->service && r < 0 && (name_owner(u->bus, &owner) < 0 || !ulv_streq(owner, u->service));
}

void client_disconnect(struct uvctl *u) {
        u->bus = sd_bus_close_unref(u->bus);
        free(ulv_steal(u->service));
}

int client_reconnect(struct uvctl *u) {
        u->diag = (struct ulv_diag) { 0 };
        client_disconnect(u);
        return client_connect(u);
}

int client_error(struct uvctl *u, const sd_bus_error *e, int r) {
        bool ours = sd_bus_error_is_set(e) && ulv_startswith(e->name, ULV_ERROR_PREFIX);

        if (!ours && (r == -ETIMEDOUT || r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE)) {
                if (r == -ETIMEDOUT && !client_lost(u, r))
                        return fail(u, ULV_EXIT_TIMEOUT, "no answer from the planner (uv-command) in time",
                                    "what was asked may still happen", "uvctl history");
                (void) fail(u, ULV_EXIT_UNREACHABLE, "lost the planner (uv-command) before it answered",
                            "", "uvctl history, to see whether it happened; then again");
                ulv_diag_why(&u->diag, "%s; what was asked may have happened", strerror(-r));
                return ULV_EXIT_UNREACHABLE;
        }
        ulv_bus_error_to_diag(e, r, &u->diag);
        if (u->diag.code == ULV_EXIT_OK)
                u->diag.code = ULV_EXIT_FAILED;
        return (int) u->diag.code;
}

int client_new(struct uvctl *u, const char *method, sd_bus_message **ret) {
        int r;

        r = client_connect(u);
        if (r != 0)
                return r;
        r = sd_bus_message_new_method_call(u->bus, ret, u->service, ULV_PATH, ULV_IF_MANAGER, method);
        return r < 0 ? fail_errno(u, r, "make a call") : 0;
}

/* Is doing it twice doing it once? What is asked for is then there already, or on its way, and is waited for. */
static bool is_repeatable(sd_bus_message *m) {
        static const char *const members[] = {
                "Rows", "Start", "Stop", "Set", "Apply", "Why", "Verify", "Reload", "Status", "History", "Transaction",
                "Backup", "Definition", "Logs", "Usage", "Enforce", "SelfTest",
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(members); i++)
                if (ulv_streq0(sd_bus_message_get_member(m), members[i]))
                        return true;
        return false;
}

/* The same call for the new connection. */
static int copy_call(struct uvctl *u, sd_bus_message *m, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *copy = NULL;
        int r;

        (void) sd_bus_message_seal(m, 1, 0);    /* if the connection was lost before it could be sent */
        r = sd_bus_message_rewind(m, true);
        if (r >= 0)
                r = sd_bus_message_new_method_call(u->bus, &copy, u->service, ULV_PATH, ULV_IF_MANAGER, sd_bus_message_get_member(m));
        if (r >= 0)
                r = sd_bus_message_copy(copy, m, true);
        if (r >= 0)
                *ret = ulv_steal(copy);
        return r;
}

int client_again(struct uvctl *u, sd_bus_message *m, sd_bus_message **ret) {
        int r = client_connect(u);

        if (r != 0)
                return r;
        if (!is_repeatable(m))
                return fail(u, ULV_EXIT_UNREACHABLE, "what became of it isn't known",
                            "the planner was killed before all of it was decided", "uvctl list, and uvctl history; then again");
        r = copy_call(u, m, ret);
        return r < 0 ? fail_errno(u, r, "make a call") : 0;
}

int client_send(struct uvctl *u, sd_bus_message *m, uint64_t timeout_usec, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *call = sd_bus_message_ref(m);

        for (unsigned tries = 0;; tries++) {
                ULV_CLEANUP(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
                int r = sd_bus_call(u->bus, call, timeout_usec, &e, ret);

                if (r >= 0)
                        return 0;
                if (tries >= AGAIN_MAX || !is_repeatable(call) || !client_lost(u, r))
                        return client_error(u, &e, r);
                r = client_reconnect(u);
                if (r != 0)
                        return r;
                call = sd_bus_message_unref(call);
                r = copy_call(u, m, &call);
                if (r < 0)
                        return fail_errno(u, r, "make a call");
        }
}

int client_call(struct uvctl *u, sd_bus_message **ret, const char *method, const char *types, ...) {
        _cleanup_message_ sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = client_new(u, method, &m);
        if (r != 0)
                return r;
        va_start(ap, types);
        r = sd_bus_message_appendv(m, types, ap);
        va_end(ap);
        if (r < 0)
                return fail_errno(u, r, "make a call");
        return client_send(u, m, CLIENT_TIMEOUT, ret);
}

int client_read(struct uvctl *u, sd_bus_message *m, const char *types, ...) {
        va_list ap;
        int r;

        va_start(ap, types);
        r = sd_bus_message_readv(m, types, ap);
        va_end(ap);
        if (r > 0)
                return 0;
        return fail(u, ULV_EXIT_FAILED, "the planner's answer is not of the form that this uvctl knows",
                    "uvctl and uv-command are of different versions", "uvctl version");
}
