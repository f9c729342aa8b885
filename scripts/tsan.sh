#!/usr/bin/env bash
# Runs the tests with threads, or a soak, under ThreadSanitizer. The standard library is instrumented, too.
#
# The sanitizer is an unstable option of the compiler, and RUSTC_BOOTSTRAP lets the stable compiler accept it.
# ThreadSanitizer does not see memory fences, ordinary or asymmetric. It sees the atomic loads and stores
# around them, and every access that these leave unordered. The build uses symmetric fences, so this also runs
# the lock in the form that systems other than Linux have.
#
#   scripts/tsan.sh [TEST FILTER]             WARMHEAP_RACE_STEPS=N: steps of each thread (2000)
#   scripts/tsan.sh soak MINUTES [OPTION]...  runs the command's soak instead of the tests
set -euo pipefail
cd "$(dirname "$0")/.."

rustup component list | grep -q '^rust-src.*installed' || rustup component add rust-src
host=$(rustc -vV | sed -n 's/^host: //p')

export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread --cfg warmheap_symmetric"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/tsan
export WARMHEAP_RACE_STEPS=${WARMHEAP_RACE_STEPS:-2000}
export TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}"

if [[ ${1:-} == soak ]]; then
    cargo run -Zbuild-std --target "$host" --profile checked -p warmheap-cli -- soak --minutes "${@:2}"
    exit
fi
tests=(threads closed slow_path limits quotas retired worker_queue compaction growing decay giving_back purgeable)
tests=("${tests[@]/%/::}")
(($#)) && tests=("$@")
cargo test -p warmheap --no-default-features -Zbuild-std --target "$host" \
    --test pool --test heaps --test in_flight --test device -- "${tests[@]}"
