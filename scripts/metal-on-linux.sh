#!/bin/sh
# Runs the Metal backend on Linux, unchanged, on the double of Metal in crates/warmheap/tests/metal/double. It
# runs natively with source coverage, under valgrind, under AddressSanitizer, and with planted bugs that the
# tests must find. It installs the Debian packages it needs.
#
#   scripts/metal-on-linux.sh [tests|valgrind|asan|examples|trace|mlx|planted|coverage]...    all of them by default
set -eu
cd "$(dirname "$0")/.."
. scripts/metal/cargo.sh
. scripts/metal/packages.sh

llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
need gobjc-12 g++-12 libobjc-12-dev valgrind "llvm-$llvm"

export LSAN_OPTIONS="suppressions=$PWD/scripts/metal/lsan.supp"
tests="-p warmheap --lib --test metal"
profiles=$METAL_DOUBLE/profiles

# Builds the test programs of a flavour and prints their paths.
programs() { # flavour
    double_cargo "$1" test --no-run $tests --message-format=json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

run_tests() {
    rm -rf "$profiles"
    LLVM_PROFILE_FILE=$profiles/%p-%m.profraw double_cargo cover test $tests
}

run_examples() {
    for example in metal_pool metal_decode; do double_cargo asan run --quiet -p warmheap --example $example; done
}

# Replays a real model's allocations on the pool and the double, and checks for overlaps.
run_trace() {
    double_cargo asan run --quiet -p warmheap-cli --bin warmheap -- \
        replay traces/qwen05b_short.csv.zst --device metal --verify
}

run_valgrind() {
    for program in $(programs cover); do
        case $program in */warmheap-*) only=device::metal ;; *) only= ;; esac
        LLVM_PROFILE_FILE=/dev/null valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite \
            --show-leak-kinds=definite --error-exitcode=9 --suppressions=scripts/metal/valgrind.supp \
            "$program" $only
    done
}

run_asan() {
    double_cargo asan test $tests
}

# MLX on the pool, with a library that stands in for MLX's.
run_mlx() {
    mkdir -p "$METAL_DOUBLE"
    g++-12 -std=c++20 -Wall -Wextra -Werror -g -O1 -fPIC -shared crates/warmheap-mlx/tests/metal/stand_in.cpp \
        -o "$METAL_DOUBLE/libmlx.so"
    MLX_STAND_IN=$METAL_DOUBLE/libmlx.so double_cargo asan test -p warmheap-mlx --test metal
}

run_planted() {
    scripts/metal/planted.sh
}

run_coverage() {
    [ -d "$profiles" ] || run_tests
    bin=/usr/lib/llvm-$llvm/bin
    "$bin/llvm-profdata" merge -sparse "$profiles"/*.profraw -o "$profiles/all.profdata"
    objects=
    for program in $(programs cover); do objects="$objects -object $program"; done
    "$bin/llvm-cov" report $objects -instr-profile "$profiles/all.profdata" \
        --show-branch-summary=false --show-region-summary=false --show-functions=false \
        --sources crates/warmheap/src/metal.rs crates/warmheap/src/device/metal | tee "$profiles/report.txt"
    covered=$(awk '$1 == "TOTAL" { sub("%", "", $NF); print $NF }' "$profiles/report.txt")
    echo "line coverage of the Metal backend: $covered % (at least 95 % is required)"
    awk "BEGIN { exit !($covered >= 95) }"
}

for step in ${@:-tests valgrind asan examples trace mlx planted coverage}; do
    echo "== Metal on Linux: $step"
    "run_$step"
done
echo "== Metal on Linux: all passed"
