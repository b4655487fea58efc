/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The command line. Two tables, verbs and options, drive everything: dispatch, which option means
 * something to which verb, --help, `uvctl --help=verbs` for completion, and test/check-man.sh. */

#include "uvctl/options.h"

#include <getopt.h>
#include <signal.h>

#include "model/quantity.h"
#include "uvctl/host.h"

const struct verb uvctl_verbs[] = {
        { "list", verb_list, "[PATTERN...]", "partitions, one a line", 0, -1, OPT_OUTPUT | OPT_NAMES | OPT_ALL },
        { "status", verb_status, "[NAME...]", "one partition and how it is enforced, or the host", 0, -1, OPT_OUTPUT | OPT_LINES | OPT_RAW | OPT_STATUS_SAYS_IT },
        { "show", verb_show, "NAME...", "properties and the definition in force", 1, -1, OPT_OUTPUT },
        { "resources", verb_resources, "", "the ledger's sum: who has what (-a: unit by unit)", 0, 0, OPT_OUTPUT | OPT_ALL },
        { "graph", verb_graph, "", "who owns what, as a picture for dot(1)", 0, 0, 0 },
        { "check", verb_check, "[NAME...]", "the ledger against the machine (exit 9: differs)", 0, -1, OPT_OUTPUT | OPT_NAGIOS | OPT_DRY_RUN | OPT_REPAIR | OPT_STATUS_SAYS_IT },
        { "top", verb_top, "", "what they use now, beside what they have", 0, 0, OPT_OUTPUT | OPT_WAIT },
        { "verify", verb_verify, "[FILE|DIR...]", "check definitions and policies, without a daemon", 0, -1, OPT_OUTPUT | OPT_STATUS_SAYS_IT },
        { "plan", verb_plan, "[FILE|DIR]", "what apply would change", 0, 1, OPT_OUTPUT | OPT_EXPLAIN | OPT_PRUNE },
        { "apply", verb_apply, "[FILE|DIR]", "bring the host to these files, as one transaction", 0, 1, OPT_CHANGE | OPT_IF_GENERATION | OPT_YES | OPT_PRUNE },
        { "edit", verb_edit, "NAME", "edit a definition, check it, apply it", 1, 1, OPT_CHANGE | OPT_YES },
        { "new", verb_new, "NAME [-- COMMAND...]", "define one (import: of a VM of libvirt's)", 1, -1, OPT_CHANGE | OPT_FRESH },
        { "import", verb_import, "libvirt:DOMAIN [NAME]", "a VM of libvirt's as a definition", 1, 2, OPT_CHANGE | OPT_TOLD_ABOVE },
        { "start", verb_start, "NAME... | -a", "start partitions, in the order of After=", 0, -1, OPT_CHANGE | OPT_IF_GENERATION | OPT_ALL },
        { "stop", verb_stop, "NAME... | -a", "stop partitions (--force: kill at once)", 0, -1, OPT_CHANGE | OPT_IF_GENERATION | OPT_ALL | OPT_FORCE },
        { "restart", verb_restart, "NAME... | -a", "stop and start them", 0, -1, OPT_CHANGE | OPT_IF_GENERATION | OPT_ALL | OPT_FORCE },
        { "enable", verb_enable, "NAME...", "start them at boot, too (disable: don't)", 1, -1, 0 },
        { "disable", verb_disable, "NAME...", "don't start them at boot", 1, -1, OPT_TOLD_ABOVE },
        { "pause", verb_pause, "NAME... | -a", "hold all of it (resume: let it go on)", 0, -1, OPT_CHANGE | OPT_IF_GENERATION | OPT_ALL },
        { "resume", verb_resume, "NAME... | -a", "let it go on", 0, -1, OPT_CHANGE | OPT_IF_GENERATION | OPT_ALL | OPT_TOLD_ABOVE },
        { "kill", verb_kill, "NAME", "send a signal to its first process (-s)", 1, 1, OPT_SIGNAL | OPT_OUTPUT },
        { "set", verb_set, "NAME KEY=VALUE...", "change it now: cores= share= memory= tasks= ...", 2, -1, OPT_CHANGE | OPT_IF_GENERATION | OPT_RUNTIME },
        { "revert", verb_revert, "NAME", "drop what set, move, attach wrote over its files", 1, 1, OPT_CHANGE | OPT_IF_GENERATION },
        { "attach", verb_attach, "NAME WHAT", "give it mount=, device= or disk=, now (or detach)", 2, 2, OPT_CHANGE | OPT_IF_GENERATION | OPT_RUNTIME },
        { "detach", verb_detach, "NAME LABEL", "take one away, now (--force: whoever uses it)", 2, 2, OPT_CHANGE | OPT_IF_GENERATION | OPT_RUNTIME | OPT_FORCE | OPT_TOLD_ABOVE },
        { "move", verb_move, "KEY=AMOUNT FROM TO", "move cores, share or memory, as one transaction", 3, 3, OPT_CHANGE | OPT_IF_GENERATION | OPT_RUNTIME },
        { "remove", verb_remove, "NAME...", "forget partitions that are not running", 1, -1, OPT_CHANGE | OPT_IF_GENERATION | OPT_PURGE },
        { "exec", verb_exec, "NAME [--] COMMAND...", "run a command inside", 2, -1, OPT_USER | OPT_ENV | OPT_CHDIR | OPT_RAW | OPT_STATUS_SAYS_IT },
        { "shell", verb_shell, "NAME", "a login shell inside", 1, 1, OPT_USER | OPT_ENV | OPT_CHDIR | OPT_RAW | OPT_STATUS_SAYS_IT },
        { "copy", verb_copy, "FROM TO", "files in or out; one of both is NAME:/path", 2, 2, OPT_USER },
        { "console", verb_console, "NAME", "its console: see and type (Ctrl-] ends it)", 1, 1, OPT_FORCE | OPT_WATCH | OPT_LINES | OPT_RAW },
        { "logs", verb_logs, "NAME", "what it wrote to its console", 1, 1, OPT_OUTPUT | OPT_FOLLOW | OPT_LINES | OPT_RAW },
        { "image", verb_image, "build|import|list|remove ...", "what containers start from", 1, -1, OPT_OUTPUT | OPT_NAMES },
        { "credential", verb_credential, "encrypt|rotate ...", "secrets that partitions read as files", 1, -1, 0 },
        { "channel", verb_channel, "list|show|stat|cat|perf ...", "shared memory between two partitions", 1, -1, OPT_OUTPUT | OPT_WAIT },
        { "events", verb_events, "[NAME...]", "changes of the ledger as they happen", 0, -1, OPT_OUTPUT | OPT_FOLLOW | OPT_WAIT },
        { "why", verb_why, "VERB [WORD...]", "would it be refused, by which line, what helps", 1, -1, OPT_OUTPUT | OPT_STATUS_SAYS_IT },
        { "history", verb_history, "[NAME]", "transactions: who, when, what, how to undo", 0, 1, OPT_OUTPUT | OPT_NAMES | OPT_ALL | OPT_LINES },
        { "undo", verb_undo, "TRANSACTION...", "take transactions back, by new ones", 1, -1, OPT_CHANGE },
        { "backup", verb_backup, "FILE", "the ledger, as text", 1, 1, OPT_OUTPUT | OPT_FORCE },
        { "restore", verb_restore, "FILE", "the ledger from a backup (nothing may run)", 1, 1, OPT_OUTPUT },
        { "reload", verb_reload, "", "take hand-edited files into force", 0, 0, OPT_OUTPUT },
        { "upgrade", verb_upgrade, "[NAME...]", "new monitors, of the code on disk, for what runs", 0, -1, OPT_OUTPUT | OPT_DRY_RUN | OPT_FORCE },
        { "version", verb_version, "", "of uvctl and of the planner", 0, 0, OPT_OUTPUT },
        { 0 },
};

