# Scripts that plant bugs source this file.
#
#   plant FOLDER WORK [NAME]   applies each patch of FOLDER, or that one, to a copy of the sources in
#                              WORK/planted, one at a time, and runs `tests` there
#
# The caller defines `tests PATCH ARGS...`. It runs cargo test with ARGS, and must fail with the text that the
# patch expects. A planted bug that no test finds fails the script.
root=$(git rev-parse --show-toplevel)

plant() {
    patches=$root/$1
    copy=$2/planted
    log=$2/planted.log
    rm -rf "$copy"
    mkdir -p "$copy"
    git ls-files -z | tar -c --null --files-from=- | tar -x -C "$copy"
    cd "$copy"
    found=0
    for patch in "$patches"/${3:-*}.patch; do
        name=$(basename "$patch" .patch)
        expect=$(sed -n 's/^expect: //p' "$patch")
        file=$(sed -n 's|^+++ b/||p' "$patch")
        patch --quiet -p1 <"$patch"
        if ! tests "$patch" --no-run --quiet 2>"$log"; then
            cat "$log"
            echo "planted $name: does not compile, so it shows nothing"
            exit 1
        fi
        if tests "$patch" >"$log" 2>&1; then
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
        cp "$root/$file" "$file" # newer than what was built from the patch
    done
    echo "$found of $found planted bugs were found"
}
