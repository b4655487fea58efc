/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model/definition-keys.h"

#define MEMORY_MAX (UINT64_C(1) << 52)          /* 4P: far above any machine, far below an overflow */
#define TIMEOUT_MAX (UINT64_C(86400) * 1000000)
#define NODE_MAX 1023
#define LOG_MIN (256 * 1024u)           /* the first and the last 64K are kept, and more */
#define LOG_MOST (UINT64_C(64) << 30)
#define DESCRIPTION_MAX 1024
#define HOSTNAME_MAX 64
#define TIME_ZONE_MAX 64
#define COMMAND_LINE_MAX 2047            /* what the kernel takes on x86 */

const struct ulv_definition ulv_definition_defaults = {
        .zone = "default", .role = "guest", .priority = 50, .isolation = ULV_ISOLATION_NONE,
        .ready = "started", .start_timeout = 90 * 1000000, .stop_timeout = 30 * 1000000, .log_max = ULV_LOG_MAX,
        .restart = "no", .restart_delay = 1000000, .start_limit = 5,
        .cpu_node = -1, .memory_node = -1, .pages = "4K", .writable = "kept", .firmware = "bios", .accel = "kvm", .graphics = "none", .fault = "none",
};

/* --- text ------------------------------------------------------------------------------------------ */

static int replace(char **field, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*field);
        *field = copy;
        return 0;
}

static void reset_text(ULV_UNUSED struct ulv_definition *d, void *field) {
        free(*(char **) field);
        *(char **) field = NULL;
}

static void format_text(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        const char *s = *(char *const *) field;

        ulv_strbuf_add(b, s ? s : "");
}

static int parse_description(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return strlen(v) > DESCRIPTION_MAX || strchr(v, '\t') ? -EINVAL : replace(field, v);
}

/* Absolute, and without the components that would make it mean another place than it says. */
static int parse_path(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        if (v[0] != '/')
                return -EINVAL;
        for (const char *p = v; *p;) {
                size_t n = strcspn(++p, "/");

                if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.') || (n == 0 && v[1]))
                        return -EINVAL;
                p += n;
        }
        return replace(field, v);
}

static int parse_root(const char *v, struct ulv_definition *d, void *field) {
        return ulv_streq(v, "/") ? -EINVAL : parse_path(v, d, field);
}

static int parse_exec(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        char **argv;
        int r;

        r = ulv_exec_split(v, &argv);
        if (r != 0)
                return r < 0 ? r : -EINVAL;
        r = argv[0] && argv[0][0] ? replace(field, v) : -EINVAL;
        ulv_strv_free(argv);
        return r;
}

static bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/* A user's name as useradd(8) takes it, or a uid that the partition's range of 64K has. */
static int parse_user(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        uint64_t uid;

        if (v[0] >= '0' && v[0] <= '9')
                return ulv_uint_parse(v, 65534, &uid) < 0 ? -EINVAL : replace(field, v);
        if (!(v[0] == '_' || (v[0] >= 'a' && v[0] <= 'z')) || strlen(v) > 32)
                return -EINVAL;
        for (const char *p = v; *p; p++)
                if (!is_alnum(*p) && *p != '_' && *p != '-')
                        return -EINVAL;
        return replace(field, v);
}

static int parse_hostname(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        size_t n = strlen(v);

        if (n > HOSTNAME_MAX || !is_alnum(v[0]) || !is_alnum(v[n - 1]))
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                if (!is_alnum(v[i]) && v[i] != '-' && !(v[i] == '.' && v[i - 1] != '.'))
                        return -EINVAL;
        return replace(field, v);
}

/* A name below /usr/share/zoneinfo, and nothing else: components of letters, digits, _, - and +. */
static int parse_time_zone(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        if (strlen(v) > TIME_ZONE_MAX)
                return -EINVAL;
        for (size_t i = 0; v[i]; i++)
                if (!is_alnum(v[i]) && !(i > 0 && (v[i] == '_' || v[i] == '-' || v[i] == '+' || (v[i] == '/' && is_alnum(v[i + 1])))))
                        return -EINVAL;
        return replace(field, v);
}

/* Goes into a domain's XML and to a kernel: plain characters only. */
static int parse_command_line(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        for (const char *p = v; *p; p++)
                if (*p < ' ' || *p > '~')
                        return -EINVAL;
        return strlen(v) > COMMAND_LINE_MAX ? -EINVAL : replace(field, v);
}

