#!/bin/bash
# The programs as they are to be deployed, into target/dist: built twice, the second time by the profile of a load
# on the first (profile-guided optimization). What is laid out by what is used takes a quarter less user time.
# Needs the LLVM tools of the Rust toolchain, and what `make bench-peers` needs for the load.
set -euo pipefail
cd "$(dirname "$0")/.."
work="${CARGO_TARGET_DIR:-$PWD/target}"
mkdir -p "$work"
work="$(cd "$work" && pwd)"
host="$(rustc -vV | sed -n 's/^host: //p')"
llvm="$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"

# The profile's format is that of one version of LLVM.
profdata=
for tool in "${LLVM_PROFDATA:-}" "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" \
    "llvm-profdata-$llvm" llvm-profdata; do
    if [ -n "$tool" ] && "$tool" --version 2>/dev/null | grep -q "version $llvm\."; then
        profdata="$tool"
        break
    fi
done
if [ -z "$profdata" ]; then
    echo "release: no llvm-profdata of LLVM $llvm: run 'rustup component add llvm-tools', or set LLVM_PROFDATA" >&2
    exit 1
fi
for program in python3 cc openssl h2load nghttpd; do
    if ! command -v "$program" >/dev/null; then
        echo "release: $program is missing, which the load needs: see proxy/benches/peers/README.md" >&2
        exit 1
    fi
done

# Both times of the same packages: with others, dependencies may have other features, and what is compiled from
# them other names, by which the profile is not found. What runs while building is not instrumented.
build() {
    RUSTFLAGS="${RUSTFLAGS:-} $1" CARGO_TARGET_DIR="$work/pgo/$2" \
        cargo build --locked --release --target "$host" --package fleetway-proxy --bin fleetway-proxy
}

# Cargo does not see that a profile has changed.
rm -rf "$work/pgo/profiles" "$work/pgo/optimized"
build "-Cprofile-generate=$work/pgo/profiles" instrumented
load() {
    OURS_BIN="$work/pgo/instrumented/$host/release/fleetway-proxy" BENCH_WORK="$work/pgo/load" \
        proxy/benches/peers/run.py --seconds 2 --repeats 1 --peers "$1" --scenarios "$2"
}
plain=h1_1k,h1_post_10k,headers,routes_10k,h1_64k,h1_1m,h1_close,tls_h1_1k,tls_handshake
load ours $plain,h2_1k,h2_tls_1k,grpc_like,l4_1m
load ours policy_headers_pre_route,policy_headers_post_response,policy_body_10k
load ours-accesslog h1_1k,h2_1k
"$profdata" merge --output "$work/pgo/proxy.profdata" "$work"/pgo/profiles/*.profraw
build "-Cprofile-use=$work/pgo/proxy.profdata" optimized
cargo build --locked --release --package fleetway-xds --package fleetway-api --bins

install -D -m 755 -t "$work/dist" "$work/pgo/optimized/$host/release/fleetway-proxy" \
    "$work/release/fleetway-xds" "$work/release/fleetway"
echo "release: $work/dist has fleetway-proxy, fleetway-xds and fleetway"
