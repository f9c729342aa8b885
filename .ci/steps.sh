# The lists of checks source this file. It has what both set and share.
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-always}
# Full debug information doubles the time to build and link. Line tables are enough for a backtrace.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_PROFILE_TEST_DEBUG=line-tables-only
export CARGO_INCREMENTAL=0
. scripts/metal/packages.sh

# Runs a named step and prints the time at which it begins.
step() { # name, command
    printf '\n== %s (at %d min %02d s)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
    "${@:2}"
}

# Models the lock of the hot path and the other models, under every interleaving within a bound.
model() {
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
        cargo test -p warmheap --lib --release --no-default-features model
}

# Runs whole pools under random schedules.
schedules() { # how many for each program and sizing
    WARMHEAP_SCHEDULES=$1 RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle \
        cargo test -p warmheap --lib --profile checked --no-default-features schedules
}

# Compares the range allocator with its oracle, optimised, with assertions on.
engine() { # operations
    WARMHEAP_ENGINE_OPS=$1 cargo test -p warmheap --lib --profile checked --no-default-features oracle
}

# Compares memory in flight with its oracle.
in_flight() { # operations
    WARMHEAP_IN_FLIGHT_OPS=$1 \
        cargo test -p warmheap --test in_flight --profile checked --no-default-features oracle::
}

# Soaks pools in many kinds of trouble at once, optimised, with assertions on.
soak() { # minutes, further options
    cargo run --profile checked -p warmheap-cli -- soak --minutes "$@"
}
