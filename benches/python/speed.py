"""Measures an allocation and a free from Python: the pool, numpy.empty and bytearray.

The program measures all of them in turns in one process, and shows the shortest of many rounds. It
times one statement, `make(size)`, whose result is dropped at once. For the pool that is an allocation
and a free. "Two empty calls" calls a compiled function twice that does nothing. No such package can be
faster. A function that has just been called has no frame object yet. The pool makes one to find the
line, so an allocation in a function costs more, and is measured as well. The program needs NumPy.

    python benches/python/speed.py [--json] [--rounds N]
"""

import argparse
import json
import platform
import timeit

import numpy
import warmheap
from warmheap import _native

SIZES = [1 << 10, 64 << 10, 1 << 20, 16 << 20]
CALLS = 20_000


def contestants(pool):
    """Returns the statements by name, each with the names that it uses."""
    nothing, allocate = _native._nothing, pool.allocate

    def two_calls(size):
        nothing(size)
        nothing(size)

    def allocation(size):
        allocate(size)

    return {
        "two empty calls": ("nothing(size); nothing(size)", {"nothing": nothing}),
        "pool.allocate": ("allocate(size)", {"allocate": allocate}),
        "two empty calls, in a function": ("two_calls(size)", {"two_calls": two_calls}),
        "pool.allocate, in a function": ("allocation(size)", {"allocation": allocation}),
        "numpy.empty": ("empty(size, uint8)", {"empty": numpy.empty, "uint8": numpy.uint8}),
        "bytearray": ("bytearray(size)", {}),
    }


def measure(rounds):
    with warmheap.MemoryPool(heap_size_mb=256, num_heaps=1, warmup_sizes=[256]) as pool:
        table = {}
        for size in SIZES:
            best = {}
            timers = {
                name: timeit.Timer(statement, globals={"size": size, **names})
                for name, (statement, names) in contestants(pool).items()
            }
            for _ in range(rounds):
                for name, timer in timers.items():
                    # A bytearray is cleared, which takes long if it is large.
                    calls = CALLS if name != "bytearray" or size < 1 << 20 else CALLS // 200
                    took = timer.timeit(calls) / calls * 1e9
                    best[name] = min(best.get(name, took), took)
            for place in ["", ", in a function"]:
                above = best[f"pool.allocate{place}"] - best[f"two empty calls{place}"]
                best[f"above the empty calls{place}"] = above
            table[size] = best
        assert pool.get_statistics().fallback_allocations == 0
        return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    table = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(table))
        return
    print(f"Nanoseconds per statement, CPython {platform.python_version()}, NumPy {numpy.__version__}\n")
    shown = [f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" for size in table]
    print("| ns | " + " | ".join(shown) + " |")
    print("|---|" + "---:|" * len(shown))
    for name in next(iter(table.values())):
        print(f"| {name} | " + " | ".join(f"{best[name]:.0f}" for best in table.values()) + " |")


if __name__ == "__main__":
    main()
