# Each target installs what it needs first (Debian packages, see scripts/setup.sh); a second run finds it there.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO_TARGET := $(or $(CARGO_TARGET_DIR),target)
# rustup puts cargo where a non-login shell does not look
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: build install test test-interop test-kernels test-systemd lint fuzz demo demo-clone demo-memory bench bench-clone bench-memory clean help

build: ## two static binaries, build/wharf and build/wharf-runtime
	@scripts/setup.sh build
	@scripts/build.sh release build

install: build ## into $(PREFIX)/bin, with completions and manual pages
	@scripts/install.sh "$(DESTDIR)$(PREFIX)"

test: ## every check that the project has (needs root for the black-box tests)
	@scripts/setup.sh build test interop kernels
	@scripts/test.sh

test-interop: ## the runtime under podman, buildah, containerd, Docker and a Swarm (part of make test)
	@scripts/setup.sh build test interop
	@scripts/build.sh quick
	@cargo test --locked --profile quick --workspace --test interop

test-kernels: build ## the binaries on Linux 6.1 with cgroup version 2 alone, in QEMU (needs no root)
	@scripts/setup.sh kernels
	@scripts/test-kernels.sh build

test-systemd: build ## the runtime where systemd makes the groups, in QEMU (needs root for debootstrap)
	@scripts/setup.sh kernels demo
	@scripts/test-systemd.sh build

lint: ## rustfmt and clippy, warnings denied
	@scripts/setup.sh build
	@scripts/lint.sh

fuzz: ## each fuzz target for SECONDS_EACH (60) seconds
	@scripts/setup.sh build
	@scripts/fuzz.sh $(or $(SECONDS_EACH),60)

demo: build ## the main road, shown step by step with a real PostgreSQL and a real registry
	@scripts/setup.sh demo
	@demo/demo.sh

demo-clone: build ## clones and warm images: PostgreSQL, Redis, a Python service
	@scripts/setup.sh demo
	@demo/clone.sh

demo-memory: build ## PostgreSQL and a 1 GB Redis suspended, resumed, checkpointed and restored under load
	@scripts/setup.sh demo
	@demo/memory.sh

bench: build ## beside docker, podman, runc and crun, interleaved (QUICK=1: a few minutes)
	@scripts/setup.sh bench
	@scripts/bench.sh $(if $(QUICK),--quick)

bench-clone: build ## clones of a PostgreSQL beside docker run of a prepared image (QUICK=1: fewer rounds)
	@scripts/setup.sh bench reflinks
	@scripts/bench.sh --clone $(if $(QUICK),--quick)

bench-memory: build ## checkpoint, restore, suspend and resume of a Redis, as its client sees it (SIZES="10 256 1000", MB)
	@scripts/setup.sh test
	@scripts/bench-memory.sh $(SIZES)

clean:
	cargo clean
	rm -rf build

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
