# Two commands for people; the rest is cargo's.

.PHONY: dev test

# A whole CA in ./kipuka-dev, served on https://localhost:14000.
dev:
	@tests/install.sh dev
	cargo run --release --package kipuka -- dev

# Everything that must hold before a change is taken.
test:
	@tests/install.sh test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny --config .deny.toml check bans licenses sources
	cargo build --workspace --bins
	cargo nextest run --workspace
