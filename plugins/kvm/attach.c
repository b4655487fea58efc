/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the VM has of its [Block]s and [Device]s, and how it gets and loses one while it runs.
 *
 * Theory of operation. What it was started with is noted in the partition's run directory, for the next life of the
 * monitor, and changed there before anything is asked of libvirt and when it has answered. Attaching is done when QEMU has the
 * disk; detaching when QEMU says that the guest has let go of it (libvirt's event, of QEMU's DEVICE_DELETED), which a guest
 * may refuse. A monitor that died meanwhile asks for the same again: what is so already is an answer, too (ask.c). */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "model/attachment.h"
#include "model/op.h"
#include "plugins/kvm/kvm.h"

#define FILE_NAME "disks"
#define NOTES_MAX (64 * 1024)
#define LIBVIRTS_MAX (4 * 1024 * 1024)

/* "disk root", "device vdb" */
static void make_key(const struct ulv_attachment *a, char key[static KVM_KEY_MAX]) {
        (void) snprintf(key, KVM_KEY_MAX, "%s %s", ulv_attachment_kind(a), ulv_attachment_name(a));
}

static struct kvm_attached *find(struct kvm *k, const char *key) {
        for (size_t i = 0; i < k->n_attached; i++)
                if (ulv_streq(k->attached[i].key, key))
                        return &k->attached[i];
        return NULL;
}

static bool is_cdrom(const struct ulv_attachment *a) { return ulv_streq(a->format, "iso"); }

/* The lowest number that none on the same bus has. */
static unsigned free_slot(const struct kvm *k, bool cdrom) {
        unsigned slot = 0;

        for (size_t i = 0; i < k->n_attached; i++)
                if (k->attached[i].cdrom == cdrom && k->attached[i].slot == slot) {
                        slot++;
                        i = SIZE_MAX;
                }
        return slot;
}

static struct kvm_attached *add(struct kvm *k, const struct ulv_attachment *a) {
        struct kvm_attached *it = &k->attached[k->n_attached];

        *it = (struct kvm_attached) { .cdrom = is_cdrom(a), .slot = free_slot(k, is_cdrom(a)), .read_only = a->read_only || ulv_streq(a->writable, "no") };
        (void) ulv_copy(it->label, sizeof(it->label), a->label);
        make_key(a, it->key);
        k->n_attached++;
        return it;
}

/* --- the notes ----------------------------------------------------------------------------------------------------- */

static int save(struct kvm *k) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = NOTES_MAX };
        int r;

        for (size_t i = 0; i < k->n_attached; i++) {
                const struct kvm_attached *it = &k->attached[i];

                ulv_op_begin(&b, "row", "disk", it->label, "-");
                ulv_op_add(&b, "key", it->key);
                ulv_op_add_u64(&b, "slot", it->slot);
                ulv_op_add_u64(&b, "cdrom", it->cdrom);
                ulv_op_add_u64(&b, "ro", it->read_only);
                ulv_op_add_u64(&b, "coming", it->coming);
                ulv_op_end(&b);
        }
        r = ulv_strbuf_error(&b);
        return r < 0 ? r : ulv_write_file_atomic(ulv_monitor_run_dir(k->m), FILE_NAME, ulv_strbuf_str(&b), b.len, 0600);
}

static int load_line(const char *line, size_t len, void *userdata) {
        struct kvm *k = userdata;
        struct kvm_attached *it = &k->attached[k->n_attached];
        uint64_t slot, cdrom, ro, coming;
        const char *key;
        struct ulv_op op;

        if (k->n_attached == ULV_ATTACHMENTS_MAX || ulv_op_parse(line, len, &op, NULL) != 0 || ulv_op_get_u64(&op, "slot", &slot) != 0 ||
            ulv_op_get_u64(&op, "cdrom", &cdrom) != 0 || ulv_op_get_u64(&op, "ro", &ro) != 0 || ulv_op_get_u64(&op, "coming", &coming) != 0)
                return -EBADMSG;
        key = ulv_op_get(&op, "key");
        *it = (struct kvm_attached) { .slot = (unsigned) slot, .cdrom = cdrom, .read_only = ro, .coming = coming };
        if (!key || !ulv_copy(it->key, sizeof(it->key), key) || !ulv_copy(it->label, sizeof(it->label), op.id))
                return -EBADMSG;
        k->n_attached++;
        return 0;
}

int kvm_attach_started(struct kvm *k, const struct ulv_definition *d) {
        k->n_attached = 0;
        for (size_t i = 0; i < d->n_attachments; i++)
                (void) add(k, &d->attachments[i]);
        return save(k);
}

/* Does the domain have it? libvirt's own note of what runs says so, with or without libvirtd. */
static bool is_there(const struct kvm *k, const char *label) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int dir = open("/run/libvirt/qemu", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char file[KVM_NAME_MAX + 8], alias[ULV_NAME_MAX + 32];
        size_t len;

        (void) snprintf(file, sizeof(file), "%s.xml", k->name);
        (void) snprintf(alias, sizeof(alias), "<alias name='ua-disk-%s'/>", label);
        return dir >= 0 && ulv_read_file_at(dir, file, LIBVIRTS_MAX, &text, &len) == 0 && strstr(text, alias);
}

/* What was on its way when the monitor died is there, or isn't. */
static void settle(struct kvm *k) {
        for (size_t i = k->n_attached; i-- > 0; ) {
                if (k->attached[i].coming && !is_there(k, k->attached[i].label))
                        k->attached[i] = k->attached[--k->n_attached];
                else
                        k->attached[i].coming = false;
        }
}

