# Tests: unit programs (test/unit/test-NAME.c, cmocka), fuzz replay (test/fuzz/fuzz-NAME.c with
# test/fuzz/corpus/NAME/), simulations (test/sim/), Bats (test/bats/*.bats). test/run.sh runs them.

UNIT_SRC := $(wildcard test/unit/test-*.c)
UNIT := $(patsubst test/unit/%.c,$(B)/test/%,$(UNIT_SRC))
FUZZ_SRC := $(wildcard test/fuzz/fuzz-*.c)
FUZZ := $(patsubst test/fuzz/%.c,$(B)/test/%,$(FUZZ_SRC))
SIM_SRC := $(wildcard test/sim/*.c)
SIM := $(patsubst test/sim/%.c,$(B)/test/%,$(SIM_SRC))

LIBS_test-store := -lsqlite3
LIBS_test-migrate := -lsqlite3
LIBS_test-import := -lexpat
LIBS_fuzz-import := -lexpat
LIBS_test-monitor := -lsystemd
LIBS_test-port-link := -lsystemd
LIBS_test-metrics := -lsystemd -lmicrohttpd
# Lets test/lib/fail-alloc.inc fail the Nth allocation.
WRAP_ALLOC := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
LIBS_test-ledger := $(WRAP_ALLOC)
LIBS_test-definition := $(WRAP_ALLOC)
LIBS_test-policy := $(WRAP_ALLOC)
LIBS_test-bundle := $(WRAP_ALLOC)
LIBS_test-planner := $(WRAP_ALLOC)
LIBS_sim-ledger := $(WRAP_ALLOC)

# Tests of channels look inside: they link its objects, not the library.
CHANNEL_TESTS := $(B)/test/test-channel $(B)/test/test-channel-state
$(CHANNEL_TESTS): $(call obj,$(CHANNEL_SRC))

# Unit tests link everything pure; a test may also include the .c file that it tests.
$(UNIT): $(B)/test/%: test/unit/%.c $(call obj,$(MODEL_SRC) $(BASE_SRC))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDHARDEN) -o $@ $< $(filter %.o,$^) $(LIBS_$*) -lcmocka

# What says which build it is of.
$(B)/test/test-port-link $(B)/test/test-metrics: $(B)/obj/build.o

$(SIM): $(B)/test/%: test/sim/%.c $(wildcard test/sim/*.inc) $(call obj,$(MODEL_SRC) $(BASE_SRC))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDHARDEN) -o $@ $< $(filter %.o,$^) $(LIBS_$*)

# Each fuzz target defines LLVMFuzzerTestOneInput; test/fuzz/replay-main.c feeds it the corpus.
$(FUZZ): $(B)/test/%: test/fuzz/%.c test/fuzz/replay-main.inc $(call obj,$(MODEL_SRC) $(BASE_SRC))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDHARDEN) $(FUZZ_EXTRA) -include test/fuzz/replay-main.inc -o $@ $< $(filter %.o,$^) $(LIBS_$*)

fuzz-build: $(FUZZ)
.PHONY: fuzz-build

tests-build: all $(UNIT) $(FUZZ) $(SIM)

.PHONY: tests-build

# Crash tests: programs that drive a standalone instance, and the power-cut library they preload.
CRASH := $(B)/test/crash/kill $(B)/test/crash/power-cut $(B)/test/crash/lifecycles
$(B)/test/crash/power-cut: $(call obj,$(filter uvd/store%,$(wildcard uvd/*.c)))
$(B)/test/crash/power-cut: LIBS_CRASH := -lsqlite3
$(CRASH): $(B)/test/crash/%: test/crash/%.c test/lib/instance.c $(call obj,$(BUS_SRC) $(MODEL_SRC) $(BASE_SRC))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDHARDEN) -o $@ $(filter %.c %.o,$^) -lsystemd $(LIBS_CRASH)
SHIMS := $(B)/test/crash/power-shim.so $(B)/test/crash/alloc-shim.so
$(SHIMS): $(B)/test/crash/%.so: test/crash/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O1 -g -shared -fPIC -o $@ $< -ldl
tests-build: $(CRASH) $(SHIMS)

# A uv-init with a hostile end of `uvctl copy`.
$(B)/test/hostile-uv-init: $(filter-out %/copy.c,$(wildcard plugins/lxc/init/*.c)) test/tools/hostile-copy.inc lib/copy.h
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -O2 -g -static -o $@ $(filter %.c,$^) -x c test/tools/hostile-copy.inc
tests-build: $(B)/test/hostile-uv-init

# Small tools that Bats uses, each of them one attack or one question.
TOOLS := $(patsubst test/tools/%.c,$(B)/test/%,$(wildcard test/tools/*.c))
$(TOOLS): $(B)/test/%: test/tools/%.c $(call obj,$(BUS_SRC) $(MODEL_SRC) $(BASE_SRC))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDHARDEN) -o $@ $(filter %.c %.o,$^) -lsystemd
tests-build: $(TOOLS)

# Benches: programs of bench/, each beside its peers.
BENCH := $(B)/bench/transactions $(B)/bench/calls $(B)/bench/starts $(B)/bench/channel $(B)/bench/systemd
$(B)/bench/channel: $(call obj,$(CHANNEL_SRC))
$(BENCH): $(B)/bench/%: bench/%.c bench/bench.c bench/raw.c test/lib/instance.c $(call obj,$(BUS_SRC) $(MODEL_SRC) $(BASE_SRC))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDHARDEN) -o $@ $(filter %.c %.o,$^) -lsystemd -lsqlite3
# Static, and with musl: what it is itself is next to nothing.
$(B)/bench/bare: $(B)/musl/bench/bare.o
	@mkdir -p $(@D)
	$(MUSL_CC) $(MUSL_LINK) -o $@ $<
bench-build: $(BENCH) $(B)/bench/bare

# The probe that tries to get out (test/probe), and a monitor whose layers can be switched off one at a time: built
# from the same files with ULV_TEST_BARRIERS, which the product's objects are never.
$(B)/test/uvprobe: test/probe/uvprobe.c $(wildcard test/probe/acts-*.c) test/probe/probe.h
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -O1 -g -static -o $@ $(filter %.c,$^)
$(B)/test/own-init $(B)/test/swapper: $(B)/test/%: test/probe/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O1 -g -static -o $@ $<
BARRIERS := $(B)/test/barriers/uv-monitor-lxc
$(BARRIERS): $(B)/obj/build.o $(B)/gen/plugins/lxc/filter.inc $(wildcard plugins/lxc/*.[ch]) test/lib/barriers.c $(call obj,$(ENFORCE_SRC) $(MONITOR_SRC) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MF $@.d -DULV_TEST_BARRIERS $(LDHARDEN) -o $@ $(filter %.c %.o,$^) $(LIBS_uv-monitor-lxc)
tests-build: $(B)/test/uvprobe $(B)/test/own-init $(B)/test/swapper $(BARRIERS)
