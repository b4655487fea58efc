/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/definition-parts.h"

#include "model/attachment.h"
#include "model/channel.h"

/* [Network "lan"] and [Credential "tls.key"]. The same label in a drop-in goes on with the part of that label:
 * a key that is set later wins, lists add up, an empty value unsets. */

/* --- values -------------------------------------------------------------------------------------------- */

static bool is_word(const char *v, size_t max, const char *also) {
        size_t n = strlen(v);

        for (size_t i = 0; i < n; i++)
                if (!((v[i] >= 'a' && v[i] <= 'z') || (v[i] >= 'A' && v[i] <= 'Z') || (v[i] >= '0' && v[i] <= '9') ||
                      (i > 0 && strchr(also, v[i]))))
                        return false;
        return n > 0 && n <= max;
}

/* What the kernel takes as an interface's name, and nobody mistakes for anything else. */
static int parse_interface(const char *v, char *field) {
        if (!is_word(v, 15, "_.-"))
                return -EINVAL;
        memcpy(field, v, strlen(v) + 1);
        return 0;
}

static int parse_bridge(const char *v, void *part) { return parse_interface(v, ((struct ulv_network *) part)->bridge); }

static int parse_name(const char *v, void *part) {
        return ulv_streq(v, "lo") ? -EINVAL : parse_interface(v, ((struct ulv_network *) part)->name);
}

static int parse_mac(const char *v, void *part) {
        struct ulv_network *n = part;
        int r = ulv_mac_parse(v, n->mac);

        n->has_mac = n->has_mac || r == 0;
        return r;
}

static int push_address(const char *v, bool with_prefix, struct ulv_address *list, unsigned *n, unsigned max) {
        struct ulv_address a;
        int r = ulv_address_parse(v, with_prefix, &a);

        if (r < 0 || !ulv_address_is_host(&a))
                return -EINVAL;
        for (unsigned i = 0; i < *n; i++)
                if (memcmp(&list[i], &a, sizeof(a)) == 0)
                        return 0;
        if (*n == max)
                return -E2BIG;
        list[(*n)++] = a;
        return 0;
}

static int parse_address(const char *v, void *part) {
        struct ulv_network *n = part;

        return push_address(v, true, n->addresses, &n->n_addresses, ULV_ADDRESSES_MAX);
}

/* One of each family: a second one takes the place of the first. */
static int parse_gateway(const char *v, void *part) {
        struct ulv_network *n = part;
        struct ulv_address a;

        if (ulv_address_parse(v, false, &a) < 0 || !ulv_address_is_host(&a))
                return -EINVAL;
        for (unsigned i = 0; i < n->n_gateways; i++)
                if (n->gateways[i].family == a.family) {
                        n->gateways[i] = a;
                        return 0;
                }
        n->gateways[n->n_gateways++] = a;
        return 0;
}

static int parse_dns(const char *v, void *part) {
        struct ulv_network *n = part;

        return push_address(v, false, n->dns, &n->n_dns, ULV_DNS_MAX);
}

/* Domains by spaces; each is a word of a line of resolv.conf. */
static int parse_search(const char *v, void *part) {
        struct ulv_network *n = part;
        char text[sizeof(n->search)] = "", word[sizeof(n->search)];
        size_t len = 0;

        for (v += strspn(v, " \t"); *v; v += strspn(v, " \t")) {
                size_t w = strcspn(v, " \t");
                if (len + w + 2 > sizeof(text))
                        return -EINVAL;
                memcpy(word, v, w);
                word[w] = 0;
                if (!is_word(word, 253, ".-_"))
                        return -EINVAL;
                if (len > 0)
                        text[len++] = ' ';
                memcpy(text + len, word, w + 1);
                len += w;
                v += w;
        }
        memcpy(n->search, text, sizeof(text));
        return 0;
}

