/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A partition's definition: NAME.partition and its drop-ins (NAME.partition.d/NN-x.conf, in name order;
 * a key set later wins; an empty value unsets). Template=T in NAME.partition puts the keys of
 * templates/T.partition before its own. uv-partition(5) is the reference.
 *
 *   [Partition] Template= Description= Type=container|vm|sim Zone= Priority=0..100 Isolation=none|soft|firm|hard
 *               After=NAMES Ready=started|notify StopTimeout=30s StartTimeout= LogMax=8M
 *               Restart=no|on-failure|always RestartSec=1s StartLimit=5
 *   [CPU]       Cores= CoresMin= CoresMax= Node=   or   Share= ShareMin= ShareMax=
 *   [Memory]    Size= SizeMin= SizeMax= Node= Pages=4K|2M|1G
 *   [Limits]    Tasks= IOReadMax=DEVICE BYTES IOWriteMax= IOPSReadMax=DEVICE OPERATIONS IOPSWriteMax= (all but Tasks= repeatable)
 *   [Container] Image=NAME Writable=kept|ephemeral   or   Root=; Exec= Init= Nesting= User= Environment=K=V (repeatable) WorkingDirectory= Hostname=
 *               TimeZone=Europe/Berlin
 *   [VM]        Firmware=bios|uefi Kernel= Initrd= CommandLine= Accel=kvm|tcg Graphics=none|vnc Seed=DIRECTORY
 *   [Network "LABEL"]     Bridge= Address= Gateway= DNS= (these three repeatable) Search= MAC= Name=
 *   [Credential "LABEL"]  Encrypted=PATH or Source=PATH
 *   [Mount "LABEL"]       Source=DIRECTORY Target=PATH-INSIDE ReadOnly=no
 *   [Device "LABEL"]      Path=/dev/NODE ReadOnly=no
 *   [Block "LABEL"]       File=PATH Format=raw|qcow2|iso Writable=kept|ephemeral|direct|no
 *   [Sim]       Fault=none|start-fails|start-hangs|dies|refuses-shrink|stop-hangs  Delay=
 * Sections and keys of later stages are refused by name: "Volume= is not served by this version". */

#include "lib/crc32c.h"
#include "lib/ini.h"
#include "model/address.h"
#include "model/limits.h"
#include "model/name.h"
#include "model/partition.h"
#include "model/quantity.h"

/* Where a value was written, for messages: "db.partition:23". */
struct ulv_place { const char *file; unsigned line; };  /* file "" = built-in default */

#define ULV_NETWORKS_MAX 8
#define ULV_ADDRESSES_MAX 8
#define ULV_GATEWAYS_MAX 2      /* one of each family */
#define ULV_DNS_MAX 3           /* what the C library's resolver takes */
struct ulv_network {
        char label[ULV_NAME_MAX + 1];
        char bridge[16], name[16];      /* on the host; inside (IFNAMSIZ) */
        bool has_mac; uint8_t mac[6];
        struct ulv_address addresses[ULV_ADDRESSES_MAX], gateways[ULV_GATEWAYS_MAX], dns[ULV_DNS_MAX];
        unsigned n_addresses, n_gateways, n_dns;
        char search[256];               /* domains, by a space */
};

#define ULV_CREDENTIALS_MAX 32
struct ulv_credential {
        char label[ULV_NAME_MAX + 1];
        char *encrypted, *source;       /* paths on the host, owned; one of them is NULL */
};

#define ULV_ATTACHMENTS_MAX 64
/* A directory or a device of the host, or a disk's image (model/attachment.h). */
struct ulv_attachment {
        char label[ULV_NAME_MAX + 1];
        bool device, disk, read_only;
        char *source, *target;          /* owned; on the host; inside (NULL: no mount) */
        char format[8], writable[12];   /* of a disk: "raw", "qcow2", "iso"; "kept", "ephemeral", "direct", "no" */
};

#define ULV_CHANNELS_MAX 32             /* each is three fds that its monitor keeps */
/* An end of a channel (model/channel.h). */
struct ulv_channel_end {
        char label[ULV_NAME_MAX + 1], peer[ULV_NAME_MAX + 1];
        char kind[8];                   /* "": the other end owns the memory, and says what it is */
        uint64_t size;                  /* 0 likewise */
};

