/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices that can be given: PCI functions (an IOMMU group goes whole: group= says which), block devices
 * by a stable id, physical network interfaces. What exists only in software (loop, ram, dm, md, bridges,
 * veth) is made of these and isn't a thing to own; PCI bridges stay with the host. */

#include "uvd/discover.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "model/op.h"

/* Attributes are words of the one text form. */
struct attrs { struct ulv_strbuf b; };

static void add_attr(struct attrs *a, const char *key, const char *value) {
        if (value[0])
                ulv_op_add(&a->b, key, value);
}

/* Characters that an id keeps; others would need escapes wherever it is shown. */
static void clean_id(char *id) {
        size_t out = 0;

        for (const char *in = id; *in; in++) {
                bool keep = (*in >= '0' && *in <= '9') || (*in >= 'a' && *in <= 'z') || (*in >= 'A' && *in <= 'Z') || strchr("._:-", *in);

                if (keep)
                        id[out++] = *in;
                else if (out > 0 && id[out - 1] != '-')
                        id[out++] = '-';
        }
        while (out > 0 && id[out - 1] == '-')
                out--;
        id[out] = 0;
}

static int add_device(struct ulv_inventory *inv, const char *kind, const char *id, struct attrs *a) {
        const char *text = ulv_strbuf_str(&a->b);
        struct ulv_inv_device *d;

        if (ulv_strbuf_error(&a->b) < 0)
                return ulv_strbuf_error(&a->b);
        if (inv->n_devices >= DISCOVER_DEVICES_MAX || strlen(text) >= sizeof(d->attrs) || strlen(id) >= sizeof(d->id))
                return 0;       /* beyond every limit of ours: not ours to give */
        d = reallocarray(inv->devices, inv->n_devices + 1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        inv->devices = d;
        d += inv->n_devices++;
        *d = (struct ulv_inv_device) {};
        (void) snprintf(d->kind, sizeof(d->kind), "%s", kind);
        (void) snprintf(d->id, sizeof(d->id), "%s", id);
        (void) snprintf(d->attrs, sizeof(d->attrs), "%s", text[0] == ' ' ? text + 1 : text);
        return 0;
}

/* numa_node is -1 where the firmware doesn't say. */
static void add_node_attr(struct attrs *a, int dev, const char *path) {
        char text[32];

        if (sysfs_read(dev, path, text, sizeof(text))[0] != '-')
                add_attr(a, "node", text);
}

static int add_pci(int dirfd, const char *name, void *userdata) {
        struct ulv_inventory *inv = userdata;
        _cleanup_close_ int dev = openat(dirfd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct attrs a = {};
        char class[32], text[256];
        int r;

        if (dev < 0)
                return 0;       /* unplugged meanwhile */
        (void) sysfs_read(dev, "class", class, sizeof(class));
        if (ulv_startswith(class, "0x06"))      /* bridges */
                return 0;
        add_attr(&a, "group", sysfs_link(dev, "iommu_group", text, sizeof(text)));
        add_node_attr(&a, dev, "numa_node");
        add_attr(&a, "class", class);
        add_attr(&a, "vendor", sysfs_read(dev, "vendor", text, sizeof(text)));
        add_attr(&a, "device", sysfs_read(dev, "device", text, sizeof(text)));
        add_attr(&a, "driver", sysfs_link(dev, "driver", text, sizeof(text)));
        r = add_device(inv, "pci", name, &a);
        ulv_strbuf_done(&a.b);
        return r;
}

/* wwid, then the serial number, then the kernel's name: the most stable that there is. */
static const char *block_id(int dev, const char *name, char *buf, size_t size) {
        static const char *const paths[] = { "wwid", "device/wwid", "serial", "device/serial" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(paths); i++) {
                clean_id(buf = (char *) sysfs_read(dev, paths[i], buf, size));
                if (buf[0])
                        return buf;
        }
        (void) snprintf(buf, size, "%s", name);
        return buf;
}

static int add_block(int dirfd, const char *name, void *userdata) {
        struct ulv_inventory *inv = userdata;
        _cleanup_close_ int dev = openat(dirfd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct attrs a = {};
        struct stat st;
        char id[128], text[256];
        uint64_t sectors;
        int r;

        if (dev < 0 || fstatat(dev, "device", &st, 0) < 0)
                return 0;       /* in software */
        add_attr(&a, "name", name);
        if (ulv_uint_parse(sysfs_read(dev, "size", text, sizeof(text)), UINT64_MAX / 512, &sectors) >= 0)
                ulv_op_add_u64(&a.b, "size", sectors * 512);
        add_attr(&a, "model", sysfs_read(dev, "device/model", text, sizeof(text)));
        add_node_attr(&a, dev, "device/numa_node");
        if (sysfs_read(dev, "ro", text, sizeof(text))[0] == '1')
                add_attr(&a, "ro", "yes");
        r = add_device(inv, "block", block_id(dev, name, id, sizeof(id)), &a);
        ulv_strbuf_done(&a.b);
        return r;
}

static int add_net(int dirfd, const char *name, void *userdata) {
        struct ulv_inventory *inv = userdata;
        _cleanup_close_ int dev = openat(dirfd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct attrs a = {};
        struct stat st;
        char text[256], of[256];
        int r;

        if (dev < 0 || fstatat(dev, "device", &st, 0) < 0)
                return 0;       /* in software */
        add_attr(&a, "mac", sysfs_read(dev, "address", text, sizeof(text)));
        /* The PCI function below it: giving that away takes the interface along. */
        (void) sysfs_link(dev, "device", of, sizeof(of));
        if (strchr(of, ':'))
                add_attr(&a, "pci", of);
        add_attr(&a, "driver", sysfs_link(dev, "device/driver", text, sizeof(text)));
        add_node_attr(&a, dev, "device/numa_node");
        r = add_device(inv, "net", name, &a);
        ulv_strbuf_done(&a.b);
        return r;
}

static int compare(const void *a, const void *b) {
        const struct ulv_inv_device *x = a, *y = b;
        int k = strcmp(x->kind, y->kind);

        return k != 0 ? k : strcmp(x->id, y->id);
}

/* Disks that share an id (a copied serial number) all get the kernel's name behind it: their attributes
 * begin with it. Sorted before, and after it sorted still by what they shared. */
static void name_twins(struct ulv_inventory *inv) {
        for (size_t i = 0, n; i < inv->n_devices; i += n) {
                char shared[sizeof(inv->devices[0].id)];

                for (n = 1; i + n < inv->n_devices && compare(&inv->devices[i], &inv->devices[i + n]) == 0; n++)
                        ;
                (void) snprintf(shared, sizeof(shared), "%s", inv->devices[i].id);
                for (size_t k = i; n > 1 && k < i + n; k++) {
                        struct ulv_inv_device *d = &inv->devices[k];

                        if (ulv_startswith(d->attrs, "name="))
                                (void) snprintf(d->id, sizeof(d->id), "%.90s.%.*s", shared,
                                                (int) ULV_MIN(strcspn(d->attrs + 5, " "), (size_t) 32), d->attrs + 5);
                }
        }
}

int discover_devices(int sysfs, struct ulv_inventory *inv) {
        int r;

        if ((r = sysfs_each(sysfs, "bus/pci/devices", add_pci, inv)) < 0 || (r = sysfs_each(sysfs, "block", add_block, inv)) < 0 ||
            (r = sysfs_each(sysfs, "class/net", add_net, inv)) < 0)
                return r;
        if (inv->n_devices == 0)
                return 0;
        qsort(inv->devices, inv->n_devices, sizeof(*inv->devices), compare);
        name_twins(inv);
        qsort(inv->devices, inv->n_devices, sizeof(*inv->devices), compare);
        return 0;
}