int ulv_part_parse_path(const char *v, char **field) {
        if (v[0] != '/' || !v[1] || strstr(v, "//") || v[strlen(v) - 1] == '/')
                return -EINVAL;
        for (const char *p = strstr(v, "/."); p; p = strstr(p + 1, "/."))
                if (p[2] == 0 || p[2] == '/' || (p[2] == '.' && (p[3] == 0 || p[3] == '/')))
                        return -EINVAL;
        char *copy = strdup(v);
        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

static int parse_encrypted(const char *v, void *part) { return ulv_part_parse_path(v, &((struct ulv_credential *) part)->encrypted); }
static int parse_source(const char *v, void *part) { return ulv_part_parse_path(v, &((struct ulv_credential *) part)->source); }

static void reset_network(void *part, size_t key);

static void reset_credential(void *part, size_t key) {
        struct ulv_credential *c = part;
        char **field = key == 0 ? &c->encrypted : &c->source;

        free(*field);
        *field = NULL;
}

/* --- the tables ---------------------------------------------------------------------------------------- */

struct part_key {
        const char *name, *expected;
        int (*parse)(const char *value, void *part);    /* 0, -EINVAL, -E2BIG, -ENOMEM */
        unsigned max;                                   /* of a list that several lines add up to; 0: no list */
};
#define KEY(in, word, what, form, most) { .name = word, .expected = what, .parse = parse_##form, .max = most }

enum { NET_BRIDGE, NET_ADDRESS, NET_GATEWAY, NET_DNS, NET_SEARCH, NET_MAC, NET_NAME, NET_MAX_ };
static const struct part_key network_keys[] = {
        [NET_BRIDGE] = KEY("Network", "Bridge", "the name of a bridge of this host (at most 15 letters, digits, _ . -)", bridge, 0),
        [NET_ADDRESS] = KEY("Network", "Address", "an address with the length of its network (like 10.0.0.20/24 or fd00::20/64)", address, ULV_ADDRESSES_MAX),
        [NET_GATEWAY] = KEY("Network", "Gateway", "an address (like 10.0.0.1 or fd00::1)", gateway, ULV_GATEWAYS_MAX),
        [NET_DNS] = KEY("Network", "DNS", "an address (like 10.0.0.1 or fd00::1)", dns, ULV_DNS_MAX),
        [NET_SEARCH] = KEY("Network", "Search", "a list of domains (at most 255 bytes)", search, 0),
        [NET_MAC] = KEY("Network", "MAC", "the address of one card (like 52:54:00:0a:00:30)", mac, 0),
        [NET_NAME] = KEY("Network", "Name", "an interface's name (at most 15 letters, digits, _ . -; not lo)", name, 0),
};
enum { CRED_ENCRYPTED, CRED_SOURCE, CRED_MAX_ };
static const struct part_key credential_keys[] = {
        [CRED_ENCRYPTED] = KEY("Credential", "Encrypted", "an absolute path without . and .. in it", encrypted, 0),
        [CRED_SOURCE] = KEY("Credential", "Source", "an absolute path without . and .. in it", source, 0),
};
_Static_assert(NET_MAX_ <= PART_KEYS_MAX && CRED_MAX_ <= PART_KEYS_MAX, "a place for each key");

static void reset_network(void *part, size_t key) {
        struct ulv_network *n = part;

        switch (key) {
        case NET_BRIDGE: n->bridge[0] = 0; break;
        case NET_ADDRESS: n->n_addresses = 0; break;
        case NET_GATEWAY: n->n_gateways = 0; break;
        case NET_DNS: n->n_dns = 0; break;
        case NET_SEARCH: n->search[0] = 0; break;
        case NET_MAC: n->has_mac = false; break;
        default: n->name[0] = 0; break;
        }
}

/* --- reading ------------------------------------------------------------------------------------------- */

bool ulv_parts_have(const char *section) {
        return ulv_streq(section, "Network") || ulv_streq(section, "Credential") || ulv_streq(section, "Channel") || ulv_attachment_is_section(section);
}

static bool is_network(const struct ulv_ini_item *item) { return ulv_streq(item->section, "Network"); }

int ulv_part_append(void **array, size_t *n, size_t size, const char *label) {
        char *more = realloc(*array, (*n + 1) * size), *element;

        if (!more)
                return -ENOMEM;
        *array = more;
        element = more + *n * size;
        memset(element, 0, size);
        memcpy(element, label, strlen(label) + 1);
        (*n)++;
        return 0;
}

static int begin_network(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (!ulv_name_is_valid(item->label))
                return ulv_ini_error(item, false, reterr, "[Network] needs a label of a-z, 0-9 and -, like [Network \"lan\"]");
        for (p->network = 0; p->network < d->n_networks; p->network++)
                if (ulv_streq(d->networks[p->network].label, item->label))
                        return 0;
        if (d->n_networks == ULV_NETWORKS_MAX)
                return ulv_ini_error(item, false, reterr, "more than %d networks", ULV_NETWORKS_MAX);
        p->network_at[d->n_networks] = (struct ulv_key_place) { .file = item->file, .line = item->line, .column = item->column };
        return ulv_part_append((void **) &d->networks, &d->n_networks, sizeof(*d->networks), item->label);
}

static int begin_credential(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        if (!is_word(item->label, ULV_NAME_MAX, "_.-"))
                return ulv_ini_error(item, false, reterr, "[Credential] needs a label of letters, digits, _ . and -, like [Credential \"tls.key\"]");
        for (p->credential = 0; p->credential < d->n_credentials; p->credential++)
                if (ulv_streq(d->credentials[p->credential].label, item->label))
                        return 0;
        if (d->n_credentials == ULV_CREDENTIALS_MAX)
                return ulv_ini_error(item, false, reterr, "more than %d credentials", ULV_CREDENTIALS_MAX);
        p->credential_at[d->n_credentials] = (struct ulv_key_place) { .file = item->file, .line = item->line, .column = item->column };
        return ulv_part_append((void **) &d->credentials, &d->n_credentials, sizeof(*d->credentials), item->label);
}

static int unknown_key(const struct ulv_ini_item *item, const struct part_key *keys, size_t n, struct ulv_diag *reterr) {
        const char *known[PART_KEYS_MAX];

        if (is_network(item) && ulv_streq(item->key, "Service"))
                return ulv_ini_error(item, false, reterr, "Service= is not served by this version (Bridge=, a bridge of this host)");
        for (size_t i = 0; i < n; i++)
                known[i] = keys[i].name;
        return ulv_config_unknown(item, "", item->key, "=", is_network(item) ? " in [Network]" : " in [Credential]", known, n, reterr);
}

static int take_value(const struct ulv_ini_item *item, const struct part_key *k, size_t key, struct ulv_key_place *at, void *part, struct ulv_diag *reterr) {
        int r;

        if (at->line > 0 && at->file == item->file && k->max == 0)
                return ulv_ini_error(item, false, reterr, "%s= is given twice (first in line %u)", item->key, at->line);
        *at = (struct ulv_key_place) { .file = item->file, .line = item->line, .column = item->column, .value_column = item->value_column };
        if (!item->value[0]) {
                (is_network(item) ? reset_network : reset_credential)(part, key);
                return 0;
        }
        r = k->parse(item->value, part);
        if (r == -E2BIG)
                return ulv_ini_error(item, true, reterr, "%s= has more than %u entries", item->key, k->max);
        return r == 0 || r == -ENOMEM ? r : ulv_config_bad_value(item, k->expected, reterr);
}

int ulv_parts_take(struct ulv_parts_parser *p, struct ulv_definition *d, const struct ulv_ini_item *item, struct ulv_diag *reterr) {
        bool network = is_network(item);
        const struct part_key *keys = network ? network_keys : credential_keys;
        size_t n = network ? ULV_ARRAY_SIZE(network_keys) : ULV_ARRAY_SIZE(credential_keys);

        if (ulv_attachment_is_section(item->section))
                return ulv_attachments_take(p, d, item, reterr);
        if (ulv_streq(item->section, "Channel"))
                return ulv_channels_take(p, d, item, reterr);
        if (item->type == ULV_INI_SECTION)
                return (network ? begin_network : begin_credential)(p, d, item, reterr);
        for (size_t i = 0; i < n; i++)
                if (ulv_streq(keys[i].name, item->key))
                        return take_value(item, &keys[i], i, network ? &p->networks[p->network][i] : &p->credentials[p->credential][i],
                                          network ? (void *) &d->networks[p->network] : &d->credentials[p->credential], reterr);
        return unknown_key(item, keys, n, reterr);
}

/* --- the whole ------------------------------------------------------------------------------------------ */

#define FAIL_AT(place, ...) ulv_ini_error(&(struct ulv_ini_item) { \
                .file = (place)->file, .line = (place)->line, .column = (place)->column }, false, reterr, __VA_ARGS__)

