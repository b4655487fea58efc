/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* GET /metrics on the socket that systemd listens on. HTTP is libmicrohttpd's; ours are the limits and the end after a
 * minute in which nobody came: the socket stays systemd's, and the next one starts us again.
 *
 * A connection is for one request, and has five seconds for all of it (a scraper waits for ten), however busy it looks:
 * libmicrohttpd's own time-out begins anew with each byte, so that some who drip would keep everybody else out. One text a second, however many ask,
 * and however many are still reading it: they share it. */

#include "metrics/metrics.h"

#include <microhttpd.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/log.h"

#define CONNECTIONS_MAX 32u
#define REQUEST_MEMORY ((size_t) 16 * 1024)
#define KEEP_MS 1000

struct limits { int request_ms, idle_ms; };
static const struct limits usual = { .request_ms = 5000, .idle_ms = 60000 };

struct place { struct MHD_Connection *connection; int64_t since_ms; };
struct server {
        struct source *source;
        struct MHD_Response *text; int64_t at_ms;       /* the last text, NULL before the first */
        struct place places[CONNECTIONS_MAX];
        bool asked;
};

static int64_t now_ms(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct MHD_Response *response(const char *type, char *text, size_t len, enum MHD_ResponseMemoryMode mode) {
        struct MHD_Response *m = MHD_create_response_from_buffer(len, text, mode);

        if (!m)
                return NULL;
        (void) MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        (void) MHD_add_response_header(m, MHD_HTTP_HEADER_CONNECTION, "close");
        return m;
}

static int refresh(struct server *v) {
        _cleanup_strbuf_ struct ulv_strbuf b = { 0 };
        struct MHD_Response *fresh;
        struct snapshot s;
        char *text;
        size_t len;
        int r;

        if (v->text && now_ms() - v->at_ms < KEEP_MS)
                return 0;
        r = snapshot_take(v->source, &s);
        if (r < 0)
                return r;
        exposition(&s, &b);
        snapshot_done(&s);
        len = b.len;
        text = ulv_strbuf_steal(&b);
        if (!text)
                return -ENOMEM;
        fresh = response("application/openmetrics-text; version=1.0.0; charset=utf-8", text, len, MHD_RESPMEM_MUST_FREE);
        if (!fresh) {
                free(text);
                return -ENOMEM;
        }
        if (v->text)            /* goes when the last one who reads it has */
                MHD_destroy_response(v->text);
        v->text = fresh;
        v->at_ms = now_ms();
        return 0;
}

static enum MHD_Result plain(struct MHD_Connection *c, unsigned status, const char *text) {
        struct MHD_Response *m = response("text/plain; charset=utf-8", (char *) (uintptr_t) text, strlen(text), MHD_RESPMEM_PERSISTENT);
        enum MHD_Result r;

        if (!m)
                return MHD_NO;
        if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
                (void) MHD_add_response_header(m, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        r = MHD_queue_response(c, status, m);
        MHD_destroy_response(m);
        return r;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url, const char *method, ULV_UNUSED const char *version,
                                  ULV_UNUSED const char *upload, size_t *upload_size, ULV_UNUSED void **request) {
        struct server *v = userdata;

        if (*upload_size > 0) { /* nothing here takes a body */
                *upload_size = 0;
                return MHD_YES;
        }
        if (!ulv_streq(method, MHD_HTTP_METHOD_GET) && !ulv_streq(method, MHD_HTTP_METHOD_HEAD))
                return plain(c, MHD_HTTP_METHOD_NOT_ALLOWED, "This can be read only.\n");
        if (!ulv_streq(url, "/metrics"))
                return plain(c, MHD_HTTP_NOT_FOUND, "There is /metrics here, and nothing else.\n");
        if (refresh(v) < 0)
                return plain(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Out of memory.\n");
        return MHD_queue_response(c, MHD_HTTP_OK, v->text);
}

/* libmicrohttpd lets no more in than there are places. */
static void on_connection(void *userdata, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what) {
        struct server *v = userdata;
        struct place *p = *context;

        if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
                if (p)
                        *p = (struct place) { 0 };
                return;
        }
        v->asked = true;
        for (size_t i = 0; !p && i < ULV_ARRAY_SIZE(v->places); i++)
                if (!v->places[i].connection)
                        p = &v->places[i];
        if (p)
                *p = (struct place) { c, now_ms() };
        *context = p;
}

/* Ends those whose time is over. True: there are others. */
static bool end_late(struct server *v, int request_ms) {
        bool open = false;

        for (size_t i = 0; i < ULV_ARRAY_SIZE(v->places); i++) {
                struct place *p = &v->places[i];
                const union MHD_ConnectionInfo *info;

                if (!p->connection)
                        continue;
                open = true;
                if (now_ms() - p->since_ms < request_ms)
                        continue;
                info = MHD_get_connection_info(p->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
                if (info)       /* libmicrohttpd sees the end, and closes */
                        (void) shutdown(info->connect_fd, SHUT_RDWR);
        }
        return open;
}

static int wait_and_serve(struct server *v, struct MHD_Daemon *d, const struct limits *limits) {
        const union MHD_DaemonInfo *epoll = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD);
        int64_t quiet_since = now_ms();

        if (!epoll)
                return -ENOTSUP;
        for (;;) {
                struct pollfd fd = { .fd = epoll->epoll_fd, .events = POLLIN };
                MHD_UNSIGNED_LONG_LONG timeout;
                int ms = limits->request_ms / 10;

                if (MHD_get_timeout(d, &timeout) == MHD_YES)
                        ms = (int) ULV_MIN(timeout, (MHD_UNSIGNED_LONG_LONG) ms);
                if (poll(&fd, 1, ms) < 0 && errno != EINTR)
                        return -errno;
                if (MHD_run(d) != MHD_YES)
                        return -EIO;
                if (end_late(v, limits->request_ms) || v->asked)
                        quiet_since = now_ms();
                v->asked = false;
                if (now_ms() - quiet_since >= limits->idle_ms)
                        return 0;
        }
}

static int serve_within(struct source *source, int listener, const struct limits *limits) {
        struct server v = { .source = source };
        struct MHD_Daemon *d;
        int r;

        d = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, &v, MHD_OPTION_LISTEN_SOCKET, listener,
                             MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_NOTIFY_CONNECTION, on_connection, &v,
                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MEMORY, MHD_OPTION_END);
        if (!d)
                return -EINVAL;
        r = wait_and_serve(&v, d, limits);
        MHD_stop_daemon(d);
        if (v.text)
                MHD_destroy_response(v.text);
        return r;
}

int serve(struct source *source, int listener) {
        return serve_within(source, listener, &usual);
}
