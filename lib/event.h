/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is worth more than a log line: an event, with a MESSAGE_ID by which systemd/ultravisor.catalog explains it
 * (journalctl -x), and by which it is found (journalctl MESSAGE_ID=...). The ids never change; test/check-catalog.sh
 * holds this table, the catalogue and the code to each other. */

#include "lib/log.h"

#define ULV_EVENTS(X) \
        X(STARTED, "2d4d84319a9142c19beef080a8b10aa5") \
        X(STOPPED, "def661d225794803a58a6eee5ed17d26") \
        X(FAILED, "84ffa7b12ae14d42a1f4c427b39a2d85") \
        X(ADOPTED, "fdfc59d7f6144f05903aae303aa3e7ab") \
        X(UPGRADED, "8d80cbe213b34927a315b24384987154") \
        X(OOM, "0d22a89ec8e94a3e9f635f9ae80efb3a") \
        X(DRIFT, "14d7c2fedf4643a3b94524b74b21849e") \
        X(REFUSED, "74e249a0bea246d88ea5d818e6c484f5") \
        X(AUDIT, "4d5c1f0e8a0b4b0f9b6f2a7c3d9e1a54") \
        X(ROLE, "bcebad22007d4bd4bdc97e87e5dd168c") \
        X(LEDGER, "2058817ef8414c7eb60d0f74d7b351fc")

enum ulv_event {
#define ULV_EVENT_(name, id) ULV_EVENT_##name,
        ULV_EVENTS(ULV_EVENT_)
#undef ULV_EVENT_
};

/* Logs it, about a partition or (NULL) about none. Where standard error is the journal, with fields, ULTRAVISOR_PARTITION
 * among them; else as a line like any other. */
void ulv_event(enum ulv_event event, enum ulv_log_level level, const char *partition, const char *fmt, ...) ULV_PRINTF(4, 5);
/* "MESSAGE_ID=...", for who has more fields. */
const char *ulv_event_field(enum ulv_event event);
