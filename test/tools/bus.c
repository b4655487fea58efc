/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A caller of org.ultravisor1, good or bad, as the user that runs it:
 *   bus members [SOCKET]     what introspection shows, in org.ultravisor1(5)'s form; SOCKET: the private one
 *   bus each FILE            calls every member of such a list with arguments that fit; prints MEMBER ERROR (or ok)
 *   bus fuzz N SEED FILE     N calls with random members, types and values; fails if the service is gone after
 *   bus flood SECONDS N      N connections that call without end and never read
 *   bus latency N            N calls, one after the other: prints the slowest in ms
 *   bus stay                 one caller; for each line of its input a call, and "yes" or "no"
 *   bus vanish N MEMBER      N connections that call and are gone at once
 *   bus signals SECONDS      prints the signals that arrive */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/bus.h"
#include "lib/protocol.h"

static void die(int r, const char *what) {
        fprintf(stderr, "%s: %s\n", what, strerror(-r));
        exit(2);
}

static sd_bus *open_bus(void) {
        sd_bus *bus;
        int r = sd_bus_open_system(&bus);

        if (r < 0)
                die(r, "the system bus");
        return bus;
}

static double now_ms(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1000 + (double) t.tv_nsec / 1e6;
}

/* --- members ------------------------------------------------------------------------------------------ */

static void attribute(const char *line, const char *name, char *buf, size_t size) {
        const char *p = strstr(line, name);

        buf[0] = 0;
        if (p)
                (void) snprintf(buf, size, "%.*s", (int) strcspn(p + strlen(name), "\""), p + strlen(name));
}

struct member { char kind[16], name[64], in[512], out[512]; };

static void add_argument(char *list, size_t size, const char *type, const char *name) {
        size_t n = strlen(list);

        (void) snprintf(list + n, size - n, "%s%s%s%s", n > 0 ? ", " : "", type, *name ? " " : "", name);
}

static void print_member(const struct member *m) {
        if (!strcmp(m->kind, "method"))
                printf("method %s(%s) -> (%s)\n", m->name, m->in, m->out);
        else if (!strcmp(m->kind, "signal"))
                printf("signal %s(%s)\n", m->name, m->out);
}

/* sd-bus writes an element a line. */
static void print_members(char *xml) {
        struct member m = { 0 };
        bool ours = false;
        char name[64], type[64], direction[8];

        for (char *save, *line = strtok_r(xml, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                attribute(line, " name=\"", name, sizeof(name));
                if (strstr(line, "<interface "))
                        ours = !strncmp(name, ULV_SERVICE, strlen(ULV_SERVICE));
                if (!ours)
                        continue;
                attribute(line, " type=\"", type, sizeof(type));
                attribute(line, " direction=\"", direction, sizeof(direction));
                if (strstr(line, "<method ") || strstr(line, "<signal ")) {
                        m = (struct member) { 0 };
                        (void) snprintf(m.kind, sizeof(m.kind), "%s", strstr(line, "<method ") ? "method" : "signal");
                        (void) snprintf(m.name, sizeof(m.name), "%s", name);
                        if (strstr(line, "/>"))
                                print_member(&m);
                } else if (strstr(line, "<arg "))
                        add_argument(!strcmp(direction, "in") ? m.in : m.out, sizeof(m.in), type, name);
                else if (strstr(line, "</method>") || strstr(line, "</signal>"))
                        print_member(&m);
                else if (strstr(line, "<property "))
                        printf("property %s %s\n", type, name);
        }
}

static int members(const char *socket) {
        static const char *const paths[] = { ULV_PATH, ULV_PATH_PARTITION "/host" };
        sd_bus *bus;

        if (socket && ulv_bus_connect(NULL, socket, &bus) < 0)
                die(-errno, socket);
        if (!socket)
                bus = open_bus();
        for (size_t i = 0; i < ULV_ARRAY_SIZE(paths); i++) {
                sd_bus_error e = SD_BUS_ERROR_NULL;
                sd_bus_message *reply;
                const char *xml;
                int r = sd_bus_call_method(bus, socket ? NULL : ULV_SERVICE, paths[i], "org.freedesktop.DBus.Introspectable", "Introspect", &e, &reply, "");

                if (r < 0 || sd_bus_message_read(reply, "s", &xml) < 0)
                        die(r, e.message ? e.message : "Introspect");
                print_members(strdup(xml));
        }
        return 0;
}

/* --- calls -------------------------------------------------------------------------------------------- */

static int empty_file(void) { return memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING); }