/* The order of enum option_bit does not matter here; code 0 in `bit` is taken by every verb. */
static const struct option_word {
        const char *name; char letter; int has_arg; const char *arg, *help; unsigned bit;
} options[] = {
        { "output", 'o', required_argument, "FORM", "table, wide, json, name, nagios", OPT_OUTPUT },
        { "no-legend", 'L', no_argument, NULL, "no header, no last line", 0 },
        { "dry-run", 'n', no_argument, NULL, "say what would change", OPT_DRY_RUN },
        { "explain", 'e', no_argument, NULL, "and each constraint looked at", OPT_EXPLAIN },
        { "wait", 'w', optional_argument, "T", "wait at most T (exit 8)", OPT_WAIT },
        { "no-block", 'b', no_argument, NULL, "return once it is decided", OPT_NO_BLOCK },
        { "if-generation", 'g', required_argument, "N", "only if the ledger is there", OPT_IF_GENERATION },
        { "reason", 'r', required_argument, "TEXT", "for the history", OPT_REASON },
        { "all", 'a', no_argument, NULL, "all of them; more of it", OPT_ALL },
        { "yes", 'y', no_argument, NULL, "don't ask", OPT_YES },
        { "force", 'F', no_argument, NULL, "see the verb", OPT_FORCE },
        { "prune", 'P', no_argument, NULL, "remove what has no file", OPT_PRUNE },
        { "runtime", 'R', no_argument, NULL, "write no drop-in", OPT_RUNTIME },
        { "follow", 'f', no_argument, NULL, "go on as it comes", OPT_FOLLOW },
        { "watch", 'T', no_argument, NULL, "see only, don't type", OPT_WATCH },
        { "lines", 'l', required_argument, "N", "at most N", OPT_LINES },
        { "raw", 'W', no_argument, NULL, "control characters as they are", OPT_RAW },
        { "signal", 's', required_argument, "SIGNAL", "TERM if not said", OPT_SIGNAL },
        { "user", 'u', required_argument, "USER", "run as, inside", OPT_USER },
        { "env", 'E', required_argument, "K=V", "set inside", OPT_ENV },
        { "chdir", 'C', required_argument, "DIR", "run there, inside", OPT_CHDIR },
        { "image", 'I', required_argument, "IMAGE", "to start from", OPT_FRESH },
        { "template", 'J', required_argument, "T", "whose keys to take", OPT_FRESH },
        { "cores", 'K', required_argument, "N", "whole cores", OPT_FRESH },
        { "share", 'S', required_argument, "N", "threads of the pool", OPT_FRESH },
        { "memory", 'M', required_argument, "SIZE", "like 512M", OPT_FRESH },
        { "writable", 'B', required_argument, "WORD", "kept or ephemeral", OPT_FRESH },
        { "type", 'G', required_argument, "TYPE", "container or vm", OPT_FRESH },
        { "disk", 'd', required_argument, "FILE:FORMAT", "to boot, of a VM", OPT_FRESH },
        { "kernel", 'k', required_argument, "FILE", "to boot, of a VM", OPT_FRESH },
        { "initrd", 'i', required_argument, "FILE", "of the kernel", OPT_FRESH },
        { "accel", 'c', required_argument, "WORD", "kvm or tcg", OPT_FRESH },
        { "start", 'Z', no_argument, NULL, "and start it", OPT_FRESH },
        { "purge", 'X', no_argument, NULL, "and what it wrote (Writable=kept)", OPT_PURGE },
        { "repair", 'A', no_argument, NULL, "mend what is safe", OPT_REPAIR },
        { "quiet", 'q', no_argument, NULL, "errors only", 0 },
        { "root", 'D', required_argument, "DIR", "instance ($ULTRAVISOR_ROOT)", 0 },
        { "host", 'H', required_argument, "HOST", "there, by ssh", 0 },
        { "help", 'h', optional_argument, NULL, "this, or of a verb", 0 },
        { "version", 'V', no_argument, NULL, "as the verb", 0 },
};
/* Letters that people may type; the others are only inside, for getopt. */
static const char letters[] = "onayfslquHh";

