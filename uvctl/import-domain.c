/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libvirt's XML of a domain, read as a stream by expat. A table says which elements are known, by their path, with which
 * attributes; everything else is named, with its line, and what is below it isn't looked at. So what isn't named was kept,
 * or is what a VM of ours has anyway. */

#include "uvctl/import.h"

#include <expat.h>

#include "model/config.h"
#include "model/quantity.h"

#define DEPTH_MAX 16
#define TEXT_MAX 4096
#define LOST_MAX 500            /* lines of what can't be kept */

enum sort { DISK_FILE, DISK_CDROM, DISK_NOT };
struct disk { enum sort sort; bool read_only; char file[TEXT_MAX], format[16], target[16]; };
struct interface { char bridge[64], mac[32]; };

struct import {
        XML_Parser x;
        struct ulv_strbuf *lost, text, path;
        struct ulv_strbuf vm, parts;            /* of the definition: [VM], and the sections with labels */
        struct ulv_strbuf description;
        size_t depth, skip, n_lost, marks[DEPTH_MAX];   /* skip: elements that are open in one that isn't looked at */
        bool domain, vnc, uefi, file_of_loader;
        char accel[8], unit[16];
        uint64_t memory, vcpus;
        unsigned n_networks;
        struct disk disk;
        struct interface interface;
        bool in_bridge;
};

typedef const XML_Char **attributes;

static const char *attribute(attributes v, const char *name) {
        for (; *v; v += 2)
                if (ulv_streq(v[0], name))
                        return v[1];
        return "";
}

/* --- what can't be kept ---------------------------------------------------------------------------------------- */

static void add_plain(struct ulv_strbuf *b, const char *s) {
        for (size_t n = 0; *s && n < 80; s++, n++)
                ulv_strbuf_addc(b, *s >= ' ' && *s <= '~' ? *s : '?');
}

static void lose(struct import *i, const char *element, const char *name, const char *value, const char *why) {
        if (i->n_lost++ >= LOST_MAX)
                return;
        ulv_strbuf_addf(i->lost, "%llu: <", (unsigned long long) XML_GetCurrentLineNumber(i->x));
        add_plain(i->lost, element);
        if (name) {
                ulv_strbuf_addc(i->lost, ' ');
                add_plain(i->lost, name);
                ulv_strbuf_add(i->lost, "='");
                add_plain(i->lost, value);
                ulv_strbuf_addc(i->lost, '\'');
        }
        ulv_strbuf_addf(i->lost, ">: %s\n", why);
}

static const char *last(const struct import *i) {
        const char *slash = strrchr(ulv_strbuf_str(&i->path), '/');

        return slash ? slash + 1 : ulv_strbuf_str(&i->path);
}

/* KEY=TEXT, if that can be a value of a definition. */
static void add_value(struct import *i, struct ulv_strbuf *b, const char *key, const char *text) {
        for (const char *p = text; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f) {
                        lose(i, last(i), NULL, NULL, "it has control characters");
                        return;
                }
        if (*text)
                ulv_strbuf_addf(b, "%s=%s\n", key, text);
}

/* --- elements ---------------------------------------------------------------------------------------------------- */

static void domain_begin(struct import *i, attributes v) {
        const char *type = attribute(v, "type");

        i->domain = true;
        if (ulv_streq(type, "qemu"))
                ulv_cut(i->accel, sizeof(i->accel), "tcg");
        else if (!ulv_streq(type, "kvm"))
                lose(i, "domain", "type", type, "a VM is run by QEMU, with KVM or (Accel=tcg) emulated");
}

static void uuid_end(struct import *i, ULV_UNUSED const char *text) { lose(i, "uuid", NULL, NULL, "each partition has a UUID of its own"); }

static void description_end(struct import *i, const char *text) {
        if (strlen(text) > 1000 || strpbrk(text, "\n\t"))
                lose(i, last(i), NULL, NULL, "Description= is one line of at most 1024 bytes");
        else
                add_value(i, &i->description, "Description", text);
}

static void memory_begin(struct import *i, attributes v) { ulv_cut(i->unit, sizeof(i->unit), *attribute(v, "unit") ? attribute(v, "unit") : "KiB"); }

