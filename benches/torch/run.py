"""Everything that docs/benchmarks/cuda tells about speed and memory, in one command.

Traces on the GPU first, alone; then real models, the workloads spread over the GPUs of the machine,
each with cores of its own. Results are written as they come, so a run cut short keeps what it has.
"""

import argparse
import os
import subprocess
import sys
import time

import torch

import bench

HERE = os.path.dirname(os.path.abspath(__file__))
ELASTIC = "memory_pool:\n  heap_sizing: elastic\n"


def machine():
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    gpus = subprocess.run(query, capture_output=True, text=True).stdout
    return f"{gpus}{os.cpu_count()} cores, Python {sys.version.split()[0]}, PyTorch {torch.__version__}\n"


def replay(options):
    """Each trace on a pool that sizes itself, beside cudaMalloc and cudaMallocAsync."""
    config = os.path.join(options.output, "elastic.yaml")
    with open(config, "w") as file:
        file.write(ELASTIC)
    with open(os.path.join(options.output, "replay.txt"), "w") as out:
        for trace in options.traces:
            print(f"== {trace}", file=out, flush=True)
            # As many rounds as begin in ten seconds: without a pool, a trace may take minutes.
            command = [options.command, "bench", "--trace", trace, "--device", "cuda"]
            subprocess.run(command + ["--config", config], stdout=out, stderr=subprocess.STDOUT)
            command = [options.command, "replay", trace, "--device", "cuda", "--rounds", "5"]
            subprocess.run(command, stdout=out, stderr=subprocess.STDOUT)


def lane(number, lanes, workloads, options, seconds):
    """Starts the benchmark of some workloads on one GPU."""
    name = os.path.join(options.output, f"torch-{number}")
    cores = os.cpu_count() // lanes
    command = ["taskset", "-c", f"{number * cores}-{(number + 1) * cores - 1}", sys.executable,
               os.path.join(HERE, "bench.py"), "--workloads", *workloads, "--rounds", str(options.rounds),
               "--seconds", str(seconds), "--output", f"{name}.json"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(number)}
    with open(f"{name}.txt", "w") as out:
        return subprocess.Popen(command, env=environment, stdout=out, stderr=out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, help="the folder for results")
    parser.add_argument("--command", default="target/release/warmheap")
    parser.add_argument("--traces", nargs="*", default=["traces/qwen05b_short.csv.zst"])
    parser.add_argument("--workloads", nargs="*", default=bench.WORKLOADS, help="none: the traces alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=540, help="start no measurement after this time")
    options = parser.parse_args()

    began = time.monotonic()
    os.makedirs(options.output, exist_ok=True)
    with open(os.path.join(options.output, "machine.txt"), "w") as file:
        file.write(machine())
    replay(options)
    left = options.seconds - (time.monotonic() - began)
    # Training and the large model take about as long as the small model decoding and serving.
    small = [name for name in options.workloads if name.startswith("qwen05b")]
    halves = [[name for name in options.workloads if name not in small], small]
    lanes = [w for w in (halves if torch.cuda.device_count() > 1 else [options.workloads]) if w]
    running = [lane(n, len(lanes), workloads, options, left) for n, workloads in enumerate(lanes)]
    for process in running:
        process.wait()


if __name__ == "__main__":
    main()
