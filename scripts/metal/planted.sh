#!/bin/sh
# Plants each bug of scripts/metal/planted in a copy of the sources and runs the Metal tests on it:
# they must fail, with the words that the patch expects. A bug that goes unnoticed fails this script.
set -eu
cd "$(dirname "$0")/../.."
. scripts/metal/cargo.sh

patches=$root/scripts/metal/planted
copy=$METAL_DOUBLE/planted
log=$METAL_DOUBLE/planted.log
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z | tar -c --null --files-from=- | tar -x -C "$copy"

double_cargo asan test --no-run -p warmheap --test metal # dependencies, shared by all copies
cd "$copy"
found=0
for patch in "$patches"/${1:-*}.patch; do
    name=$(basename "$patch" .patch)
    expect=$(sed -n 's/^expect: //p' "$patch")
    file=$(sed -n 's|^+++ b/||p' "$patch")
    patch --quiet -p1 <"$patch"
    if ! double_cargo asan test --no-run --quiet -p warmheap --test metal 2>"$log"; then
        cat "$log"
        echo "planted $name: does not compile, so it shows nothing"
        exit 1
    fi
    if double_cargo asan test -p warmheap --test metal >"$log" 2>&1; then
        echo "planted $name: NOT FOUND"
        exit 1
    fi
    if ! grep -qE "$expect" "$log"; then
        tail -40 "$log"
        echo "planted $name: failed, but not with: $expect"
        exit 1
    fi
    echo "planted $name: found"
    found=$((found + 1))
    cp "$root/$file" "$file" # newer than what was built from the bug
done
echo "$found of $found planted bugs were found"
