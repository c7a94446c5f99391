# Each target is a thin name for one command.
.PHONY: run release test lint policies policies-languages policies-check fuzz bench bench-peers instructions soak clean

# The whole of it on loopback, with real requests through it. Ctrl-C stops it.
run:
	cargo build --bins --example demo
	"$${CARGO_TARGET_DIR:-target}/debug/examples/demo"

# The programs as they are to be deployed, into target/dist; see docs/operating-proxies.md#building.
release:
	deploy/release.sh

test:
	cargo test --workspace --all-features

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --all-features
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; else echo "cargo-deny is not installed: dependencies are not checked"; fi

# The sample policies into testdata/policies, for WebAssembly; and their tests, which need none of it.
policies:
	cargo test --locked --manifest-path policies/samples/Cargo.toml
	policies/build.sh

# Those in Python and JavaScript, for `make test` to run too; needs python3 and npm.
policies-languages:
	policies/build.sh languages

# All of them built from source into target/policies, and the tests of the runtime on those.
policies-check:
	POLICIES_OUT="$(CURDIR)/target/policies" policies/build.sh
	POLICIES_OUT="$(CURDIR)/target/policies" policies/build.sh languages
	FLEETWAY_TEST_POLICIES="$(CURDIR)/target/policies" cargo test --package fleetway-policy-runtime --test it

# Each parser on inputs made up for it, for FUZZ_SECONDS each; needs cargo-fuzz and a C++ compiler.
fuzz:
	proxy/fuzz/run.sh

bench:
	cargo bench --workspace

# Beside other proxies, whichever of them are installed; see proxy/benches/peers/README.md.
bench-peers:
	cargo build --release --bins
	proxy/benches/peers/run.py --scenarios all --seconds 3 --json target/bench-peers/results.json

# The instructions a request costs, against the figures committed; ACCEPT=1 writes them anew. Needs valgrind.
instructions:
	cargo build --profile counted --package fleetway-proxy --bin fleetway-proxy
	proxy/benches/instructions/run.py $(if $(ACCEPT),--accept)

# Everything at once for MINUTES, 4 or more: traffic, changes, faults. Nothing may grow, or fail without a cause.
soak:
	SOAK_MINUTES=$(or $(MINUTES),20) cargo test --package fleetway-proxy --all-features --test e2e -- --ignored --nocapture soak

clean:
	cargo clean
