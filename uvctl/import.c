/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* import: a domain of libvirt's as a definition.
 *
 * Theory of operation. virsh gives the XML, or a file does. Whoever wrote it, it is read in a child that can do nothing any
 * more but read and write what it has open, take memory and end (import-confine.c); what comes back is text, which goes
 * through the parser of definitions like anybody's. What of the domain can't be kept is named, each with its line. */

#include "uvctl/import.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/fd.h"
#include "uvctl/files.h"
#include "uvctl/text.h"

#define XML_MAX (1024 * 1024u)

/* --- the XML --------------------------------------------------------------------------------------------------- */

static int bad_source(struct uvctl *u, const char *name, const char *why) {
        ulv_diag_what(&u->diag, ULV_EXIT_NOT_FOUND, "cannot read the domain %.200s", name);
        ulv_diag_why(&u->diag, "%s", why);
        ulv_diag_try(&u->diag, "virsh -c qemu:///system list --all (package libvirt-clients); or libvirt:/PATH.xml");
        return ULV_EXIT_NOT_FOUND;
}

static _Noreturn void become_virsh(const char *name, int out) {
        int null = open("/dev/null", O_RDWR);

        if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
                _exit(126);
        (void) execlp("virsh", "virsh", "-q", "-c", "qemu:///system", "dumpxml", "--inactive", "--domain", name, NULL);
        (void) dprintf(2, "virsh: %s\n", strerror(errno));
        _exit(127);
}

