#!/bin/sh
# Compares the tables in docs/growing.md and docs/giving-back.md with what their commands print. The runs take a
# minute, too long for `cargo test`; tests compare the other tables and outputs that documents show.
set -eu
cd "$(dirname "$0")/.."

# Fails if the document $1 lacks a line of standard input. Both pass through the filter $2 first.
compare() {
    known=$(mktemp)
    sh -c "$2" <"$1" >"$known"
    missing=$(sh -c "$2" | grep -vxF -f "$known" || true)
    rm -f "$known"
    if [ -n "$missing" ]; then
        printf 'documents: %s does not have these lines:\n%s\n' "$1" "$missing" >&2
        exit 1
    fi
}

# A command that fails ends the script here.
printed=$(cargo run --quiet -p warmheap --example growing)
printf '%s\n' "$printed" | compare docs/growing.md cat
printed=$(cargo run --quiet --release --manifest-path benches/Cargo.toml -p shrink)
# The last column, device calls, depends on the time that each step takes.
printf '%s\n' "$printed" | compare docs/giving-back.md 'sed "s/[^|]*|\$//"'
echo "documents: ok"
