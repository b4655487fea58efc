/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a partition asks of its monitor: one question, one answer, on a connection of its own. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest/guest.h"
#include "guest/vm.h"

#define TRIES 40        /* a quarter of a second apart: while its guest-facing half is forked anew, nobody answers */

int guest_fail(const char *what, const char *why, const char *try_) {
        fprintf(stderr, "%s\n%s\ntry: %s\n", what, why, try_);
        return 1;
}

static int ask_once(struct ulv_call *c) {
        struct ulv_call q = *c;
        int fd = ulv_call_connect(), r;

        if (fd < 0)
                return fd;
        r = ulv_call(fd, &q, NULL);
        (void) close(fd);
        if (r == 0)
                *c = q;
        return r;
}

static bool is_passing(int r, const struct ulv_call *c) {
        return r == 0 ? c->answer && c->code == ULV_CALL_TOO_MANY : r == -ECONNRESET || r == -ECONNREFUSED || r == -EBUSY || r == -EPIPE || r == -EAGAIN;
}

/* Every verb may be said twice: what isn't known to have been heard is said again. */
static int ask(struct ulv_call *c) {
        const struct timespec pause = { .tv_nsec = 250 * 1000000 };
        const struct ulv_call q = *c;
        int r = ask_once(c);

        for (unsigned i = 0; i < TRIES && is_passing(r, c); i++) {
                (void) nanosleep(&pause, NULL);
                *c = q;
                r = ask_once(c);
        }
        return r;
}

int guest_ask(struct ulv_call *c, const char *what) {
        int r = ask(c);

        if (r == 0 && c->code == ULV_CALL_OK)
                return 0;
        if (!what)
                return 1;
        if (r == -ENOENT)
                return guest_fail(what, "there is neither " ULV_CALL_SOCKET_PATH " nor a virtio port " ULV_CALL_PORT " here",
                                  "as root inside a partition that Ultravisor runs");
        return guest_fail(what, r < 0 ? strerror(-r) : ulv_call_code_text(c->code), r < 0 ? "as the partition's root" : "man uv-call");
}

/* --- the view ------------------------------------------------------------------------------------------------ */

int guest_view(char *buf, size_t size) {
        uint64_t generation = 0;
        size_t at = 0;

        for (;;) {
                struct ulv_call c = { .verb = ULV_CALL_VIEW, .value = { at } };
                size_t n;
                int r = ask(&c);

                if (r < 0)
                        return r;
                if (at > 0 && (c.code == ULV_CALL_BAD_VALUE || (c.code == ULV_CALL_OK && c.value[2] != generation))) {
                        at = 0;         /* it changed meanwhile */
                        continue;
                }
                if (c.code != ULV_CALL_OK)
                        return (int) c.code;
                n = strlen(c.text);
                if (at + n + 1 > size || c.value[0] != at)
                        return -EPROTO;
                memcpy(buf + at, c.text, n + 1);
                at += n;
                generation = c.value[2];
                if (n == 0 || at >= c.value[1])
                        return 0;
        }
}

static int view(char *buf, size_t size) {
        int r = guest_view(buf, size);

        if (r == 0)
                return 0;
        return guest_fail("cannot get this partition's view", r == -ENOENT ? "there is neither " ULV_CALL_SOCKET_PATH " nor a virtio port " ULV_CALL_PORT " here" :
                          r < 0 ? strerror(-r) : ulv_call_code_text((uint32_t) r), "as root inside a partition that Ultravisor runs");
}

bool guest_view_get(const char *view, const char *section, const char *key, char *ret, size_t size) {
        size_t s = strlen(section), k = strlen(key);
        bool in = false;

        for (const char *p = view; *p; p += strcspn(p, "\n"), p += *p != 0) {
                if (*p == '[')
                        in = strncmp(p + 1, section, s) == 0 && p[1 + s] == ']';
                else if (in && strncmp(p, key, k) == 0 && p[k] == '=') {
                        size_t n = strcspn(p + k + 1, "\n");

                        n = n < size ? n : size - 1;
                        memcpy(ret, p + k + 1, n);
                        ret[n] = 0;
                        return true;
                }
        }
        return false;
}

