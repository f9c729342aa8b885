#!/bin/sh
# The options of scripts/install-c.sh, and the package as macOS has it. A program that writes empty libraries takes
# the place of cargo, so that nothing is built; another one names the system.
# usage: options.sh FOLDER, an empty one
set -eu
script=$(cd "$(dirname "$0")/../../../.." && pwd)/scripts/install-c.sh
cd "$1"
fail() {
    echo "options.sh: $*" >&2
    exit 1
}

mkdir bin here
cat >bin/cargo <<'END'
#!/bin/sh
mkdir -p "$CARGO_TARGET_DIR/debug" "$CARGO_TARGET_DIR/release"
for profile in debug release; do
    touch "$CARGO_TARGET_DIR/$profile/libwarmheap_c.a" "$CARGO_TARGET_DIR/$profile/libwarmheap_c.so" \
        "$CARGO_TARGET_DIR/$profile/libwarmheap_c.dylib"
done
echo "note: native-static-libs: $NEEDED" >&2
END
cat >bin/uname <<'END'
#!/bin/sh
echo "$SYSTEM"
END
chmod +x bin/cargo bin/uname
export CARGO_TARGET_DIR="$PWD/target" PATH="$PWD/bin:$PATH" SYSTEM=Linux NEEDED="-ldl -lpthread -lm -lc"

# Each form of each option, from another folder than the repository's.
cd here
holds() { # a folder, and its folder of libraries
    for file in include/warmheap.h include/warmheap.hpp include/warmheap/pool.hpp "$2/libwarmheap_c.so" \
        "$2/libwarmheap_c.a" "$2/pkgconfig/warmheap.pc" "$2/cmake/warmheap/warmheapConfig.cmake"; do
        [ -e "$1/$file" ] || fail "$1 has no $file"
    done
}
"$script" --prefix one --libdir lib64 --debug >/dev/null
holds one lib64
"$script" --prefix=two --libdir=lib/multi >/dev/null
holds two lib/multi
grep -qx "prefix=$PWD/two" two/lib/multi/pkgconfig/warmheap.pc || fail "the prefix is not absolute"
grep -q '{CMAKE_CURRENT_LIST_DIR}/../../../.."' two/lib/multi/cmake/warmheap/warmheapConfig.cmake || fail "the way up"
for destdir in stage ./stage "$PWD/stage"; do
    rm -rf stage
    "$script" --prefix=/usr --destdir "$destdir" >/dev/null
    holds stage/usr lib
    grep -qx "prefix=/usr" stage/usr/lib/pkgconfig/warmheap.pc || fail "the prefix has the destdir"
    rm -rf stage
    "$script" --destdir="$destdir" --prefix /usr >/dev/null
    holds stage/usr lib
done
"$script" --prefix "a & b|c" --libdir lib/ >/dev/null
holds "a & b|c" lib
grep -qxF "prefix=$PWD/a & b|c" "a & b|c/lib/pkgconfig/warmheap.pc" || fail "the prefix is not written as it is"
"$script" --help | grep -q -- --destdir || fail "--help"

# What is wrong is named, with the exit code of a wrong use, and nothing is installed.
refused() { # what the message names, and the options
    names=$1
    shift
    "$script" --prefix refused "$@" 2>message && fail "$* was taken"
    [ $? = 2 ] && [ ! -e refused ] || fail "$*"
    head -n 1 message | grep -qF -- "$names" || fail "$*: $(cat message)"
}
refused --libdr --libdr lib64
refused --static --static
refused extra extra
refused --libdir --libdir
refused --prefix --prefix=
refused --libdir --libdir ''
refused /usr/lib --libdir /usr/lib
refused ../lib --libdir=../lib

# macOS: the library is found by the programs' own paths, and the static one names its frameworks.
export SYSTEM=Darwin NEEDED="-framework Metal -framework Foundation -lobjc -lSystem -lc -lm"
"$script" --prefix mac >/dev/null
[ "$(readlink mac/lib/libwarmheap_c.dylib)" = libwarmheap_c.0.dylib ] || fail "the links"
[ -f mac/lib/libwarmheap_c.0.dylib ] || fail "the link of the major version"
config=mac/lib/cmake/warmheap/warmheapConfig.cmake
grep -q 'IMPORTED_SONAME "@rpath/libwarmheap_c.0.dylib"' $config || fail "the name of the library"
grep -q '"-framework Metal;-framework Foundation;-lobjc;-lSystem;-lc;-lm"' $config || fail "frameworks for CMake"
grep -qx "Libs.private: $NEEDED" mac/lib/pkgconfig/warmheap.pc || fail "frameworks for pkg-config"
grep -q "Libs: .*-Wl,-rpath," mac/lib/pkgconfig/warmheap.pc || fail "the path for programs"
