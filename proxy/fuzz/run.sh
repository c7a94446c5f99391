#!/bin/sh
# Runs each fuzz target, or those named, for FUZZ_SECONDS (20), from its seeds on. Ends at the first
# input that breaks a property, which it names; what mends it puts that input among the seeds.
set -eu
cd "$(dirname "$0")/.."

if ! command -v cargo-fuzz >/dev/null; then
    echo "cargo-fuzz is not installed: cargo install cargo-fuzz" >&2
    exit 1
fi
if ! command -v c++ >/dev/null; then
    echo "libFuzzer needs a C++ compiler: install g++ or clang" >&2
    exit 1
fi

# The sanitizer is an unstable option, which the project's own toolchain takes this way.
export RUSTC_BOOTSTRAP=1
out=$(cd .. && pwd)/target/fuzz
seconds=${FUZZ_SECONDS:-20}

cargo fuzz build --target-dir "$out"
for target in ${*:-$(cargo fuzz list)}; do
    echo "fuzz: $target for $seconds s"
    mkdir -p "$out/corpus/$target" "$out/artifacts/$target"
    cargo fuzz run --target-dir "$out" "$target" "$out/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="$out/artifacts/$target/"
done