static const struct verb *find_verb(const char *name) {
        for (const struct verb *v = uvctl_verbs; v->name; v++)
                if (ulv_streq(v->name, name))
                        return v;
        return NULL;
}

/* Edit distance, for words of at most 31 bytes; longer ones are far from everything. */
static unsigned distance(const char *a, const char *b) {
        unsigned row[32], n = (unsigned) strlen(b);

        if (strlen(a) > 31 || n > 31)
                return 99;
        for (unsigned j = 0; j <= n; j++)
                row[j] = j;
        for (unsigned i = 1; a[i - 1]; i++) {
                unsigned diagonal = row[0];

                row[0] = i;
                for (unsigned j = 1; j <= n; j++) {
                        unsigned old = row[j], change = diagonal + (a[i - 1] != b[j - 1]);

                        row[j] = ULV_MIN(change, ULV_MIN(old, row[j - 1]) + 1);
                        diagonal = old;
                }
        }
        return row[n];
}

static int unknown_verb(struct uvctl *u, const char *name) {
        static const struct { const char *word, *verb; } elsewhere[] = {
                { "ps", "list" }, { "info", "status" }, { "delete", "remove" }, { "destroy", "remove" }, { "rm", "remove" },
                { "create", "new" }, { "run", "new" }, { "cp", "copy" },
        };
        const struct verb *best = NULL;
        unsigned least = 3;

        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl %s has no verb \"%s\"", ULV_VERSION, name);
        for (const struct verb *v = uvctl_verbs; v->name; v++) {
                unsigned d = distance(name, v->name);

                /* Of a short word that is half another one nothing is near. */
                if (d < least && 2 * d < strlen(name))
                        least = d, best = v;
        }
        for (size_t i = 0; i < ULV_ARRAY_SIZE(elsewhere); i++)
                if (ulv_streq(name, elsewhere[i].word))
                        best = find_verb(elsewhere[i].verb);
        if (best) {
                ulv_diag_why(&u->diag, "the nearest is \"%s\"", best->name);
                ulv_diag_try(&u->diag, "uvctl %s %s", best->name, best->args);
        }
        if (!best || ulv_streq(name, "help")) {
                ulv_diag_why(&u->diag, "what it has is shown by --help");
                ulv_diag_try(&u->diag, "uvctl --help");
        }
        return ULV_EXIT_USAGE;
}

