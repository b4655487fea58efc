/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM's definition and grant as libvirt's XML. Pure: the same in, the same out (test/golden/domain).
 *
 * What isn't written here the guest doesn't have: no USB, no balloon, no disk and no network that its definition doesn't name.
 * A path in it is the VM's own copy, its pty or of its [Block]s, and no other of the host's. QEMU runs under a uid of its
 * own with libvirt's seccomp and mount namespace; that libvirt relabels (chowns) these files to it is wanted. */

#include "channel/call.h"
#include "plugins/kvm/kvm.h"

static uint64_t fnv1a(uint64_t h, const char *s) {
        do
                h = (h ^ (unsigned char) *s) * UINT64_C(0x100000001b3);
        while (*s++);           /* the NUL too: it parts root and name */
        return h;
}

void kvm_identity(const char *root, const char *partition, char name[static KVM_NAME_MAX], char uuid[static 37]) {
        uint64_t a = fnv1a(fnv1a(UINT64_C(0xcbf29ce484222325), root), partition), b = fnv1a(fnv1a(a, partition), root);
        uint64_t r = fnv1a(UINT64_C(0xcbf29ce484222325), root);
        _cleanup_strbuf_ struct ulv_strbuf t = { .max = KVM_NAME_MAX }, u = { .max = 37 };

        ulv_strbuf_add(&t, "ultravisor-");
        if (!ulv_streq(root, "/"))
                ulv_strbuf_addf(&t, "%08x-", (unsigned) (r ^ r >> 32));
        ulv_strbuf_add(&t, partition);
        /* Version 8: made from what one likes. */
        ulv_strbuf_addf(&u, "%08x-%04x-8%03x-%04x-%012llx", (unsigned) (a >> 32), (unsigned) (a >> 16 & 0xffff), (unsigned) (a & 0xfff),
                        (unsigned) (b >> 48 & 0x3fff) | 0x8000, (unsigned long long) (b & UINT64_C(0xffffffffffff)));
        (void) ulv_copy(name, KVM_NAME_MAX, ulv_strbuf_str(&t));
        (void) ulv_copy(uuid, 37, ulv_strbuf_str(&u));
}

unsigned kvm_vcpus(const struct ulv_grant *g) {
        unsigned n = g->share > 0 ? (unsigned) ((g->share + 999) / 1000) : ulv_cpus_count(&g->cpus);

        return ULV_MAX(n, 1u);
}

static void add_escaped(struct ulv_strbuf *b, const char *s) {
        for (; *s; s++)
                switch (*s) {
                case '&': ulv_strbuf_add(b, "&amp;"); break;
                case '<': ulv_strbuf_add(b, "&lt;"); break;
                case '>': ulv_strbuf_add(b, "&gt;"); break;
                case '\'': ulv_strbuf_add(b, "&apos;"); break;
                case '"': ulv_strbuf_add(b, "&quot;"); break;
                default: ulv_strbuf_addc(b, *s);
                }
}

static void add_element(struct ulv_strbuf *b, const char *name, const char *text) {
        ulv_strbuf_addf(b, "    <%s>", name);
        add_escaped(b, text);
        ulv_strbuf_addf(b, "</%s>\n", name);
}

static void add_cpus(struct ulv_strbuf *b, const struct ulv_grant *g) {
        const struct ulv_cpus *cpus = g->share > 0 ? &g->pool : &g->cpus;
        unsigned n = kvm_vcpus(g), vcpu = 0;

        ulv_strbuf_addf(b, "  <vcpu placement='static'>%u</vcpu>\n", n);
        if (ulv_cpus_count(cpus) == 0)
                return;
        /* Each of its CPUs on one of the partition's own; QEMU's other threads and its I/O on all of them, and nowhere else. */
        ulv_strbuf_add(b, "  <cputune>\n");
        for (unsigned cpu = 0; g->share == 0 && cpu < ULV_CPU_MAX; cpu++)
                if (ulv_cpus_has(cpus, cpu))
                        ulv_strbuf_addf(b, "    <vcpupin vcpu='%u' cpuset='%u'/>\n", vcpu++, cpu);
        for (; vcpu < n; vcpu++) {
                ulv_strbuf_addf(b, "    <vcpupin vcpu='%u' cpuset='", vcpu);
                ulv_cpus_format(b, cpus);
                ulv_strbuf_add(b, "'/>\n");
        }
        ulv_strbuf_add(b, "    <emulatorpin cpuset='");
        ulv_cpus_format(b, cpus);
        ulv_strbuf_add(b, "'/>\n  </cputune>\n");
}

