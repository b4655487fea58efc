# SPDX-License-Identifier: LGPL-2.1-or-later
# make install, uninstall, deb. README's section "Installation" is what an administrator types.
#
#   make install [PREFIX=/usr/local] [DESTDIR=]     takes nothing from the host: no core, module, sysctl or bridge
#   make uninstall                                  removes what install put; definitions, ledger and images stay
#   make deb                                        a package of Debian 12
#
# With DESTDIR (a package's build) files are copied, and no more; without it the running systemd is told of them.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/lib/ultravisor
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
UNITDIR ?= $(PREFIX)/lib/systemd/system
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/ultravisor
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
# dbus-daemon, polkitd, AppArmor and needrestart look nowhere else, whatever our prefix is.
DBUSDIR ?= /usr/share/dbus-1/system.d
POLKITDIR ?= /usr/share/polkit-1
APPARMORDIR ?= /etc/apparmor.d
NEEDRESTARTDIR ?= /etc/needrestart/conf.d

# MODE:SOURCE:DESTINATION, one list for install and uninstall. Whoever adds a file to systemd/, man/, policies/ or
# examples/ need not touch it: the name's end says what a file is.
put = $(foreach f,$(2),$(1):$(f):$(3)/$(notdir $(f)))
sections = $(sort $(subst .,,$(suffix $(wildcard man/*.[1-9]))))
INSTALL_LIST = \
        $(call put,755,$(B)/bin/uvctl,$(BINDIR)) \
        $(call put,755,$(filter-out %/uvctl,$(BINS)),$(LIBEXECDIR)) \
        link:$(LIBEXECDIR)/uvd:$(SBINDIR)/uvd \
        $(call put,644,$(LIBRARY),$(LIBDIR)) \
        link:$(LIBDIR)/$(SONAME):$(LIBDIR)/$(basename $(SONAME)) \
        $(call put,644,channel/ultravisor.pc,$(LIBDIR)/pkgconfig) \
        $(call put,644,channel/ultravisor.h,$(INCLUDEDIR)) \
        644:channel/call.h:$(INCLUDEDIR)/ultravisor-call.h \
        $(call put,644,$(foreach e,service socket target slice timer,$(wildcard systemd/*.$(e))),$(UNITDIR)) \
        644:systemd/ultravisor.sysusers:$(PREFIX)/lib/sysusers.d/ultravisor.conf \
        644:systemd/ultravisor.tmpfiles:$(PREFIX)/lib/tmpfiles.d/ultravisor.conf \
        $(call put,644,$(wildcard systemd/*.catalog),$(PREFIX)/lib/systemd/catalog) \
        $(call put,644,$(wildcard systemd/org.*.conf),$(DBUSDIR)) \
        $(call put,644,$(wildcard systemd/*.policy),$(POLKITDIR)/actions) \
        $(call put,644,$(wildcard systemd/*.rules),$(POLKITDIR)/rules.d) \
        $(call put,644,plugins/lxc/apparmor/ultravisor-container,$(APPARMORDIR)) \
        $(call put,644,$(wildcard systemd/*.yml),$(PREFIX)/share/ultravisor) \
        644:systemd/needrestart.conf:$(NEEDRESTARTDIR)/ultravisor.conf \
        $(foreach s,$(sections),$(call put,644,$(wildcard man/*.$(s)),$(MANDIR)/man$(s))) \
        644:uvctl/completion/uvctl.bash:$(BASHDIR)/uvctl \
        $(patsubst %,644:%:$(ZSHDIR)/_uvctl,$(wildcard uvctl/completion/uvctl.zsh)) \
        $(call put,644,README.md SECURITY.md ARCHITECTURE.md,$(DOCDIR)) \
        $(call put,644,$(wildcard policies/*.policy examples/policies/*.policy),$(DOCDIR)/examples/policies) \
        $(call put,644,$(wildcard examples/partitions/*.partition),$(DOCDIR)/examples/partitions) \
        $(call put,644,$(wildcard examples/inventories/*.inventory),$(DOCDIR)/examples/inventories) \
        $(call put,644,$(wildcard examples/channel/*.c),$(DOCDIR)/examples/channel) \
        $(call put,755,$(wildcard examples/channel/*.py),$(DOCDIR)/examples/channel) \
        $(call put,644,$(wildcard examples/call/*.c),$(DOCDIR)/examples/call) \
        $(call put,755,$(wildcard examples/call/*.py),$(DOCDIR)/examples/call)

# Our own paths in units and examples are written for PREFIX=/usr.
define install_one
	set -e; for i in $(INSTALL_LIST); do \
	    mode=$${i%%:*}; i=$${i#*:}; from=$${i%%:*}; to=$(DESTDIR)$${i#*:}; \
	    case $$mode in \
	    link) mkdir -p $${to%/*}; ln -sfr $(DESTDIR)$$from $$to ;; \
	    *) install -D -m $$mode $$from $$to ;; \
	    esac; \
	    case $$from in systemd/*|examples/*) sed -i 's|/usr/lib/ultravisor|$(LIBEXECDIR)|g; s|@ROOTS@|/srv/roots|g' $$to ;; \
	    *.pc) sed -i 's|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' $$to ;; esac; \
	done
endef

# Whether there is a system to tell: ours is the root, and systemd runs it.
RUNNING = [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]

install: all
	@$(install_one)
	@if $(RUNNING); then systemd/tell.sh installed; fi

uninstall:
	@if $(RUNNING); then systemd/tell.sh removing; fi
	@set -e; for i in $(INSTALL_LIST); do rm -f $(DESTDIR)$${i##*:}; done
	@for d in $(LIBEXECDIR) $(PREFIX)/share/ultravisor $(foreach e,partitions policies inventories channel call,$(DOCDIR)/examples/$(e)) $(DOCDIR)/examples $(DOCDIR); do \
	    rmdir $(DESTDIR)$$d 2>/dev/null || true; done
	@if $(RUNNING); then systemd/tell.sh removed; fi

.PHONY: install uninstall

# A package of Debian 12, $(B)/deb/ultravisor_VERSION_ARCH.deb, from the programs that are built. It is made in a copy of
# the tree, for debhelper leaves files in the one it works in.
DEB_PACKAGES := debhelper dpkg-dev
deb-deps:
	@launch/packages.sh $(BUILD_PACKAGES) $(DEB_PACKAGES)
deb: deb-deps all
	@rm -rf $(B)/deb && mkdir -p $(B)/deb/ultravisor
	@tar -c --exclude=./build --exclude=.git . | tar -x -C $(B)/deb/ultravisor
	@cd $(B)/deb/ultravisor && BUILD=$(abspath $(B)) dpkg-buildpackage -b -us -uc -nc >../log 2>&1 || { tail -n 20 ../log >&2; exit 1; }
	@rm -rf $(B)/deb/ultravisor
	@ls $(B)/deb/*.deb

.PHONY: deb-deps deb