/* Libvirt's XML has these paths, and QEMU's options, where a comma parts words. */
static int parse_vm_path(const char *v, struct ulv_definition *d, void *field) {
        for (const char *p = v; *p; p++)
                if (*p < '!' || *p > '~' || *p == ',')
                        return -EINVAL;
        return ulv_streq(v, "/") ? -EINVAL : parse_path(v, d, field);
}

/* --- words of a fixed set, kept as text -------------------------------------------------------------- */

static int choose(const char *v, const char *const *words, size_t n, char *field, size_t size) {
        for (size_t i = 0; i < n; i++)
                if (ulv_streq(v, words[i])) {
                        ulv_cut(field, size, v);
                        return 0;
                }
        return -EINVAL;
}

static int parse_type(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "container", "vm", "sim" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->type));
}

static int parse_restart(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "no", "on-failure", "always" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->restart));
}

static int parse_ready(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "started", "notify" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->ready));
}

static int parse_pages(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "4K", "2M", "1G" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->pages));
}

static int parse_fault(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "none", "start-fails", "start-hangs", "dies", "refuses-shrink", "stop-hangs" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->fault));
}

static int parse_writable(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "kept", "ephemeral" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->writable));
}

static int parse_firmware(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "bios", "uefi" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->firmware));
}

static int parse_accel(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "kvm", "tcg" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->accel));
}

static int parse_graphics(const char *v, struct ulv_definition *d, void *field) {
        static const char *const words[] = { "none", "vnc" };
        return choose(v, words, ULV_ARRAY_SIZE(words), field, sizeof(d->graphics));
}

/* Of a zone, an image, a template. */
static int parse_name(const char *v, struct ulv_definition *d, void *field) {
        if (!ulv_name_is_valid(v))
                return -EINVAL;
        ulv_cut(field, sizeof(d->zone), v);
        return 0;
}

/* The canonical text is whole by itself. */
static void format_nothing(ULV_UNUSED struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, ULV_UNUSED const void *field) {}

static void format_chars(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        ulv_strbuf_add(b, field);
}

/* --- numbers ----------------------------------------------------------------------------------------- */

static int parse_unsigned(const char *v, uint64_t min, uint64_t max, unsigned *field) {
        uint64_t n;
        int r;

        r = ulv_uint_parse(v, max, &n);
        if (r < 0)
                return r;
        if (n < min)
                return -ERANGE;
        *field = (unsigned) n;
        return 0;
}

static int parse_priority(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return parse_unsigned(v, 0, 100, field);
}

static int parse_start_limit(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return parse_unsigned(v, 1, 1000, field);
}

static int parse_cores(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return parse_unsigned(v, 1, ULV_CPU_MAX, field);
}

static void format_unsigned(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        ulv_strbuf_addu(b, *(const unsigned *) field);
}

static int parse_node(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        unsigned n;
        int r;

        r = parse_unsigned(v, 0, NODE_MAX, &n);
        if (r == 0)
                *(int *) field = (int) n;
        return r;
}

static void format_node(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        int n = *(const int *) field;

        if (n >= 0)
                ulv_strbuf_addu(b, (uint64_t) n);
}

static int parse_isolation(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        enum ulv_isolation i = ulv_isolation_from_name(v);

        if (i == ULV_ISOLATION_INVALID)
                return -EINVAL;
        *(enum ulv_isolation *) field = i;
        return 0;
}

static void format_isolation(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        ulv_strbuf_add(b, ulv_isolation_name(*(const enum ulv_isolation *) field));
}

static int parse_boolean(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        bool yes = ulv_streq(v, "yes");

        if (!yes && !ulv_streq(v, "no"))
                return -EINVAL;
        *(bool *) field = yes;
        return 0;
}

static void format_boolean(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        ulv_strbuf_add(b, *(const bool *) field ? "yes" : "no");
}

static int parse_between(int (*parse)(const char *s, uint64_t *ret), const char *v, uint64_t min, uint64_t max, void *field) {
        uint64_t n;
        int r;

        r = parse(v, &n);
        if (r < 0)
                return r;
        if (n < min || n > max)
                return -ERANGE;
        *(uint64_t *) field = n;
        return 0;
}

