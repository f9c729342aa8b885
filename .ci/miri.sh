#!/usr/bin/env bash
# Tests on the simulated device under Miri, which interprets the program and reports undefined behaviour,
# races and leaks: under both models of aliasing, each with several seeds, of which each is another
# interleaving and another choice of what weak memory lets a thread read. The tests run small there. The
# two models run at the same time.
#
# Miri has no mmap, fork or membarrier: the lock has its symmetric form, and tests of real memory are left out.
# Needs a nightly toolchain with Miri; where rustup has none to give, the script says so and ends well.
#
#   .ci/miri.sh [SEEDS (1)]      WARMHEAP_RACE_STEPS=N: steps of each thread (20)
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=${1:-1}
if ! cargo +nightly miri --version >/dev/null 2>&1 &&
    ! rustup toolchain install nightly --profile minimal --component miri,rust-src; then
    echo "miri: NOT RUN, no nightly toolchain with Miri is to be had here"
    exit
fi

export RUSTFLAGS="--cfg warmheap_symmetric"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/miri CARGO_INCREMENTAL=0
export WARMHEAP_RACE_STEPS=${WARMHEAP_RACE_STEPS:-20}
pools=(closed::whatever threads::a_pool_may_end threads::buffers_may_be_freed threads::counters_may_be_reset
    foreign_code::callbacks_end foreign_code::a_callback_whose limits::a_callback_does)

test_with() { # Miri's flags, cargo's arguments
    MIRIFLAGS="-Zmiri-env-forward=WARMHEAP_RACE_STEPS $1" \
        cargo +nightly miri test --quiet -p warmheap --no-default-features "${@:2}"
}

test_model() { # its name, Miri's flags
    for ((seed = 0; seed < seeds; seed++)); do
        echo "== Miri, $1, seed $seed"
        test_with "-Zmiri-seed=$seed $2" --lib sync::threads || return
        test_with "-Zmiri-seed=$seed $2" --test pool -- "${pools[@]}" || return
    done
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
test_with "" --lib --test pool --no-run
test_model "stacked borrows" "" >"$log" 2>&1 &
stacked=$!
test_model "tree borrows" "-Zmiri-tree-borrows" && tree=passed || tree=failed
wait $stacked && stacked=passed || stacked=failed
cat "$log"
echo "Miri: stacked borrows $stacked, tree borrows $tree"
[[ $stacked == passed && $tree == passed ]]
