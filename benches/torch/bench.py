"""Runs models under one allocator after another and compares them.

Every round runs every allocator in a process of its own, in an order that turns with the round.
Standard output gets a table; --output gets everything as JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ALLOCATORS = ["native", "expandable", "async", "rmm-pool", "warmheap", "none"]
WORKLOADS = ["tensors", "gpt2_train", "gpt2_again", "gpt2_losses", "qwen7b_decode", "qwen7b_batch",
             "qwen05b_decode", "qwen05b_serve"]
ENVIRONMENT = {
    "expandable": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
    "async": {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"},
    "none": {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
}
FIGURES = [("small_us", "4 KiB us"), ("large_us", "64 MiB us"), ("tokens_per_s", "tok/s"), ("best", "best tok/s"), ("first_token_ms", "first ms"),
           ("reserved_mib", "reserved MiB"), ("live_mib", "live MiB"), ("device_calls", "device calls")]


def start(allocator):
    """A server with the environment this allocator needs."""
    # Libraries ask while they are imported whether there is a GPU. The answer must not come from
    # the driver, which a child of the server could not start again.
    fork_safe = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    repeatable = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    environment = {**os.environ, **ENVIRONMENT.get(allocator, {}), **fork_safe, **repeatable}
    return subprocess.Popen([sys.executable, os.path.join(HERE, "server.py")], env=environment,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(server, allocator, workloads):
    server.stdin.write(json.dumps({"allocator": allocator, "workloads": workloads}) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline() or '{"error": "the server died"}')


def spread(values):
    """Half the distance between the quartiles, in per cent of the median."""
    if len(values) < 4:
        return (max(values) - min(values)) / 2 / statistics.median(values) * 100
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / statistics.median(values) * 100


def shown(values):
    return f"{statistics.median(values):.1f} ±{spread(values):.1f} %" if values else "-"


def ratio(runs, others):
    """The median of the rounds' ratios: what disturbs a machine lasts longer than a round."""
    speed = lambda run: run.get("tokens_per_s") or 1 / run["small_us"]  # noqa: E731
    rounds = {run["round"]: speed(run) for run in others}
    ratios = [speed(run) / rounds[run["round"]] for run in runs if run["round"] in rounds]
    return f"{statistics.median(ratios):.2f}" if ratios else "-"


def with_best(runs):
    """Adds tokens a second if every step took the least of its rounds: a round's steps are those of
    every other, but what else goes on in the machine is not."""
    if not all("step_ms" in run for run in runs):
        return runs
    least = sum(map(min, zip(*(run["step_ms"] for run in runs))))
    return [{**run, "best": run["tokens_per_s"] * sum(run["step_ms"]) / least} for run in runs]


def table(results, workloads):
    """One block for each workload, one line for each allocator."""
    for workload in workloads:
        runs = {a: [{**r[workload], "round": r["round"]} for r in rounds if workload in r]
                for a, rounds in results.items()}
        runs = {a: with_best(r) for a, r in runs.items() if r}
        figures = [(key, head) for key, head in FIGURES if any(run.get(key) for r in runs.values() for run in r)]
        heads = "".join(f"{head:>20}" for _, head in figures)
        print(f"\n{workload}\n{'':12}{'rounds':>7}{heads}{'x native':>10}{'x none':>8}  same results")
        native = runs.get("native", [])
        for allocator, run in runs.items():
            cells = "".join(f"{shown([r[key] for r in run if r.get(key)]):>20}" for key, _ in figures)
            checksums = {r["checksum"] for r in run}
            same = ("yes" if checksums == {r["checksum"] for r in native} else "NO") if native else "-"
            print(f"{allocator:12}{len(run):7}{cells}{ratio(run, native):>10}"
                  f"{ratio(run, runs.get('none', [])):>8}  {same}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--allocators", nargs="+", default=ALLOCATORS, choices=ALLOCATORS)
    parser.add_argument("--workloads", nargs="+", default=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, help="rounds without caching, which take the longest: the first so many")
    parser.add_argument("--seconds", type=float, default=480, help="start no measurement after this time")
    parser.add_argument("--output", help="where to write everything as JSON")
    options = parser.parse_args()

    began = time.monotonic()
    servers = {allocator: start(allocator) for allocator in options.allocators}
    for server in servers.values():
        server.stdout.readline()  # Importing must not disturb a measurement.
    results = {allocator: [] for allocator in options.allocators}
    for round_ in range(options.rounds):
        turn = round_ % len(options.allocators)
        for allocator in options.allocators[turn:] + options.allocators[:turn]:
            slow = allocator == "none" and options.slow_rounds is not None
            if time.monotonic() - began > options.seconds or (slow and round_ >= options.slow_rounds):
                continue
            answer = ask(servers[allocator], allocator, options.workloads)
            print(f"{time.monotonic() - began:6.1f} s  round {round_ + 1}  {allocator:12}"
                  + answer.get("error", "done"), file=sys.stderr, flush=True)
            if "error" not in answer:
                results[allocator].append({"round": round_, **answer})
            if options.output:
                with open(options.output, "w") as file:
                    json.dump(results, file, indent=1)
    for server in servers.values():
        server.stdin.close()
    table(results, options.workloads)


if __name__ == "__main__":
    main()
