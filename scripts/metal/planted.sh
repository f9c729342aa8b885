#!/bin/sh
# Plants each bug of scripts/metal/planted in a copy of the sources and runs the Metal tests on it.
#
#   scripts/metal/planted.sh [NAME]   this one alone
set -eu
cd "$(dirname "$0")/../.."
. scripts/metal/cargo.sh
. scripts/planted/plant.sh

tests() { # patch, cargo's arguments
    shift
    double_cargo asan test -p warmheap --test metal "$@"
}

tests - --no-run # dependencies, shared by all copies
plant scripts/metal/planted "$METAL_DOUBLE" "$@"
