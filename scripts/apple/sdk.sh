#!/bin/sh
# Writes a macOS "SDK" of link stubs to $1: only what rustc and the linker need of one. The stub of each
# framework offers only the symbols in symbols.txt, so a program that imports any other symbol does not link.
# libSystem's own list comes from the ziglang package, which contains it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sdk=$1
mkdir -p "$sdk/usr/lib"

stub() { # library name in symbols.txt, file, install name
    mkdir -p "$sdk/$(dirname "$2")"
    symbols=$(awk -v name="$1" '$1 == name { printf "%s%s", separator, $2; separator = ", " }' "$here/symbols.txt")
    cat >"$sdk/$2" <<TBD
--- !tapi-tbd
tbd-version: 4
targets: [ x86_64-macos, arm64-macos ]
install-name: '$3'
current-version: 1
exports:
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ $symbols ]
...
TBD
}
stub libobjc usr/lib/libobjc.tbd /usr/lib/libobjc.A.dylib
stub libiconv usr/lib/libiconv.tbd /usr/lib/libiconv.2.dylib # the standard library names it, unused
for framework in Foundation CoreFoundation CoreGraphics Metal; do
    folder=System/Library/Frameworks/$framework.framework
    stub $framework $folder/$framework.tbd /$folder/Versions/A/$framework
done

if [ ! -f "$sdk/usr/lib/libSystem.tbd" ]; then
    wheel=$(mktemp -d)
    python3 -m pip download --quiet --no-deps --dest "$wheel" ziglang==0.17.1
    # The list's arm64 entries carry a name that this linker does not know.
    python3 - "$wheel"/*.whl <<'PY' | sed 's/arm64e\.x1-/arm64-/g' >"$sdk/usr/lib/libSystem.tbd"
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
sys.stdout.write(wheel.read("ziglang/lib/libc/darwin/libSystem.tbd").decode())
PY
    rm -rf "$wheel"
    for name in c m pthread dl; do ln -sf libSystem.tbd "$sdk/usr/lib/lib$name.tbd"; done
fi
