#!/bin/sh
# Runs the linker $LLD for callers that take it for a C compiler: maturin passes -Wl,a,b where the linker
# needs a b.
for argument; do
    shift
    case $argument in
        -Wl,*)
            IFS=,
            set -- "$@" ${argument#-Wl,}
            unset IFS
            ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec "$LLD" "$@"