static int append_one(sd_bus_message *m, const char *type) {
        if (!strcmp(type, "s"))
                return sd_bus_message_append(m, "s", "nosuch");
        if (!strcmp(type, "as"))
                return sd_bus_message_append(m, "as", 1, "nosuch");
        if (!strcmp(type, "a{ss}"))
                return sd_bus_message_append(m, "a{ss}", 0);
        if (!strcmp(type, "h"))
                return sd_bus_message_append(m, "h", empty_file());
        if (!strcmp(type, "ah"))
                return sd_bus_message_append(m, "ah", 3, empty_file(), empty_file(), empty_file());
        if (!strcmp(type, "t"))
                return sd_bus_message_append(m, "t", UINT64_C(1));
        return sd_bus_message_append(m, type, 1);
}

static int call_line(sd_bus *bus, char *line, sd_bus_error *e) {
        char *open = strchr(line, '('), *close = open ? strchr(open, ')') : NULL;
        sd_bus_message *m = NULL;
        int r;

        if (!strncmp(line, "property ", 9)) {
                char *name = strrchr(line, ' ') + 1;

                name[strcspn(name, "\n")] = 0;
                printf("%s ", name);
                return sd_bus_call_method(bus, ULV_SERVICE, ULV_PATH_PARTITION "/host", "org.freedesktop.DBus.Properties", "Get", e, NULL,
                                          "ss", ULV_IF_PARTITION, name);
        }
        *open = *close = 0;
        printf("%s ", line + 7);
        r = sd_bus_message_new_method_call(bus, &m, ULV_SERVICE, ULV_PATH, ULV_IF_MANAGER, line + 7);
        for (char *save, *argument = strtok_r(open + 1, ",", &save); argument && r >= 0; argument = strtok_r(NULL, ",", &save)) {
                argument += strspn(argument, " ");
                argument[strcspn(argument, " ")] = 0;
                r = append_one(m, argument);
        }
        if (r >= 0)
                r = sd_bus_call(bus, m, 5000000, e, NULL);
        sd_bus_message_unref(m);
        return r;
}

static int each(const char *file) {
        sd_bus *bus = open_bus();
        FILE *f = fopen(file, "r");
        char line[1024];

        while (f && fgets(line, sizeof(line), f)) {
                sd_bus_error e = SD_BUS_ERROR_NULL;

                if (!strncmp(line, "signal ", 7))
                        continue;
                if (call_line(bus, line, &e) >= 0)
                        puts("ok");
                else
                        puts(e.name ? e.name : "?");
                sd_bus_error_free(&e);
        }
        return !f;
}

static int latency(unsigned n) {
        sd_bus *bus = open_bus();
        double worst = 0;

        for (unsigned i = 0; i < n; i++) {
                double t = now_ms();
                int r = sd_bus_call_method(bus, ULV_SERVICE, ULV_PATH, ULV_IF_MANAGER, "Rows", NULL, NULL, "s", "ledger");

                if (r < 0)
                        die(r, "Rows");
                worst = ULV_MAX(worst, now_ms() - t);
                (void) usleep(20000);
        }
        printf("%.0f\n", worst);
        return 0;
}

/* One sender, which calls once for each line that it reads. */
static int stay(void) {
        sd_bus *bus = open_bus();
        char line[8];

        while (fgets(line, sizeof(line), stdin)) {
                printf("%s\n", sd_bus_call_method(bus, ULV_SERVICE, ULV_PATH, ULV_IF_MANAGER, "Rows", NULL, NULL, "s", "ledger") < 0 ? "no" : "yes");
                (void) fflush(stdout);
        }
        return 0;
}

/* --- bad ones ----------------------------------------------------------------------------------------- */

static char names[64][64];
static unsigned n_names;

