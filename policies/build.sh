#!/bin/sh
# Builds the sample policies into testdata/policies, with the digests beside them.
#
# With rustup's target wasm32-wasip2 cargo makes components itself. Without it the compiler of Debian
# does (packages rustc-web cargo-web rust-web-src lld): it builds the standard library too, and a
# small tool makes components of the modules. POLICIES_OUT names another directory to build into.
#
# `build.sh languages` builds those in Python and JavaScript into testdata/policies/languages, which
# is not committed: the interpreters in them are large. It needs python3 and npm, and installs the
# tools, of the versions named beside the samples, where cargo builds.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${POLICIES_OUT:-$here/../testdata/policies}
target_dir=${CARGO_TARGET_DIR:-$here/samples/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
cd "$here/samples"

if [ "${1:-}" = languages ]; then
    for program in python3 npm; do
        command -v "$program" >/dev/null || {
            echo "no $program: policies in Python and JavaScript are built with python3 (its venv and pip) and npm" >&2
            exit 1
        }
    done
    tools=$target_dir/languages
    mkdir -p "$tools" "$out/languages"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check --requirement python/requirements.txt
    cp javascript/package.json "$tools"
    npm install --no-package-lock --prefix "$tools" --loglevel=error --no-audit --no-fund --ignore-scripts
    # The file of a sample: there is a probe in each language.
    file() {
        case $1 in
            probe) echo "$out/languages/probe-$2.wasm" ;;
            *) echo "$out/languages/$1.wasm" ;;
        esac
    }
    # A world of a sample beside the package it is made of.
    world() {
        rm -rf "$tools/wit" && mkdir -p "$tools/wit/deps/policy"
        cp "$1/wit/world.wit" "$tools/wit" && cp ../wit/*.wit "$tools/wit/deps/policy"
    }
    for policy in python/*/app.py; do
        policy=$(dirname "$policy") && name=$(basename "$policy")
        world "$policy"
        "$tools/python/bin/componentize-py" --wit-path "$tools/wit" --world "$name" componentize app \
            --stub-wasi --python-path "$policy" --output "$(file "$name" python)"
    done
    for policy in javascript/*/app.js; do
        policy=$(dirname "$policy") && name=$(basename "$policy")
        world "$policy"
        "$tools/node_modules/.bin/componentize-js" "$policy/app.js" --wit "$tools/wit" --world-name "$name" \
            --disable stdio random clocks http fetch-event --out "$(file "$name" javascript)"
    done
    exit
fi
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
