#!/usr/bin/env bash
# Counts the instructions of the pool's paths under callgrind; fails past benches/gate/budget.json.
#
# Needs valgrind, and gungraun's runner in the version of benches/Cargo.lock:
#   cargo install gungraun-runner --version 0.20.0 --locked
set -euo pipefail
cd "$(dirname "$0")/../benches"

if ! command -v valgrind >/dev/null || ! command -v gungraun-runner >/dev/null; then
    sed -n '4,5s/^# *//p' "$0" >&2
    exit 2
fi
cargo bench --locked --quiet -p gate --bench paths -- --output-format=json |
    cargo run --locked --quiet --release -p gate
