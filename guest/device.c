/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An ivshmem device with the means of a stock kernel: vfio-pci for the interrupt (an IOMMU is there: the host gives the
 * VM one with its channels), sysfs for the memory and the registers. vfio itself never touches those two, for a kernel
 * that is strict about devices' memory takes them from sysfs as soon as a driver has claimed them. */

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/vm.h"

#define SYS_DEVICE "/sys/bus/pci/devices/%s/%s"
#define ID UINT32_C(0x11101af4)         /* device and vendor: ivshmem */
#define COMMAND 4                       /* of the configuration space, */
#define COMMAND_MEMORY_MASTER 6         /* its bits for memory and for writing interrupts */
#define POSITION 2                      /* the register that says which end this is */
#define GROUPS_MAX 32

static int container = -1;
static struct { int number, fd; } groups[GROUPS_MAX];
static unsigned n_groups;

static int fail(const char **ret_what, const char *what, int error) {
        *ret_what = what;
        return error < 0 ? error : -EIO;
}

static int open_of(const struct vm_name *n, const char *file, int flags) {
        char path[96];
        int fd;

        (void) snprintf(path, sizeof(path), SYS_DEVICE, n->address, file);
        fd = open(path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int write_to(int fd, const char *text) {
        int r = fd < 0 ? fd : write(fd, text, strlen(text)) < 0 ? -errno : 0;

        if (fd >= 0)
                (void) close(fd);
        return r;
}

/* No other driver has it, now or at the next look. Bound already is well. */
static int bind_driver(const struct vm_name *n) {
        int r = write_to(open_of(n, "driver_override", O_WRONLY), "vfio-pci"), probe;

        if (r < 0)
                return r;
        probe = open("/sys/bus/pci/drivers_probe", O_WRONLY | O_CLOEXEC);
        return write_to(probe < 0 ? -errno : probe, n->address);
}

/* A group may hold several devices, and is opened once. */
static int open_group(const struct vm_name *n) {
        char path[96], link[256];
        ssize_t len;
        int number, fd;

        (void) snprintf(path, sizeof(path), SYS_DEVICE, n->address, "iommu_group");
        len = readlink(path, link, sizeof(link) - 1);
        if (len < 0)
                return -errno;
        link[len] = 0;
        number = (int) strtol(strrchr(link, '/') ? strrchr(link, '/') + 1 : link, NULL, 10);
        for (unsigned i = 0; i < n_groups; i++)
                if (groups[i].number == number)
                        return groups[i].fd;
        if (container < 0 && (container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC)) < 0)
                return -errno;
        (void) snprintf(path, sizeof(path), "/dev/vfio/%d", number);
        fd = n_groups < GROUPS_MAX ? open(path, O_RDWR | O_CLOEXEC) : -1;
        if (fd < 0)
                return n_groups < GROUPS_MAX ? -errno : -E2BIG;
        /* The kind of IOMMU is the container's, and can be said when it has a group. */
        if (ioctl(fd, VFIO_GROUP_SET_CONTAINER, &container) < 0 || (n_groups == 0 && ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU) < 0)) {
                int r = -errno;

                (void) close(fd);
                return r;
        }
        groups[n_groups].number = number;
        groups[n_groups++].fd = fd;
        return fd;
}

/* The interrupt rings this eventfd from now on. */
static int take_interrupt(int device, int bell) {
        union { struct vfio_irq_set set; char bytes[sizeof(struct vfio_irq_set) + sizeof(int)]; } irq = { .set = {
                .argsz = sizeof(irq), .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, .index = VFIO_PCI_MSIX_IRQ_INDEX, .count = 1,
        } };
        struct vfio_region_info config = { .argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX };
        uint16_t command;

        if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) < 0 || pread(device, &command, sizeof(command), (off_t) config.offset + COMMAND) < 0)
                return -errno;
        command |= COMMAND_MEMORY_MASTER;
        memcpy(irq.set.data, &bell, sizeof(bell));
        return pwrite(device, &command, sizeof(command), (off_t) config.offset + COMMAND) < 0 || ioctl(device, VFIO_DEVICE_SET_IRQS, &irq) < 0 ? -errno : 0;
}

static int check_id(const struct vm_name *n) {
        int fd = open_of(n, "config", O_RDONLY);
        uint32_t id = 0;

        if (fd < 0)
                return fd;
        if (pread(fd, &id, sizeof(id), 0) != sizeof(id))
                id = 0;
        (void) close(fd);
        return id == ID ? 0 : -ENODEV;
}

static int map(struct vm_device *d, const char **ret_what) {
        void *page;
        int r;

        /* The end is in a register: read by the bell's own mapping, before its doorbell can be known. */
        r = bell_open_device(&d->bell, d->bell.memory, d->bell.own, d->bell.peer, 0);
        if (r < 0)
                return fail(ret_what, "its registers can't be mapped", r);
        d->end = d->bell.registers[POSITION];
        if (d->end > 1)
                return fail(ret_what, "its host says neither end 0 nor 1", -EBADMSG);
        d->bell.knock = (uint32_t) !d->end << 16;
        page = mmap(NULL, CHANNEL_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, d->bell.memory, 0);
        if (page == MAP_FAILED)
                return fail(ret_what, "its memory can't be mapped", -errno);
        d->page = page;
        return 0;
}

/* The process ends where it fails: nothing is closed. */
int vm_device_open(const struct vm_name *name, struct vm_device *ret, const char **ret_what) {
        struct vm_device d = { .name = *name };
        int group, device, r;

        if ((r = check_id(name)) < 0)
                return fail(ret_what, "it isn't an ivshmem device", r);
        if ((r = bind_driver(name)) < 0)
                return fail(ret_what, "it can't be given to vfio-pci", r);
        group = open_group(name);
        if (group < 0)
                return fail(ret_what, "its IOMMU group can't be used by vfio", group);
        device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name->address);
        if (device < 0)
                return fail(ret_what, "vfio-pci hasn't got it", -errno);
        d.bell = (struct bell) { .memory = open_of(name, "resource2", O_RDWR), .own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                 .peer = open_of(name, "resource0", O_RDWR) };
        if (d.bell.memory < 0 || d.bell.own < 0 || d.bell.peer < 0)
                return fail(ret_what, "its memory can't be opened", d.bell.memory < 0 ? d.bell.memory : -EIO);
        if ((r = take_interrupt(device, d.bell.own)) < 0)
                return fail(ret_what, "its interrupt can't be taken", r);
        r = map(&d, ret_what);
        if (r == 0)
                *ret = d;
        return r;
}