static int check_gateway(const struct ulv_parts_parser *p, const struct ulv_network *n, unsigned index, const struct ulv_address *g, struct ulv_diag *reterr) {
        _cleanup_strbuf_ struct ulv_strbuf b = {};

        for (unsigned i = 0; i < n->n_addresses; i++)
                if (ulv_address_is_in(g, &n->addresses[i]))
                        return 0;
        /* fe80::1 is on every link. */
        if (g->family == 6 && g->bytes[0] == 0xfe && (g->bytes[1] & 0xc0) == 0x80)
                return 0;
        ulv_address_format(&b, g, false);
        if (ulv_strbuf_error(&b) < 0)
                return -ENOMEM;
        return FAIL_AT(&p->networks[index][NET_GATEWAY], "Gateway=%s is in none of the networks of Address= in [Network \"%s\"]", ulv_strbuf_str(&b), n->label);
}

/* eth0, eth1 ... by the order of the sections. */
static void give_name(struct ulv_network *n, unsigned index) {
        if (!n->name[0]) {
                memcpy(n->name, "eth0", 5);
                n->name[3] = (char) ('0' + index);
        }
}
_Static_assert(ULV_NETWORKS_MAX <= 10, "one digit");

static int check_network(const struct ulv_parts_parser *p, struct ulv_definition *d, unsigned index, struct ulv_diag *reterr) {
        struct ulv_network *n = &d->networks[index];
        const struct ulv_key_place *at = &p->network_at[index];
        int r;

        if (!n->bridge[0])
                return FAIL_AT(at, "[Network \"%s\"] has no Bridge= (a bridge of this host)", n->label);
        /* Inside a VM nothing of ours configures the card: cloud-init does, if there is a seed. */
        for (size_t key = 0; ulv_streq(d->type, "vm") && !(d->seed && d->seed[0]) && key < NET_MAX_; key++)
                if (key != NET_BRIDGE && key != NET_MAC && p->networks[index][key].line > 0)
                        return FAIL_AT(&p->networks[index][key], "%s= needs Seed= in [VM]: it is cloud-init that gives it to a card inside a VM", network_keys[key].name);
        give_name(n, index);
        for (unsigned i = 0; i < index; i++) {
                if (ulv_streq(d->networks[i].name, n->name))
                        return FAIL_AT(p->networks[index][NET_NAME].line ? &p->networks[index][NET_NAME] : at,
                                       "[Network \"%s\"] and [Network \"%s\"] have the same interface %s", d->networks[i].label, n->label, n->name);
                if (n->has_mac && d->networks[i].has_mac && memcmp(d->networks[i].mac, n->mac, sizeof(n->mac)) == 0)
                        return FAIL_AT(&p->networks[index][NET_MAC], "[Network \"%s\"] and [Network \"%s\"] have the same MAC=", d->networks[i].label, n->label);
        }
        for (unsigned i = 0; i < n->n_gateways; i++)
                if ((r = check_gateway(p, n, index, &n->gateways[i], reterr)) != 0)
                        return r;
        return 0;
}

