#!/usr/bin/env bash
# Runs every fuzz target, or those that are named, for a while. A finding ends the run. It is kept under
# fuzz/artifacts with the command that repeats it. The inputs that a run learned stay in fuzz/corpus.
#
# Fuzzing needs unstable options of the compiler; RUSTC_BOOTSTRAP lets the stable one accept them.
#
#   scripts/fuzz.sh [SECONDS EACH (20)] [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
shift || true
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" RUSTC_BOOTSTRAP=1
cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet cargo-fuzz --locked

targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cargo fuzz list)
for target in "${targets[@]}"; do
    corpus=("fuzz/corpus/$target")
    mkdir -p "${corpus[0]}"
    [[ -d fuzz/seeds/$target ]] && corpus+=("fuzz/seeds/$target")
    [[ $target == configuration ]] && corpus+=(crates/warmheap/tests/data/guide_yaml)
    echo "fuzzing $target for $seconds s"
    cargo fuzz run "$target" "${corpus[@]}" -- -max_total_time="$seconds" -timeout=20 \
        -verbosity=0 -print_funcs=0 -print_final_stats=1 2>&1 | grep -v '# Uses:\|ecommended dictionary'
done