/* All of it there before the guest runs, on the nodes that the ledger took it from. */
static void add_memory(struct ulv_strbuf *b, const struct kvm_domain *k) {
        const struct ulv_grant *g = k->grant;
        struct ulv_cpus nodes = { 0 };

        ulv_strbuf_addf(b, "  <memory unit='KiB'>%llu</memory>\n", (unsigned long long) (g->memory_bytes / 1024));
        ulv_strbuf_add(b, "  <memoryBacking>\n");
        if (!ulv_streq(k->d->pages, "4K"))
                ulv_strbuf_addf(b, "    <hugepages>\n      <page size='%u' unit='MiB'/>\n    </hugepages>\n", ulv_streq(k->d->pages, "1G") ? 1024 : 2);
        ulv_strbuf_add(b, "    <source type='memfd'/>\n    <access mode='shared'/>\n    <allocation mode='immediate'/>\n  </memoryBacking>\n");
        for (unsigned i = 0; i < g->n_memory; i++)
                if (g->memory[i].bytes > 0)
                        ulv_cpus_set(&nodes, g->memory[i].node);
        if (ulv_cpus_count(&nodes) == 0)
                return;
        ulv_strbuf_add(b, "  <numatune>\n    <memory mode='strict' nodeset='");
        ulv_cpus_format(b, &nodes);
        ulv_strbuf_add(b, "'/>\n  </numatune>\n");
}

static void add_boot(struct ulv_strbuf *b, const struct kvm_domain *k) {
        /* Which file the firmware is, libvirt's descriptors say; without secure boot, whose keys would be a matter of their own. */
        ulv_strbuf_addf(b, "  <os%s>\n    <type arch='x86_64' machine='q35'>hvm</type>\n", k->nvram ? " firmware='efi'" : "");
        if (k->nvram)
                ulv_strbuf_add(b, "    <firmware>\n      <feature enabled='no' name='secure-boot'/>\n    </firmware>\n");
        if (k->kernel)
                add_element(b, "kernel", k->kernel);
        if (k->kernel && k->initrd)
                add_element(b, "initrd", k->initrd);
        if (k->kernel && k->d->command_line[0])
                add_element(b, "cmdline", k->d->command_line);
        if (k->nvram)
                add_element(b, "nvram", k->nvram);
        if (k->n_channels > 0)
                ulv_strbuf_add(b, "    <smbios mode='sysinfo'/>\n");
        ulv_strbuf_add(b, "  </os>\n");
}

static void add_attribute(struct ulv_strbuf *b, const char *name, const char *value) {
        ulv_strbuf_addf(b, " %s='", name);
        add_escaped(b, value);
        ulv_strbuf_addc(b, '\'');
}

/* A file that stays whose it is: its reader has been tried out to be able to (disks.c). */
static void add_source(struct ulv_strbuf *b, const char *indent, const char *path) {
        ulv_strbuf_addf(b, "%s<source", indent);
        add_attribute(b, "file", path);
        ulv_strbuf_addf(b, ">\n%s  <seclabel model='dac' relabel='no'/>\n%s</source>\n", indent, indent);
}

/* An image that is full or broken is the guest's error, not a pause that nobody asked for. Formats are said, of what is
 * below too, and there is nothing below that: no first bytes of an image name another file to QEMU. */
void kvm_disk_xml(struct ulv_strbuf *b, const struct ulv_attachment *a, const char *dir, unsigned slot, unsigned boot) {
        bool iso = ulv_streq(a->format, "iso"), direct = ulv_streq(a->writable, "direct"), over = kvm_disk_is_over(a);
        _cleanup_strbuf_ struct ulv_strbuf file = { 0 };

        ulv_strbuf_addf(b, "    <disk type='%s' device='%s'>\n", a->device ? "block" : "file", iso ? "cdrom" : "disk");
        ulv_strbuf_addf(b, "      <driver name='qemu' type='%s' cache='none' error_policy='report'/>\n", over ? "qcow2" : iso || a->device ? "raw" : a->format);
        if (over) {
                ulv_strbuf_addf(&file, "%s/%s%s.qcow2", dir, ulv_streq(a->writable, "kept") ? "" : "life/", a->label);
                add_source(b, "      ", ulv_strbuf_str(&file));
                ulv_strbuf_addf(b, "      <backingStore type='file'>\n        <format type='%s'/>\n", a->format);
                add_source(b, "        ", a->source);
                ulv_strbuf_add(b, "        <backingStore/>\n      </backingStore>\n");
        } else if (direct || a->device) {
                ulv_strbuf_add(b, "      <source");
                add_attribute(b, a->device ? "dev" : "file", a->source);
                ulv_strbuf_add(b, "/>\n      <backingStore/>\n");
        } else {
                add_source(b, "      ", a->source);
                ulv_strbuf_add(b, "      <backingStore/>\n");
        }
        ulv_strbuf_addf(b, "      <target dev='%s", iso ? "sd" : "vd");
        if (slot >= 26)
                ulv_strbuf_addc(b, (char) ('a' + slot / 26 - 1));
        ulv_strbuf_addf(b, "%c' bus='%s'/>\n", (char) ('a' + slot % 26), iso ? "sata" : "virtio");
        if (iso || a->read_only || ulv_streq(a->writable, "no"))
                ulv_strbuf_add(b, "      <readonly/>\n");
        ulv_strbuf_addf(b, "      <serial>%.20s</serial>\n", a->label);
        if (boot > 0)
                ulv_strbuf_addf(b, "      <boot order='%u'/>\n", boot);
        ulv_strbuf_addf(b, "      <alias name='ua-disk-%s'/>\n    </disk>\n", a->label);
}