static int check_credential(const struct ulv_parts_parser *p, const struct ulv_definition *d, unsigned index, struct ulv_diag *reterr) {
        const struct ulv_credential *c = &d->credentials[index];
        const struct ulv_key_place *at = &p->credential_at[index];

        if (c->encrypted && c->source)
                return FAIL_AT(&p->credentials[index][CRED_SOURCE], "Encrypted= and Source= exclude each other in [Credential \"%s\"]", c->label);
        if (!c->encrypted && !c->source)
                return FAIL_AT(at, "[Credential \"%s\"] has neither Encrypted= (of systemd-creds) nor Source= (a plain file of root's)", c->label);
        return 0;
}

int ulv_parts_check(struct ulv_parts_parser *p, struct ulv_definition *d, struct ulv_diag *reterr) {
        bool container = ulv_streq(d->type, "container"), vm = ulv_streq(d->type, "vm");
        int r = 0;

        if (!container && !vm && d->n_networks > 0)
                return FAIL_AT(&p->network_at[0], "[Network] is for Type=container and vm, and this is a %s", d->type);
        if (!container && d->n_credentials > 0)
                return FAIL_AT(&p->credential_at[0], "[Credential] is for Type=container, and this is a %s", d->type);
        for (unsigned i = 0; r == 0 && i < d->n_networks; i++)
                r = check_network(p, d, i, reterr);
        for (unsigned i = 0; r == 0 && i < d->n_credentials; i++)
                r = check_credential(p, d, i, reterr);
        if (r == 0)
                r = ulv_channels_check(p, d, reterr);
        return r == 0 ? ulv_attachments_check(p, d, reterr) : r;
}