void kvm_attach_load(struct kvm *k) {
        _cleanup_free_ char *text = NULL;
        size_t len;
        int r = ulv_read_file_at(ulv_monitor_run_dir(k->m), FILE_NAME, NOTES_MAX, &text, &len);

        k->n_attached = 0;
        if (r >= 0)
                r = ulv_op_each_line(text, len, load_line, k);
        if (r < 0 && r != -ENOENT)
                ulv_log_errno(r, "which disks it has can't be read");
        settle(k);
}

void kvm_attach_forget(struct kvm *k) {
        k->n_attached = 0;
        k->change = KVM_CHANGE_NONE;
        (void) unlinkat(ulv_monitor_run_dir(k->m), FILE_NAME, 0);
}

const char *kvm_attach_how(struct ulv_monitor *m, const char *key) {
        struct kvm *k = kvm_get(m);
        const struct kvm_attached *it = k ? find(k, key) : NULL;

        return !it || it->coming ? NULL : it->read_only ? "ro" : "rw";
}

/* --- one at a time --------------------------------------------------------------------------------------------------- */

static void done(struct kvm *k, const char *why, const char *try_) {
        bool attach = k->change == KVM_CHANGE_ATTACH;
        struct kvm_attached *it = find(k, k->changing);
        struct ulv_diag d = { 0 };

        k->change = KVM_CHANGE_NONE;
        if (it && (attach == (why != NULL))) {
                if (!attach && ulv_startswith(it->key, "disk "))
                        kvm_disk_forget(k->m, it->label);
                *it = k->attached[--k->n_attached];     /* not there (any more) */
        } else if (it)
                it->coming = false;
        if (save(k) < 0)
                ulv_log(ULV_LOG_WARNING, "which disks it has can't be noted");
        if (why) {
                ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot %s %s", attach ? "attach" : "detach", strchr(k->changing, ' ') + 1);
                ulv_diag_why(&d, "%s", why);
                ulv_diag_try(&d, "%s", try_);
        }
        ulv_monitor_attach_done(k->m, why ? &d : NULL, false);
}

/* When libvirt is asked nothing else. */
void kvm_attach_go(struct kvm *k) {
        enum kvm_request request = k->change == KVM_CHANGE_ATTACH ? KVM_ATTACH : KVM_DETACH;

        if (k->change == KVM_CHANGE_NONE || k->asked >= 0)
                return;
        if (kvm_ask(k, request, k->change_xml) < 0)
                done(k, "libvirt can't be asked", "free memory: uvctl top");
}

void kvm_attach_answered(struct kvm *k, const struct kvm_answer *a) {
        if (k->change != KVM_CHANGE_NONE)
                done(k, a->outcome == KVM_DONE ? NULL : a->text, a->outcome == KVM_UNREACHABLE ? "systemctl start libvirtd" : "the same again; what does the guest say? uvctl logs");
}

static int begin(struct kvm *k, enum kvm_change change, const char *key) {
        int r = save(k);

        if (r < 0)
                return r;
        k->change = change;
        (void) snprintf(k->changing, sizeof(k->changing), "%s", key);
        kvm_attach_go(k);
        return 0;
}

static int alias_of(struct kvm *k, const char *label) {
        free(k->change_xml);
        return asprintf(&k->change_xml, "ua-disk-%s", label) < 0 ? (k->change_xml = NULL, -ENOMEM) : 0;
}

static int describe(struct kvm *k, const struct ulv_attachment *a, const char *dir, unsigned slot) {
        _cleanup_strbuf_ struct ulv_strbuf b = { .max = 16 * 1024 };

        kvm_disk_xml(&b, a, dir, slot, 0);
        if (ulv_strbuf_error(&b) < 0)
                return ulv_strbuf_error(&b);
        free(k->change_xml);
        k->change_xml = ulv_strbuf_steal(&b);
        return k->change_xml ? 0 : -ENOMEM;
}

int kvm_attach(struct ulv_monitor *m, const char *key, const struct ulv_attachment *a) {
        struct kvm *k = kvm_get(m);
        struct ulv_diag d = { 0 };
        struct kvm_attached *it;
        char dir[512] = "";
        int r;

        if (!k)
                return -ENOMEM;
        if (k->n_attached == ULV_ATTACHMENTS_MAX)
                return -E2BIG;
        if (is_cdrom(a)) {
                ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot attach %s", a->label);
                ulv_diag_why(&d, "a CD-ROM drive (Format=iso) comes with the next start only");
                ulv_diag_try(&d, "uvctl restart %s, or the image as Format=raw Writable=no", ulv_monitor_name(m));
                r = -EIO;
        } else
                r = kvm_disk_make(m, a, k->uid, dir, &d);
        if (r < 0 && d.why[0]) {
                ulv_monitor_attach_done(m, &d, false);
                return 0;
        }
        if (r < 0)
                return r;
        it = find(k, key) ? find(k, key) : add(k, a);
        it->coming = true;
        r = describe(k, a, dir, it->slot);
        return r < 0 ? r : begin(k, KVM_CHANGE_ATTACH, key);
}

int kvm_detach(struct ulv_monitor *m, const char *key, ULV_UNUSED bool force) {
        struct kvm *k = kvm_get(m);
        const struct kvm_attached *it = k ? find(k, key) : NULL;
        struct ulv_diag d = { 0 };
        int r;

        if (!it)
                return k ? -ENOENT : -ENOMEM;
        if (it->cdrom) {
                ulv_diag_what(&d, ULV_EXIT_FAILED, "cannot detach %s", it->label);
                ulv_diag_why(&d, "a CD-ROM drive goes with the end of the VM only");
                ulv_diag_try(&d, "uvctl restart %s", ulv_monitor_name(m));
                ulv_monitor_attach_done(m, &d, false);
                return 0;
        }
        r = alias_of(k, it->label);
        return r < 0 ? r : begin(k, KVM_CHANGE_DETACH, key);
}
