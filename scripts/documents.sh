#!/bin/sh
# Compares the table in docs/growing.md with what its command prints. The run takes some seconds, too long for
# `cargo test`; tests compare the other tables and outputs that documents show.
set -eu
cd "$(dirname "$0")/.."

cargo run --quiet -p warmheap --example growing | while IFS= read -r line; do
    grep -qxF -- "$line" docs/growing.md || { echo "documents: docs/growing.md has no line: $line" >&2; exit 1; }
done
echo "documents: ok"
