#!/bin/sh
# Applies each planted bug of scripts/metal/planted to a copy of the sources and runs the Metal tests on it.
#
#   scripts/metal/planted.sh [NAME]   runs only this bug
set -eu
cd "$(dirname "$0")/../.."
. scripts/metal/cargo.sh
. scripts/planted/plant.sh

tests() { # patch, cargo's arguments
    shift
    double_cargo asan test -p warmheap --test metal "$@"
}

tests - --no-run # builds the dependencies, which all copies share
plant scripts/metal/planted "$METAL_DOUBLE" "$@"