static int parse_share(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return parse_between(ulv_share_parse, v, 1, (uint64_t) ULV_CPU_MAX * 1000, field);
}

static void format_share(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        ulv_share_format(b, *(const uint64_t *) field);
}

/* Rounded up to what the ledger counts in. Less than one piece is a unit forgotten: Size=64. */
static int parse_size(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        uint64_t n;
        int r;

        r = parse_between(ulv_size_parse, v, ULV_MEMORY_UNIT, MEMORY_MAX, &n);
        if (r == 0)
                *(uint64_t *) field = (n + ULV_MEMORY_UNIT - 1) / ULV_MEMORY_UNIT * ULV_MEMORY_UNIT;
        return r;
}

static int parse_log_max(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return parse_between(ulv_size_parse, v, LOG_MIN, LOG_MOST, field);
}

static void format_size(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        ulv_size_format(b, *(const uint64_t *) field);
}

static int parse_timeout(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return parse_between(ulv_duration_parse, v, 1000, TIMEOUT_MAX, field);
}

static int parse_delay(const char *v, ULV_UNUSED struct ulv_definition *d, void *field) {
        return parse_between(ulv_duration_parse, v, 0, TIMEOUT_MAX, field);
}

static void format_duration(struct ulv_strbuf *b, ULV_UNUSED const struct ulv_definition *d, const void *field) {
        ulv_duration_format(b, *(const uint64_t *) field);
}

/* --- lists ------------------------------------------------------------------------------------------- */

/* Appends a copy of s (len bytes) to a list; the array always has room for a final NULL. */
static int push(char ***list, size_t *n, const char *s, size_t len) {
        char **grown = realloc(*list, (*n + 2) * sizeof(char *)), *copy;

        if (!grown)
                return -ENOMEM;
        *list = grown;
        grown[*n] = NULL;
        copy = strndup(s, len);
        if (!copy)
                return -ENOMEM;
        grown[(*n)++] = copy;
        grown[*n] = NULL;
        return 0;
}

static void reset_after(struct ulv_definition *d, ULV_UNUSED void *field) {
        ulv_strv_free(d->after);
        d->after = NULL;
        d->n_after = 0;
}

static int parse_after(const char *v, struct ulv_definition *d, void *field) {
        char name[ULV_NAME_MAX + 1];
        int r;

        reset_after(d, field);
        while (*v) {
                size_t len = strcspn(v, " \t");

                if (len > ULV_NAME_MAX)
                        return -EINVAL;
                memcpy(name, v, len);
                name[len] = 0;
                if (!ulv_name_is_valid(name))
                        return -EINVAL;
                if (d->n_after == ULV_AFTER_MAX)
                        return -E2BIG;
                r = push(&d->after, &d->n_after, name, len);
                if (r < 0)
                        return r;
                v += len;
                v += strspn(v, " \t");
        }
        return 0;
}

static void format_after(struct ulv_strbuf *b, const struct ulv_definition *d, ULV_UNUSED const void *field) {
        for (size_t i = 0; i < d->n_after; i++) {
                if (i > 0)
                        ulv_strbuf_addc(b, ' ');
                ulv_strbuf_add(b, d->after[i]);
        }
}

static void reset_environment(struct ulv_definition *d, ULV_UNUSED void *field) {
        ulv_strv_free(d->environment);
        d->environment = NULL;
        d->n_environment = 0;
}

/* One K=V a line; a variable that is set again takes its old place. */
static int parse_environment(const char *v, struct ulv_definition *d, ULV_UNUSED void *field) {
        size_t len = strcspn(v, "=");

        if (v[len] != '=' || len == 0 || (v[0] >= '0' && v[0] <= '9'))
                return -EINVAL;
        for (size_t i = 0; i < len; i++)
                if (!is_alnum(v[i]) && v[i] != '_')
                        return -EINVAL;
        for (size_t i = 0; i < d->n_environment; i++)
                if (strncmp(d->environment[i], v, len + 1) == 0)
                        return replace(&d->environment[i], v);
        if (d->n_environment == ULV_ENVIRONMENT_MAX)
                return -E2BIG;
        return push(&d->environment, &d->n_environment, v, strlen(v));
}

