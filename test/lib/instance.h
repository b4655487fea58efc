/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A standalone Ultravisor for test and bench programs: made in a directory of its own, found by pid,
 * asked over its sockets. Functions end the program with a message on failure: a test has no other way. */

#include <stdio.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "lib/base.h"
#include "lib/strbuf.h"

struct instance {
        char root[128];         /* its --root */
        char bin[256];          /* where the programs are: $ULV_BIN */
        char inventory[160];    /* path of its inventory file */
        pid_t launch;           /* uv-launch */
};

#define FAIL(...) fail_(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void fail_(const char *file, int line, const char *fmt, ...) ULV_PRINTF(3, 4);

/* A fresh root below /tmp with this inventory text. */
void instance_make(struct instance *i, const char *name, const char *inventory);
void instance_write(const struct instance *i, const char *path, const char *fmt, ...) ULV_PRINTF(3, 4);
/* ROOT/tree: a root file system of busybox, for containers. */
void instance_busybox(const struct instance *i);
/* Starts uv-launch and waits until uv-command answers with uvd behind it. */
void instance_start(struct instance *i);
/* SIGTERM to uv-launch, waits; then removes the root. Returns the number of things left behind (told on stderr). */
int instance_stop(struct instance *i);

/* Bus connections; NULL if there is none (yet). */
sd_bus *instance_manager(const struct instance *i);
/* Connects to uvd as uv-command does: the calling process changes its uid for good, so fork first. */
sd_bus *instance_ledger(const struct instance *i);
void become_command(void);

/* Calls Manager.VERB(names, flags 0, 0, "test") and waits for the job. 0 = done; > 0 = the job failed or was
 * refused (text filled); -errno = not known (connection lost). */
int instance_do(sd_bus *manager, const char *verb, const char *name, unsigned flags, char *text, size_t size);
/* Ledger rows from command (kind "" = all), owned by the caller. NULL if it can't be asked now. */
char *instance_rows(sd_bus *manager, const char *kind, uint64_t *ret_generation);

/* Processes below uv-launch, by name of the program (or "uv-sim-x" of a payload); f gets the pid. */
void each_process(const struct instance *i, int (*f)(pid_t pid, const char *exe, const char *comm, void *userdata), void *userdata);
uint64_t process_start_time(pid_t pid);         /* 0 if there is none */
void msleep(unsigned ms);
uint64_t now_usec(void);
unsigned random_below(uint64_t *state, unsigned n);
