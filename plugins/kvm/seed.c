/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Seed=DIRECTORY: what cloud-init in the guest reads at its first boot (its data source NoCloud), on a CD-ROM.
 *
 * The administrator's files may be secret and root's. They are copied for the VM's uid alone, mode 0400; a tool makes the
 * ISO of the copies under that uid, the copies go, and the directory is root's again. Where the definition has addresses and
 * the seed says nothing about the network, network-config is made of [Network]. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/fd.h"
#include "plugins/kvm/kvm.h"

#define SEED_FILE_MAX (4 * 1024 * 1024u)
#define DIRECTORY "seed"
#define ISO "seed.iso"

/* user-data and meta-data must be there, the others may. */
static const char *const names[] = { "user-data", "meta-data", "network-config", "vendor-data" };
enum { NEEDED = 2, NETWORK_CONFIG = 2 };

static int refuse(struct ulv_diag *reterr, const struct ulv_definition *d, const char *file, const char *why) {
        ulv_diag_what(reterr, ULV_EXIT_FAILED, "cannot start %s", d->name);
        ulv_diag_why(reterr, "Seed=%s: %s%s%s", d->seed, file, file[0] ? ": " : "", why);
        ulv_diag_try(reterr, "a directory with user-data and meta-data, as cloud-init's NoCloud describes");
        return -EIO;
}

/* --- network-config, version 2 ------------------------------------------------------------------------------------- */

static void add_list(struct ulv_strbuf *b, const char *key, const struct ulv_address *a, unsigned n, bool with_prefix) {
        for (unsigned i = 0; i < n; i++) {
                ulv_strbuf_add(b, i == 0 ? key : ", ");
                ulv_strbuf_addc(b, '"');
                ulv_address_format(b, &a[i], with_prefix);
                ulv_strbuf_addc(b, '"');
        }
        if (n > 0)
                ulv_strbuf_add(b, "]\n");
}

static void add_network(struct ulv_strbuf *b, const struct ulv_network *n, const uint8_t m[6]) {
        ulv_strbuf_addf(b, "  %s:\n    match: {macaddress: \"%02x:%02x:%02x:%02x:%02x:%02x\"}\n    set-name: %s\n", n->name, m[0], m[1], m[2], m[3], m[4], m[5], n->name);
        if (n->n_addresses == 0)
                ulv_strbuf_add(b, "    dhcp4: true\n");
        add_list(b, "    addresses: [", n->addresses, n->n_addresses, true);
        for (unsigned i = 0; i < n->n_gateways; i++) {
                ulv_strbuf_addf(b, "    gateway%d: \"", n->gateways[i].family == 6 ? 6 : 4);
                ulv_address_format(b, &n->gateways[i], false);
                ulv_strbuf_add(b, "\"\n");
        }
        if (n->n_dns == 0 && !n->search[0])
                return;
        ulv_strbuf_add(b, "    nameservers:\n");
        add_list(b, "      addresses: [", n->dns, n->n_dns, false);
        if (!n->search[0])
                return;
        ulv_strbuf_add(b, "      search: [");
        for (const char *s = n->search; *s; s++)
                ulv_strbuf_add_len(b, *s == ' ' ? ", " : s, *s == ' ' ? 2 : 1);
        ulv_strbuf_add(b, "]\n");
}

int kvm_network_config(const struct ulv_definition *d, const struct ulv_link *links, struct ulv_strbuf *b) {
        ulv_strbuf_add(b, "version: 2\nethernets:\n");
        for (size_t i = 0; i < d->n_networks; i++)
                add_network(b, &d->networks[i], links[i].mac);
        return ulv_strbuf_error(b);
}

/* --- the ISO --------------------------------------------------------------------------------------------------------- */

static int put(int dir, const char *name, const char *buf, size_t len, unsigned uid) {
        _cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);

        if (fd < 0 || fchown(fd, uid, uid) < 0)
                return -errno;
        return ulv_write_all(fd, buf, len);
}

