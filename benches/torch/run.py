"""Measures all figures of docs/benchmarks/cuda about speed and memory.

The program first replays traces on the GPU, with no other work. Then it runs real models in three lanes.
As many lanes run at once as the machine has GPUs. Each lane has its own GPU and cores. Allocators that are
compared share a lane.
"""

import argparse
import os
import subprocess
import sys

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
ELASTIC = "memory_pool:\n  heap_sizing: elastic\n"
# The arguments of each lane. A GPU has room for the small model under all allocators at once.
LANES = {
    "training": ["--workloads", "tensors", "gpt2_train", "gpt2_again", "gpt2_losses"],
    "large": ["--workloads", "qwen7b_decode", "qwen7b_batch"],
    "small": ["--workloads", "qwen05b_decode", "qwen05b_serve", "--together", "5"],
}


def machine():
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    gpus = subprocess.run(query, capture_output=True, text=True).stdout
    return f"{gpus}{os.cpu_count()} cores, Python {sys.version.split()[0]}, PyTorch {torch.__version__}\n"


def replay(options):
    """Replays each trace on a pool that sizes itself, on cudaMalloc and on cudaMallocAsync."""
    config = os.path.join(options.output, "elastic.yaml")
    with open(config, "w") as file:
        file.write(ELASTIC)
    with open(os.path.join(options.output, "replay.txt"), "w") as out:
        for trace in options.traces:
            print(f"== {trace}", file=out, flush=True)
            # The command runs as many rounds as begin in ten seconds: without a pool, a trace may take minutes.
            command = [options.command, "bench", "--trace", trace, "--device", "cuda"]
            subprocess.run(command + ["--config", config], stdout=out, stderr=subprocess.STDOUT, check=True)
            command = [options.command, "replay", trace, "--device", "cuda", "--rounds", "5"]
            subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=True)


def start(name, gpu, cores, options):
    """Starts a lane on one GPU. Its table goes to one file, its progress to another."""
    path = os.path.join(options.output, name)
    command = ["taskset", "-c", f"{gpu * cores}-{(gpu + 1) * cores - 1}", sys.executable,
               os.path.join(HERE, "bench.py"), *LANES[name], "--rounds", str(options.rounds),
               "--slow-rounds", str(options.slow_rounds), "--seconds", str(options.seconds), "--output", f"{path}.json"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu)}
    with open(f"{path}.txt", "w") as table, open(f"{path}.log", "w") as log:
        return subprocess.Popen(command, env=environment, stdout=table, stderr=log)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, help="the folder for results")
    parser.add_argument("--command", default="target/release/warmheap")
    parser.add_argument("--traces", nargs="*", default=["traces/qwen05b_short.csv.zst"])
    parser.add_argument("--lanes", nargs="*", default=list(LANES), choices=LANES,
                        help="the lanes to run; none runs only the traces")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=3,
                        help="the rounds of the allocator without caching, the slowest")
    parser.add_argument("--seconds", type=float, default=480,
                        help="start no measurement of a lane after so many seconds")
    options = parser.parse_args()

    os.makedirs(options.output, exist_ok=True)
    with open(os.path.join(options.output, "machine.txt"), "w") as file:
        file.write(machine())
    gpus = torch.cuda.device_count()
    if gpus == 0:
        sys.exit("PyTorch finds no GPU here")
    replay(options)
    for at in range(0, len(options.lanes), gpus):
        running = [start(name, gpu, os.cpu_count() // gpus, options)
                   for gpu, name in enumerate(options.lanes[at:at + gpus])]
        failed = [lane.args for lane in running if lane.wait() != 0]
        if failed:
            sys.exit(f"failed: {failed}")


if __name__ == "__main__":
    main()