static void read_names(const char *file) {
        FILE *f = fopen(file, "r");
        char line[1024];

        while (f && fgets(line, sizeof(line), f) && n_names < ULV_ARRAY_SIZE(names))
                if (!strncmp(line, "method ", 7))
                        (void) snprintf(names[n_names++], sizeof(names[0]), "%.*s", (int) strcspn(line + 7, "("), line + 7);
        if (n_names == 0)
                die(-ENOENT, file);
}

static int append_random(sd_bus_message *m, unsigned depth) {
        static const char types[] = "ybnqiuxtdsogh";
        static char text[70000];
        char t = types[(unsigned) rand() % (sizeof(types) - 1)];
        int r;

        switch ((unsigned) rand() % 12) {
        case 0:
                return sd_bus_message_append(m, "as", 2, "web", "nosuch");
        case 1:
                return sd_bus_message_append(m, "a{ss}", 2, "cores", "99999999999999999999", "memory", "-1");
        case 2:
                return sd_bus_message_append(m, "ah", 2, STDIN_FILENO, STDERR_FILENO);
        case 3:
                if (depth > 8)
                        return 0;
                r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, "s");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", "x");
                return r < 0 ? r : sd_bus_message_close_container(m);
        default:
                if (t == 's') {
                        size_t n = (unsigned) rand() % 5 ? (unsigned) rand() % 80 : (unsigned) rand() % (sizeof(text) - 1);

                        memset(text, rand() % 2 ? 'a' : '\n', n);
                        text[n] = 0;
                        return sd_bus_message_append(m, "s", text);
                }
                if (t == 'o')
                        return sd_bus_message_append(m, "o", "/org/ultravisor1/partition/x");
                if (t == 'g')
                        return sd_bus_message_append(m, "g", "a{sv}");
                if (t == 'h')
                        return sd_bus_message_append(m, "h", STDIN_FILENO);
                if (t == 'd')
                        return sd_bus_message_append(m, "d", 1e300);
                if (t == 't' || t == 'x')
                        return sd_bus_message_append(m, (char[]) { t, 0 }, (uint64_t) rand() * (uint64_t) rand());
                return sd_bus_message_append(m, (char[]) { t, 0 }, rand());
        }
}

static int random_call(sd_bus *bus, sd_bus_message **ret) {
        static const char *const paths[] = { ULV_PATH, ULV_PATH, ULV_PATH, ULV_PATH_PARTITION "/host", ULV_PATH_PARTITION "/_00", "/", ULV_PATH_LEDGER };
        static const char *const interfaces[] = { ULV_IF_MANAGER, ULV_IF_MANAGER, ULV_IF_MANAGER, ULV_IF_PARTITION, "org.freedesktop.DBus.Properties",
                "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer", NULL };
        static const char *const others[] = { "Get", "GetAll", "Set", "GetManagedObjects", "Introspect", "Ping", "GetMachineId", "NoSuch" };
        const char *member = rand() % 4 ? names[(unsigned) rand() % n_names] : others[(unsigned) rand() % ULV_ARRAY_SIZE(others)];
        int r;

        r = sd_bus_message_new_method_call(bus, ret, ULV_SERVICE, paths[(unsigned) rand() % ULV_ARRAY_SIZE(paths)],
                                           interfaces[(unsigned) rand() % ULV_ARRAY_SIZE(interfaces)], member);
        for (unsigned n = (unsigned) rand() % 8; n > 0 && r >= 0; n--)
                r = append_random(*ret, 0);
        if (r >= 0 && rand() % 4 == 0)
                r = sd_bus_message_set_expect_reply(*ret, false);
        return r;
}

