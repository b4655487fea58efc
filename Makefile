# Ultravisor. `sudo make run` and `sudo make test` need nothing but Debian 12, make and this clone.
#
#   make            all programs, into build/bin
#   make run        installs packages, builds, brings up a standalone Ultravisor with an example
#   make test       installs packages, runs every test; last line: N passed, N failed, N skipped
#   make long       what doesn't fit in test: 10,000 crash cycles, fuzzing, sanitizers over everything
#   make bench      figures beside peers, as ratios (bench/)
#   make install    programs, units, manuals below PREFIX=/usr/local (DESTDIR= for packagers); make uninstall
#   make check-libs each binary's NEEDED list against the table of ARCHITECTURE.md
#
# B=DIR is the build directory, SAN=address,undefined builds with sanitizers, CC=clang works.

B ?= build
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
VERSION := 0.1.0

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 \
        -Wimplicit-fallthrough -Wundef -Wpointer-arith -Wwrite-strings -Werror
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
CFLAGS ?= -O2 -g
ifneq ($(SAN),)
HARDEN := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all -fPIE
LDHARDEN := -pie -fsanitize=$(SAN) -Wl,--as-needed
CFLAGS := -O1 -g
endif
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -I. -I$(B)/gen -isystem /usr/include/libnl3 -DULV_VERSION='"$(VERSION)"' $(WARN) $(HARDEN) $(CFLAGS) -MMD -MP

