/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What `status` and `show` tell from a partition's definition and its row together: what it writes to,
 * its networks, and how Restart= stands. When the next start is due is model/restart.c's to say, which uv-command goes by as well. */

#include "uvctl/defined.h"

#include <inttypes.h>

#include "lib/protocol.h"
#include "model/restart.h"
#include "uvctl/text.h"

int defined_parse(const char *name, const char *text, struct ulv_definition **ret) {
        _cleanup_free_ char *copy = strdup(text);
        char file[ULV_NAME_MAX + 16];

        *ret = NULL;
        if (!copy)
                return -ENOMEM;
        if (!*text)
                return 0;
        (void) snprintf(file, sizeof(file), "%.63s.partition", name);
        int r = ulv_definition_parse(&(struct ulv_source) { .file = file, .buf = copy, .len = strlen(copy) }, 1, ret, NULL);
        return r < 0 ? r : 0;   /* of another version's: nothing is told from it */
}

/* --- Restart= ------------------------------------------------------------------------------------------- */

static struct ulv_restart decide(const struct part *p, const struct ulv_definition *d) {
        char extra[64];
        struct ulv_partition_info info = {
                .name = p->name, .role = p->role, .extra = extra, .since = p->since,
                .state = ulv_state_from_name(p->state), .wanted = ulv_state_from_name(row_str(&p->op, "wanted")),
        };

        (void) snprintf(extra, sizeof(extra), " restarts=%" PRIu64 " restarted=%" PRIu64, row_u64(&p->op, "restarts"), row_u64(&p->op, "restarted"));
        return ulv_restart_decide(&info, d);
}

static void add_restart(struct ulv_strbuf *b, const struct part *p, const struct ulv_definition *d) {
        const struct ulv_restart r = decide(p, d);
        uint64_t starts = row_u64(&p->op, "restarts"), now = now_usec();
        char age[32];

        if (ulv_streq(d->restart, "no"))
                return;
        ulv_strbuf_addf(b, STATUS_LABEL "%s", "Restart", d->restart);
        if (r.what == ULV_RESTART_GIVEN_UP)
                ulv_strbuf_addf(b, ", given up after %u starts in a row (StartLimit=); uvctl start %s", r.number, p->name);
        else if (starts > 0)
                ulv_strbuf_addf(b, ", %" PRIu64 " of %u starts in a row", starts, d->start_limit);
        if (r.what == ULV_RESTART_AT) {
                format_age(age, sizeof(age), r.at > now ? r.at - now : 0);
                ulv_strbuf_addf(b, ", start %u in %s", r.number, age);
        }
        ulv_strbuf_addc(b, '\n');
}

static void json_restart(struct json *j, const struct part *p, const struct ulv_definition *d) {
        const struct ulv_restart r = decide(p, d);

        json_string(j, "Restart", d->restart);
        json_u64(j, "Restarts", row_u64(&p->op, "restarts"));
        json_u64(j, "StartLimit", d->start_limit);
        json_u64(j, "RestartAt", r.what == ULV_RESTART_AT ? r.at : 0);
        json_bool(j, "RestartGivenUp", r.what == ULV_RESTART_GIVEN_UP);
}

/* --- networks ------------------------------------------------------------------------------------------- */

static void add_list(struct ulv_strbuf *b, const char *before, const struct ulv_address *v, unsigned n, bool with_prefix) {
        for (unsigned i = 0; i < n; i++) {
                ulv_strbuf_add(b, i == 0 ? before : ", ");
                ulv_address_format(b, &v[i], with_prefix);
        }
}

static void add_network(struct ulv_strbuf *b, const struct ulv_network *n, unsigned width, bool first) {
        ulv_strbuf_addf(b, first ? STATUS_LABEL : "%13s", first ? "Network" : "");
        ulv_strbuf_addf(b, "%-*s  bridge %s", (int) width, n->label, n->bridge);
        if (n->name[0])
                ulv_strbuf_addf(b, ", %s inside", n->name);
        add_list(b, "  ", n->addresses, n->n_addresses, true);
        add_list(b, "  gateway ", n->gateways, n->n_gateways, false);
        ulv_strbuf_addc(b, '\n');
}

static void json_list(struct json *j, const char *key, const struct ulv_address *v, unsigned n, bool with_prefix) {
        json_array(j, key);
        for (unsigned i = 0; i < n; i++) {
                _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

                ulv_address_format(&b, &v[i], with_prefix);
                json_string(j, NULL, ulv_strbuf_str(&b));
        }
        json_end(j);
}

static void json_network(struct json *j, const struct ulv_network *n) {
        json_object(j, NULL);
        json_string(j, "Name", n->label);
        json_string(j, "Bridge", n->bridge);
        json_string(j, "Interface", n->name);
        json_list(j, "Addresses", n->addresses, n->n_addresses, true);
        json_list(j, "Gateways", n->gateways, n->n_gateways, false);
        json_list(j, "DNS", n->dns, n->n_dns, false);
        json_end(j);
}

/* --- files ---------------------------------------------------------------------------------------------- */

/* A container's files are in a directory of the host's, which nothing of ours limits in size. */
static void add_files(struct ulv_strbuf *b, const struct ulv_definition *d) {
        const char *root = d->root ? d->root : "";

        ulv_strbuf_addf(b, STATUS_LABEL, d->image[0] ? "Image" : "Root");
        if (d->image[0])
                ulv_strbuf_addf(b, "%s, %s", d->image, ulv_streq(d->writable, "kept") ? "what it writes is kept" : "what it writes goes with its end");
        else
                text_safe(b, root, strlen(root), false);
        ulv_strbuf_add(b, "; no quota: it can fill the file system that this is on\n");
}

static void json_files(struct json *j, const struct ulv_definition *d) {
        bool container = ulv_streq(d->type, "container");

        json_string(j, "Image", d->image);
        json_string(j, "Root", d->root ? d->root : "");
        json_string(j, "Writable", container && d->image[0] ? d->writable : "");
        json_string(j, "Quota", container ? "none" : "");
}

/* --- both ----------------------------------------------------------------------------------------------- */

void defined_add(struct ulv_strbuf *b, const char *root, const struct part *p, const struct ulv_definition *d) {
        unsigned width = 0;

        if (ulv_streq(d->type, "container"))
                add_files(b, d);
        for (size_t i = 0; i < d->n_networks; i++)
                width = ULV_MAX(width, (unsigned) strlen(d->networks[i].label));
        for (size_t i = 0; i < d->n_networks; i++)
                add_network(b, &d->networks[i], width, i == 0);
        if (p->running && ulv_streq(d->graphics, "vnc"))
                ulv_strbuf_addf(b, STATUS_LABEL "VNC on %s/" ULV_RUN "/vm/%s/vnc/socket, for root\n", "Screen", ulv_streq(root, "/") ? "" : root, p->name);
        add_restart(b, p, d);
}

void defined_json(struct json *j, const struct part *p, const struct ulv_definition *d) {
        json_files(j, d);
        json_array(j, "Networks");
        for (size_t i = 0; i < d->n_networks; i++)
                json_network(j, &d->networks[i]);
        json_end(j);
        json_restart(j, p, d);
}