/* --- writing -------------------------------------------------------------------------------------------- */

static void format_addresses(struct ulv_strbuf *b, const char *key, const struct ulv_address *a, unsigned n, bool with_prefix) {
        for (unsigned i = 0; i < n; i++) {
                ulv_strbuf_addf(b, "%s=", key);
                ulv_address_format(b, &a[i], with_prefix);
                ulv_strbuf_addc(b, '\n');
        }
}

static void format_network(struct ulv_strbuf *b, const struct ulv_definition *d, const struct ulv_network *n) {
        const uint8_t *m = n->mac;

        ulv_strbuf_addf(b, "%s[Network \"%s\"]\nBridge=%s\n", b->len > 0 ? "\n" : "", n->label, n->bridge);
        format_addresses(b, "Address", n->addresses, n->n_addresses, true);
        format_addresses(b, "Gateway", n->gateways, n->n_gateways, false);
        format_addresses(b, "DNS", n->dns, n->n_dns, false);
        if (n->search[0])
                ulv_strbuf_addf(b, "Search=%s\n", n->search);
        if (n->has_mac)
                ulv_strbuf_addf(b, "MAC=%02x:%02x:%02x:%02x:%02x:%02x\n", m[0], m[1], m[2], m[3], m[4], m[5]);
        /* In a VM without a seed nobody gives it that name. */
        if (!ulv_streq(d->type, "vm") || (d->seed && d->seed[0]))
                ulv_strbuf_addf(b, "Name=%s\n", n->name);
}

void ulv_parts_format(struct ulv_strbuf *b, const struct ulv_definition *d) {
        for (size_t i = 0; i < d->n_networks; i++)
                format_network(b, d, &d->networks[i]);
        for (size_t i = 0; i < d->n_credentials; i++) {
                const struct ulv_credential *c = &d->credentials[i];

                ulv_strbuf_addf(b, "%s[Credential \"%s\"]\n%s=%s\n", b->len > 0 ? "\n" : "", c->label,
                                c->encrypted ? "Encrypted" : "Source", c->encrypted ? c->encrypted : c->source ? c->source : "");
        }
        ulv_attachments_format(b, d);
        ulv_channels_format(b, d);
}

void ulv_parts_free(struct ulv_definition *d) {
        for (size_t i = 0; i < d->n_credentials; i++) {
                free(d->credentials[i].encrypted);
                free(d->credentials[i].source);
        }
        free(d->credentials);
        free(d->networks);
        free(d->channels);
        ulv_attachments_free(d);
}