static int copy_files(const struct ulv_definition *d, int dir, unsigned uid, bool present[static ULV_ARRAY_SIZE(names)], struct ulv_diag *reterr) {
        _cleanup_close_ int from = open(d->seed, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (from < 0)
                return refuse(reterr, d, "", strerror(errno));
        for (size_t i = 0; i < ULV_ARRAY_SIZE(names); i++) {
                _cleanup_free_ char *buf = NULL;
                size_t len;
                int r = ulv_read_file_at(from, names[i], SEED_FILE_MAX, &buf, &len);

                if (r == -ENOENT && i >= NEEDED)
                        continue;
                if (r == 0)
                        r = put(dir, names[i], buf, len, uid);
                if (r < 0)
                        return refuse(reterr, d, names[i], r == -EFBIG ? "larger than 4M" : strerror(-r));
                present[i] = true;
        }
        return 0;
}

static int add_network_config(const struct ulv_definition *d, const struct ulv_link *links, int dir, unsigned uid) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = 64 * 1024 };
        int r = kvm_network_config(d, links, &b);

        return r < 0 ? r : put(dir, names[NETWORK_CONFIG], ulv_strbuf_str(&b), b.len, uid);
}

struct iso { int dir; const bool *present; };

/* All of them have mkisofs's options. */
static void make_iso(const void *arg) {
        static const char *const tools[][3] = { { "xorriso", "-as", "mkisofs" }, { "genisoimage" }, { "mkisofs" } };
        const struct iso *iso = arg;

        if (fchdir(iso->dir) < 0)
                kvm_run_fail("", "its directory: %s", strerror(errno));
        (void) umask(0277);
        for (size_t t = 0; t < ULV_ARRAY_SIZE(tools); t++) {
                const char *argv[24];
                size_t n = 0;

                for (size_t i = 0; i < 3 && tools[t][i]; i++)
                        argv[n++] = tools[t][i];
                for (size_t i = 0; i < 9; i++)
                        argv[n++] = ((const char *const[]) { "-quiet", "-o", ISO, "-V", "cidata", "-J", "-R", "-input-charset", "utf-8" })[i];
                for (size_t i = 0; i < ULV_ARRAY_SIZE(names); i++)
                        if (iso->present[i])
                                argv[n++] = names[i];
                argv[n] = NULL;
                (void) execvp(argv[0], (char *const *) argv);
        }
        kvm_run_fail("the package xorriso or genisoimage", "none of xorriso, genisoimage and mkisofs is there, of which one makes it an ISO");
}

int kvm_seed_make(const struct ulv_definition *d, const struct ulv_link *links, int place, unsigned uid, struct ulv_diag *reterr) {
        bool present[ULV_ARRAY_SIZE(names)] = { false };
        _cleanup_close_ int dir = -1;
        char what[ULV_NAME_MAX + 64];
        int r;

        if (mkdirat(place, DIRECTORY, 0700) < 0 || (dir = openat(place, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
                return -errno;
        r = copy_files(d, dir, uid, present, reterr);
        if (r == 0 && !present[NETWORK_CONFIG] && d->n_networks > 0) {
                r = add_network_config(d, links, dir, uid);
                present[NETWORK_CONFIG] = true;
        }
        if (r == 0 && fchown(dir, uid, uid) < 0)
                r = -errno;
        if (r < 0)
                return r;
        (void) snprintf(what, sizeof(what), "cannot make the seed of %s", d->name);
        r = kvm_run(uid, make_iso, &(struct iso) { dir, present }, what, "df: is there room below /run?", reterr);
        if (r != 0)
                return r > 0 ? -EIO : r;
        if (fchown(dir, 0, uid) < 0 || fchmod(dir, 0710) < 0)
                return -errno;
        for (size_t i = 0; i < ULV_ARRAY_SIZE(names); i++)
                if (present[i] && unlinkat(dir, names[i], 0) < 0)
                        return -errno;
        return 0;
}