# Folders and what their programs may link. The same table stands in ARCHITECTURE.md (make check-libs).
BASE_SRC := $(filter-out lib/bus%.c lib/copy-%.c,$(wildcard lib/*.c))
COPY_SRC := $(wildcard lib/copy-*.c)
BUS_SRC := $(wildcard lib/bus*.c)
MODEL_SRC := $(wildcard model/*.c)
MONITOR_SRC := $(wildcard monitor/*.c)
ENFORCE_SRC := $(wildcard monitor/enforce/*.c)
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
musl = $(patsubst %.c,$(B)/musl/%.o,$(1))

PROGRAMS := uvctl uvd uv-command uv-operations uv-launch uv-monitor uv-unit uv-port uv-init uv-attach uv-monitor-lxc uv-monitor-kvm uv-monitor-sim uv-metrics uvguest
SRC_uvctl := $(wildcard uvctl/*.c channel/*.c) $(COPY_SRC) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
LIBS_uvctl := -lexpat -lsystemd
# Of the library, what lays a channel out.
SRC_uvd := $(wildcard uvd/*.c) $(wildcard channel/*.c) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
LIBS_uvd := -lsystemd -lsqlite3 -lseccomp
SRC_uv-command := $(wildcard command/*.c) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
LIBS_uv-command := -lsystemd
SRC_uv-operations := $(wildcard operations/*.c) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
LIBS_uv-operations := -lsystemd
SRC_uv-launch := $(wildcard launch/*.c)
SRC_uv-monitor := $(wildcard monitor/dispatch/*.c)
SRC_uv-unit := $(wildcard monitor/unit/*.c) $(addprefix monitor/enforce/,cgroup.c irq.c scope.c slice.c) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
LIBS_uv-unit := -lsystemd
SRC_uv-port := $(wildcard monitor/port/*.c) channel/bell.c channel/call.c
SRC_uv-init := $(wildcard plugins/lxc/init/*.c) $(COPY_SRC)
SRC_uvguest := $(wildcard guest/*.c channel/*.c)
SRC_uv-attach := $(wildcard plugins/lxc/attach/*.c) plugins/lxc/attach-host.c plugins/lxc/devices.c lib/diag.c
# Each start executes these, and all but the first stay, one for each partition; uv-init besides has to do where a
# container's root has no C library. They are static, with musl: glibc's start asks the CPU some 75 times what it is,
# which takes half a millisecond on a virtual machine, where each answer is the hypervisor's.
MUSL := uv-monitor uv-port uv-init uv-attach uvguest
MUSL_OF_SAN := uv-init uv-attach uvguest
MUSL_CC ?= musl-gcc
MULTIARCH := $(shell gcc -print-multiarch)
MUSL_LIB := /usr/lib/$(subst gnu,musl,$(MULTIARCH))
MUSL_FLAGS = -std=gnu17 -D_GNU_SOURCE -I. -idirafter /usr/include -idirafter /usr/include/$(MULTIARCH) -DULV_VERSION='"$(VERSION)"' \
        $(WARN) -O2 -g -fPIE -fstack-protector-strong -MMD -MP
# musl-gcc links no static PIE by itself.
MUSL_LINK = -nostartfiles -Wl,-static,-pie,--no-dynamic-linker,-z,text,-z,relro,-z,now,-z,noexecstack \
        $(addprefix $(MUSL_LIB)/,rcrt1.o crti.o crtn.o)
SRC_uv-monitor-lxc := $(wildcard plugins/lxc/*.c) $(ENFORCE_SRC) $(MONITOR_SRC) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
# Of these libraries it uses little: linked in, they are neither loaded at each start nor relocated for each partition.
LIBS_uv-monitor-lxc := -Wl,-Bstatic -lnl-route-3 -lnl-3 -lcap -Wl,-Bdynamic -lsystemd
SRC_uv-monitor-kvm := $(wildcard plugins/kvm/*.c) $(ENFORCE_SRC) $(MONITOR_SRC) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
LIBS_uv-monitor-kvm := -Wl,-Bstatic -lcap -Wl,-Bdynamic -lvirt -lsystemd
SRC_uv-monitor-sim := $(wildcard plugins/sim/*.c) $(MONITOR_SRC) $(BUS_SRC) $(MODEL_SRC) $(BASE_SRC)
LIBS_uv-monitor-sim := -Wl,-Bstatic -lcap -Wl,-Bdynamic -lsystemd

SRC_uv-metrics := $(wildcard metrics/*.c) lib/bus.c lib/bus-error.c model/op.c model/quantity.c $(BASE_SRC)
LIBS_uv-metrics := -lsystemd -lmicrohttpd

BINS := $(addprefix $(B)/bin/,$(PROGRAMS))

# libultravisor: libc only, for guests too. What isn't in its header is hidden, in the archive as in the shared object,
# whose public names carry a version besides.
CHANNEL_SRC := $(wildcard channel/*.c)
EXTRA_channel := -Wconversion -fPIC -fvisibility=hidden
SONAME := libultravisor.so.0
LIBRARY := $(B)/lib/$(SONAME) $(B)/lib/libultravisor.a
$(B)/lib/$(SONAME): $(call obj,$(CHANNEL_SRC)) channel/ultravisor.map
	@mkdir -p $(@D)
	$(CC) $(filter-out -pie,$(LDHARDEN)) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,channel/ultravisor.map -o $@ $(filter %.o,$^)
$(B)/lib/libultravisor.a: $(call obj,$(CHANNEL_SRC))
	@mkdir -p $(@D)
	$(LD) -r -o $(@:.a=.o) $^ && objcopy --localize-hidden $(@:.a=.o) && rm -f $@ && $(AR) rcs $@ $(@:.a=.o)

all: $(BINS) $(LIBRARY)

# lib/build.h: of which build a program is.
BUILD_OF := $(sort $(filter-out test/% bench/% build/% examples/% channel/% $(B)/%,$(wildcard *.mk */*.[ch] */*/*.[ch] */*/*/*.[ch])))
$(B)/gen/build.c: $(BUILD_OF) Makefile
	@mkdir -p $(@D)
	@id=$$( (echo '$(VERSION) $(HARDEN) $(CFLAGS)'; $(CC) --version; cat $(BUILD_OF)) | sha256sum | cut -c 1-16) && \
	printf '#include "lib/build.h"\nconst char ulv_build[ULV_BUILD_LEN + 1] = "%s";\n' $$id >$@
$(B)/obj/build.o: $(B)/gen/build.c lib/build.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<
$(addprefix $(B)/bin/,uvctl uvd uv-command uv-operations uv-monitor-lxc uv-monitor-kvm uv-monitor-sim uv-metrics): $(B)/obj/build.o

.SECONDEXPANSION:
# A sanitizer wants to be a shared library, and glibc.
WITH_MUSL := $(addprefix $(B)/bin/,$(if $(SAN),$(MUSL_OF_SAN),$(MUSL)))
$(filter-out $(WITH_MUSL),$(BINS)): $(B)/bin/%: $$(call obj,$$(SRC_$$*))
	@mkdir -p $(@D)
	$(CC) $(LDHARDEN) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS_$*)
$(WITH_MUSL): $(B)/bin/%: $$(call musl,$$(SRC_$$*))
	@mkdir -p $(@D)
	$(MUSL_CC) $(MUSL_LINK) -o $@ $(filter %.o,$^)
$(B)/musl/%.o: %.c
	@mkdir -p $(@D)
	$(MUSL_CC) $(MUSL_FLAGS) -c -o $@ $<

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(EXTRA_$(firstword $(subst /, ,$*))) -c -o $@ $<

# The containers' system call filters are compiled with the programs, not at each start.
$(B)/gen/plugins/lxc/filter: plugins/lxc/filter/generate.c
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -D_GNU_SOURCE -I. $(WARN) -O1 -MMD -MP -MF $@.d -o $@ $< -lseccomp
$(B)/gen/plugins/lxc/filter.inc: $(B)/gen/plugins/lxc/filter
	$< >$@.new && mv $@.new $@
$(B)/obj/plugins/lxc/filter.o: $(B)/gen/plugins/lxc/filter.inc
-include $(B)/gen/plugins/lxc/filter.d

# model/ is pure arithmetic on what it is given: conversions are looked at one by one there.
EXTRA_model := -Wconversion


-include $(shell find $(B)/obj $(B)/musl -name '*.d' 2>/dev/null)

include test/test.mk
include install.mk

# Packages (Debian 12). Installed only when one is missing; STAMP keeps a second run quick.
BUILD_PACKAGES := gcc libc6-dev pkg-config libsystemd-dev libsqlite3-dev libseccomp-dev libcap-dev \
        libnl-3-dev libnl-route-3-dev libmicrohttpd-dev libvirt-dev libexpat1-dev uthash-dev musl-tools
RUN_PACKAGES := $(BUILD_PACKAGES) busybox-static
TEST_PACKAGES := $(RUN_PACKAGES) clang libcmocka-dev bats jq strace sqlite3 groff mandoc binutils procps iproute2 \
        util-linux busybox-static mmdebstrap qemu-system-x86 libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients libxml2-utils qemu-utils genisoimage ovmf mtools e2fsprogs squashfs-tools zsh apparmor python3-prometheus-client curl graphviz openssh-client dropbear-bin

run-deps:
	@launch/packages.sh $(RUN_PACKAGES)
test-deps:
	@launch/packages.sh $(TEST_PACKAGES)

run: run-deps
	@$(MAKE) -q --no-print-directory all >/dev/null 2>&1 || echo "Building: about half a minute"
	@$(MAKE) -s --no-print-directory -j2 all
	@examples/run.sh $(B)

test: test-deps
	@$(MAKE) -s --no-print-directory -j2 tests-build
	@test/run.sh $(B) $(STAGES)

long: test-deps
	@$(MAKE) -s --no-print-directory -j2 tests-build
	@LONG=1 test/run.sh $(B) $(STAGES)

bench: test-deps
	@$(MAKE) -s --no-print-directory -j2 all bench-build
	@bench/run.sh $(B)

check-libs: all
	@test/check-libs.sh $(B)
check-layers: all
	@test/check-layers.sh $(B)

.PHONY: run-deps test-deps run test long bench check-libs check-layers

clean:
	rm -rf $(B)

.PHONY: all clean
