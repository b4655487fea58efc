/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The words that the roles speak to each other: paths, interfaces, methods. All sockets are below
 * ROOT/run/ultravisor; all are sd-bus peer to peer but LAUNCH and PORT.
 *
 *   socket              served by   who may connect       interface
 *   uvd/command         uvd         uid of command only   org.ultravisor1.Ledger at /org/ultravisor1/ledger
 *   uvd/monitor         uvd         root, uid of sim      org.ultravisor1.Monitor at /org/ultravisor1/monitor
 *   operations/command  operations  uid of command only   org.ultravisor1.Operations at /org/ultravisor1/operations
 *   command/public      command     root, socket's group  org.ultravisor1.Manager, .Partition at /org/ultravisor1... (and the system bus)
 *   launch              uv-launch   root, uid of uvd      SEQPACKET text, see ULV_LAUNCH below
 *
 * org.ultravisor1.Ledger
 *   Submit(s id, s zone, t if_generation, s subject, s reason, s operations)
 *        -> (u result, t generation, s state, s undo)   result 0; state "done" or "reaching". A repeat of an
 *        id gives the first outcome. A refusal is an error org.ultravisor1.Error.*; a commit that failed is
 *        Error.OutcomeUnknown. Replied after the commit.
 *   Rows(s kind) -> (t generation, s epoch, s rows)      kind "" = all, and from then on the
 *        connection gets Changed and Settled: without the rows they would mean nothing
 *   Transaction(s id) -> (s state, t generation, s undo) state: done, undone, reaching; unknown = error NotFound
 *   History(s owner, t before_seq, u limit) -> (s lines)  newest first; lines: "row history SEQ - time= generation= id=
 *        subject= reason= state= operations= undo= after=" in the one text form. Manager's adds undoable= (yes, no,
 *        unknown): what Undo would answer now
 *   Backup() -> (t generation, h file)   sealed memfd: the text dump, checked by its last line
 *   Restore(h file) -> (t generation)    refused while any partition is live
 *   Exec(s partition, as argv, as env, s user, s cwd, ah stdio) -> (i status)   forwarded to the monitor; 0..255,
 *        or 256 + signal. stdio: 0, 1, 2 (3 fds)
 *   Console(s partition, u flags, q rows, q columns, h input) -> ()   forwarded
 *   Usage(s partition) -> (t cpu_usec, t memory, t tasks, b summed)   forwarded
 *   Signal(s partition, i signal) -> ()  forwarded
 *   Enforce(s partition) -> ()   forwarded
 *   SelfTest(s partition) -> (u code, u made, u failed)   forwarded
 *   RotateCredential(s partition, s credential) -> ()   forwarded
 *   ChannelOpen(s partition, s channel) -> (h)  ChannelState(s partition, s channel) -> (h)   forwarded
 *   Refuse(s partition, u code, s what, s why, s try) -> ()   the answer to StartWanted that isn't a transaction
 *   Renew(s partition, u flags) -> ()    forwarded
 *   Runs(s role, u pid, s build) -> ()   for the rows of infrastructure: of which build (lib/build.h) "command" is, and
 *        "operations", which uvd never meets, and its pid
 *   signals: Changed(t generation, s changes)    `row` and `gone` lines, every commit, in order
 *            Settled(t generation, s lines)      "done ID" / "undone ID"
 *            Replaced(t generation)              a backup was restored: mirrors load all rows anew
 *            StartWanted(s partition)            PID 1 started a monitor by itself: start it, or Refuse(). Said again to who
 *                                                asks for all rows
 *
 * org.ultravisor1.Monitor (a monitor calls uvd; uvd binds the connection to one partition, once)
 *   Hello(s partition, s token, s type, s view_held) -> (t epoch, h view)   view_held: the text of the last view it
 *        kept, "" if none (used by --rebuild only). The view may say state=defined or stopping: then there is
 *        only proof and clean-up to do.
 *   Want(s name, s token) -> ()   instead of Hello, of a monitor that PID 1 started by itself (uv-unit want): answered when
 *        the partition is to run; an error: it isn't
 *   Report(t view_generation, s operations) -> (t generation)    one txn of reports; replied after the commit
 *   Channel(s id) -> (s memory, h memory, h bell of end 0, h bell of end 1)   of a channel in the view: from the other end's
 *        monitor, else, for the owner, made; memory: its number, for the report
 *   signals from uvd: ViewChanged(t generation)
 *        Recheck()   the starter may have changed what is enforced (daemon-reload): enforce, and read back, again
 * org.ultravisor1.MonitorControl at /org/ultravisor1/control (uvd calls a monitor, same connection)
 *   Exec(as argv, as env, s user, s cwd, ah stdio) -> (i status)
 *   Console(u flags, q rows, q columns, h input) -> ()
 *   Usage() -> (t cpu_usec, t memory, t tasks, b summed)   cpu_usec: since its start; summed: over its processes
 *   Signal(i signal) -> ()
 *   Enforce() -> ()   as Recheck(), and tells how it ended
 *   Channel(s id) -> (shhh)   as above, for the other end
 *   SelfTest() -> (u code, u made, u failed)   SELFTEST of uv-call(7); code NOT_THERE: nobody inside listens for it
 *   ChannelOpen(s label) -> (h)   socket to uv-port, over which comes the answer to an OPEN (uv-call(7)) of the host's end
 *   ChannelState(s label) -> (h)  the same; what comes is one struct channel_account
 *   RotateCredential(s credential) -> ()   reads it (or all: "") again from the definition's path; no secret goes over any bus
 *   Renew(u flags) -> ()     ends, and its starter brings a new one, from the program on disk, which adopts the payload; Conflict
 *        while Exec or Console is under way, but with flag 2
 *
 * org.ultravisor1.Operations
 *   Bundle() -> (t version, h bundle, s problems, s build)       sealed memfd, the last good set; problems: "" or the errors
 *        of the files on disk that keep them from counting, one "file:line:column: what" a line
 *   Reload() -> (b ok, t version, s problems)
 *   Status() -> (t version, b differ, s problems)        differ: the files on disk aren't the set in force
 *   Check(h bundle, b merge) -> (b ok, h merged, s problems)   a candidate: files of `bundle` over those in force
 *        (merge=false: instead of them). An empty memfd is the files on disk as they are now. merged: for Install()
 *   Install(h bundle, a(ss) purposes) -> (t version)     2^64-1: the set in force isn't the one whose version the bundle has, and
 *        that it was made from: it would take back what came since. Else re-checks, writes what differs from the set in force, makes it
 *        the set in force; refused (Conflict) where that would overwrite a hand edit that doesn't count yet. purposes:
 *        partition ("" = all) and transaction that its files are written for. That is noted before they are, and stays as
 *        long as the version is kept, unless it is taken back by Revert(); unsettled until Settle()
 *   SetDropIn(s partition, t before, s text, s transaction) -> (t version)   NAME.partition.d/50-set.conf; "" removes it. Noted
 *        too. 2^64-1: it isn't the one, of this ulv_source_sum(), that `text` was made from
 *   Revert(t version, s partition) -> (t version)        takes back what the call that made `version` changed (of one
 *        partition's files, ""= all), if none of these files was changed again since (else Conflict)
 *   TakeBack(s transaction, s by) -> (t version)         the same with what was written for a transaction, if anything was;
 *        noted for the transaction `by`, so that it can be taken back in its turn. by "": only tells whether it could
 *   Stuck(as transactions) -> (as)                       of these, those that TakeBack() would refuse
 *   Settle(t version) -> ()                              the transaction that it was written for has ended well
 *   Unsettled() -> (a(tss) version, partition, transaction)   what was neither settled nor taken back
 *   signals: Changed(t version)
 *
 * org.ultravisor1.Manager at /org/ultravisor1, for people: man/org.ultravisor1.5 has every method, with who may call
 * it. The private socket and, installed, the system bus. flags: enum ulv_flags below. What the page leaves out:
 *   Rows: partition rows carry extra computed keys:
 *        isolation= cores= (numbers, "1,3-4") cores-wanted= cores-reached= share-wanted= share-reached= (1/1000)
 *        memory-wanted= memory-reached= (bytes) cpu-how= memory-how= limits= (of each limit ID WANTED REACHED HOW, by
 *        spaces) degraded= description= unit=, and no text= (that is Definition's). A number that is 0 is left out. The ledger row carries stale=yes while uvd can't be reached.
 *   Start and all that answer with a job: transaction: the id, by which the outcome can be asked for should this process
 *        die; "several" where each is made when it is its turn; "" if there was nothing to do
 *   Set: values: cores share memory.  Move: what: "cores=1".  Apply: bundle: empty memfd = files in force
 *   Wait: state done, undone, failed; blocks; timeout 0 = for ever. undo: transactions of this job that Undo can take
 *        back, the latest first, by a space
 *   Attach: what: "mount=LABEL:SOURCE:TARGET[:ro]" or "device=[LABEL:]/dev/NODE[:ro]".  Detach: force: whoever uses it
 *   Definition: files: paths in the configuration directory, by a space
 *   Logs: read-only (lib/logform.h); an empty memfd where there is none
 *   Exec: argv of one word "-": the user's shell, as at a login; argv[0] "--copy": files (monitor/port.h)
 *   Console: answered when input ends. One at a time: Conflict, but with flag 2 for who typed before. Its output: Logs.
 *   A plan is lines of "NAME\tACTION\tTEXT\tNOTE", then "\n" and the summary, then, asked for, the explanation.
 *   A refusal is an error: ulv_bus_error_to_diag().
 * org.ultravisor1.Partition at /org/ultravisor1/partition/NAME (bus-escaped): the properties of JSON output.
 */

#define ULV_SERVICE "org.ultravisor1"
#define ULV_PATH "/org/ultravisor1"
#define ULV_PATH_LEDGER ULV_PATH "/ledger"
#define ULV_PATH_MONITOR ULV_PATH "/monitor"
#define ULV_PATH_CONTROL ULV_PATH "/control"
#define ULV_PATH_OPERATIONS ULV_PATH "/operations"
#define ULV_PATH_PARTITION ULV_PATH "/partition"
#define ULV_PATH_JOB ULV_PATH "/job"
#define ULV_IF_LEDGER "org.ultravisor1.Ledger"
#define ULV_IF_MONITOR "org.ultravisor1.Monitor"
#define ULV_IF_CONTROL "org.ultravisor1.MonitorControl"
#define ULV_IF_OPERATIONS "org.ultravisor1.Operations"
#define ULV_IF_MANAGER "org.ultravisor1.Manager"
#define ULV_IF_PARTITION "org.ultravisor1.Partition"
#define ULV_IF_JOB "org.ultravisor1.Job"

#define ULV_SOCKET_LEDGER "uvd/command"
#define ULV_SOCKET_MONITOR "uvd/monitor"
#define ULV_SOCKET_OPERATIONS "operations/command"
#define ULV_SOCKET_PUBLIC "command/public"
#define ULV_SOCKET_LAUNCH "launch"

enum ulv_flags { ULV_FLAG_DRY_RUN = 1, ULV_FLAG_FORCE = 2, ULV_FLAG_PRUNE = 4, ULV_FLAG_RUNTIME = 8, ULV_FLAG_EXPLAIN = 16 };

/* Names of errors, by enum ulv_exit. */
#define ULV_ERROR_PREFIX "org.ultravisor1.Error."
#define ULV_ERROR_FAILED ULV_ERROR_PREFIX "Failed"
#define ULV_ERROR_USAGE ULV_ERROR_PREFIX "InvalidArgument"
#define ULV_ERROR_NOT_ACTIVE ULV_ERROR_PREFIX "NotActive"
#define ULV_ERROR_NOT_FOUND ULV_ERROR_PREFIX "NotFound"
#define ULV_ERROR_DENIED ULV_ERROR_PREFIX "Denied"
#define ULV_ERROR_CONFLICT ULV_ERROR_PREFIX "Conflict"
#define ULV_ERROR_CAPACITY ULV_ERROR_PREFIX "NoCapacity"
#define ULV_ERROR_TIMEOUT ULV_ERROR_PREFIX "TimedOut"
#define ULV_ERROR_DEGRADED ULV_ERROR_PREFIX "Degraded"
#define ULV_ERROR_UNREACHABLE ULV_ERROR_PREFIX "Unreachable"
#define ULV_ERROR_OUTCOME_UNKNOWN ULV_ERROR_PREFIX "OutcomeUnknown"
/* Of Exec only: what a shell tells by 127 and 126. */
#define ULV_ERROR_NO_PROGRAM ULV_ERROR_PREFIX "NoProgram"
#define ULV_ERROR_NOT_EXECUTABLE ULV_ERROR_PREFIX "NotExecutable"

/* ULV_LAUNCH: what uv-launch and uvd say, one text per SEQPACKET message, at most 256 bytes.
 *   uvd -> launch    "start NAME"  "stop NAME"     stop: SIGTERM to the monitor, no restart, store emptied
 *   launch -> uvd    on connect, for each monitor it keeps: "running NAME TOKEN", then "end"
 *                    "started NAME TOKEN"  "failed NAME ERRNO"  "exited NAME STATUS" (not restarted)
 *                    "restarted NAME TOKEN"
 * TOKEN: 32 hex digits, new for each start of a monitor; the monitor has it in ULTRAVISOR_TOKEN. Under
 * systemd its place is taken by the unit's INVOCATION_ID.
 *
 * What the starter gives each process (both starters): NOTIFY_SOCKET, LISTEN_FDS/LISTEN_FDNAMES/LISTEN_PID from
 * the fd store, WATCHDOG_USEC for roles, and
 *   ULTRAVISOR_ROOT   the root directory ("/" installed)
 *   ULTRAVISOR_TOKEN  monitors, see above
 *   ULTRAVISOR_INVENTORY  uvd: path of --inventory, if given
 *   ULTRAVISOR_CGROUP  monitors: directory of the cgroup2 tree of this instance (standalone), "" if none
 *   ULTRAVISOR_SCOPES  monitors of units: their payloads are in scopes of PID 1 (ultravisor-NAME.scope)
 *
 * A monitor is started as `uv-monitor NAME`. Before "start NAME" uvd writes the backend's name ("lxc", "kvm", "sim") into
 * ROOT/run/ultravisor/uvd/type/NAME (not uvd/monitor/: that is the socket); uv-monitor executes uv-monitor-BACKEND.
 * A second word says why uvd wants one, if not to start the partition: "stop", to end what is left (ULTRAVISOR_STOP=yes);
 * "look", to find out whether it runs. (ULTRAVISOR_STOP=past is uv-monitor's: only to see a stopped life to its end.)
 * Without that file it was PID 1 that started it by itself: it asks uvd first, by `uv-unit want NAME` (Want).
 * A monitor says READY=1 when its partition runs, and ends with status 0 when that ended as it should, with
 * ULV_MONITOR_FAILED when it failed, with another code of enum ulv_exit when the start was refused: none of these is to
 * be started again. Any other end is, with its fds.
 * The console's log is ROOT/var/log/ultravisor/NAME.log.0, .1 and .first, root:command 0640, made by the monitor. */

#define ULV_MONITOR_FAILED 3
#define ULV_MONITOR_RENEWED 75  /* Renew: no failure, and to be started again */

#define ULV_RUN "run/ultravisor"                /* below ROOT: sockets and what lives as long as the instance */
#define ULV_RUN_TYPE ULV_RUN "/uvd/type"
#define ULV_RUN_PARTITION ULV_RUN "/partition"  /* /NAME is the monitor's own, 0700 */
#define ULV_STOP_NOTE "stopped"                 /* in there: this life was stopped while uvd wasn't there to be told */
#define ULV_DEATHS_NOTE "deaths"                /* in there: how many monitors died at once in a row, and when the last was started */
#define ULV_RUN_NOTIFY ULV_RUN "/notify"        /* uv-launch's NOTIFY_SOCKET; bound anew = a new uv-launch: push fds again */
#define ULV_MACHINE_IDS "var/lib/ultravisor/machine-id"         /* /NAME: each partition's, made at its first start */
#define ULV_CREDENTIAL_KEY "var/lib/ultravisor/credential.secret"      /* of a standalone instance; "/": the host's */
#define ULV_LOG_DIR "var/log/ultravisor"
