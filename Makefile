# Every target installs what it needs, keeps it outside the repository (KHACTL_CACHE, by default
# ~/.cache/khactl), says what it is doing, and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup rocksdb kube build lab test verify fix bench bench-failover bench-load bench-balancer soak sim package docs vagrant-test

ENV := source scripts/env
NEXTEST := cargo nextest run --locked --workspace
# Tests in these binaries need root, namespaces or whole control planes.
PLAIN := not binary(/^(root|e2e)_/)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup:
	@scripts/setup

rocksdb: setup
	@scripts/rocksdb

kube: setup ## build Kubernetes 1.20.2 and fetch etcd and kubectl, as bundles in the cache
	@scripts/kube

build: rocksdb ## compile khad, khavip and khactl
	@echo "build: khad, khavip, khactl"
	@$(ENV); cargo build --locked --workspace --bins

package: rocksdb ## a .deb and a tarball of the release build, into the cache's folder packages
	@echo "package: the release build (about ten minutes the first time)"
	@$(ENV); cargo build --locked --release -p khactl-agent -p khactl-vip -p khactl --bins
	@packaging/build

lab: build kube ## three hosts, one control plane: kill the holder and the leader, see the outage
	@$(ENV); "$$KHACTL_PROGRAMS/khactl" lab demo

test: build kube ## every test, on the real programs (as root); the lease's simulation for three minutes (KHACTL_SIM_SECONDS)
	@[ "$$(id -u)" = 0 ] || { echo "test: needs root (namespaces, loop devices): use sudo, or 'make verify'" >&2; exit 1; }
	@echo "test: everything"
	@$(ENV); KHACTL_SIM_SECONDS=$${KHACTL_SIM_SECONDS:-180} $(NEXTEST) --profile ci

verify: rocksdb ## read-only checks: format, lints, dependencies, docs and their book, tests that need no root
	@scripts/setup verify
	@echo "verify: format"
	@$(ENV); cargo fmt --all --check
	@echo "verify: lints"
	@$(ENV); cargo clippy --locked --workspace --all-targets -- -D warnings
	@echo "verify: dependencies"
	@$(ENV); cargo deny --locked --log-level warn check bans licenses sources
	@$(ENV); scripts/layers
	@echo "verify: docs"
	@$(ENV); RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet
	@scripts/book
	@echo "verify: roll-out"
	@scripts/ansible lint
	@scripts/vagrant check
	@echo "verify: tests that need no root"
	@$(ENV); $(NEXTEST) --profile ci -E '$(PLAIN)'

fix: rocksdb ## write what verify only checks: format, the lints that can fix themselves, the reference in docs
	@$(ENV); cargo clippy --fix --workspace --all-targets --allow-dirty --allow-staged
	@$(ENV); cargo fmt --all

	@$(ENV); KHACTL_WRITE_REFERENCE=1 cargo test --locked --quiet -p khactl-tests --test documents -- reference

docs: setup ## the documents as a book, into the cache's folder book
	@scripts/setup docs
	@scripts/book

bench: build kube package ## the figures of the programs as they are released, side by side with the same components started by hand; table into docs/benchmarks
	@$(ENV); KHACTL_PROGRAMS="$$CARGO_TARGET_DIR/release" cargo run --locked --quiet -p khactl-tests --bin khactl-bench -- --into docs/benchmarks

bench-failover: build kube ## twenty rounds of every fault beside keepalived and haproxy, 85 minutes; table and picture into docs/benchmarks
	@scripts/setup failover
	@$(ENV); cargo run --locked --quiet -p khactl-tests --bin khactl-bench-failover -- --into docs/benchmarks

bench-load: build kube ## does the VIP stay where it is on a busy machine with stalling disks: ten minutes for each profile
	@$(ENV); cargo run --locked --quiet -p khactl-tests --bin khactl-bench-failover -- load --into docs/benchmarks

bench-balancer: build package ## the balancer, as it is released, beside haproxy over the same backends, about five minutes; table into docs/benchmarks
	@scripts/setup balancer
	@$(ENV); KHACTL_PROGRAMS="$$CARGO_TARGET_DIR/release" cargo run --locked --quiet -p khactl-tests --bin khactl-bench-balancer -- --into docs/benchmarks

soak: build kube ## the long runs: a thousand crashes, every step killed, every fault of the VIP twenty times
	@$(ENV); KHACTL_SOAK=1 KHACTL_CRASH_ROUNDS=1000 KHACTL_SIM_SEEDS=10000000 $(NEXTEST) --profile soak -E 'binary(/^(root|e2e)_/) or test(/^simulation::/)'

sim: setup ## the lease's simulation, five million seeds (KHACTL_SIM_SEEDS, KHACTL_SIM_FIRST)
	@$(ENV); KHACTL_SIM_SEEDS=$${KHACTL_SIM_SEEDS:-5000000} cargo nextest run --locked --profile soak -p khactl-lease --no-capture -E 'test(/^simulation::no_seed/)'

vagrant-test: package kube ## one machine by Vagrant and libvirt, really brought up, with a cluster of one host
	@scripts/setup vagrant
	@scripts/vagrant test
