#!/bin/sh
# The linker of $LLD for callers who take it for a C compiler: maturin passes -Wl,a,b where it wants a b.
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
