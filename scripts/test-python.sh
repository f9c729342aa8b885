#!/usr/bin/env bash
# Builds the Python wheel as a user would. Installs it into fresh virtual environments of the oldest and the
# newest CPython of the machine (3.9 or later). Runs the tests, the example and a short benchmark in each, and
# the tests on MLX, mypy --strict and stubtest in the newest. pip finds the packages where it is set to look.
#
#   scripts/test-python.sh [PYTHON]...    uses these interpreters instead of those that it finds
set -euo pipefail
cd "$(dirname "$0")/.."
crate=crates/warmheap-python
work=target/python
rm -rf "$work/wheels" "$work/env"
mkdir -p "$work/wheels"

# Prints every CPython on the path and of pyenv, oldest first: "3.9 /usr/bin/python3.9".
pythons() {
    local program
    for program in $(compgen -c python3 | grep -E '^python3(\.[0-9]+)?$' | sort -u | xargs -r which) \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        "$program" -c 'import sys, venv, ensurepip
if sys.version_info >= (3, 9) and sys.implementation.name == "cpython":
    print("%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null || true
    done | sort -t. -k1,1n -k2,2n -s -u -k1,1
}

chosen=("$@")
if ((${#chosen[@]} == 0)); then
    mapfile -t found < <(pythons | cut -d' ' -f2)
    if ((${#found[@]} == 0)) && command -v dpkg >/dev/null; then
        . scripts/metal/packages.sh
        need python3 python3-venv
        mapfile -t found < <(pythons | cut -d' ' -f2)
    fi
    ((${#found[@]} > 0)) || { echo "test-python: no CPython 3.9 or later with venv is here" >&2; exit 1; }
    chosen=("${found[0]}")
    ((${#found[@]} == 1)) || chosen+=("${found[-1]}")
fi

environment() { # interpreter, folder, packages
    "$1" -m venv "$2"
    "$2/bin/python" -m pip install --quiet --disable-pip-version-check "${@:3}"
}

newest=${chosen[-1]}
environment "$newest" "$work/env/build" 'maturin>=1.7,<2' setuptools wheel
# Python users have no use for line tables, and the linker is quicker without them.
CARGO_PROFILE_RELEASE_DEBUG=false "$work/env/build/bin/maturin" build --quiet --release --locked --out "$work/wheels"
# setuptools writes into the folder that it packs.
cp -r $crate/krserve-native "$work/env/krserve-native"
"$work/env/build/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work/wheels" \
    "$work/env/krserve-native"

# The tests of CUDA load the double of the driver.
CARGO_PROFILE_DEV_DEBUG=line-tables-only cargo build --quiet --locked -p cuda-double
export CUDA_DOUBLE=${CARGO_TARGET_DIR:-$PWD/target}/debug/libcuda_double.so

for python in "${chosen[@]}"; do
    env=$work/env/$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    environment "$python" "$env" pytest numpy "$work"/wheels/*.whl
    echo "test-python: $("$env/bin/python" --version), $("$env/bin/python" -m pip list 2>/dev/null | grep -E '^(numpy|warmheap) ' | tr -s ' ' | paste -sd,)"
    "$env/bin/python" -X dev -m pytest --quiet
    "$env/bin/python" $crate/examples/kv_caches.py
    "$env/bin/warmheap" --version
    "$env/bin/python" $crate/examples/occupancy.py --output "$env/occupancy.png"
    "$env/bin/python" benches/python/speed.py --rounds 3
done

env=$work/env/$("$newest" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if "$env/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    'mlx[cpu]>=0.31,<0.33' mlx-lm; then
    "$env/bin/python" -m pytest --quiet $crate/tests/mlx
    "$env/bin/python" benches/python/mlx_decode.py --pairs 1 --tokens 50
else
    echo "test-python: MLX NOT RUN, there is no wheel of it for this system"
fi
"$env/bin/python" -m pip install --quiet --disable-pip-version-check 'mypy>=1.18'
"$env/bin/mypy" $crate/python/warmheap $crate/krserve-native/krserve_native
"$env/bin/mypy" $crate/tests $crate/examples
"$env/bin/python" -m mypy.stubtest warmheap --mypy-config-file pyproject.toml --allowlist $crate/tests/stubtest.txt
echo "test-python: ok"
