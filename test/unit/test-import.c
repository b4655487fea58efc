/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Domains of libvirt's as definitions: test/golden/import/NAME.xml and, beside it, NAME.ok: the definition, and what is
 * named as not kept. With --write it writes those that are missing, to be read by a person. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "model/definition.h"
#include "uvctl/import-confine.c"
#include "uvctl/import-domain.c"

static bool write_missing;

static size_t read_file(const char *path, char *buf, size_t size) {
        FILE *f = fopen(path, "r");
        size_t n;

        assert_non_null(f);
        n = fread(buf, 1, size - 1, f);
        buf[n] = 0;
        (void) fclose(f);
        return n;
}

static void check(const char *name) {
        static char xml[65536], golden[65536], path[256];
        _cleanup_strbuf_ struct ulv_strbuf definition = { 0 }, lost = { 0 };
        ULV_CLEANUP(ulv_definition_freep) struct ulv_definition *d = NULL;
        struct ulv_diag diag = { 0 };

        (void) snprintf(path, sizeof(path), "test/golden/import/%s.xml", name);
        assert_int_equal(import_domain(xml, read_file(path, xml, sizeof(xml)), &definition, &lost, &diag), 0);
        struct ulv_source file = { .file = "db.partition", .buf = ulv_strbuf_str(&definition), .len = definition.len };
        assert_int_equal(ulv_definition_parse(&file, 1, &d, &diag), 0);
        ulv_strbuf_addf(&definition, "--- not kept\n%s", ulv_strbuf_str(&lost));
        (void) snprintf(path, sizeof(path), "test/golden/import/%s.ok", name);
        FILE *f = write_missing ? fopen(path, "wx") : NULL;
        if (f) {
                (void) fputs(ulv_strbuf_str(&definition), f);
                (void) fclose(f);
        }
        (void) read_file(path, golden, sizeof(golden));
        assert_string_equal(ulv_strbuf_str(&definition), golden);
}

static void what_is_kept_is_a_definition_and_the_rest_is_named_with_its_line(ULV_UNUSED void **state) {
        check("web");
        check("emulated");
}

static void what_is_no_domain_is_refused(ULV_UNUSED void **state) {
        static const char *const bad[] = {
                "", "<a/>", "<domain>", "<domain type='kvm'><memory>1</domain>", "<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>",
                "<?xml version='1.0'?><!DOCTYPE domain SYSTEM '/etc/passwd'><domain type='kvm'/>",
        };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(bad); i++) {
                _cleanup_strbuf_ struct ulv_strbuf definition = { 0 }, lost = { 0 };
                struct ulv_diag diag = { 0 };

                assert_int_equal(import_domain(bad[i], strlen(bad[i]), &definition, &lost, &diag), 1);
                assert_int_not_equal(diag.why[0], 0);
        }
}

/* A value can't bring a line of its own into the definition. */
static void no_value_has_a_line_break(ULV_UNUSED void **state) {
        static const char xml[] = "<domain type='kvm'><os><kernel>/k\n[VM]\nAccel=tcg</kernel></os><devices><interface type='bridge'>"
                                  "<source bridge='b&#10;Name=x'/></interface></devices></domain>";
        _cleanup_strbuf_ struct ulv_strbuf definition = { 0 }, lost = { 0 };
        struct ulv_diag diag = { 0 };

        assert_int_equal(import_domain(xml, strlen(xml), &definition, &lost, &diag), 0);
        assert_null(strstr(ulv_strbuf_str(&definition), "Accel"));
        assert_null(strstr(ulv_strbuf_str(&definition), "Name"));
        assert_non_null(strstr(ulv_strbuf_str(&lost), "3: <kernel>: it has control characters"));
}

#ifndef __SANITIZE_ADDRESS__
static void do_nothing(void) {}
static void do_open(void) { (void) open("/etc/passwd", O_RDONLY); }
static void do_socket(void) { (void) socket(AF_UNIX, SOCK_STREAM, 0); }
static void do_fork(void) { (void) fork(); }
static void do_kill(void) { (void) kill(1, 0); }
#ifdef __x86_64__
static void do_old_interface(void) { __asm__ volatile("int $0x80" : : "a"(11), "b"(0), "c"(0), "d"(0) : "memory"); }     /* execve there, munmap here */
#endif

static int end_of(void (*act)(void)) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                if (import_confine() < 0)
                        _exit(2);
                act();
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void the_child_that_reads_can_do_nothing_else(ULV_UNUSED void **state) {
        assert_int_equal(end_of(do_nothing), 0);
        assert_int_equal(end_of(do_open), -SIGSYS);
        assert_int_equal(end_of(do_socket), -SIGSYS);
        assert_int_equal(end_of(do_fork), -SIGSYS);
        assert_int_equal(end_of(do_kill), -SIGSYS);
#ifdef __x86_64__
        assert_int_equal(end_of(do_old_interface), -SIGSYS);
#endif
}
#else
static void the_child_that_reads_can_do_nothing_else(ULV_UNUSED void **state) { skip(); }
#endif

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_kept_is_a_definition_and_the_rest_is_named_with_its_line),
                cmocka_unit_test(what_is_no_domain_is_refused),
                cmocka_unit_test(no_value_has_a_line_break),
                cmocka_unit_test(the_child_that_reads_can_do_nothing_else),
        };

        write_missing = argc > 1 && ulv_streq(argv[1], "--write");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
