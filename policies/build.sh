#!/bin/sh
# Builds the sample policies into testdata/policies, with the digests beside them.
#
# With rustup's target wasm32-wasip2 cargo makes components itself. Without it the compiler of Debian
# does (packages rustc-web cargo-web rust-web-src lld): it builds the standard library too, and a
# small tool makes components of the modules. POLICIES_OUT names another directory to build into.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${POLICIES_OUT:-$here/../testdata/policies}
target_dir=${CARGO_TARGET_DIR:-$here/samples/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
cd "$here/samples"
mkdir -p "$out"

# Everything but the tool, by the names of their folders.
policies=$(find . -name Cargo.toml -not -path './target/*' -not -path './componentize/*' \
    -not -path './Cargo.toml' -exec sed -n 's/^name = "\(.*\)"$/\1/p' {} + | sort)
packages=$(for policy in $policies; do printf ' --package %s' "$policy"; done)

# No path of this machine is in a component, and a stack of 256 KiB is enough.
flags="-Clink-arg=-zstack-size=262144"
flags="$flags --remap-path-prefix=$(cd .. && pwd)=/policies --remap-path-prefix=$cargo_home=/cargo"

if rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2; then
    RUSTFLAGS="$flags" cargo build --locked --release --target wasm32-wasip2 --target-dir "$target_dir" $packages
    for policy in $policies; do
        cp "$target_dir/wasm32-wasip2/release/$(echo "$policy" | tr - _).wasm" "$out/$policy.wasm"
    done
else
    rustc=${POLICIES_RUSTC:-/usr/bin/rustc}
    cargo=${POLICIES_CARGO:-/usr/bin/cargo}
    linker=$(command -v wasm-ld || ls /usr/bin/wasm-ld-* 2>/dev/null | sort -V | tail -1)
    [ -x "$rustc" ] && [ -x "$cargo" ] && [ -n "$linker" ] || {
        echo "no compiler for WebAssembly: run 'rustup target add wasm32-wasip2', or install rustc-web cargo-web rust-web-src lld" >&2
        exit 1
    }
    src=$(readlink -f "$("$rustc" --print sysroot)/lib/rustlib/src/rust")
    export RUSTC="$rustc"
    "$cargo" build --locked --target-dir "$target_dir" --package componentize
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags -Clinker=$linker --remap-path-prefix=$src=/rust" \
        "$cargo" build --locked --release -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size --target wasm32-unknown-unknown \
        --target-dir "$target_dir" $packages
    for policy in $policies; do
        "$target_dir/debug/componentize" \
            "$target_dir/wasm32-unknown-unknown/release/$(echo "$policy" | tr - _).wasm" "$out/$policy.wasm"
    done
fi

cd "$out"
sha256sum -- *.wasm > DIGESTS
