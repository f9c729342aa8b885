#!/bin/sh
# Checks the library, the command and the examples for Apple systems on Linux, in six steps. `lint` runs
# clippy, and with it the compiler's own checks, with warnings denied, for three targets. `link` links the
# command, the examples and the test programs as arm64 Mach-O. `symbols` compares what they import from Apple
# with scripts/apple/symbols.txt. `c` links the libraries for C, and checks under which name programs find the
# shared one and what the static one needs. `wheel` builds the Python wheel for Macs and checks its contents.
# `mlx` compares MLX's library for Macs with what crates/warmheap-mlx relies on. The script installs the Debian
# packages it needs. rustc-web brings the sources of the standard library, which is built from them for each
# target.
#
#   scripts/check-apple.sh [lint|link|symbols|c|wheel|mlx]...    all of them by default
set -eu
cd "$(dirname "$0")/.."
. scripts/metal/packages.sh

llvm=22
need rustc-web cargo-web rust-web-src rust-web-clippy "llvm-$llvm"

sdk=$PWD/target/apple/sdk
scripts/apple/sdk.sh "$sdk"
LLD=$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
export LLD

with_apple() { # a program that calls cargo, and its arguments
    PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 SDKROOT=$sdk \
        CARGO_TARGET_DIR=$PWD/target/apple \
        CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0 \
        CARGO_TARGET_AARCH64_APPLE_DARWIN_RUSTFLAGS="-Clinker=$PWD/scripts/apple/ld.sh -Clinker-flavor=ld64.lld -Zunstable-options" \
        CARGO_UNSTABLE_BUILD_STD=std,panic_abort,test CARGO_UNSTABLE_BUILD_STD_FEATURES=panic-unwind \
        "$@"
}
apple_cargo() {
    with_apple /usr/bin/cargo "$@"
}
packages="-p warmheap -p warmheap-mlx -p warmheap-trace -p warmheap-testing -p warmheap-cli"

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

# Prints what the linked programs import from libraries other than libSystem.
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

run_c() {
    apple_cargo clippy -p warmheap-c --lib --target aarch64-apple-darwin -- -D warnings
    needs=target/apple/needs.txt
    apple_cargo rustc --color never -p warmheap-c --lib --target aarch64-apple-darwin -- \
        --print native-static-libs 2>$needs || {
        cat $needs >&2
        return 1
    }
    grep '^note: native-static-libs: ' $needs
    for library in '-framework Metal' '-framework Foundation' -lobjc; do
        grep -q -- "^note: native-static-libs:.* $library" $needs
    done
    name=@rpath/libwarmheap_c.$(sed -n 's/^#define WH_VERSION_MAJOR //p' crates/warmheap-c/include/warmheap.h).dylib
    /usr/lib/llvm-$llvm/bin/llvm-objdump --macho --dylib-id \
        target/apple/aarch64-apple-darwin/debug/libwarmheap_c.dylib | grep -x "$name"
}

# The module imports Python's functions from the interpreter that loads it, and Apple's functions from the
# same symbols as the programs. It exports nothing but its entry. A stripped module would have to be signed
# again.
run_wheel() {
    need python3 python3-venv
    tools=target/apple/python
    [ -x "$tools/bin/maturin" ] || {
        python3 -m venv "$tools"
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.7,<2'
    }
    rm -rf target/apple/wheel
    CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=none MATURIN_STRIP=false \
        with_apple "$tools/bin/maturin" build --quiet --release \
        --locked --target aarch64-apple-darwin --out target/apple/wheel
    module=$("$tools/bin/python" scripts/apple/wheel.py target/apple/wheel/*.whl target/apple/wheel)
    /usr/lib/llvm-$llvm/bin/llvm-objdump --macho --private-header "$module" | grep -q 'ARM64 .*DYLIB'
    /usr/lib/llvm-$llvm/bin/llvm-objdump --macho --private-headers "$module" | grep -q LC_CODE_SIGNATURE
    /usr/lib/llvm-$llvm/bin/llvm-nm --undefined-only --format=darwin "$module" |
        sed -n 's/.* \(_[^ ]*\) (\(from \)\{0,1\}\(.*\))$/\3 \1/p' |
        grep -Ev '^(libSystem _|dynamically looked up _Py|dynamically looked up __Py)' |
        LC_ALL=C sort -u >target/apple/wheel/symbols.txt
    LC_ALL=C comm -23 target/apple/wheel/symbols.txt scripts/apple/symbols.txt >target/apple/wheel/others.txt
    cat target/apple/wheel/others.txt
    [ ! -s target/apple/wheel/others.txt ] && grep -q '^Metal _MTLCreate' target/apple/wheel/symbols.txt
    offered=$(/usr/lib/llvm-$llvm/bin/llvm-nm --defined-only --extern-only --just-symbol-name "$module")
    [ "$offered" = _PyInit__native ]
    ls -l target/apple/wheel/*.whl | awk '{ print $NF, $5, "bytes" }'
}

run_mlx() {
    need python3 python3-venv
    tools=target/apple/mlx
    [ -x "$tools/bin/python" ] || python3 -m venv "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check 'lief>=0.16'
    "$tools/bin/python" scripts/apple/mlx.py "$tools"
}

for step in ${@:-lint link symbols c wheel mlx}; do
    echo "== Apple on Linux: $step"
    "run_$step"
done
echo "== Apple on Linux: all passed"
