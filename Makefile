# `make` alone says what there is.
SHELL := bash
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

export MIDSHIP_CACHE ?= $(HOME)/.cache/midship

# On Linux everything is built static and for a named target, so that tests, demo and image share one build; the build
# directory is in the cache, so that several checkouts share the dependencies.
ifeq ($(shell uname -s),Linux)
export CARGO_BUILD_TARGET ?= $(shell uname -m)-unknown-linux-gnu
RUSTFLAGS_NAME := CARGO_TARGET_$(shell tr a-z- A-Z_ <<<'$(CARGO_BUILD_TARGET)')_RUSTFLAGS
export $(RUSTFLAGS_NAME) ?= -C target-feature=+crt-static
export CARGO_BUILD_BUILD_DIR ?= $(MIDSHIP_CACHE)/cargo
# Cargo takes our own crate for built when another checkout built it there, with that one's paths in it: say that it changed.
ifneq ($(shell cat '$(CARGO_BUILD_BUILD_DIR)/.checkout' 2>/dev/null),$(CURDIR))
$(shell mkdir -p '$(CARGO_BUILD_BUILD_DIR)' && touch src/lib.rs src/main.rs src/bin/midship-agent.rs tests/it/main.rs && \
	echo '$(CURDIR)' >'$(CARGO_BUILD_BUILD_DIR)/.checkout')
endif
endif
BUILT := target/$(CARGO_BUILD_TARGET)/debug

.PHONY: help env build check fmt test crds demo demo-down bench chaos clean

help: ## this list
	@sed -n 's/\$$\$$/$$/g; s/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

env: ## the exports a shell needs to build as make does:  eval "$$(make env)"
	@for name in MIDSHIP_CACHE CARGO_BUILD_TARGET $(RUSTFLAGS_NAME) CARGO_BUILD_BUILD_DIR; do \
		[[ -z $${!name:-} ]] || printf 'export %s=%q\n' $$name "$${!name}"; done
	@for dir in "$(MIDSHIP_CACHE)"/bin/cargo-nextest-*; do [[ ! -d $$dir ]] || printf 'export PATH=%q:"$$PATH"\n' "$$dir"; done

build: ## midship and midship-agent, for development
	cargo build --locked

check: ## format, clippy, unit and golden tests; a few minutes when warm
	scripts/check

fmt:
	cargo fmt

test: ## every test; installs and builds what it needs, starts the clusters and stops them again
	scripts/test

crds: ## write crds/ and the chart's copy from the Rust types
	cargo run --quiet --locked --bin midship -- crds --to crds
	mkdir -p charts/midship/files/crds && cp crds/*.yaml charts/midship/files/crds/

demo: ## a cluster, Midship, a Git repository to push to; databases that lose their primaries and go on
	scripts/demo up

demo-down: ## remove everything that demo made
	scripts/demo down

bench: ## figures
	scripts/test --tier bench

chaos: ## faults, again and again
	scripts/test --tier chaos

clean: ## stop the test clusters and remove what was built; the cache in $$MIDSHIP_CACHE stays
	tests/cluster/cluster reap
	rm -rf target