static bool read_memory(const struct import *i, const char *text, uint64_t *ret) {
        static const struct { const char *word; uint64_t bytes; } units[] = {
                { "b", 1 }, { "bytes", 1 }, { "KB", 1000 }, { "k", 1024 }, { "KiB", 1024 }, { "MB", 1000000 }, { "M", 1 << 20 }, { "MiB", 1 << 20 },
                { "GB", 1000000000 }, { "G", 1 << 30 }, { "GiB", 1 << 30 },
        };
        uint64_t n;

        if (ulv_uint_parse(text, UINT64_C(1) << 52, &n) < 0)
                return false;
        for (size_t u = 0; u < ULV_ARRAY_SIZE(units); u++)
                if (ulv_streq(units[u].word, i->unit) && n <= (UINT64_C(1) << 52) / units[u].bytes) {
                        *ret = n * units[u].bytes;
                        return true;
                }
        return false;
}

static void memory_end(struct import *i, const char *text) {
        if (!read_memory(i, text, &i->memory))
                lose(i, "memory", NULL, NULL, "no size that is known here; Size= is to be set by hand");
}

static void current_end(struct import *i, const char *text) {
        uint64_t n;

        if (!read_memory(i, text, &n) || n != i->memory)
                lose(i, "currentMemory", NULL, NULL, "a VM has all of its memory: Size= is that of <memory>");
}

static void vcpu_end(struct import *i, const char *text) {
        if (ulv_uint_parse(text, 8192, &i->vcpus) < 0 || i->vcpus == 0)
                lose(i, "vcpu", NULL, NULL, "no number of CPUs that is known here; Share= or Cores= is to be set by hand");
}

static void os_begin(struct import *i, attributes v) {
        i->uefi = ulv_streq(attribute(v, "firmware"), "efi");
        if (*attribute(v, "firmware") && !i->uefi && !ulv_streq(attribute(v, "firmware"), "bios"))
                lose(i, "os", "firmware", attribute(v, "firmware"), "Firmware= is bios or uefi");
}

static void type_begin(struct import *i, attributes v) {
        const char *machine = attribute(v, "machine");

        if (*attribute(v, "arch") && !ulv_streq(attribute(v, "arch"), "x86_64"))
                lose(i, "type", "arch", attribute(v, "arch"), "VMs are x86_64");
        if (*machine && !strstr(machine, "q35"))
                lose(i, "type", "machine", machine, "VMs are q35 machines; what the guest knows by its place on the bus moves");
}

static void loader_begin(struct import *i, attributes v) { i->file_of_loader = ulv_streq(attribute(v, "type"), "pflash"); }
static void loader_end(struct import *i, const char *text) {
        i->uefi |= i->file_of_loader;
        if (*text)
                lose(i, "loader", NULL, NULL, i->file_of_loader ? "Firmware=uefi takes the one that libvirt finds, without secure boot" : "Firmware= is bios or uefi");
}
static void nvram_end(struct import *i, ULV_UNUSED const char *text) { lose(i, "nvram", NULL, NULL, "its variables begin anew, in the partition's own file"); }
static void kernel_end(struct import *i, const char *text) { add_value(i, &i->vm, "Kernel", text); }
static void initrd_end(struct import *i, const char *text) { add_value(i, &i->vm, "Initrd", text); }
static void cmdline_end(struct import *i, const char *text) { add_value(i, &i->vm, "CommandLine", text); }

static void boot_begin(struct import *i, attributes v) {
        if (!ulv_streq(attribute(v, "dev"), "hd"))
                lose(i, "boot", "dev", attribute(v, "dev"), "disks are booted in the order of their sections");
}

static void cpu_begin(struct import *i, attributes v) {
        const char *mode = attribute(v, "mode");

        if (*mode && !ulv_streq(mode, "host-passthrough") && !ulv_streq(mode, "maximum"))
                lose(i, "cpu", "mode", mode, "a VM has the host's CPU, as far as it can");
}

static void clock_begin(struct import *i, attributes v) {
        if (!ulv_streq(attribute(v, "offset"), "utc"))
                lose(i, "clock", "offset", attribute(v, "offset"), "its clock is in UTC");
}

