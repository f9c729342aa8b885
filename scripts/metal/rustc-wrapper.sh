#!/bin/sh
# The RUSTC_WRAPPER of metal-on-linux.sh. The Metal bindings always link Apple's framework, which rustc
# refuses on other systems (E0455). The wrapper therefore compiles a copy without that line. It passes all
# else through. $1 is rustc, and the other arguments are rustc's.
rustc=$1
shift
case " $* " in
*" --crate-name objc2_metal "*)
    for a; do case $a in */src/lib.rs) src=${a%/lib.rs} ;; esac; done
    copy=${METAL_DOUBLE:?}/$(basename "${src%/src}") # the name has the version
    if [ ! -f "$copy/.done" ]; then
        rm -rf "$copy"
        cp -r "$src" "$copy"
        line='#\[link(name = "Metal", kind = "framework")\]'
        grep -q "^$line\$" "$copy/generated/mod.rs" || {
            echo "objc2-metal no longer has the line that scripts/metal/rustc-wrapper.sh removes" >&2
            exit 1
        }
        sed -i "/^$line\$/d" "$copy/generated/mod.rs"
        touch "$copy/.done"
    fi
    n=$#
    while [ "$n" -gt 0 ]; do
        a=$1
        shift
        n=$((n - 1))
        [ "$a" = "$src/lib.rs" ] && a=$copy/lib.rs
        set -- "$@" "$a"
    done
    ;;
esac
exec "$rustc" "$@"
