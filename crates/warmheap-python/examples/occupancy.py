"""Shows how full pools are while a language model runs: plays a real trace on two pools.

The program runs on any machine in seconds. The pools' device is simulated, so it needs no memory. With
matplotlib (`pip install warmheap[plot]`) it also draws occupancy.png.

    python crates/warmheap-python/examples/occupancy.py [TRACE] [--output FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Dict, List

import warmheap

# %% The trace has every allocation and free of a 0.5B model that is loaded and decodes 64 tokens.
BUNDLED = Path(__file__).parents[3] / "traces" / "qwen05b_short.csv.zst"
MIB = 1 << 20
POINTS = 400


# %% Play the events one by one, and read the pool's figures from time to time.
def occupancy(trace: warmheap.Trace, pool: warmheap.MemoryPool) -> Dict[str, List[float]]:
    """Returns the MiB that are live, in heaps and held from the device, at even steps of the trace."""
    live: Dict[int, warmheap.Buffer] = {}
    bytes_live = 0
    curves: Dict[str, List[float]] = {"event": [], "live": [], "capacity": [], "held": []}
    step = max(1, len(trace) // POINTS)
    for number, (_, _, action, pointer, size, _) in enumerate(trace):
        if action == "allocate":
            live[pointer] = pool.allocate(size)
            bytes_live += size
        elif action == "free":
            bytes_live -= live.pop(pointer).size
        if number % step == 0:
            curves["event"].append(number)
            curves["live"].append(bytes_live / MIB)
            curves["capacity"].append(pool.get_statistics().total_capacity_mb)
            curves["held"].append(pool.reserved_bytes / MIB)
    return curves


# %% Print figures, grades and advice.
def describe(name: str, pool: warmheap.MemoryPool, curves: Dict[str, List[float]]) -> None:
    """Prints a pool's figures, grades and advice."""
    statistics = pool.get_statistics()
    grades = warmheap.grade(statistics)
    print(f"{name}: {statistics.total_allocations} allocations, hit rate {statistics.hit_rate:.1%} "
          f"({grades.hit_rate.label}), at most {max(curves['live']):.0f} MiB live in {max(curves['held']):.0f} MiB held")
    for finding in warmheap.advise(pool):
        changes = ", ".join(f"{change.key}: {change.before} -> {change.after}" for change in finding.changes)
        print(f"  {finding.title}: {finding.explanation}" + (f" [{changes}]" if changes else ""))


# %% Draw the same as a picture.
def draw(all_curves: Dict[str, Dict[str, List[float]]], output: Path) -> None:
    """Draws one panel for each pool."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed, so there is no picture")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(all_curves), sharex=True, sharey=True, figsize=(9, 6), squeeze=False)
    for (name, curves), panel in zip(all_curves.items(), panels[:, 0]):
        panel.fill_between(curves["event"], curves["held"], color="#d8dee9", label="held from the device")
        panel.plot(curves["event"], curves["capacity"], color="#5e81ac", label="heaps")
        panel.fill_between(curves["event"], curves["live"], color="#a3be8c", label="live")
        panel.set_title(name, loc="left")
        panel.set_ylabel("MiB")
        panel.legend(loc="lower right")
    panels[-1, 0].set_xlabel("event of the trace")
    figure.tight_layout()
    figure.savefig(output, dpi=120)
    print(f"drew {output}")


# %% Use two pools: one sizes itself, and one has fixed heaps that are too small.
def main() -> None:
    """Reads the trace, plays it on both pools, and prints and draws the results."""
    parser = argparse.ArgumentParser(description="Pool occupancy over a trace")
    parser.add_argument("trace", nargs="?", type=Path, default=BUNDLED, help="a replay log")
    parser.add_argument("--output", type=Path, default=Path("occupancy.png"))
    arguments = parser.parse_args()

    trace = warmheap.Trace.load(arguments.trace)
    pools = {
        "sizes itself": warmheap.MemoryPool(device="sim"),
        "4 heaps of 256 MiB": warmheap.MemoryPool(warmheap.PoolConfig(warmup_sizes=[]), device="sim"),
    }
    drawn = {}
    for name, pool in pools.items():
        drawn[name] = occupancy(trace, pool)
        describe(name, pool, drawn[name])
    draw(drawn, arguments.output)


if __name__ == "__main__":
    main()
