#!/bin/sh
# Plants bugs in the pool, one at a time: the soak, the oracles and the tests must find each, and say what is wrong.
# The patches of scripts/planted are the bugs, each with the test that must find it, as `cargo test` takes it.
#
#   scripts/planted.sh [NAME]   this one alone
set -eu
cd "$(dirname "$0")/.."
. scripts/planted/plant.sh

# As long as it takes, and no longer: the first finding ends a soak.
export WARMHEAP_SOAK_SECONDS=60 CARGO_TARGET_DIR="$root/target/planted" CARGO_INCREMENTAL=1

tests() { # patch, cargo's arguments
    by=$(sed -n 's/^found by: //p' "$1")
    shift
    cargo test $by "$@"
}

plant scripts/planted "$CARGO_TARGET_DIR" "$@"
