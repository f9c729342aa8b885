#!/bin/sh
# Compiles the C test program with the header, and runs it with the shared and with the static library. It
# also runs the static one under valgrind, if valgrind is installed, and the program of docs/c.md.
set -eu
cd "$(dirname "$0")/.."

cargo build --quiet -p warmheap-c
crate=crates/warmheap-c
built="${CARGO_TARGET_DIR:-target}/debug"
out="$built/test-c"
mkdir -p "$out"
cc=${CC:-cc}
flags="-std=c11 -Wall -Wextra -Werror -pedantic -g -I$crate/include"

$cc $flags $crate/tests/c/interface.c -o "$out/shared" -L"$built" -lwarmheap_c -lpthread
LD_LIBRARY_PATH="$built" "$out/shared"
sed -n '/^```c$/,/^```$/p' docs/c.md | sed '/^```/d' >"$out/document.c"
$cc $flags "$out/document.c" -o "$out/document" -L"$built" -lwarmheap_c
LD_LIBRARY_PATH="$built" "$out/document"
$cc $flags $crate/tests/c/interface.c -o "$out/static" "$built/libwarmheap_c.a" -lpthread -ldl -lm
"$out/static"
if command -v valgrind >/dev/null; then
    valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=1 \
        "$out/static" small
else
    echo "test-c: valgrind is not installed, memory was not checked" >&2
fi
echo "test-c: ok"