static void format_environment(struct ulv_strbuf *b, const struct ulv_definition *d, ULV_UNUSED const void *field) {
        for (size_t i = 0; i < d->n_environment; i++)
                ulv_strbuf_addf(b, "%sEnvironment=%s", i > 0 ? "\n" : "", d->environment[i]);
}

/* --- limits: one list of all sorts, of which each key reads and writes its own --------------------------- */

static int parse_limit(enum ulv_limit_what what, const char *v, struct ulv_definition *d) {
        struct ulv_limit l;
        int r = ulv_limit_parse(what, v, ' ', &l);

        if (r == 0 && !d->limits && !(d->limits = calloc(ULV_LIMITS_MAX, sizeof(*d->limits))))
                return -ENOMEM;
        return r < 0 ? r : ulv_limit_put(d->limits, &d->n_limits, &l);
}

static void format_limit(enum ulv_limit_what what, struct ulv_strbuf *b, const struct ulv_definition *d) {
        bool first = true;

        for (size_t i = 0; i < d->n_limits; i++) {
                if (d->limits[i].what != what)
                        continue;
                if (what != ULV_LIMIT_TASKS)
                        ulv_strbuf_addf(b, "%s%s=", first ? "" : "\n", ulv_limit_key(what));
                ulv_limit_format(b, &d->limits[i], ' ');
                first = false;
        }
}

static void reset_limit(enum ulv_limit_what what, struct ulv_definition *d) {
        size_t n = 0;

        for (size_t i = 0; i < d->n_limits; i++)
                if (d->limits[i].what != what)
                        d->limits[n++] = d->limits[i];
        d->n_limits = n;
}

#define LIMIT_KIND(name, w, what_is_expected) \
        static int parse_##name(const char *v, struct ulv_definition *d, ULV_UNUSED void *field) { return parse_limit(w, v, d); } \
        static void format_##name(struct ulv_strbuf *b, const struct ulv_definition *d, ULV_UNUSED const void *field) { format_limit(w, b, d); } \
        static void reset_##name(struct ulv_definition *d, ULV_UNUSED void *field) { reset_limit(w, d); } \
        static const struct definition_kind kind_##name = { \
                .expected = what_is_expected, .parse = parse_##name, .format = format_##name, .reset = reset_##name, .repeatable = w != ULV_LIMIT_TASKS }

#define IO_EXPECTED(what) "a device and " what ", or /dev/vda infinity)"
LIMIT_KIND(tasks, ULV_LIMIT_TASKS, "a number of processes and threads from 8 to 4194304");
LIMIT_KIND(io_read, ULV_LIMIT_IO_READ, IO_EXPECTED("bytes a second (like /dev/vda 10M"));
LIMIT_KIND(io_write, ULV_LIMIT_IO_WRITE, IO_EXPECTED("bytes a second (like /dev/vda 10M"));
LIMIT_KIND(iops_read, ULV_LIMIT_IOPS_READ, IO_EXPECTED("operations a second (like /dev/vda 500"));
LIMIT_KIND(iops_write, ULV_LIMIT_IOPS_WRITE, IO_EXPECTED("operations a second (like /dev/vda 500"));

/* --- the table --------------------------------------------------------------------------------------- */

#define KIND_PLAIN(name, what, field_size, p, f) \
        static const struct definition_kind kind_##name = { .expected = what, .parse = p, .format = f, .size = field_size }
#define KIND_TEXT(name, what, p) \
        static const struct definition_kind kind_##name = { .expected = what, .parse = p, .format = format_text, .reset = reset_text }
#define SIZEOF(field) sizeof(((struct ulv_definition *) NULL)->field)