/* What is defined boots in the order in which it is written, if no kernel is given. */
static void add_disks(struct ulv_strbuf *b, const struct kvm_domain *k) {
        unsigned disk = 0, cdrom = 0, boot = 0;

        for (size_t i = 0; i < k->d->n_attachments; i++) {
                const struct ulv_attachment *a = &k->d->attachments[i];
                unsigned *slot = ulv_streq(a->format, "iso") ? &cdrom : &disk;

                kvm_disk_xml(b, a, k->disks, (*slot)++, k->kernel ? 0 : ++boot);
        }
        if (k->seed) {
                const struct ulv_attachment seed = { .label = "_seed", .disk = true, .source = (char *) k->seed, .format = "iso", .writable = "no" };

                kvm_disk_xml(b, &seed, NULL, cdrom, 0);
        }
}

static void add_network(struct ulv_strbuf *b, const struct ulv_network *n, const struct ulv_link *l) {
        const uint8_t *m = l->mac;

        ulv_strbuf_add(b, "    <interface type='bridge'>\n      <source");
        add_attribute(b, "bridge", n->bridge);
        ulv_strbuf_addf(b, "/>\n      <mac address='%02x:%02x:%02x:%02x:%02x:%02x'/>\n      <target dev='%s'/>\n      <model type='virtio'/>\n"
                        "      <alias name='ua-net-%s'/>\n    </interface>\n", m[0], m[1], m[2], m[3], m[4], m[5], l->name, n->label);
}

/* Places on the bus for what is there from the beginning, and for what is attached later. */
static void add_ports(struct ulv_strbuf *b, const struct kvm_domain *k) {
        size_t n = k->d->n_attachments + k->d->n_networks + KVM_SPARE_PORTS;

        ulv_strbuf_add(b, "    <controller type='pci' index='0' model='pcie-root'/>\n");
        for (size_t i = 1; i <= n; i++)
                ulv_strbuf_addf(b, "    <controller type='pci' index='%zu' model='pcie-root-port'/>\n", i);
}

/* The places of channels on the guest's first PCI bus: away from where libvirt puts what it has no place for. */
static unsigned channel_slot(unsigned i) { return 16 + i / 8; }

static void add_channel(struct ulv_strbuf *b, const struct kvm_channel *c, unsigned i) {
        ulv_strbuf_addf(b, "    <shmem name='%s'>\n      <model type='ivshmem-doorbell'/>\n      <server path='", c->label);
        add_escaped(b, c->path);
        ulv_strbuf_add(b, "'/>\n      <msi vectors='1' ioeventfd='on'/>\n");
        ulv_strbuf_addf(b, "      <address type='pci' domain='0' bus='0' slot='%u' function='%u'%s/>\n    </shmem>\n", channel_slot(i), i % 8,
                        i % 8 == 0 ? " multifunction='on'" : "");
}

/* With an IOMMU of its own the guest's kernel gives the doorbells to a program by vfio-pci, and needs no driver of ours. */
static void add_channels(struct ulv_strbuf *b, const struct kvm_domain *k) {
        for (unsigned i = 0; i < k->n_channels; i++)
                add_channel(b, &k->channels[i], i);
        if (k->n_channels > 0)
                ulv_strbuf_add(b, "    <iommu model='intel'>\n      <driver intremap='on'/>\n    </iommu>\n");
}