/* "-o, --output=FORM" into buf. */
static void option_text(const struct option_word *o, char *buf, size_t size) {
        char letter[8] = "";

        if (strchr(letters, o->letter))
                (void) snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        (void) snprintf(buf, size, "%s--%s%s%s%s%s", letter, o->name,
                        o->arg && o->has_arg == optional_argument ? "[" : "", o->arg ? "=" : "", o->arg ? o->arg : "",
                        o->arg && o->has_arg == optional_argument ? "]" : "");
}

static void print_options(unsigned mask) {
        char text[64];

        for (size_t i = 0; i < ULV_ARRAY_SIZE(options); i++) {
                if (options[i].bit && !(options[i].bit & mask))
                        continue;
                option_text(&options[i], text, sizeof(text));
                printf("  %-22s %s\n", text, options[i].help);
        }
}

/* All verbs and the names of all options, on one screen of 80 columns. */
static void help(void) {
        char text[64];

        printf("uvctl [OPTION...] VERB [WORD...]\n"
               "Cores and memory of this host, given to partitions by a ledger. See uvctl(1).\n");
        for (const struct verb *v = uvctl_verbs; v->name; v++) {
                if (v->options & OPT_TOLD_ABOVE)
                        continue;
                (void) snprintf(text, sizeof(text), "%s %s", v->name, v->args);
                printf("  %-28s %s\n", text, v->help);
        }
        printf("\nuvctl VERB --help tells the options of a verb. Of all:\n");
        for (size_t i = 0; i < ULV_ARRAY_SIZE(options); i++)
                if (!options[i].bit) {
                        option_text(&options[i], text, sizeof(text));
                        printf("  %s", text);
                }
        putchar('\n');
}

/* For completion and for test/check-man.sh: one verb a line with its options. */
static void help_verbs(void) {
        for (const struct verb *v = uvctl_verbs; v->name; v++) {
                printf("%s", v->name);
                for (size_t i = 0; i < ULV_ARRAY_SIZE(options); i++)
                        if (!options[i].bit || options[i].bit & v->options)
                                printf(" --%s%s", options[i].name, options[i].has_arg == required_argument ? "=" : "");
                putchar('\n');
        }
}

static int bad_value(struct uvctl *u, const char *option, const char *value, const char *want) {
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "--%s=%.64s is not understood", option, value);
        ulv_diag_why(&u->diag, "it wants %s", want);
        ulv_diag_try(&u->diag, "uvctl --help");
        return ULV_EXIT_USAGE;
}

