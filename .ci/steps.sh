# Sourced by the lists of checks: what both set and share.
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-always}
# Full debug information doubles the time to build and link; lines are enough for a backtrace.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_PROFILE_TEST_DEBUG=line-tables-only
export CARGO_INCREMENTAL=0
. scripts/metal/packages.sh

# A named step, with the time at which it begins.
step() { # name, command
    printf '\n== %s (at %d min %02d s)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
    "${@:2}"
}

# The lock that the hot path stands on and what else is modelled, under every interleaving within a bound.
model() {
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
        cargo test -p warmheap --lib --release --no-default-features model
}

# The heap engine against its oracle, optimised, assertions on.
engine() { # operations
    WARMHEAP_ENGINE_OPS=$1 cargo test -p warmheap --lib --profile checked --no-default-features oracle
}

# Memory in flight against its oracle.
in_flight() { # operations
    WARMHEAP_IN_FLIGHT_OPS=$1 \
        cargo test -p warmheap --test in_flight_oracle --profile checked --no-default-features
}

# Pools under every hardship at once, optimised, assertions on.
soak() { # minutes, further options
    cargo run --profile checked -p warmheap-cli -- soak --minutes "$@"
}
