#!/bin/sh
# RUSTC_WRAPPER for metal-on-linux.sh. The Metal bindings link Apple's framework without a condition,
# which rustc refuses elsewhere (E0455): compile a copy without that line. All else passes through.
# $1 is rustc, the rest its arguments.
rustc=$1
shift
case " $* " in
*" --crate-name objc2_metal "*)
    for a; do case $a in */src/lib.rs) src=${a%/lib.rs} ;; esac; done
    copy=${METAL_DOUBLE:?}/$(basename "${src%/src}") # its name holds the version
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