static int read_output(struct uvctl *u, const char *value) {
        static const char *const forms[] = { "table", "wide", "json", "name", "nagios" };

        for (size_t i = 0; i < ULV_ARRAY_SIZE(forms); i++)
                if (ulv_streq(value, forms[i])) {
                        u->output = (enum output) i;
                        return 0;
                }
        return bad_value(u, "output", value, "table, wide, json, name or nagios");
}

static int read_signal(struct uvctl *u, const char *value) {
        const char *name = ulv_startswith(value, "SIG") ? value + 3 : value;
        uint64_t number;

        if (ulv_uint_parse(name, 64, &number) >= 0 && number > 0) {
                u->signal = (int) number;
                return 0;
        }
        for (int i = 1; i < NSIG; i++) {
                const char *s = sigabbrev_np(i);

                if (s && ulv_streq(s, name)) {
                        u->signal = i;
                        return 0;
                }
        }
        return bad_value(u, "signal", value, "a name like TERM or HUP, or a number from 1 to 64");
}

static int read_env(struct uvctl *u, const char *value) {
        if (!strchr(value, '=') || value[0] == '=')
                return bad_value(u, "env", value, "NAME=VALUE");
        u->env[u->n_env++] = value;     /* as many slots as words on the command line */
        return 0;
}

static int read_option(struct uvctl *u, const struct option_word *o, const char *value) {
        uint64_t n;

        u->given |= o->bit;
        switch (o->letter) {
        case 'o': return read_output(u, value);
        case 'L': u->legend = false; break;
        case 'q': u->quiet = true; break;
        case 'D': u->root = value; break;
        case 'r': u->reason = value; break;
        case 'u': u->user = value; break;
        case 'C': u->chdir = value; break;
        case 'I': u->fresh.image = value; break;
        case 'J': u->fresh.template = value; break;
        case 'K': u->fresh.cores = value; break;
        case 'S': u->fresh.share = value; break;
        case 'M': u->fresh.memory = value; break;
        case 'B': u->fresh.writable = value; break;
        case 'G': u->fresh.type = value; break;
        case 'd': u->fresh.disk = value; break;
        case 'k': u->fresh.kernel = value; break;
        case 'i': u->fresh.initrd = value; break;
        case 'c': u->fresh.accel = value; break;
        case 'Z': u->fresh.start = true; break;
        case 's': return read_signal(u, value);
        case 'E': return read_env(u, value);
        case 'g':
                if (ulv_uint_parse(value, UINT64_MAX, &u->if_generation) < 0)
                        return bad_value(u, o->name, value, "a number, as in `uvctl status`");
                break;
        case 'l':
                if (ulv_uint_parse(value, 1000000, &n) < 0)
                        return bad_value(u, o->name, value, "a number up to 1000000");
                u->lines = (unsigned) n;
                break;
        case 'w':
                if (value && ulv_duration_parse(value, &u->wait_usec) < 0)
                        return bad_value(u, o->name, value, "a time like 30s or 2min");
                break;
        default: break; /* its bit in u->given says it all */
        }
        return 0;
}

/* Options that say opposite things, and options that the verb doesn't know. */
static int check_options(struct uvctl *u, const struct verb *v) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(options); i++)
                if (options[i].bit & u->given & ~v->options) {
                        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "--%s means nothing to uvctl %s", options[i].name, v->name);
                        ulv_diag_try(&u->diag, "uvctl %s --help", v->name);
                        return ULV_EXIT_USAGE;
                }
        if (u->output == OUTPUT_NAME && !(v->options & OPT_NAMES)) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl %s doesn't answer with names", v->name);
                ulv_diag_why(&u->diag, "--output=name is for list, history and image list");
                ulv_diag_try(&u->diag, "uvctl list -o name");
                return ULV_EXIT_USAGE;
        }
        if (u->output == OUTPUT_NAGIOS && !(v->options & OPT_NAGIOS)) {
                ulv_diag_what(&u->diag, ULV_EXIT_USAGE, "uvctl %s is no plugin of a monitoring system", v->name);
                ulv_diag_why(&u->diag, "--output=nagios is for check");
                ulv_diag_try(&u->diag, "uvctl check -o nagios");
                return ULV_EXIT_USAGE;
        }
        if (given(u, OPT_NO_BLOCK) && given(u, OPT_WAIT))
                return fail(u, ULV_EXIT_USAGE, "--no-block and --wait exclude each other", "", "one of them");
        return 0;
}

