#!/usr/bin/env bash
# Runs all checks of docs/benchmarks/cuda about correctness, on one GPU and on all.
#   benches/torch/verify.sh FOLDER      writes a file for each check into FOLDER; fails if a check fails
set -uo pipefail
here=$(dirname "$0")
out=$1
mkdir -p "$out"
failed=0

check() {
    local name=$1 seconds=$2
    shift 2
    timeout "$seconds" "$@" >"$out/$name.txt" 2>&1 || { echo "exit status $?" >>"$out/$name.txt"; failed=1; }
    tail -n 3 "$out/$name.txt"
}

check check 150 python3 "$here/check.py"
gpus=$(nvidia-smi --list-gpus | wc -l)
if ((gpus > 1)); then
    check two_gpus 120 python3 -m torch.distributed.run --nproc-per-node "$gpus" "$here/two_gpus.py"
fi
check memcheck 300 compute-sanitizer --tool memcheck python3 "$here/memcheck.py"
exit $failed