static int fuzz(unsigned n, unsigned seed, const char *file) {
        sd_bus *bus = open_bus();
        unsigned answered = 0;
        int r;

        read_names(file);
        srand(seed);
        for (unsigned i = 0; i < n; i++) {
                sd_bus_message *m = NULL, *reply = NULL;

                if (sd_bus_is_open(bus) <= 0) {         /* the bus itself ends who sends what isn't D-Bus */
                        sd_bus_close_unref(bus);
                        bus = open_bus();
                }
                r = random_call(bus, &m);
                if (r >= 0 && sd_bus_message_get_expect_reply(m))
                        answered += sd_bus_call(bus, m, 10000000, NULL, &reply) != -ETIMEDOUT;
                else if (r >= 0)
                        (void) sd_bus_send(bus, m, NULL);
                sd_bus_message_unref(reply);
                sd_bus_message_unref(m);
        }
        r = sd_bus_call_method(bus, ULV_SERVICE, ULV_PATH, "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, "");
        printf("%u calls, %u answered, service %s\n", n, answered, r < 0 ? "gone" : "there");
        return r < 0;
}

static int flood(unsigned seconds, unsigned n) {
        double end = now_ms() + seconds * 1000.0;
        unsigned long sent = 0;
        sd_bus *v[256];

        for (unsigned i = 0; i < n && i < ULV_ARRAY_SIZE(v); i++)
                v[i] = open_bus();
        while (now_ms() < end)
                for (unsigned i = 0; i < n; i++) {
                        uint64_t queued = 0;
                        sd_bus_message *m = NULL;

                        (void) sd_bus_get_n_queued_write(v[i], &queued);
                        if (queued > 64 || sd_bus_message_new_method_call(v[i], &m, ULV_SERVICE, ULV_PATH, ULV_IF_MANAGER, i % 2 ? "Stop" : "Rows") < 0)
                                (void) sd_bus_process(v[i], NULL);
                        else {
                                (void) (i % 2 ? sd_bus_message_append(m, "asuts", 1, "web", 0, UINT64_C(0), "") : sd_bus_message_append(m, "s", ""));
                                sent += sd_bus_send(v[i], m, NULL) >= 0;
                        }
                        sd_bus_message_unref(m);
                }
        printf("%lu\n", sent);
        return 0;
}

static int vanish(unsigned n, const char *member) {
        for (unsigned i = 0; i < n; i++) {
                sd_bus *bus = open_bus();
                int r = sd_bus_call_method_async(bus, NULL, ULV_SERVICE, ULV_PATH, ULV_IF_MANAGER, member, NULL, NULL, "asuts", 1, "nosuch", 0, UINT64_C(0), "");

                if (r >= 0)
                        r = sd_bus_flush(bus);
                if (r < 0)
                        die(r, "send");
                if (i % 3 == 1)
                        (void) usleep((unsigned) rand() % 5000);
                sd_bus_close_unref(bus);
        }
        return 0;
}

static int on_signal(sd_bus_message *m, ULV_UNUSED void *userdata, ULV_UNUSED sd_bus_error *error) {
        const char *path = sd_bus_message_get_path(m);

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.ObjectManager", NULL))
                (void) sd_bus_message_read(m, "o", &path);
        printf("%s %s\n", sd_bus_message_get_member(m), path);
        fflush(stdout);
        return 0;
}

static int signals(unsigned seconds) {
        double end = now_ms() + seconds * 1000.0;
        sd_bus *bus = open_bus();
        int r = sd_bus_add_match(bus, NULL, "type='signal',sender='" ULV_SERVICE "'", on_signal, NULL);

        if (r < 0)
                die(r, "match");
        puts("listening");
        fflush(stdout);
        while (now_ms() < end)
                if ((r = sd_bus_process(bus, NULL)) == 0)
                        (void) sd_bus_wait(bus, 100000);
        return 0;
}

int main(int argc, char **argv) {
        const char *mode = argc > 1 ? argv[1] : "";

        if (!strcmp(mode, "members"))
                return members(argc > 2 ? argv[2] : NULL);
        if (!strcmp(mode, "each") && argc == 3)
                return each(argv[2]);
        if (!strcmp(mode, "fuzz") && argc == 5)
                return fuzz((unsigned) atoi(argv[2]), (unsigned) atoi(argv[3]), argv[4]);
        if (!strcmp(mode, "flood") && argc == 4)
                return flood((unsigned) atoi(argv[2]), (unsigned) ULV_MIN(atoi(argv[3]), 256));
        if (!strcmp(mode, "stay"))
                return stay();
        if (!strcmp(mode, "latency") && argc == 3)
                return latency((unsigned) atoi(argv[2]));
        if (!strcmp(mode, "vanish") && argc == 4)
                return vanish((unsigned) atoi(argv[2]), argv[3]);
        if (!strcmp(mode, "signals") && argc == 3)
                return signals((unsigned) atoi(argv[2]));
        fprintf(stderr, "see the top of test/tools/bus.c\n");
        return 2;
}
