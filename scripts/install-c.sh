#!/bin/sh
# Builds Warmheap for C and C++ and installs it: headers, shared and static library, pkg-config and CMake package.
# usage: scripts/install-c.sh [--prefix DIR] [--libdir NAME] [--destdir DIR] [--debug]
set -eu

prefix=/usr/local libdir=lib destdir= profile=release
usage() {
    echo "usage: scripts/install-c.sh [--prefix DIR] [--libdir NAME] [--destdir DIR] [--debug]" >&2
    echo "  --prefix DIR   where programs find the package (default /usr/local)" >&2
    echo "  --libdir NAME  the folder of libraries below it (default lib)" >&2
    echo "  --destdir DIR  put before the prefix while files are copied, for packagers" >&2
    echo "  --debug        the debug build, for tests" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --libdir | --destdir) [ $# -gt 1 ] || usage ;;
    esac
    case $1 in
    --prefix) prefix=$2 && shift 2 ;;
    --prefix=*) prefix=${1#*=} && shift ;;
    --libdir) libdir=$2 && shift 2 ;;
    --destdir) destdir=$2 && shift 2 ;;
    --debug) profile=dev && shift ;;
    *) usage ;;
    esac
done
case $prefix in
/*) ;;
*) prefix=$PWD/$prefix ;;
esac

cd "$(dirname "$0")/.."
crate=crates/warmheap-c
cargo build --quiet --locked --profile $profile -p warmheap-c
built="${CARGO_TARGET_DIR:-target}/$([ $profile = dev ] && echo debug || echo release)"

number() {
    sed -n "s/^#define WH_VERSION_$1 //p" $crate/include/warmheap.h
}
major=$(number MAJOR)
version=$major.$(number MINOR)
case $(uname -s) in
Darwin) shared=libwarmheap_c.$version.dylib soname=libwarmheap_c.$major.dylib plain=libwarmheap_c.dylib ;;
*) shared=libwarmheap_c.so.$version soname=libwarmheap_c.so.$major plain=libwarmheap_c.so ;;
esac

to=$destdir$prefix
mkdir -p "$to/include" "$to/$libdir/pkgconfig" "$to/$libdir/cmake/warmheap"
# A program that runs keeps the file that it has loaded, and the new one takes its name.
copy() {
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    mv -f "$2.new" "$2"
}
for header in warmheap.h warmheap.hpp; do
    copy $crate/include/$header "$to/include/$header" 644
done
copy "$built/$plain" "$to/$libdir/$shared" 755
ln -sfn "$shared" "$to/$libdir/$soname"
ln -sfn "$soname" "$to/$libdir/$plain"
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
fill() {
    sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$libdir|" -e "s|@VERSION@|$version|" -e "s|@MAJOR@|$major|" \
        -e "s|@SHARED@|$shared|" -e "s|@SONAME@|$soname|" -e "s|@UP@|$up|" "$crate/package/$1.in" >"$2/$1"
}
fill warmheap.pc "$to/$libdir/pkgconfig"
fill warmheapConfig.cmake "$to/$libdir/cmake/warmheap"
fill warmheapConfigVersion.cmake "$to/$libdir/cmake/warmheap"
echo "installed Warmheap $version for C and C++ to $to"
