# metal-on-linux.sh sources this file: cargo for the Metal backend on Linux, with the double of Metal.
#
#   double_cargo FLAVOUR ARGS...   FLAVOUR: cover (source coverage) or asan (AddressSanitizer)
#
# Each flavour has its own target folder under target/metal-double.
root=$(git rev-parse --show-toplevel)
METAL_DOUBLE=$root/target/metal-double
export METAL_DOUBLE

# Builds the double as one object and prints its name. The name has a hash of the content, because cargo does
# not see that the content of a link argument changed.
double_object() { # flavour
    dir=$METAL_DOUBLE/$1
    mkdir -p "$dir"
    flags=
    [ "$1" = asan ] && flags=-fsanitize=address
    objects=
    for file in "$root"/crates/warmheap/tests/metal/double/*.m; do
        object=$dir/$(basename "$file").o
        gcc-12 -x objective-c -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -g -O1 -fPIC \
            $flags -c "$file" -o "$object" || return 1
        objects="$objects $object"
    done
    object=$dir/kernels.o
    g++-12 -std=c++17 -Wall -Wextra -Werror -Wno-attributes -g -O1 -fPIC -fno-exceptions -fno-rtti $flags \
        -I"$root/crates/warmheap/tests/metal/double" \
        -c "$root/crates/warmheap/tests/metal/double/kernels.cpp" -o "$object" || return 1
    objects="$objects $object"
    ld -r $objects -o "$dir/double.o" || return 1
    named=$dir/double-$(sha256sum <"$dir/double.o" | cut -c1-16).o
    mv "$dir/double.o" "$named"
    echo "$named"
}

double_cargo() { # flavour, cargo's arguments
    flavour=$1
    shift
    object=$(double_object "$flavour") || return 1
    case $flavour in
    cover) extra="-Cinstrument-coverage" ;;
    asan) extra="-Zsanitizer=address" ;;
    esac
    # The target must be named. Without it the flags would also reach build scripts and proc macros.
    RUSTC_BOOTSTRAP=1 \
        RUSTC_WRAPPER=$root/scripts/metal/rustc-wrapper.sh \
        RUSTFLAGS="--cfg metal_double $extra -Clinker=gcc-12 -Clink-arg=$object -Clink-arg=-lobjc -Clink-arg=-lm" \
        CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu \
        CARGO_TARGET_DIR=$METAL_DOUBLE/$flavour \
        cargo "$@"
}
