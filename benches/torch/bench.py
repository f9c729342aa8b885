"""Runs models under several allocators at a time, in turns of one step each, and compares them.

A token costs mostly the processor's time. The speed of a core depends on its neighbours, and changes by a
factor of two from second to second. So Warmheap and some other allocators each have a process, and all of
these processes share one core. One process works for a step while the others wait. A slow second then
affects all of them. The order of turns is reversed each time. The other allocators are divided into
groups. A round runs each group once, on a core of its own. Standard output gets a table, and --output gets
everything as JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
OTHERS = ["native", "expandable", "async", "none", "rmm-pool"]
WORKLOADS = ["tensors", "gpt2_train", "gpt2_again", "gpt2_losses", "qwen7b_decode", "qwen7b_batch",
             "qwen05b_decode", "qwen05b_serve"]
ENVIRONMENT = {
    "expandable": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
    "async": {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"},
    "none": {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
}
FIGURES = [("small_us", "4 KiB us"), ("large_us", "64 MiB us"), ("tokens_per_s", "tok/s"), ("first_token_ms", "first ms"),
           ("reserved_mib", "reserved MiB"), ("live_mib", "live MiB"), ("device_calls", "device calls")]


def start(allocator):
    """Starts a server with the environment that this allocator needs."""
    # Libraries check for a GPU while they are imported. They must not ask the driver, because a child of
    # the server could not start the driver again.
    fork_safe = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    repeatable = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    environment = {**os.environ, **ENVIRONMENT.get(allocator, {}), **fork_safe, **repeatable}
    return subprocess.Popen([sys.executable, os.path.join(HERE, "server.py")], env=environment,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def tell(server, line):
    server.stdin.write(line + "\n")
    server.stdin.flush()


def hear(server):
    """Returns the server's answer, or `None` if it asks for a turn."""
    line = server.stdout.readline() or '{"error": "the server died"}'
    return None if line.strip() == "turn" else json.loads(line)


def run(servers, order):
    """Runs several servers in turns and returns their answers. Work before the first turn is not timed."""
    for allocator, server in servers.items():
        tell(server, json.dumps({"allocator": allocator, **order}))
    answers = {allocator: hear(server) for allocator, server in servers.items()}
    turn = list(servers)
    while None in answers.values():
        for allocator in turn:
            if answers[allocator] is None:
                tell(servers[allocator], "")
                answers[allocator] = hear(servers[allocator])
        turn.reverse()
    return answers


def spread(values):
    """Returns half the distance between the quartiles, in per cent of the median."""
    if len(values) < 4:
        return (max(values) - min(values)) / 2 / statistics.median(values) * 100
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / statistics.median(values) * 100


def shown(values):
    return f"{statistics.median(values):.1f} ±{spread(values):.1f} %" if values else "-"


def total(ours, theirs):
    """Returns how much longer all of their steps took. This includes work that a pool does once."""
    return sum(theirs) / sum(ours)


def typical(ours, theirs):
    """Returns how much longer a typical step of theirs took than the same step of ours. The median leaves
    out hiccups."""
    return statistics.median(their / our for our, their in zip(ours, theirs))


# The figures of a run that are compared: the key, the comparison, and the heading of the column.
COMPARED = [("step_ms", total, "all steps x"), ("step_ms", typical, "a step x"), ("first_ms", total, "first x"),
            ("small_us", total, "4 KiB x"), ("large_us", total, "64 MiB x")]


def place(run):
    return run["round"], run["group"]


def advantage(key, compare, ours, runs):
    """Returns Warmheap's speed relative to another allocator's in the turns that they shared: the median of
    the rounds, the least and the most."""
    listed = lambda run: run[key] if isinstance(run[key], list) else [run[key]]  # noqa: E731
    met = {place(run): listed(run) for run in ours}
    ratios = [compare(met[place(run)], listed(run)) for run in runs if place(run) in met]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"


def table(results, workloads):
    """Prints a block for each workload, with a line for each allocator."""
    for workload in workloads:
        runs = {a: [{**r[workload], "round": r["round"], "group": r["group"]} for r in rounds if workload in r]
                for a, rounds in results.items()}
        runs = {a: r for a, r in runs.items() if r}
        if not runs:
            continue
        every = [run for r in runs.values() for run in r]
        figures = [(key, head) for key, head in FIGURES if any(run.get(key) for run in every)]
        compared = [each for each in COMPARED if any(run.get(each[0]) for run in every)]
        heads = "".join(f"{head:>20}" for _, head in figures) + "".join(f"{head:>20}" for *_, head in compared)
        print(f"\n{workload}\n{'':12}{'rounds':>7}{heads}  same results")
        native = {r["checksum"] for r in runs.get("native", [])}
        for allocator, run in runs.items():
            cells = "".join(f"{shown([r[key] for r in run if r.get(key)]):>20}" for key, _ in figures)
            cells += "".join(f"{advantage(key, compare, runs.get('warmheap', []), run):>20}"
                             for key, compare, _ in compared)
            same = ("yes" if {r["checksum"] for r in run} == native else "NO") if native else "-"
            print(f"{allocator:12}{len(run):7}{cells}  {same}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", nargs="+", default=OTHERS, choices=OTHERS,
                        help="the allocators to compare with Warmheap")
    parser.add_argument("--together", type=int, default=2, help="the number of allocators that share turns with "
                        "Warmheap at a time; the GPU must have memory for all of them")
    parser.add_argument("--workloads", nargs="+", default=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, help="run the allocator without caching, the slowest, in the first "
                        "so many rounds only")
    parser.add_argument("--seconds", type=float, default=480, help="start no measurement after so many seconds")
    parser.add_argument("--output", help="the file for all results as JSON")
    parser.add_argument("--show", help="print the table of an earlier --output, and measure nothing")
    options = parser.parse_args()
    if options.show:
        with open(options.show) as file:
            return table(json.load(file), options.workloads)

    began = time.monotonic()
    allocators = [*options.others, "warmheap"]
    servers = {allocator: start(allocator) for allocator in allocators}
    for server in servers.values():
        server.stdout.readline()  # Imports are done now, so they disturb no measurement.
    results = {allocator: [] for allocator in allocators}
    cores = sorted(os.sched_getaffinity(0))
    groups = [options.others[at:at + options.together] for at in range(0, len(options.others), options.together)]
    for number in range(options.rounds * len(groups)):
        round_, group = divmod(number, len(groups))
        slow = options.slow_rounds is not None and round_ >= options.slow_rounds
        members = [a for a in groups[group] if not (slow and a == "none")]
        if not members or time.monotonic() - began > options.seconds:
            continue
        core = cores[(number + 1) % len(cores)]
        order = {"workloads": options.workloads, "core": core}
        answers = run({a: servers[a] for a in [*members, "warmheap"]}, order)
        for allocator, answer in answers.items():
            print(f"{time.monotonic() - began:6.1f} s  round {round_ + 1}  {allocator:12}"
                  + answer.get("error", "done"), file=sys.stderr, flush=True)
            if "error" not in answer:
                results[allocator].append({"round": round_, "group": group, "core": core, **answer})
        if options.output:
            with open(options.output, "w") as file:
                json.dump(results, file, indent=1)
    for server in servers.values():
        server.stdin.close()
    table(results, options.workloads)


if __name__ == "__main__":
    main()
