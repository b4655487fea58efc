/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* GET /metrics on the socket that systemd listens on. HTTP is libmicrohttpd's; ours are the limits (connections, their
 * time and memory, one text per second however many ask) and the end after a minute in which nobody came: the socket
 * stays systemd's, and the next one starts us again. */

#include "metrics/metrics.h"

#include <microhttpd.h>
#include <poll.h>
#include <time.h>

#include "lib/log.h"

#define CONNECTIONS_MAX 32u
#define REQUEST_SECONDS 10u
#define REQUEST_MEMORY ((size_t) 16 * 1024)
#define IDLE_MS 60000
#define KEEP_MS 1000

struct server { struct source *source; struct ulv_strbuf text; int64_t at_ms; bool asked; };

static int64_t now_ms(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int refresh(struct server *v) {
        struct snapshot s;
        int r;

        if (v->text.len > 0 && now_ms() - v->at_ms < KEEP_MS)
                return 0;
        r = snapshot_take(v->source, &s);
        if (r < 0)
                return r;
        ulv_strbuf_reset(&v->text);
        exposition(&s, &v->text);
        snapshot_done(&s);
        v->at_ms = now_ms();
        r = ulv_strbuf_error(&v->text);
        if (r < 0)
                ulv_strbuf_reset(&v->text);
        return r;
}

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type, const char *text, size_t len) {
        struct MHD_Response *m = MHD_create_response_from_buffer(len, (void *) (uintptr_t) text, MHD_RESPMEM_MUST_COPY);
        enum MHD_Result r;

        if (!m)
                return MHD_NO;
        (void) MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
                (void) MHD_add_response_header(m, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        r = MHD_queue_response(c, status, m);
        MHD_destroy_response(m);
        return r;
}

static enum MHD_Result plain(struct MHD_Connection *c, unsigned status, const char *text) {
        return reply(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url, const char *method, ULV_UNUSED const char *version,
                                  ULV_UNUSED const char *upload, size_t *upload_size, ULV_UNUSED void **request) {
        struct server *v = userdata;

        v->asked = true;
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
        return reply(c, MHD_HTTP_OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", ulv_strbuf_str(&v->text), v->text.len);
}

static int wait_and_serve(struct server *v, struct MHD_Daemon *d) {
        const union MHD_DaemonInfo *epoll = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD), *open;
        int64_t quiet_since = now_ms();

        if (!epoll)
                return -ENOTSUP;
        for (;;) {
                struct pollfd fd = { .fd = epoll->epoll_fd, .events = POLLIN };
                MHD_UNSIGNED_LONG_LONG timeout;
                int ms = 1000;

                if (MHD_get_timeout(d, &timeout) == MHD_YES)
                        ms = (int) ULV_MIN(timeout, (MHD_UNSIGNED_LONG_LONG) ms);
                if (poll(&fd, 1, ms) < 0 && errno != EINTR)
                        return -errno;
                if (MHD_run(d) != MHD_YES)
                        return -EIO;
                open = MHD_get_daemon_info(d, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
                if (v->asked || (open && open->num_connections > 0))
                        quiet_since = now_ms();
                v->asked = false;
                if (now_ms() - quiet_since >= IDLE_MS)
                        return 0;
        }
}

int serve(struct source *source, int listener) {
        struct server v = { .source = source };
        struct MHD_Daemon *d;
        int r;

        d = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, &v, MHD_OPTION_LISTEN_SOCKET, listener,
                             MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, REQUEST_SECONDS,
                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MEMORY, MHD_OPTION_END);
        if (!d)
                return -EINVAL;
        r = wait_and_serve(&v, d);
        MHD_stop_daemon(d);
        ulv_strbuf_done(&v.text);
        return r;
}