static int ask_virsh(struct uvctl *u, const char *name, char **ret, size_t *ret_len) {
        int p[2], status, r;
        pid_t pid;

        if (pipe2(p, O_CLOEXEC) < 0)
                return fail_errno(u, -errno, "ask libvirt");
        pid = fork();
        if (pid == 0)
                become_virsh(name, p[1]);
        (void) ulv_close(p[1]);
        r = pid < 0 ? -EAGAIN : ulv_read_fd(p[0], XML_MAX, ret, ret_len);
        (void) ulv_close(p[0]);
        while (pid > 0 && waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return fail_errno(u, -errno, "ask libvirt");
        if (r < 0)
                return r == -EFBIG ? bad_source(u, name, "its XML is larger than 1M") : fail_errno(u, r, "ask libvirt");
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        (*ret)[strcspn(*ret, "\n")] = 0;
        return bad_source(u, name, **ret ? *ret : "virsh has failed");
}

static int read_xml(struct uvctl *u, const char *name, char **ret, size_t *ret_len) {
        int r;

        if (name[0] != '/')
                return ask_virsh(u, name, ret, ret_len);
        r = ulv_read_file_at(AT_FDCWD, name, XML_MAX, ret, ret_len);
        return r == -EFBIG ? bad_source(u, name, "it is larger than 1M") : r < 0 ? bad_source(u, name, strerror(-r)) : 0;
}

/* --- in the child ------------------------------------------------------------------------------------------------ */

/* One answer: how it went, and two texts, each with its NUL. */
struct head { int r; struct ulv_diag diag; size_t definition, lost; };

static bool put_all(int fd, const void *buf, size_t len) { return ulv_write_all(fd, buf, len) == 0; }

static _Noreturn void child(const char *xml, size_t len, int out) {
        struct ulv_strbuf definition = { .max = XML_MAX }, lost = { .max = XML_MAX };
        struct head h = { 0 };

        if (dup2(out, 3) < 0 || syscall(SYS_close_range, 4u, ~0u, 0) < 0 || import_confine() < 0)
                _exit(1);
        h.r = import_domain(xml, len, &definition, &lost, &h.diag);
        h.definition = definition.len;
        h.lost = lost.len;
        _exit(put_all(3, &h, sizeof(h)) && put_all(3, ulv_strbuf_str(&definition), h.definition) && put_all(3, ulv_strbuf_str(&lost), h.lost) ? 0 : 1);
}

/* Of what comes back, nothing is believed but that it is text. */
static int take_answer(struct uvctl *u, const char *buf, size_t len, char **ret_definition, char **ret_lost) {
        struct head h;

        if (len < sizeof(h))
                return fail(u, ULV_EXIT_FAILED, "cannot read the domain", "the process that read it has died", "another domain; a bug, if it is libvirt's own XML");
        memcpy(&h, buf, sizeof(h));
        if (h.r > 0) {
                h.diag.what[sizeof(h.diag.what) - 1] = h.diag.why[sizeof(h.diag.why) - 1] = h.diag.try_[sizeof(h.diag.try_) - 1] = 0;
                return fail(u, ULV_EXIT_USAGE, h.diag.what, h.diag.why, h.diag.try_);
        }
        if (h.r < 0 || h.definition > len - sizeof(h) || h.lost != len - sizeof(h) - h.definition)
                return fail_errno(u, -ENOMEM, "read the domain");
        *ret_definition = strndup(buf + sizeof(h), h.definition);
        *ret_lost = strndup(buf + sizeof(h) + h.definition, h.lost);
        return *ret_definition && *ret_lost ? 0 : fail_errno(u, -ENOMEM, "read the domain");
}

static int convert(struct uvctl *u, const char *xml, size_t len, char **ret_definition, char **ret_lost) {
        _cleanup_free_ char *buf = NULL;
        size_t n = 0;
        int p[2], r;
        pid_t pid;

        if (pipe2(p, O_CLOEXEC) < 0)
                return fail_errno(u, -errno, "read the domain");
        pid = fork();
        if (pid == 0)
                child(xml, len, p[1]);
        (void) ulv_close(p[1]);
        r = pid < 0 ? -EAGAIN : ulv_read_fd(p[0], 3 * XML_MAX, &buf, &n);
        (void) ulv_close(p[0]);
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return r < 0 ? fail_errno(u, r, "read the domain") : take_answer(u, buf, n, ret_definition, ret_lost);
}

/* --- the verb ------------------------------------------------------------------------------------------------------- */

/* "DOMAIN:LINE: <element>: why", on standard error. */
static void tell_lost(const char *source, const char *lost) {
        unsigned n = 0;

        for (const char *line = lost; *line; n++) {
                size_t len = strcspn(line, "\n");
                _cleanup_strbuf_ struct ulv_strbuf b = { 0 };

                text_safe(&b, line, len, false);
                fprintf(stderr, "%s:%s\n", source, ulv_strbuf_str(&b));
                line += len + (line[len] == '\n');
        }
        if (n > 0)
                fprintf(stderr, "not kept: %u, each named above with its line; all else is in the definition\n", n);
}

static int write_it(struct uvctl *u, const char *name, const char *definition) {
        struct file_set f = { .base = strdup("") };
        char path[ULV_NAME_MAX + 32];
        unsigned bad = 0;
        int r;

        (void) snprintf(path, sizeof(path), "partitions/%s.partition", name);
        r = f.base ? files_add(&f, path, definition, strlen(definition)) : -ENOMEM;
        r = r < 0 ? fail_errno(u, r, "make a definition") : files_check(u, &f, NULL, &bad);
        if (r == 0 && bad > 0)
                r = fail(u, ULV_EXIT_USAGE, "nothing was changed: what of this domain can be kept makes no definition", "the lines above say why",
                         "-n prints it; mend it in partitions/NAME.partition, then uvctl apply");
        if (r == 0) {
                u->given |= OPT_YES;    /* a definition takes nothing from anybody */
                r = files_apply(u, &f, false, "import");
        }
        files_done(&f);
        return r;
}

int verb_import(struct uvctl *u, int argc, char **argv) {
        _cleanup_free_ char *xml = NULL, *definition = NULL, *lost = NULL, *known = NULL, *base = files_configuration(u);
        const char *source = ulv_startswith(argv[0], "libvirt:") ? argv[0] + strlen("libvirt:") : "", *name = argc > 1 ? argv[1] : source;
        size_t len;
        int r;

        if (!*source)
                return fail(u, ULV_EXIT_USAGE, "uvctl import takes libvirt:NAME", "no other machines are known", "uvctl import -n libvirt:NAME");
        if (!ulv_name_is_valid(name) || ulv_name_is_reserved(name))
                return fail(u, ULV_EXIT_USAGE, "this is no name for a partition", "a name is of a-z, 0-9 and -, at most 63, and none of the ultravisor's own",
                            "uvctl import libvirt:NAME OTHER-NAME");
        if (!base || asprintf(&known, "%s/partitions/%s.partition", base, name) < 0)
                return known = NULL, fail_errno(u, -ENOMEM, "make a definition");
        if (!given(u, OPT_DRY_RUN) && access(known, F_OK) == 0)
                return fail(u, ULV_EXIT_CONFLICT, "a partition of this name is defined already", known, "uvctl import libvirt:NAME OTHER-NAME");
        r = read_xml(u, source, &xml, &len);
        if (r == 0)
                r = convert(u, xml, len, &definition, &lost);
        if (r != 0)
                return r;
        tell_lost(source, lost);
        if (!given(u, OPT_DRY_RUN))
                return write_it(u, name, definition);
        printf("# %s.partition\n%s", name, definition);
        return 0;
}
