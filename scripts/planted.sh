#!/bin/sh
# Checks the tests with planted bugs, one at a time. The soak, the oracles and the tests must find each bug
# and say what is wrong. The bugs are the patches of scripts/planted. Each patch names the test that must find
# it, as arguments of `cargo test`. `with: loom` runs that test as a model.
#
#   scripts/planted.sh [NAME]   runs only this bug
set -eu
cd "$(dirname "$0")/.."
. scripts/planted/plant.sh

# A soak has time enough, because the first finding ends it.
export WARMHEAP_SOAK_SECONDS=60 CARGO_TARGET_DIR="$root/target/planted" CARGO_INCREMENTAL=1

tests() { # patch, cargo's arguments
    by=$(sed -n 's/^found by: //p' "$1")
    with=$(sed -n 's/^with: //p' "$1")
    shift
    if [ -n "$with" ]; then
        RUSTFLAGS="--cfg $with" CARGO_TARGET_DIR="$CARGO_TARGET_DIR/$with" CARGO_PROFILE_DEV_OPT_LEVEL=1 \
            cargo test --no-default-features $by "$@"
    else
        cargo test $by "$@"
    fi
}

plant scripts/planted "$CARGO_TARGET_DIR" "$@"