KIND_TEXT(description, "a description (at most 1024 bytes, no tab)", parse_description);
KIND_TEXT(path, "an absolute path without ., .. and superfluous / in it", parse_path);
KIND_TEXT(root, "an absolute path without ., .. and superfluous / in it, other than / itself", parse_root);
KIND_TEXT(exec, "a command (words, \"...\" and '...', each quote closed)", parse_exec);
KIND_TEXT(user, "a user's name or a uid up to 65534", parse_user);
KIND_TEXT(hostname, "a host name (letters, digits, - and ., at most 64)", parse_hostname);
KIND_TEXT(time_zone, "a time zone's name (like Europe/Berlin or UTC)", parse_time_zone);
KIND_TEXT(command_line, "a kernel's command line (plain ASCII, at most 2047 characters)", parse_command_line);
KIND_TEXT(vm_path, "an absolute path without ., .. and superfluous / in it, without blanks and commas", parse_vm_path);
KIND_PLAIN(firmware, "bios or uefi", SIZEOF(firmware), parse_firmware, format_chars);
KIND_PLAIN(accel, "kvm or tcg", SIZEOF(accel), parse_accel, format_chars);
KIND_PLAIN(graphics, "none or vnc", SIZEOF(graphics), parse_graphics, format_chars);
KIND_PLAIN(type, "a type (container, vm or sim)", SIZEOF(type), parse_type, format_chars);
KIND_PLAIN(zone, "a zone's name (a-z, 0-9 and -, at most 63)", SIZEOF(zone), parse_name, format_chars);
KIND_PLAIN(template, "a template's name (a-z, 0-9 and -, at most 63)", SIZEOF(template), parse_name, format_nothing);
KIND_PLAIN(image, "an image's name (a-z, 0-9 and -, at most 63)", SIZEOF(image), parse_name, format_chars);
KIND_PLAIN(writable, "kept or ephemeral", SIZEOF(writable), parse_writable, format_chars);
KIND_PLAIN(pages, "a page size (4K, 2M or 1G)", SIZEOF(pages), parse_pages, format_chars);
KIND_PLAIN(fault, "a fault (none, start-fails, start-hangs, dies, refuses-shrink or stop-hangs)", SIZEOF(fault), parse_fault, format_chars);
KIND_PLAIN(priority, "a priority from 0 to 100", SIZEOF(priority), parse_priority, format_unsigned);
KIND_PLAIN(isolation, "a grade (none, soft, firm or hard)", SIZEOF(isolation), parse_isolation, format_isolation);
KIND_PLAIN(boolean, "yes or no", SIZEOF(init), parse_boolean, format_boolean);
KIND_PLAIN(cores, "a number of whole cores (from 1 to 8192; fractions: Share=)", SIZEOF(cores), parse_cores, format_unsigned);
KIND_PLAIN(share, "a number of hardware threads (like 2 or 0.25)", SIZEOF(share), parse_share, format_share);
KIND_PLAIN(node, "the number of a NUMA node (like 0)", SIZEOF(cpu_node), parse_node, format_node);
KIND_PLAIN(size, "a size from 2M to 4P (like 512M or 1.5G)", SIZEOF(memory), parse_size, format_size);
KIND_PLAIN(restart, "a policy (no, on-failure or always)", SIZEOF(restart), parse_restart, format_chars);
KIND_PLAIN(ready, "started or notify", SIZEOF(ready), parse_ready, format_chars);
KIND_PLAIN(start_limit, "a number of starts from 1 to 1000", SIZEOF(start_limit), parse_start_limit, format_unsigned);
KIND_PLAIN(log_max, "a size from 256K to 64G (like 8M)", SIZEOF(log_max), parse_log_max, format_size);
KIND_PLAIN(timeout, "a time from 1ms to 1d (like 30s or 2min)", SIZEOF(stop_timeout), parse_timeout, format_duration);
KIND_PLAIN(delay, "a time up to 1d (like 500ms or 2s)", SIZEOF(fault_delay), parse_delay, format_duration);
static const struct definition_kind kind_after = {
        .expected = "a list of names of partitions (like: db cache)", .parse = parse_after, .format = format_after, .reset = reset_after,
};
static const struct definition_kind kind_environment = {
        .expected = "NAME=VALUE", .parse = parse_environment, .format = format_environment, .reset = reset_environment, .repeatable = true,
};

