# kipuka's commands: see README.md. Each installs what is missing and can be run again and again.

SHELL := /bin/bash
.NOTPARALLEL:
.PHONY: dev test bench release format lint dependencies build suite fuzz

# Tools that `cargo install` put there count, whether or not the login shell knows them.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

STEP = @printf '\n== %s ==\n'

# A whole CA in ./kipuka-dev, served on https://localhost:14000.
dev:
	$(STEP) 'What kipuka needs'
	@tests/install.sh dev
	$(STEP) 'Build and run kipuka dev'
	cargo run --locked --release --package kipuka -- dev

# Everything that must hold before a change is taken.
test:
	$(STEP) 'What the tests need'
	@tests/install.sh test
	@$(MAKE) --no-print-directory format lint dependencies build suite fuzz
	$(STEP) 'Everything passed'

# What docs/performance.md shows, measured anew.
bench:
	$(STEP) 'What the benchmarks need'
	@tests/install.sh bench
	$(STEP) 'Benchmarks'
	cargo bench --locked --bench issuance
	cargo bench --locked --bench load
	cargo bench --locked --features bench --bench parts

# target/pgo/kipuka: what is released, compiled by what a run of the load shows to be used most.
release:
	$(STEP) 'What the release needs'
	@tests/install.sh release
	$(STEP) 'Release'
	@benches/release.sh

format:
	$(STEP) 'Format'
	cargo fmt --all --check

lint:
	$(STEP) 'Lint'
	cargo clippy --locked --workspace --all-targets --features kipuka/bench -- -D warnings

# Advisories are not checked: their database is no package, and may be out of reach.
dependencies:
	$(STEP) 'Dependencies'
	cargo deny --locked --workspace --config .deny.toml check --hide-inclusion-graph bans licenses sources
	cargo deny --log-level error --locked --manifest-path tests/kryoptic/Cargo.toml --config .deny.toml \
	  check --hide-inclusion-graph bans licenses sources
	cargo deny --log-level error --locked --manifest-path tests/fuzz/Cargo.toml --features libfuzzer \
	  --config .deny.toml check --hide-inclusion-graph bans licenses sources

build:
	$(STEP) 'Build'
	cargo build --locked --workspace

# Property tests play the same histories each time; PROPTEST_RNG_SEED=N and PROPTEST_CASES=N play others.
suite: export PROPTEST_RNG_SEED ?= 8555
suite:
	$(STEP) 'Tests'
	cargo nextest run --locked --workspace
	$(STEP) 'Tests that use a token, on Kryoptic'
	KIPUKA_TEST_TOKEN=kryoptic cargo nextest run --locked --package kipuka --package clients \
	  --filterset 'binary(protocol) + binary(recovery) + package(clients) & test(/debians|sqlite/)'

# Ten seconds for each place where bytes from strangers are read, as many at once as there are cores.
fuzz:
	$(STEP) 'Fuzz'
	@tests/fuzz/run.sh 10