struct ulv_definition {
        char name[ULV_NAME_MAX + 1], zone[ULV_NAME_MAX + 1];
        char type[16];                  /* "container", "vm", "sim" */
        char role[16];                  /* "guest" */
        char *description;              /* owned, "" if none; so are all char * here */
        unsigned priority;              /* 50 */
        enum ulv_isolation isolation;   /* the least wanted; NONE */
        char **after; size_t n_after;
        uint64_t start_timeout, stop_timeout;           /* us; 90 s, 30 s */
        char ready[8];                  /* "started", "notify": a start waits for READY (uv-call(7)) */
        char restart[16];               /* "no", "on-failure", "always" */
        uint64_t restart_delay;         /* us; 1 s */
        unsigned start_limit;           /* starts in a row by Restart=; 5 */
        uint64_t log_max;               /* bytes of console log on disk; ULV_LOG_MAX */

        /* Bounds are 0 where none is given: then nothing is taken below what is wanted. */
        bool whole_cores;               /* Cores= was given; else Share= */
        unsigned cores, cores_min, cores_max;
        uint64_t share, share_min, share_max;           /* 1/1000 thread */
        int cpu_node;                   /* -1 = any */
        uint64_t memory, memory_min, memory_max;        /* bytes, multiples of 2 MiB (rounded up) */
        int memory_node;                /* -1: that of the CPUs, else any */
        char pages[8];                  /* "4K" */

        char template[ULV_NAME_MAX + 1];        /* "" if none; not in the canonical text, which is whole by itself */
        char image[ULV_NAME_MAX + 1];           /* "": Root= */
        char writable[16];                      /* "kept", "ephemeral" */
        bool init;                      /* the root's own init is PID 1; exec may be "": /sbin/init */
        bool nesting;                   /* container runtimes may run inside */
        char *root, *exec, *user, *cwd, *hostname, *time_zone;
        char **environment; size_t n_environment;
        char *kernel, *initrd, *command_line, *seed;
        char firmware[8], accel[8], graphics[8];        /* "bios", "uefi"; "kvm", "tcg"; "none", "vnc" */
        bool agent;                     /* the guest has QEMU's agent */
        char fault[32]; uint64_t fault_delay;
        struct ulv_limit *limits; size_t n_limits;      /* with room for ULV_LIMITS_MAX; NULL: none was ever given */
        struct ulv_network *networks; size_t n_networks;
        struct ulv_credential *credentials; size_t n_credentials;
        struct ulv_attachment *attachments; size_t n_attachments;
        struct ulv_channel_end *channels; size_t n_channels;

        struct { struct ulv_place file, type, cores, share, cpu_node, memory, memory_node, isolation, after; } at;
        char *places;                   /* owned: storage of the place's file names */
};
#define ULV_AFTER_MAX 64
#define ULV_LOG_MAX (8 * 1024 * 1024u)
#define ULV_ENVIRONMENT_MAX 256

struct ulv_source { const char *file; const char *buf; size_t len; };
/* Tells a text from another; of NULL: 0. */
static inline uint64_t ulv_source_sum(const struct ulv_source *s) { return s ? (uint64_t) s->len << 32 | ulv_crc32c(s->buf, s->len) : 0; }

/* files[0] is NAME.partition (the name comes from it), the rest are drop-ins in order. 0; 1 (reterr);
 * -ENOMEM. Reports the first error; ulv_definition_parse is called again by who wants the next. */
int ulv_definition_parse(const struct ulv_source *files, size_t n_files, struct ulv_definition **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* The same with the template that files[0] names (NULL if it names none, or one that isn't there). */
int ulv_definition_parse_with(const struct ulv_source *template, const struct ulv_source *files, size_t n_files,
                              struct ulv_definition **ret, struct ulv_diag *reterr) ULV_MUST_CHECK;
/* The name that NAME.partition gives in Template=, "" if none; what is wrong in the file is left to the parser. */
int ulv_definition_template(const struct ulv_source *file, char ret[static ULV_NAME_MAX + 1]) ULV_MUST_CHECK;
/* Is each line of a template good by itself? What is missing may come from whoever names it. 0; 1 (reterr); -ENOMEM. */
int ulv_definition_check_template(const struct ulv_source *template, struct ulv_diag *reterr) ULV_MUST_CHECK;
#define ULV_TEMPLATES "templates/"      /* in a bundle, and below etc/ultravisor */
void ulv_definition_free(struct ulv_definition *d);
ULV_DEFINE_CLEANUP(struct ulv_definition, ulv_definition_free)

/* The canonical text: one INI file, defaults left out, in the order above; parse(format(d)) == d but for
 * places. This is what `define ... text=` carries, but for After= and channels: a view names no other partition. */
int ulv_definition_format(const struct ulv_definition *d, struct ulv_strbuf *b) ULV_MUST_CHECK;

/* Exec= split into words as systemd's Exec lines: spaces, "..." and '...' with \ escapes; no shell. */
int ulv_exec_split(const char *s, char ***ret_argv) ULV_MUST_CHECK;     /* 0; 1 = unbalanced quote; -ENOMEM */
void ulv_strv_free(char **v);
