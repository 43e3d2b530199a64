# codex32: everything a checkout can do. `make help` lists the targets.
SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
BINARY := .build/release/codex32
# The part that speaks to registries: a package of its own, so that nothing else waits for NIO to compile. It is linked
# to the machine's C library, whose way of finding hosts is the machine's own.
REGISTRY := .build/release/codex32-registry
REGISTRY_BUILD := --package-path Sources/codex32-registry --scratch-path .build/registry -c release --static-swift-stdlib \
  -Xswiftc -use-ld=lld -Xlinker -s
# Linked without a shared library: it starts in under a millisecond and runs in any root. By lld, which
# comes with Swift: it folds functions that came out the same, and puts those of a start side by side. Its parts lie in
# memory as in the file, by pieces of 64 KiB: so much does the kernel map at once around what is touched, and where the
# page cache has such a piece as one, it maps all of it. It is entered before the C library begins: see entry.c.
UNSTRIPPED := -c release -Xswiftc -static-executable -Xswiftc -use-ld=lld -Xlinker --icf=safe -Xlinker --entry=codex_entry \
  -Xlinker -z -Xlinker max-page-size=65536 \
  -Xlinker --symbol-ordering-file=$(CURDIR)/Tests/Bench/start-order.txt -Xlinker --no-warn-symbol-ordering
RELEASE := $(UNSTRIPPED) -Xlinker -s
STRICT := -Xswiftc -warnings-as-errors -Xcc -Werror
PYTEST := /usr/bin/python3 -m pytest -q -p no:cacheprovider
# How many run at once of the host tests that do not mind each other.
WORKERS := $(shell echo $$(($$(nproc) > 1 ? 2 : 1)))
SCRIPTS := Tests/VM/run-in-vm Tests/VM/as-user Tests/VM/run-suite Tests/Demo/demo Tests/Tools/setup Tests/Tools/tiers Tests/Tools/unpack Tests/Tools/left-behind Tests/Tools/fuzz Tests/Tools/sanitizers Tests/Tools/crio \
  Tests/VM/systemd-in-cgroup Tests/Bench/in-bubblewrap Tests/Bench/in-firejail .ci/run

.DEFAULT_GOAL := help
.PHONY: help setup build binary registry demo test test-unit test-host test-faults test-vm vm-packages test-fuzz fuzz test-coverage test-sanitizers bench bench-attack start-order format lint install container-list clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install the Debian packages that are missing
	@Tests/Tools/setup build

build: registry ## build the release binary, .build/release/codex32, and its part for registries beside it

binary: setup ## build codex32 alone
	@# Swift's build knows nothing of the order of functions: the program is linked again when that has changed.
	@if [ $(BINARY) -ot Tests/Bench/start-order.txt ]; then rm -f $(BINARY); fi
	swift build $(RELEASE) $(STRICT)
	@# lld writes through a mapping, and the page cache then has the file page by page. Written again, in place for
	@# Swift's build, it has it in larger pieces, as a file that was installed or read from a disk: that starts faster.
	@# A link that came out as the one before is to be written again too: it is newer.
	@if [ $(BINARY) -nt $(BINARY).copy ] || ! cmp -s $(BINARY) $(BINARY).copy; then \
	  cp -p $(BINARY) $(BINARY).copy && cat $(BINARY).copy > $(BINARY) && touch -r $(BINARY).copy $(BINARY); fi

registry: binary ## build codex32-registry too: the first time some minutes, for NIO and its TLS
	swift build $(REGISTRY_BUILD)
	install -m 755 "$$(swift build $(REGISTRY_BUILD) --show-bin-path)/codex32-registry" $(REGISTRY)

demo: binary ## run the sample bot at standard and strict, as root and as an ordinary user
	@Tests/Demo/demo $(BINARY)

test: ## install what is missing and run every tier: lint, unit, host, fuzzing, VM
	@Tests/Tools/setup build test
	@Tests/Tools/tiers

test-unit: setup ## plans, parsers and profiles, with no privilege
	swift test $(STRICT)

test-host: build ## the real binary on this machine, as root and as an ordinary user
	@Tests/Tools/setup build test
	CODEX32=$(BINARY) $(PYTEST) -n $(WORKERS) --dist loadfile --durations=15 -m 'not alone' Tests/Host
	CODEX32=$(BINARY) $(PYTEST) -m alone Tests/Host