/* Which device is which channel, in the only words that a guest has from its host and from nobody else: OEM strings. */
static void add_channel_names(struct ulv_strbuf *b, const struct kvm_domain *k) {
        if (k->n_channels == 0)
                return;
        ulv_strbuf_add(b, "  <sysinfo type='smbios'>\n    <oemStrings>\n");
        for (unsigned i = 0; i < k->n_channels; i++)
                ulv_strbuf_addf(b, "      <entry>org.ultravisor1.channel=%s@0000:00:%02x.%u</entry>\n", k->channels[i].label, channel_slot(i), i % 8);
        ulv_strbuf_add(b, "    </oemStrings>\n  </sysinfo>\n");
}

/* uv-port is behind it, and may be another one at any time: QEMU comes to it again. */
static void add_call(struct ulv_strbuf *b, const struct kvm_domain *k) {
        ulv_strbuf_add(b, "    <channel type='unix'>\n      <source mode='connect' path='");
        add_escaped(b, k->call);
        ulv_strbuf_add(b, "'>\n        <reconnect enabled='yes' timeout='1'/>\n      </source>\n      <target type='virtio' name='" ULV_CALL_PORT "'/>\n    </channel>\n");
}

static void add_devices(struct ulv_strbuf *b, const struct kvm_domain *k) {
        ulv_strbuf_add(b, "  <devices>\n    <controller type='usb' model='none'/>\n");
        add_ports(b, k);
        add_disks(b, k);
        for (size_t i = 0; i < k->d->n_networks; i++)
                add_network(b, &k->d->networks[i], &k->links[i]);
        ulv_strbuf_add(b, "    <serial type='dev'>\n      <source path='");
        add_escaped(b, k->console);
        ulv_strbuf_add(b, "'/>\n      <target port='0'/>\n    </serial>\n");
        if (k->d->agent)
                ulv_strbuf_add(b, "    <channel type='unix'>\n      <target type='virtio' name='org.qemu.guest_agent.0'/>\n    </channel>\n");
        if (k->vnc) {
                ulv_strbuf_add(b, "    <input type='tablet' bus='virtio'/>\n    <graphics type='vnc'>\n      <listen type='socket' socket='");
                add_escaped(b, k->vnc);
                ulv_strbuf_add(b, "'/>\n    </graphics>\n    <video>\n      <model type='vga'/>\n    </video>\n");
        }
        add_call(b, k);
        add_channels(b, k);
        ulv_strbuf_add(b, "    <memballoon model='none'/>\n    <rng model='virtio'>\n      <backend model='random'>/dev/urandom</backend>\n    </rng>\n  </devices>\n");
}

/* libvirt's own scope, in our slice. */
static void add_slice(struct ulv_strbuf *b, const struct kvm_domain *k) {
        if (k->slice)
                ulv_strbuf_addf(b, "  <resource>\n    <partition>/%s</partition>\n  </resource>\n", k->slice);
}

int kvm_domain_xml(const struct kvm_domain *k, struct ulv_strbuf *b) {
        bool tcg = ulv_streq(k->d->accel, "tcg");

        ulv_strbuf_addf(b, "<domain type='%s'>\n  <name>%s</name>\n  <uuid>%s</uuid>\n", tcg ? "qemu" : "kvm", k->name, k->uuid);
        add_memory(b, k);
        add_slice(b, k);
        add_cpus(b, k->grant);
        add_channel_names(b, k);
        add_boot(b, k);
        ulv_strbuf_add(b, "  <features>\n    <acpi/>\n    <apic/>\n");
        if (k->n_channels > 0)          /* Interrupts that its IOMMU is to remap don't go by the kernel's own IOAPIC. */
                ulv_strbuf_add(b, "    <ioapic driver='qemu'/>\n");
        if (tcg)
                ulv_strbuf_addf(b, "    <tcg>\n      <tb-cache unit='MiB'>%d</tb-cache>\n    </tcg>\n", ULV_VM_CODE_MB);
        ulv_strbuf_addf(b, "  </features>\n  <cpu mode='%s'/>\n  <clock offset='utc'/>\n", tcg ? "maximum" : "host-passthrough");
        ulv_strbuf_add(b, "  <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n  <on_crash>destroy</on_crash>\n");
        add_devices(b, k);
        ulv_strbuf_addf(b, "  <seclabel type='static' model='dac' relabel='yes'>\n    <label>+%u:+%u</label>\n  </seclabel>\n</domain>\n", k->uid, k->uid);
        return ulv_strbuf_error(b);
}
