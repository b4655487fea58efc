/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files as a stream of records, for `uvctl copy`: one end is uvctl, in its caller's rights, the other a child of
 * uv-init inside the partition, and what comes out of a partition is believed by nobody. libc only: it is linked
 * into uvctl and into the static uv-init.
 *
 *   magic, then ONE file, symbolic link or directory with all that is in it, depth first, then DONE:
 *   DIRECTORY  mode, time, name        ... its entries ...  END
 *   FILE       mode, time, size, name  DATA (offset, bytes) ...  END
 *   LINK       time, name, target
 *   END with COPY_TORN: the file couldn't be read to its end, what was sent of it is to be dropped
 *
 * There is no path in it: a name is one component, and it is opened in the directory that was opened before, never
 * through a symbolic link. So a stream can't say anything about what isn't below the directory it is received in.
 * A file appears under its name when it is whole, or not at all; what was there before is replaced, not written to.
 * Holes stay holes. Owners aren't in the stream: what is received belongs to who receives. Devices, sockets and
 * FIFOs are left out, and so is what is mounted below. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define COPY_MAGIC "uvcopy1\n"
#define COPY_NAME_MAX 255
#define COPY_TARGET_MAX 4095
#define COPY_CHUNK 65536
#define COPY_DEPTH_MAX 128      /* of directories; each holds an fd at the receiver's, two at the sender's */
#define COPY_TORN 1

enum copy_kind { COPY_DIRECTORY = 1, COPY_FILE, COPY_LINK, COPY_DATA, COPY_END, COPY_DONE };

/* As both ends have it in memory: they run on one machine, and come from one build (or fail at the magic). */
struct copy_record {
        uint32_t kind;
        uint32_t mode;          /* permissions; of END: COPY_TORN */
        uint64_t size;          /* of FILE; LINK: of the target behind the name; DATA: the offset */
        int64_t time;
        uint32_t nsec;
        uint32_t length;        /* of the name or the data behind this */
};

struct copy {
        int fd;                                 /* the stream */
        mode_t modes;                           /* which bits of a mode are taken over: 0777 keeps set-uid out */
        /* Something was left out at top + path (path "": all of it): error is an errno, or 0 with text. */
        void (*complain)(struct copy *c, const char *path, int error, const char *text);
        void (*tick)(struct copy *c);           /* may be NULL: bytes and files have grown */
        const volatile int *stop;               /* may be NULL: != 0: end now, with -EINTR */
        uint64_t files, bytes;
        bool left_out;
        char top[8192];                         /* where all of it is, for messages */
        char path[(COPY_DEPTH_MAX + 2) * (COPY_NAME_MAX + 1)];  /* of what is being copied, below the top */
        char buf[COPY_CHUNK];
};

/* Sends what path names (a symbolic link there is followed, one below it is not). 0: look at left_out; -errno: it
 * ended early, and was complained of, but for -EPIPE (nobody reads any more) and -EINTR. */
int copy_send(struct copy *c, const char *path);
/* Receives it in dir as `name`, "." to have a directory's entries in dir itself. As copy_send(); -EPIPE is a stream
 * that ends too early. */
int copy_receive(struct copy *c, int dir, const char *name);
/* A partition's end, by the words of ULV_PORT_COPY (monitor/port.h), from or to the standard descriptors: its exit
 * status. (copy-end.c) */
int copy_end(const char *const *argv);
/* Where something that is called `name` goes when `path` is asked for. An open directory, and 1: into it; 0: path is
 * what it is to be called there; -errno. */
int copy_target(const char *path, const char *name, int *ret_dir, char ret_name[COPY_NAME_MAX + 1]);
void copy_set_top(struct copy *c, const char *path, bool into, const char *name);
/* The last component of a path: "." where it is one, or there is none ("/"); false: "..", or too long. */
bool copy_name_of(const char *path, char ret[COPY_NAME_MAX + 1]);

/* copy-path.c, for the two above. */
void copy_enter(struct copy *c, const char *name);      /* c->path goes a level down, */
void copy_leave(struct copy *c);                        /* and up */
void copy_left_out(struct copy *c, int error, const char *text);
int copy_read(struct copy *c, void *buf, size_t n);     /* all of it: 0; -EPIPE: end of file before; -EINTR; -errno */
int copy_write(struct copy *c, const void *buf, size_t n);