static void ended(struct import *i, const char *text, const char *ours) {
        if (!ulv_streq(text, ours))
                lose(i, last(i), NULL, NULL, ulv_streq(ours, "restart") ? "a VM that reboots does so" : "a VM that has ended is gone; Restart= says what then");
}
static void poweroff_end(struct import *i, const char *text) { ended(i, text, "destroy"); }
static void reboot_end(struct import *i, const char *text) { ended(i, text, "restart"); }

static void emulator_end(struct import *i, ULV_UNUSED const char *text) { lose(i, "emulator", NULL, NULL, "libvirt's own QEMU is taken"); }

/* --- disks --------------------------------------------------------------------------------------------------------- */

static void disk_begin(struct import *i, attributes v) {
        const char *type = attribute(v, "type"), *device = *attribute(v, "device") ? attribute(v, "device") : "disk";

        i->disk = (struct disk) { .sort = ulv_streq(device, "cdrom") ? DISK_CDROM : DISK_FILE, .format = "raw" };
        if (!ulv_streq(type, "file"))
                lose(i, "disk", "type", type, ulv_streq(type, "block") ? "a disk of the host: [Device] with the kernel's name of it" : "a disk is an image, a file of this host");
        else if (!ulv_streq(device, "disk") && !ulv_streq(device, "cdrom"))
                lose(i, "disk", "device", device, "there are disks and CD-ROM drives");
        else
                return;
        i->disk.sort = DISK_NOT;
}

static void driver_begin(struct import *i, attributes v) {
        if (*attribute(v, "type"))
                ulv_cut(i->disk.format, sizeof(i->disk.format), attribute(v, "type"));
}

static void source_begin(struct import *i, attributes v) {
        if (i->disk.sort != DISK_NOT && !ulv_copy(i->disk.file, sizeof(i->disk.file), attribute(v, "file")))
                lose(i, "source", NULL, NULL, "its path is too long");
}

static void target_begin(struct import *i, attributes v) {
        const char *bus = attribute(v, "bus");

        ulv_cut(i->disk.target, sizeof(i->disk.target), attribute(v, "dev"));
        if (i->disk.sort == DISK_FILE && *bus && !ulv_streq(bus, "virtio"))
                lose(i, "target", "bus", bus, "disks are virtio: vda, vdb ... inside");
}

static void readonly_begin(struct import *i, ULV_UNUSED attributes v) { i->disk.read_only = true; }

static void below_begin(struct import *i, attributes v) {
        if (*attribute(v, "type") && i->disk.sort != DISK_NOT)
                lose(i, "backingStore", NULL, NULL, "an image that goes on in another file isn't taken: qemu-img convert -O qcow2 makes one of both");
}

static bool is_label(const char *s) { return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(s); }

static void disk_end(struct import *i, ULV_UNUSED const char *text) {
        const struct disk *d = &i->disk;
        bool cdrom = d->sort == DISK_CDROM;

        if (d->sort == DISK_NOT)
                return;
        if (!d->file[0] || !is_label(d->target)) {
                lose(i, "disk", NULL, NULL, cdrom ? "an empty CD-ROM drive" : "it has no file, or no <target dev=>");
                return;
        }
        if (!cdrom && !ulv_streq(d->format, "raw") && !ulv_streq(d->format, "qcow2")) {
                lose(i, "driver", "type", d->format, "an image is raw or qcow2: qemu-img convert");
                return;
        }
        ulv_strbuf_addf(&i->parts, "\n[Block \"%s\"]\n", d->target);
        add_value(i, &i->parts, "File", d->file);
        ulv_strbuf_addf(&i->parts, "Format=%s\nWritable=%s\n", cdrom ? "iso" : d->format, cdrom || d->read_only ? "no" : "direct");
}

/* --- other devices --------------------------------------------------------------------------------------------------- */

