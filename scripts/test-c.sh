#!/bin/sh
# Installs the package for C and C++ into an empty folder, and builds and runs with it: the tests, the examples,
# and the programs of docs/c.md as that page says. The tests and the examples also run under valgrind, if it is
# installed, and those in C++ under AddressSanitizer.
set -eu
cd "$(dirname "$0")/.."

if command -v dpkg >/dev/null; then
    . scripts/metal/packages.sh
    need cmake g++ pkg-config valgrind
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
crate=$PWD/crates/warmheap-c
cc=${CC:-cc} cxx=${CXX:-c++}
strict="-Wall -Wextra -Werror -pedantic -g"
c11="-std=c11 -D_POSIX_C_SOURCE=200809L $strict" cxx17="-std=c++17 $strict"
step() {
    echo "test-c: $*" >&2
}

step "the options of install-c.sh, and the package as macOS has it"
mkdir "$out/options"
"$crate/tests/package/options.sh" "$out/options"

step "the page docs/c.md, as it is written"
# Prints the blocks of the page in one language.
blocks() {
    sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" docs/c.md | sed '/^```/d'
}
export prefix="$out/home/.local"
mkdir -p "$out/project"
blocks sh | head -n 2 | sed -e 's/install-c.sh/install-c.sh --debug/' -e "s|\$HOME|$out/home|" | sh -eu
for language in c cpp; do
    blocks $language >"$out/project/example.$language"
done
blocks cmake >"$out/project/CMakeLists.txt"
blocks sh | tail -n +3 >"$out/project/steps.sh"
(cd "$out/project" && sh -eu steps.sh >/dev/null)

export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
shared="$(pkg-config --cflags --libs warmheap) -lpthread"
needs=$(sed -n 's/^Libs.private: //p' "$PKG_CONFIG_PATH/warmheap.pc")
static="-I$prefix/include $prefix/lib/libwarmheap_c.a $needs -lpthread"

step "the tests, with the shared and with the static library"
compile_and_run() { # the compiler with its options, the source, the name of the program that stays
    $1 "$2" $shared -o "$out/shared"
    "$out/shared"
    $1 "$2" $static -o "$out/$3"
    "$out/$3"
}
c_tests= cpp_tests=
for source in "$crate"/tests/c/*.c; do
    test=$(basename "$source" .c)
    c_tests="$c_tests $test"
    compile_and_run "$cc $c11" "$source" "$test"
done
for source in "$crate"/tests/cpp/*.cpp; do
    test=cpp_$(basename "$source" .cpp)
    cpp_tests="$cpp_tests $test"
    compile_and_run "$cxx $cxx17" "$source" "$test"
done

step "the examples, with pkg-config"
$cc $c11 "$crate/examples/queues.c" $shared -o "$out/queues"
"$out/queues"
$cxx $cxx17 "$crate/examples/completion.cpp" $shared -o "$out/completion"
"$out/completion"

step "the examples, with CMake, after the installed folder has moved"
mv "$prefix" "$out/moved"
cmake -S "$crate/tests/package" -B "$out/build" -DEXAMPLES="$crate/examples" -DCMAKE_PREFIX_PATH="$out/moved" >/dev/null
cmake --build "$out/build" >/dev/null
(cd "$out/build" && ctest --output-on-failure)
mv "$out/moved" "$prefix"

step "AddressSanitizer"
for program in "$crate"/tests/cpp/*.cpp "$crate/examples/completion.cpp"; do
    $cxx $cxx17 -fsanitize=address,undefined -fno-sanitize-recover=all "$program" $static -o "$out/sanitized"
    "$out/sanitized" >/dev/null
done

if command -v valgrind >/dev/null; then
    step "valgrind"
    check="valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite"
    for program in $c_tests $cpp_tests queues completion; do
        $check --error-exitcode=1 "$out/$program" >/dev/null
    done
else
    step "valgrind is not installed, memory was not checked"
fi
echo "test-c: ok"
