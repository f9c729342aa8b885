#!/bin/sh
# Builds Warmheap for C and C++ and installs it: headers, shared and static library, pkg-config and CMake package.
# usage: scripts/install-c.sh [--prefix DIR] [--libdir NAME] [--destdir DIR] [--debug]
set -eu

prefix=/usr/local libdir=lib destdir= profile=release
usage() {
    echo "usage: scripts/install-c.sh [--prefix DIR] [--libdir NAME] [--destdir DIR] [--debug]"
    echo "  --prefix DIR   where programs find the package (default /usr/local)"
    echo "  --libdir NAME  the folder of libraries below it (default lib)"
    echo "  --destdir DIR  put before the prefix while files are copied, for packagers"
    echo "  --debug        the debug build, for tests"
}
refuse() {
    echo "install-c.sh: $1" >&2
    usage >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --libdir | --destdir)
        [ $# -gt 1 ] || refuse "$1 needs a value"
        option=$1 value=$2
        shift 2
        ;;
    --prefix=* | --libdir=* | --destdir=*)
        option=${1%%=*} value=${1#*=}
        shift
        ;;
    --debug)
        profile=dev
        shift
        continue
        ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) refuse "there is no option $1" ;;
    esac
    case $option in
    --prefix) prefix=$value ;;
    --libdir) libdir=${value%/} ;;
    --destdir) destdir=$value ;;
    esac
    [ -n "$value" ] || [ "$option" = --destdir ] || refuse "$option is empty"
done
case /$libdir/ in
//* | */../* | */./*) refuse "--libdir is a folder below the prefix, such as lib64; it was $libdir" ;;
esac
# Folders are meant from where the script was called.
case $prefix in
/*) ;;
*) prefix=$PWD/$prefix ;;
esac
case $destdir in
'' | /*) ;;
*) destdir=$PWD/$destdir ;;
esac

cd "$(dirname "$0")/.."
crate=crates/warmheap-c
# The compiler tells which libraries of the system the static library needs.
notes=$(mktemp)
trap 'rm -f "$notes"' EXIT
cargo rustc --quiet --color never --locked --profile $profile -p warmheap-c --lib -- --print native-static-libs \
    2>"$notes" || {
    cat "$notes" >&2
    exit 1
}
built="${CARGO_TARGET_DIR:-target}/$([ $profile = dev ] && echo debug || echo release)"
system=$(sed -n 's/^note: native-static-libs: //p' "$notes" | tail -n 1)
[ -n "$system" ] || {
    echo "install-c.sh: the compiler did not say what the static library needs" >&2
    exit 1
}
# For CMake: items with semicolons between them. A framework and its name are one item.
items=$(echo "$system" | sed -e 's/-framework  */-framework:/g' -e 's/  */;/g' -e 's/-framework:/-framework /g')

number() {
    sed -n "s/^#define WH_VERSION_$1 //p" $crate/include/warmheap.h
}
major=$(number MAJOR)
version=$major.$(number MINOR)
case $(uname -s) in
Darwin)
    shared=libwarmheap_c.$version.dylib link=libwarmheap_c.$major.dylib plain=libwarmheap_c.dylib
    soname=@rpath/$link # as build.rs names the library: programs say where they look for it
    ;;
*)
    shared=libwarmheap_c.so.$version link=libwarmheap_c.so.$major plain=libwarmheap_c.so
    soname=$link
    ;;
esac

to=$destdir$prefix
mkdir -p "$to/include/warmheap" "$to/$libdir/pkgconfig" "$to/$libdir/cmake/warmheap"
# A program that runs keeps the file that it has loaded, and the new one takes its name.
copy() {
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    mv -f "$2.new" "$2"
}
for header in warmheap.h warmheap.hpp; do
    copy $crate/include/$header "$to/include/$header" 644
done
for part in "$crate"/include/warmheap/*.hpp; do
    copy "$part" "$to/include/warmheap/$(basename "$part")" 644
done
copy "$built/$plain" "$to/$libdir/$shared" 755
ln -sfn "$shared" "$to/$libdir/$link"
ln -sfn "$link" "$to/$libdir/$plain"
copy "$built/libwarmheap_c.a" "$to/$libdir/libwarmheap_c.a" 644

# The way from the folder of the CMake package up to the prefix.
up=../..
rest=$libdir
while [ -n "$rest" ]; do
    up=$up/..
    case $rest in
    */*) rest=${rest#*/} ;;
    *) rest= ;;
    esac
done
# A text as sed writes it.
plainly() {
    echo "$1" | sed 's/[&|\]/\\&/g'
}
fill() {
    sed -e "s|@PREFIX@|$(plainly "$prefix")|" -e "s|@LIBDIR@|$(plainly "$libdir")|" -e "s|@VERSION@|$version|" \
        -e "s|@MAJOR@|$major|" -e "s|@SHARED@|$shared|" -e "s|@SONAME@|$soname|" -e "s|@UP@|$up|" \
        -e "s|@SYSTEM@|$system|" -e "s|@ITEMS@|$items|" "$crate/package/$1.in" >"$2/$1"
}
fill warmheap.pc "$to/$libdir/pkgconfig"
fill warmheapConfig.cmake "$to/$libdir/cmake/warmheap"
fill warmheapConfigVersion.cmake "$to/$libdir/cmake/warmheap"
echo "installed Warmheap $version for C and C++ to $to"