static char text[VIEW_MAX];

static int verb_view(int argc, char **argv) {
        (void) argc;
        (void) argv;
        if (view(text, sizeof(text)) != 0)
                return 1;
        return fputs(text, stdout) < 0;
}

/* [Channel "LABEL"] sections, a line each. */
static int verb_channels(int argc, char **argv) {
        char *save = NULL, label[128] = "", kind[32] = "", size[32] = "";

        (void) argc;
        (void) argv;
        if (view(text, sizeof(text)) != 0)
                return 1;
        printf("%-20s %-8s %-8s %s\n", "CHANNEL", "KIND", "SIZE", "STATE");
        for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
                if (sscanf(l, "[Channel \"%127[^\"]", label) == 1)
                        kind[0] = size[0] = 0;
                else if (label[0] && strncmp(l, "Kind=", 5) == 0)
                        (void) snprintf(kind, sizeof(kind), "%.31s", l + 5);
                else if (label[0] && strncmp(l, "Size=", 5) == 0)
                        (void) snprintf(size, sizeof(size), "%.31s", l + 5);
                else if (label[0] && strncmp(l, "State=", 6) == 0)
                        printf("%-20s %-8s %-8s %s\n", label, kind, size, l + 6);
        return 0;
}

/* --- words ------------------------------------------------------------------------------------------------------ */

static int status(const char *s) {
        struct ulv_call c = { .verb = ULV_CALL_STATUS };

        if (strlen(s) >= sizeof(c.text))
                return guest_fail("cannot say that", "a status has at most 463 bytes, of which 255 are shown", "a shorter one");
        memcpy(c.text, s, strlen(s));
        return guest_ask(&c, "cannot say that");
}

static int verb_status(int argc, char **argv) {
        (void) argc;
        return status(argv[0]);
}

static int verb_ready(int argc, char **argv) {
        struct ulv_call c = { .verb = ULV_CALL_READY };

        if (argc > 0 && status(argv[0]) != 0)
                return 1;
        return guest_ask(&c, "cannot say that this partition is ready");
}

static int verb_release(int argc, char **argv) {
        struct ulv_call c = { .verb = ULV_CALL_RELEASE };

        (void) argc;
        (void) argv;
        return guest_ask(&c, "nothing can be released");
}

static int verb_selftest(int argc, char **argv) {
        unsigned made, failed;

        (void) argc;
        (void) argv;
        guest_checks(stdout, &made, &failed);
        printf("%u checks, %u failed\n", made, failed);
        return failed > 0;
}

static int verb_serve(int argc, char **argv) {
        (void) argc;
        (void) argv;
        return vm_serve();
}

const struct guest_verb guest_verbs[] = {
        { "view", "", "prints what this partition has: cores, memory, channels", 0, 0, verb_view },
        { "channels", "", "lists its channels", 0, 0, verb_channels },
        { "ready", "[TEXT]", "tells the host that it has started; TEXT as status", 0, 1, verb_ready },
        { "status", "TEXT", "tells the host what it is doing", 1, 1, verb_status },
        { "listen", "[PROGRAM]", "waits for STOP, RESIZE, PATH, TIME, SELFTEST; PROGRAM answers", 0, 1, guest_listen },
        { "release", "", "what RESIZE asked for can be taken now", 0, 0, verb_release },
        { "selftest", "", "checks that what it has is what it was given", 0, 0, verb_selftest },
        { "serve", "", "in a VM: gives programs their channels, as long as it runs", 0, 0, verb_serve },
};
const unsigned guest_n_verbs = sizeof(guest_verbs) / sizeof(guest_verbs[0]);