static void interface_begin(struct import *i, attributes v) {
        i->in_bridge = ulv_streq(attribute(v, "type"), "bridge");
        i->interface = (struct interface) { 0 };
        if (!i->in_bridge)
                lose(i, "interface", "type", attribute(v, "type"), "a network is a bridge of this host; of a network of libvirt's, virsh net-info names it");
}
static void mac_begin(struct import *i, attributes v) { ulv_cut(i->interface.mac, sizeof(i->interface.mac), attribute(v, "address")); }
static void bridge_begin(struct import *i, attributes v) { ulv_cut(i->interface.bridge, sizeof(i->interface.bridge), attribute(v, "bridge")); }
static void card_begin(struct import *i, attributes v) {
        if (!ulv_streq(attribute(v, "type"), "virtio") && i->in_bridge)
                lose(i, "model", "type", attribute(v, "type"), "cards are virtio");
}
static void interface_end(struct import *i, ULV_UNUSED const char *text) {
        if (!i->in_bridge || !i->interface.bridge[0])
                return;
        ulv_strbuf_addf(&i->parts, "\n[Network \"net%u\"]\n", i->n_networks++);
        add_value(i, &i->parts, "Bridge", i->interface.bridge);
        add_value(i, &i->parts, "MAC", i->interface.mac);
}

static void only(struct import *i, attributes v, const char *name, const char *value, const char *why) {
        if (!ulv_streq(attribute(v, name), value))
                lose(i, last(i), name, attribute(v, name), why);
}
static void serial_begin(struct import *i, attributes v) { only(i, v, "type", "pty", "the console is uvctl's: uvctl console, uvctl logs"); }
static void balloon_begin(struct import *i, attributes v) { only(i, v, "model", "none", "a VM has all of its memory"); }
static void rng_begin(struct import *i, attributes v) { only(i, v, "model", "virtio", "its source of random numbers is virtio"); }
static void input_begin(struct import *i, attributes v) { only(i, v, "bus", "ps2", "with Graphics=vnc it has a virtio tablet, and no USB"); }
static void graphics_begin(struct import *i, attributes v) {
        i->vnc |= ulv_streq(attribute(v, "type"), "vnc");
        only(i, v, "type", "vnc", "a screen is VNC on a socket (Graphics=vnc)");
}
static void video_begin(struct import *i, attributes v) { only(i, v, "type", "vga", "with Graphics=vnc it has a VGA"); }
static void controller_begin(struct import *i, attributes v) {
        const char *type = attribute(v, "type");

        if (!ulv_streq(type, "pci") && !ulv_streq(type, "sata") && !(ulv_streq(type, "usb") && ulv_streq(attribute(v, "model"), "none")))
                lose(i, "controller", "type", type, "nothing of this VM is on it");
}

/* --- the table ------------------------------------------------------------------------------------------------------- */

