#!/bin/sh
# Compares the table in docs/growing.md with what its command prints. The run takes some seconds, too long for
# `cargo test`; tests compare the other tables and outputs that documents show.
set -eu
cd "$(dirname "$0")/.."

printed=$(cargo run --quiet -p warmheap --example growing)
missing=$(printf '%s\n' "$printed" | grep -vxF -f docs/growing.md || true)
if [ -n "$missing" ]; then
    printf 'documents: docs/growing.md does not have these lines:\n%s\n' "$missing" >&2
    exit 1
fi
echo "documents: ok"