static int check_words(struct uvctl *u, const struct verb *v, int n) {
        if (n >= v->min && (v->max < 0 || n <= v->max))
                return 0;
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, n < v->min ? "uvctl %s needs more words" : "uvctl %s takes fewer words", v->name);
        ulv_diag_why(&u->diag, "it is: uvctl %s%s%s", v->name, v->args[0] ? " " : "", v->args);
        ulv_diag_try(&u->diag, "uvctl %s --help", v->name);
        return ULV_EXIT_USAGE;
}

static void build_getopt(struct option *longs, char *shorts) {
        *shorts++ = '-';        /* words come in order, as option 1: exec ends its options at its command */
        *shorts++ = ':';
        for (size_t i = 0; i < ULV_ARRAY_SIZE(options); i++) {
                longs[i] = (struct option) { options[i].name, options[i].has_arg, NULL, 256 + (int) i };
                if (!strchr(letters, options[i].letter))
                        continue;
                *shorts++ = options[i].letter;
                if (options[i].has_arg == required_argument)
                        *shorts++ = ':';
        }
        *shorts = 0;
        longs[ULV_ARRAY_SIZE(options)] = (struct option) { 0 };
}

static const struct option_word *by_code(int code) {
        for (size_t i = 0; i < ULV_ARRAY_SIZE(options); i++)
                if (code == 256 + (int) i || (code < 256 && code == options[i].letter && strchr(letters, code)))
                        return &options[i];
        return NULL;
}

static int bad_option(struct uvctl *u, const char *verb, const char *text, bool missing) {
        ulv_diag_what(&u->diag, ULV_EXIT_USAGE, missing ? "%s needs a value" : "%s is no option of uvctl", text);
        ulv_diag_try(&u->diag, verb && find_verb(verb) ? "uvctl %s --help" : "uvctl --help", verb);
        return ULV_EXIT_USAGE;
}

/* Answers --help: of a verb where one was said before it, "verbs" for scripts. */
static int answer_help(struct uvctl *u, const char *verb, const char *topic) {
        const struct verb *v = verb ? find_verb(verb) : NULL;

        if (topic && ulv_streq(topic, "verbs")) {
                help_verbs();
                return 0;
        }
        if (!v && verb)
                return unknown_verb(u, verb);
        if (!v) {
                help();
                return 0;
        }
        printf("uvctl %s%s%s\n  %s\n\n", v->name, v->args[0] ? " " : "", v->args, v->help);
        print_options(v->options);
        return 0;
}

int options_read(struct uvctl *u, int argc, char **argv, char **words, const struct verb **ret_verb, int *ret_n) {
        struct option longs[ULV_ARRAY_SIZE(options) + 1];
        char shorts[2 * ULV_ARRAY_SIZE(options) + 3];
        int n = 0, c, r, at = 1;

        build_getopt(longs, shorts);
        opterr = 0;
        for (; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1; at = optind) {
                const struct option_word *o = by_code(c);

                if (c == 1) {
                        /* The third word of exec begins the command: what follows are its own options. */
                        if (n == 2 && ulv_streq(words[0], "exec")) {
                                optind--;
                                break;
                        }
                        words[n++] = optarg;
                        continue;
                }
                if (!o)
                        return bad_option(u, n > 0 ? words[0] : NULL, argv[optind - 1], c == ':');
                if (o->letter == 'h') {
                        *ret_verb = NULL;
                        return answer_help(u, n > 0 ? words[0] : NULL, optarg);
                }
                if (o->letter == 'V') {
                        printf("uvctl %s\n", ULV_VERSION);
                        *ret_verb = NULL;
                        return 0;
                }
                r = o->letter == 'H' ? host_take(u, optarg, argv, at, optind) : read_option(u, o, optarg);
                if (r != 0)
                        return r;
        }
        while (optind < argc)
                words[n++] = argv[optind++];
        if (n == 0)
                words[n++] = (char *) "list";
        words[n] = NULL;
        *ret_verb = find_verb(words[0]);
        if (!*ret_verb)
                return unknown_verb(u, words[0]);
        *ret_n = n;
        r = check_options(u, *ret_verb);
        return r != 0 ? r : check_words(u, *ret_verb, n - 1);
}