#define KEY(in, word, form, field) \
        { .section = in, .name = word, .kind = &kind_##form, .offset = offsetof(struct ulv_definition, field) }

const struct definition_key ulv_definition_keys[KEY_MAX_] = {
        [KEY_TEMPLATE] = KEY("Partition", "Template", template, template),
        [KEY_DESCRIPTION] = KEY("Partition", "Description", description, description),
        [KEY_TYPE] = KEY("Partition", "Type", type, type),
        [KEY_ZONE] = KEY("Partition", "Zone", zone, zone),
        [KEY_PRIORITY] = KEY("Partition", "Priority", priority, priority),
        [KEY_ISOLATION] = KEY("Partition", "Isolation", isolation, isolation),
        [KEY_AFTER] = KEY("Partition", "After", after, after),
        [KEY_READY] = KEY("Partition", "Ready", ready, ready),
        [KEY_START_TIMEOUT] = KEY("Partition", "StartTimeout", timeout, start_timeout),
        [KEY_STOP_TIMEOUT] = KEY("Partition", "StopTimeout", timeout, stop_timeout),
        [KEY_RESTART] = KEY("Partition", "Restart", restart, restart),
        [KEY_RESTART_SEC] = KEY("Partition", "RestartSec", timeout, restart_delay),
        [KEY_START_LIMIT] = KEY("Partition", "StartLimit", start_limit, start_limit),
        [KEY_LOG_MAX] = KEY("Partition", "LogMax", log_max, log_max),
        [KEY_CORES] = KEY("CPU", "Cores", cores, cores),
        [KEY_CORES_MIN] = KEY("CPU", "CoresMin", cores, cores_min),
        [KEY_CORES_MAX] = KEY("CPU", "CoresMax", cores, cores_max),
        [KEY_SHARE] = KEY("CPU", "Share", share, share),
        [KEY_SHARE_MIN] = KEY("CPU", "ShareMin", share, share_min),
        [KEY_SHARE_MAX] = KEY("CPU", "ShareMax", share, share_max),
        [KEY_CPU_NODE] = KEY("CPU", "Node", node, cpu_node),
        [KEY_SIZE] = KEY("Memory", "Size", size, memory),
        [KEY_SIZE_MIN] = KEY("Memory", "SizeMin", size, memory_min),
        [KEY_SIZE_MAX] = KEY("Memory", "SizeMax", size, memory_max),
        [KEY_MEMORY_NODE] = KEY("Memory", "Node", node, memory_node),
        [KEY_PAGES] = KEY("Memory", "Pages", pages, pages),
        [KEY_TASKS] = KEY("Limits", "Tasks", tasks, limits),
        [KEY_IO_READ] = KEY("Limits", "IOReadMax", io_read, limits),
        [KEY_IO_WRITE] = KEY("Limits", "IOWriteMax", io_write, limits),
        [KEY_IOPS_READ] = KEY("Limits", "IOPSReadMax", iops_read, limits),
        [KEY_IOPS_WRITE] = KEY("Limits", "IOPSWriteMax", iops_write, limits),
        [KEY_IMAGE] = KEY("Container", "Image", image, image),
        [KEY_WRITABLE] = KEY("Container", "Writable", writable, writable),
        [KEY_ROOT] = KEY("Container", "Root", root, root),
        [KEY_EXEC] = KEY("Container", "Exec", exec, exec),
        [KEY_INIT] = KEY("Container", "Init", boolean, init),
        [KEY_NESTING] = KEY("Container", "Nesting", boolean, nesting),
        [KEY_USER] = KEY("Container", "User", user, user),
        [KEY_ENVIRONMENT] = KEY("Container", "Environment", environment, environment),
        [KEY_CWD] = KEY("Container", "WorkingDirectory", path, cwd),
        [KEY_HOSTNAME] = KEY("Container", "Hostname", hostname, hostname),
        [KEY_TIME_ZONE] = KEY("Container", "TimeZone", time_zone, time_zone),
        [KEY_KERNEL] = KEY("VM", "Kernel", vm_path, kernel),
        [KEY_INITRD] = KEY("VM", "Initrd", vm_path, initrd),
        [KEY_COMMAND_LINE] = KEY("VM", "CommandLine", command_line, command_line),
        [KEY_FIRMWARE] = KEY("VM", "Firmware", firmware, firmware),
        [KEY_ACCEL] = KEY("VM", "Accel", accel, accel),
        [KEY_GRAPHICS] = KEY("VM", "Graphics", graphics, graphics),
        [KEY_SEED] = KEY("VM", "Seed", vm_path, seed),
        [KEY_AGENT] = KEY("VM", "Agent", boolean, agent),
        [KEY_FAULT] = KEY("Sim", "Fault", fault, fault),
        [KEY_DELAY] = KEY("Sim", "Delay", delay, fault_delay),
};
