#!/usr/bin/env bash
# Runs the lock's tests, the thread tests, the host device's tests and a short soak on ARM64. They run
# natively on an ARM64 machine, and elsewhere cross-built under qemu. Debug assertions are on.
#
# The emulator runs the real ARM64 code with the kernel's membarrier, and with pages of 16 KiB, as Macs have
# them. It keeps the memory order of the machine beneath it, which is stricter than ARM64's. The model (loom)
# and the workflow's ARM64 machine check ARM64's own order. The emulator cannot do two things. A panic that
# unwinds under pages of 16 KiB ends it. Threads that wait for each other in the tests of worker queues take
# minutes. Neither runs here.
#
#   scripts/arm64.sh      WARMHEAP_SOAK_SECONDS=N (20), WARMHEAP_RACE_STEPS=N: steps of each thread (300)
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
export WARMHEAP_SOAK_SECONDS=${WARMHEAP_SOAK_SECONDS:-20} WARMHEAP_RACE_STEPS=${WARMHEAP_RACE_STEPS:-300}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/arm64 CARGO_PROFILE_CHECKED_DEBUG=0

run() { # bytes of a page, cargo's arguments
    QEMU_PAGESIZE=$1 cargo test --profile checked --target $target "${@:2}"
}

if [[ $(uname -m) != aarch64 ]]; then
    . scripts/metal/packages.sh
    need gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
    if ! rustup target list --installed | grep -qx $target && ! rustup target add $target; then
        echo "arm64: NOT RUN, the standard library for $target is not to be had here"
        exit
    fi
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    unset RUSTFLAGS
fi

cargo check --target $target -p warmheap-mlx
run 4096 -p warmheap --lib sync::threads -- --nocapture
run 4096 -p warmheap --test in_flight retired::
run 16384 -p warmheap --test pool -- threads:: closed::
run 16384 -p warmheap-testing --test all conformance::the_host
run 16384 -p warmheap-testing --test all soak::pools