test-faults: binary ## every system call of run, create, start, exec, stop and remove fails in turn, as root and not; ERRORS=all: with each of seven errors
	@Tests/Tools/setup build test
	CODEX32=$(BINARY) CODEX32_FAULT_CALLS=0 CODEX32_FAULT_ERRORS=$(ERRORS) $(PYTEST) -n $(WORKERS) \
	  Tests/Host/test_faults_verbs.py Tests/Host/test_faults_calls.py
	@Tests/Tools/left-behind

test-vm: binary vm-packages ## the real binary under a kernel with cgroup v2, in QEMU
	CODEX32=$(BINARY) Tests/VM/run-suite

vm-packages:
	@Tests/Tools/setup build test
	@Tests/Tools/unpack .build/vm-packages containerd docker.io tini containernetworking-plugins

test-fuzz: setup ## four and a half minutes of fuzzing what reads others' bytes, a minute for each of nine targets, two at once
	@# With one seed, so that it judges what was changed, and not what luck has found: that is for make fuzz.
	@CODEX32_FUZZ_SEED=1 Tests/Tools/fuzz 270

fuzz: setup ## the same for an hour, or for SECONDS=n; it goes on where the last one stopped
	@Tests/Tools/fuzz $(if $(filter command line,$(origin SECONDS)),$(SECONDS),3600)

test-coverage: setup ## line coverage of the unit tests, by file
	swift test --enable-code-coverage
	@# Swift's own llvm-cov: another version cannot read what its compiler wrote.
	@PATH="$$(dirname "$$(readlink -f "$$(command -v swift)")"):$$PATH" llvm-cov report "$$(find .build/debug/ -name '*.xctest' | head -1)" \
	  -instr-profile=.build/debug/codecov/default.profdata -ignore-filename-regex='.build|Tests'

test-sanitizers: ## unit and host tests under AddressSanitizer, UndefinedBehaviorSanitizer (C) and, where there are threads, ThreadSanitizer
	@Tests/Tools/setup build test
	@Tests/Tools/sanitizers

bench: binary ## time codex32 beside a C floor, bubblewrap, crun and runc, exec beside nsenter, logs beside conmon, oci create to delete, unpacking beside tar; writes bench*.json
	@Tests/Tools/setup build test bench
	@# All of them, also where a figure of one is not what it should be.
	@status=0; for name in bench lifecycle exec logs oci images; do \
	  /usr/bin/python3 Tests/Bench/$$name.py --codex32 $(BINARY) --out "$$(echo "bench-$$name.json" | sed s/bench-bench/bench/)" || status=1; \
	done; exit $$status

bench-attack: build ## the corpus of selftest --attack beside bubblewrap, runc and firejail, as a table; PROFILE=Docker's own for runc
	@Tests/Tools/setup build test bench
	/usr/bin/python3 Tests/Bench/attacks.py --codex32 $(BINARY) --out bench-attack.json $(if $(PROFILE),--profile $(PROFILE))

start-order: setup ## find out again which functions a start runs, for the linker; x86_64, as root
	swift build $(UNSTRIPPED) $(STRICT)
	/usr/bin/python3 Tests/Bench/start_order.py $(BINARY)

format: ## format the Swift code
	swift format --in-place --recursive Sources Tests rootfs-templates Package.swift

lint: ## check the formatting and the shell scripts
	@Tests/Tools/setup test
	swift format lint --strict --recursive Sources Tests rootfs-templates Package.swift
	shellcheck $(wildcard $(SCRIPTS))

install: build ## install the binary, its part for registries, man page, completions and systemd units below PREFIX
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/codex32
	install -D -m 755 $(REGISTRY) $(DESTDIR)$(PREFIX)/libexec/codex32/codex32-registry
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BINARY) man > $(DESTDIR)$(PREFIX)/share/man/man1/codex32.1
	$(BINARY) completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/codex32
	$(BINARY) completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_codex32
	$(BINARY) completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/codex32.fish
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/systemd/user
	$(BINARY) system unit --program $(PREFIX)/bin/codex32 > $(DESTDIR)$(PREFIX)/lib/systemd/system/codex32-boot.service
	$(BINARY) system unit --user --program $(PREFIX)/bin/codex32 > $(DESTDIR)$(PREFIX)/lib/systemd/user/codex32-boot.service

container-list: ## show what runs now
	@$(BINARY) list

clean: ## remove what was built
	rm -rf .build bench.json bench-lifecycle.json bench-exec.json bench-logs.json bench-oci.json bench-images.json bench-attack.json
