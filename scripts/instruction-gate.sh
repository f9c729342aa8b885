#!/usr/bin/env bash
# Counts the instructions of the pool's paths under callgrind. Fails if a count is above
# benches/gate/budget.json.
#
# It needs valgrind, and gungraun's runner in the version of benches/Cargo.lock. It installs them if they are
# missing.
set -euo pipefail
cd "$(dirname "$0")/../benches"

command -v valgrind >/dev/null || apt-get install -qy --no-install-recommends valgrind
runner=$(sed -n '/^name = "gungraun"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
gungraun-runner --version 2>/dev/null | grep -qF "$runner" ||
    cargo install --quiet gungraun-runner --version "$runner" --locked
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
cargo bench --locked --quiet -p gate --bench paths -- --output-format=json |
    cargo run --locked --quiet --release -p gate
