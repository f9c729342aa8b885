#!/bin/sh
# Compiles the C test programs with the header, and runs them with the shared and with the static library. It
# also runs the static ones under valgrind, if valgrind is installed, and the program of docs/c.md.
set -eu
cd "$(dirname "$0")/.."

cargo build --quiet -p warmheap-c
crate=crates/warmheap-c
built="${CARGO_TARGET_DIR:-target}/debug"
out="$built/test-c"
mkdir -p "$out"
cc=${CC:-cc}
flags="-std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror -pedantic -g -I$crate/include"

for test in interface whole; do
    $cc $flags $crate/tests/c/$test.c -o "$out/shared" -L"$built" -lwarmheap_c -lpthread
    LD_LIBRARY_PATH="$built" "$out/shared"
    $cc $flags $crate/tests/c/$test.c -o "$out/$test" "$built/libwarmheap_c.a" -lpthread -ldl -lm
    "$out/$test"
done
sed -n '/^```c$/,/^```$/p' docs/c.md | sed '/^```/d' >"$out/document.c"
$cc $flags "$out/document.c" -o "$out/document" -L"$built" -lwarmheap_c
LD_LIBRARY_PATH="$built" "$out/document"
if command -v valgrind >/dev/null; then
    check="valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite"
    $check --error-exitcode=1 "$out/interface" small
    $check --error-exitcode=1 "$out/whole"
else
    echo "test-c: valgrind is not installed, memory was not checked" >&2
fi
echo "test-c: ok"