#define DEV "domain/devices/"
static const struct element {
        const char *path, *attributes;          /* " a b ": those that are looked at, or say nothing */
        void (*begin)(struct import *i, attributes v);
        void (*end)(struct import *i, const char *text);
        bool quiet;                             /* what is below says nothing */
} elements[] = {
        { "domain", " type id ", domain_begin, NULL, false },
        { "domain/name", "", NULL, NULL, false },
        { "domain/uuid", "", NULL, uuid_end, false },
        { "domain/title", "", NULL, description_end, false },
        { "domain/description", "", NULL, description_end, false },
        { "domain/memory", " unit ", memory_begin, memory_end, false },
        { "domain/currentMemory", " unit ", memory_begin, current_end, false },
        { "domain/vcpu", " placement ", NULL, vcpu_end, false },
        { "domain/os", " firmware ", os_begin, NULL, false },
        { "domain/os/type", " arch machine ", type_begin, NULL, false },
        { "domain/os/loader", " readonly secure type format ", loader_begin, loader_end, false },
        { "domain/os/nvram", " template format ", NULL, nvram_end, false },
        { "domain/os/kernel", "", NULL, kernel_end, false },
        { "domain/os/initrd", "", NULL, initrd_end, false },
        { "domain/os/cmdline", "", NULL, cmdline_end, false },
        { "domain/os/boot", " dev ", boot_begin, NULL, false },
        { "domain/features", "", NULL, NULL, false },
        { "domain/features/acpi", "", NULL, NULL, false },
        { "domain/features/apic", "", NULL, NULL, false },
        { "domain/cpu", " mode check migratable ", cpu_begin, NULL, false },
        { "domain/clock", " offset ", clock_begin, NULL, false },
        { "domain/on_poweroff", "", NULL, poweroff_end, false },
        { "domain/on_reboot", "", NULL, reboot_end, false },
        { "domain/on_crash", "", NULL, poweroff_end, false },
        { "domain/devices", "", NULL, NULL, false },
        { DEV "emulator", "", NULL, emulator_end, false },
        { DEV "disk", " type device ", disk_begin, disk_end, false },
        { DEV "disk/driver", " name type ", driver_begin, NULL, false },
        { DEV "disk/source", " file dev index ", source_begin, NULL, false },
        { DEV "disk/target", " dev bus ", target_begin, NULL, false },
        { DEV "disk/readonly", "", readonly_begin, NULL, false },
        { DEV "disk/backingStore", " type index ", below_begin, NULL, true },
        { DEV "disk/alias", " name ", NULL, NULL, true },
        { DEV "disk/address", NULL, NULL, NULL, true },
        { DEV "interface", " type ", interface_begin, interface_end, false },
        { DEV "interface/mac", " address ", mac_begin, NULL, false },
        { DEV "interface/source", " bridge network portid ", bridge_begin, NULL, false },
        { DEV "interface/target", " dev ", NULL, NULL, false },
        { DEV "interface/model", " type ", card_begin, NULL, false },
        { DEV "interface/alias", NULL, NULL, NULL, true },
        { DEV "interface/address", NULL, NULL, NULL, true },
        { DEV "serial", " type ", serial_begin, NULL, true },
        { DEV "console", " type tty ", serial_begin, NULL, true },
        { DEV "graphics", " type port autoport listen ", graphics_begin, NULL, true },
        { DEV "video", "", NULL, NULL, false },
        { DEV "video/model", " type vram heads primary ", video_begin, NULL, true },
        { DEV "video/address", NULL, NULL, NULL, true },
        { DEV "video/alias", NULL, NULL, NULL, true },
        { DEV "input", " type bus ", input_begin, NULL, true },
        { DEV "memballoon", " model ", balloon_begin, NULL, true },
        { DEV "rng", " model ", rng_begin, NULL, true },
        { DEV "controller", NULL, controller_begin, NULL, true },
        { DEV "audio", NULL, NULL, NULL, true },        /* libvirt writes one for a screen: no device */
};

static const struct element *find(const char *path) {
        for (size_t e = 0; e < ULV_ARRAY_SIZE(elements); e++)
                if (ulv_streq(elements[e].path, path))
                        return &elements[e];
        return NULL;
}

static bool knows(const struct element *e, const char *name) {
        const char *at = e->attributes ? strstr(e->attributes, name) : NULL;

        return !e->attributes || (at && at > e->attributes && at[-1] == ' ' && at[strlen(name)] == ' ');
}

static void on_begin(void *userdata, const XML_Char *name, attributes v) {
        struct import *i = userdata;
        const struct element *e;

        if (i->skip > 0) {
                i->skip++;
                return;
        }
        if (i->depth == DEPTH_MAX) {    /* the table isn't that deep */
                (void) XML_StopParser(i->x, XML_FALSE);
                return;
        }
        i->marks[i->depth++] = i->path.len;
        ulv_strbuf_addf(&i->path, "%s%.100s", i->path.len > 0 ? "/" : "", name);
        ulv_strbuf_reset(&i->text);
        e = find(ulv_strbuf_str(&i->path));
        if (!e) {
                lose(i, name, NULL, NULL, "not known to definitions");
                i->skip = 1;
                return;
        }
        if (e->begin)
                e->begin(i, v);
        for (; *v; v += 2)
                if (!knows(e, v[0]))
                        lose(i, name, v[0], v[1], "not known to definitions");
        i->skip = e->quiet ? 1 : 0;
}

static void on_end(void *userdata, ULV_UNUSED const XML_Char *name) {
        struct import *i = userdata;
        const struct element *e;

        if (i->skip > 1 || i->depth == 0) {
                i->skip -= i->skip > 0;
                return;
        }
        i->skip = 0;
        e = find(ulv_strbuf_str(&i->path));
        if (e && e->end)
                e->end(i, ulv_strbuf_str(&i->text));
        ulv_strbuf_reset(&i->text);
        i->path.len = i->marks[--i->depth];
        if (i->path.s)
                i->path.s[i->path.len] = 0;
}

