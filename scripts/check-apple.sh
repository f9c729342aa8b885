#!/bin/sh
# Checks the library, the command and the examples for Apple systems on Linux: clippy (and with it the
# compiler's own checks), warnings denied, for three targets; then links the command, the examples
# and the test programs as arm64 Mach-O and compares what they import from Apple with
# scripts/apple/symbols.txt. Installs the Debian packages it needs: rustc-web comes with the sources
# of the standard library, from which it is built for each target.
#
#   scripts/check-apple.sh [lint|link|symbols]...    all of them by default
set -eu
cd "$(dirname "$0")/.."
. scripts/metal/packages.sh

llvm=22
need rustc-web cargo-web rust-web-src rust-web-clippy "llvm-$llvm"

sdk=$PWD/target/apple/sdk
scripts/apple/sdk.sh "$sdk"
lld=$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld

apple_cargo() { # cargo's arguments
    PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 SDKROOT=$sdk \
        CARGO_TARGET_DIR=$PWD/target/apple \
        CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_STRIP=none CARGO_INCREMENTAL=0 \
        CARGO_TARGET_AARCH64_APPLE_DARWIN_RUSTFLAGS="-Clinker=$lld -Clinker-flavor=ld64.lld -Zunstable-options" \
        CARGO_UNSTABLE_BUILD_STD=std,panic_abort,test CARGO_UNSTABLE_BUILD_STD_FEATURES=panic-unwind \
        /usr/bin/cargo "$@"
}
packages="-p warmheap -p warmheap-cli"

run_lint() {
    apple_cargo clippy $packages --all-targets --target aarch64-apple-darwin --target x86_64-apple-darwin \
        --target aarch64-apple-ios -- -D warnings
}

run_link() {
    messages=target/apple/messages.json
    options="$packages --target aarch64-apple-darwin --message-format=json-render-diagnostics"
    apple_cargo build --bins --examples $options >$messages
    apple_cargo test --no-run --tests $options >>$messages
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' $messages | sort -u >target/apple/linked.txt
    while read -r program; do
        /usr/lib/llvm-$llvm/bin/llvm-objdump --macho --private-header "$program" |
            awk -v name="$(basename "$program")" '/ARM64/ { found = 1; print "linked", name, $2, $5 } END { exit !found }'
    done <target/apple/linked.txt
    [ -s target/apple/linked.txt ]
}

# What the linked programs import from anything but libSystem.
run_symbols() {
    while read -r program; do
        /usr/lib/llvm-$llvm/bin/llvm-nm --undefined-only --format=darwin "$program"
    done <target/apple/linked.txt |
        sed -n 's/.* \(_[^ ]*\) (from \([^)]*\))$/\2 \1/p' | grep -v '^libSystem ' |
        LC_ALL=C sort -u >target/apple/symbols.txt
    cat target/apple/symbols.txt
    diff -u scripts/apple/symbols.txt target/apple/symbols.txt
    echo "these are the $(wc -l <target/apple/symbols.txt) symbols of scripts/apple/symbols.txt"
}

for step in ${@:-lint link symbols}; do
    echo "== Apple on Linux: $step"
    "run_$step"
done
echo "== Apple on Linux: all passed"