static void on_text(void *userdata, const XML_Char *s, int len) {
        struct import *i = userdata;

        if (i->skip == 0)
                ulv_strbuf_add_len(&i->text, s, (size_t) len);
        if (i->text.error == -E2BIG || memchr(s, 0, (size_t) len))
                (void) XML_StopParser(i->x, XML_FALSE);
}

/* Entities could make much of little, or name files. A domain has none. */
static void on_doctype(void *userdata, ULV_UNUSED const XML_Char *name, ULV_UNUSED const XML_Char *sysid, ULV_UNUSED const XML_Char *pubid, ULV_UNUSED int internal) {
        (void) XML_StopParser(((struct import *) userdata)->x, XML_FALSE);
}

/* --- the whole --------------------------------------------------------------------------------------------------------- */

static void write_definition(struct import *i, struct ulv_strbuf *b) {
        ulv_strbuf_addf(b, "[Partition]\n%sType=vm\n", ulv_strbuf_str(&i->description));
        if (i->vcpus > 0)
                ulv_strbuf_addf(b, "\n[CPU]\n# hardware threads of the shared pool; whole cores: Cores=\nShare=%llu\n", (unsigned long long) i->vcpus);
        if (i->memory > 0) {
                ulv_strbuf_add(b, "\n[Memory]\nSize=");
                ulv_size_format(b, (i->memory + ULV_MEMORY_UNIT - 1) / ULV_MEMORY_UNIT * ULV_MEMORY_UNIT);
                ulv_strbuf_addc(b, '\n');
        }
        if (i->uefi || i->vm.len > 0 || i->accel[0] || i->vnc)
                ulv_strbuf_addf(b, "\n[VM]\n%s%s", i->uefi ? "Firmware=uefi\n" : "", ulv_strbuf_str(&i->vm));
        if (i->accel[0])
                ulv_strbuf_addf(b, "Accel=%s\n", i->accel);
        if (i->vnc)
                ulv_strbuf_add(b, "Graphics=vnc\n");
        ulv_strbuf_add(b, ulv_strbuf_str(&i->parts));
}

static int parse(struct import *i, const char *xml, size_t len, struct ulv_diag *reterr) {
        enum XML_Status s;

        XML_SetUserData(i->x, i);
        XML_SetElementHandler(i->x, on_begin, on_end);
        XML_SetCharacterDataHandler(i->x, on_text);
        XML_SetStartDoctypeDeclHandler(i->x, on_doctype);
        s = len > INT32_MAX ? XML_STATUS_ERROR : XML_Parse(i->x, xml, (int) len, XML_TRUE);
        if (s == XML_STATUS_OK && i->domain)
                return 0;
        ulv_diag_what(reterr, ULV_EXIT_USAGE, "this is not the XML of a domain");
        if (s == XML_STATUS_OK)
                ulv_diag_why(reterr, "it has no <domain>");
        else
                ulv_diag_why(reterr, "line %llu: %s", (unsigned long long) XML_GetCurrentLineNumber(i->x),
                             XML_GetErrorCode(i->x) == XML_ERROR_ABORTED ? "a document type, or a text of more than 4K" : XML_ErrorString(XML_GetErrorCode(i->x)));
        ulv_diag_try(reterr, "virsh dumpxml --inactive NAME");
        return 1;
}

int import_domain(const char *xml, size_t len, struct ulv_strbuf *definition, struct ulv_strbuf *lost, struct ulv_diag *reterr) {
        struct import i = { .lost = lost, .x = XML_ParserCreate("UTF-8"), .text = { .max = TEXT_MAX } };
        int r = i.x ? parse(&i, xml, len, reterr) : -ENOMEM;

        if (r == 0) {
                if (i.n_lost > LOST_MAX)
                        ulv_strbuf_addf(lost, "and %zu more\n", i.n_lost - LOST_MAX);
                write_definition(&i, definition);
                r = ulv_strbuf_error(definition) < 0 || ulv_strbuf_error(lost) < 0 || i.vm.error < 0 || i.parts.error < 0 || i.path.error < 0 ? -ENOMEM : 0;
        }
        ulv_strbuf_done(&i.text);
        ulv_strbuf_done(&i.path);
        ulv_strbuf_done(&i.vm);
        ulv_strbuf_done(&i.parts);
        ulv_strbuf_done(&i.description);
        if (i.x)
                XML_ParserFree(i.x);
        return r;
}
