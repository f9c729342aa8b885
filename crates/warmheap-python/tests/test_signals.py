"""Ctrl-C ends any wait within 100 ms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import quiet

BEGIN = """
    import os, signal, sys, threading, time, warmheap
    # A shell lets programs in the background ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = warmheap.MemoryPool(device="sim:discrete,budget=64", heap_size_mb=8, num_heaps=1, warmup_sizes=[])
    queue = pool.queue()
    held = [pool.allocate(40 << 20)]
    events = [(0, 0.0, "allocate", n, 1 + n, 0) for n in range(50_000)]
    trace = warmheap.Trace(events)

    def busy():
        ticket = queue.signal()
        held.pop().retire(ticket)
        return ticket

    def left_behind():
        pool = warmheap.MemoryPool()
        order = pool.queue()
        pool.allocate(1000).retire(order.signal())
        del order
        return pool
"""
END = """
    sent = []
    def interrupt():
        time.sleep(0.3)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        print("went on with", repr(wait()))
    except KeyboardInterrupt:
        late = time.monotonic() - sent[0]
        print("ended" if late < 0.1 else f"ended {late:.3f} s late")
"""


@pytest.mark.parametrize(
    "prepare, wait",
    [
        ("busy()", "pool.allocate(40 << 20, wait=8)"),
        ("busy()", "pool.allocate(40 << 20, wait=8, tag='x', zeroed=True)"),
        ("busy(); other = pool.queue()", "other.allocate(40 << 20, wait=8)"),
        ("busy()", "pool.allocate_movable(40 << 20, wait=8)"),
        ("two = pool.queue(); pool.allocate(1000).retire(two.signal()); busy()", "pool.allocate(60 << 20, wait=8)"),
        ("ticket = busy()", "queue.wait(ticket, 8)"),
        ("slow = warmheap.MemoryPool(device='sim')", "trace.replay(slow, rounds=10**6)"),
        ("slow = warmheap.MemoryPool(device='sim')", "trace.replay(slow, rounds=10**6, threads=3)"),
        ("slow = warmheap.MemoryPool(device='sim:latency=20000', enabled=False)", "trace.replay(slow)"),
        ("pass", "warmheap.MemoryPool(device='sim:latency=200000', heap_size_mb=1, num_heaps=64)"),
        ("pass", "warmheap.Trace.load({pipe!r})"),
        ("pass", "trace.save({pipe!r})"),
        ("pass", "pool.record({pipe!r})"),
        ("pass", "warmheap.PoolConfig.from_yaml_file({pipe!r})"),
        ("pass", "warmheap.MemoryPool({pipe!r})"),
        ("leaving = left_behind()", "leaving.close()"),
        ("slow = warmheap.MemoryPool(device='sim:latency=20000')", "slow.warmup([1] * 1000)"),
        (
            "slow = warmheap.MemoryPool(device='sim:discrete,latency=20000');"
            " made = [slow.allocate_movable(200_000 + n) for n in range(2000)]; del made[::2]",
            "slow.compact()",
        ),
        (
            "slow = warmheap.MemoryPool(device='sim:discrete,latency=500000');"
            " made = [slow.allocate_movable(200_000 + n) for n in range(20)]; del made[::2]",
            "slow.compact()",
        ),
        (
            "slow = warmheap.MemoryPool(device='sim:discrete,latency=20000');"
            " [slow.allocate(n << 20) for n in range(1, 70)]",
            "slow.trim()",
        ),
        (
            "slow = warmheap.MemoryPool(device='sim:discrete,latency=20000', heap_size_mb=1, num_heaps=64,"
            " warmup_sizes=[])",
            "slow.close()",
        ),
        (
            "threading.Thread(target=lambda: (open({pipe!r}), time.sleep(60)), daemon=True).start();"
            " os.symlink({pipe!r}, {pipe!r} + '.zst'); pool.record({pipe!r} + '.zst');"
            " held += [pool.allocate(1) for _ in range(15_000)]",
            "pool.close()",
        ),
        ("from itertools import repeat", "warmheap.Trace(repeat((0, 0.0, 'allocate', 1, 1, 0), 20_000_000))"),
        ("os.environ['WARMHEAP_CONFIG'] = {pipe!r}", "warmheap.MemoryPool()"),
    ],
)
def test_an_interrupt_ends_the_wait(tmp_path: Path, prepare: str, wait: str) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    program = f"{BEGIN}\n    {prepare.format(pipe=pipe)}\n    wait = lambda: {wait.format(pipe=pipe)}\n{END}"
    # What still waits for the pipe ends with the process.
    assert quiet(program) == "ended\n"


def test_a_pool_works_on_after_an_interrupt() -> None:
    out = quiet(f"""{BEGIN}
    ticket = busy()
    wait = lambda: pool.allocate(40 << 20, wait=8)
    called = []
    pool.on_pressure(lambda pool, pressure: called.append(pressure))
{END}
    queue.complete(ticket)
    print(pool.allocate(40 << 20, wait=8).size >> 20, called)
    """)
    assert out == "ended\n40 []\n"


def test_a_handler_that_does_not_raise_ends_no_wait() -> None:
    out = quiet(f"""{BEGIN}
    signal.signal(signal.SIGINT, lambda *_: print("handled"))
    ticket = busy()
    threading.Timer(0.6, lambda: queue.complete(ticket)).start()
    wait = lambda: pool.allocate(40 << 20, wait=8).size >> 20
{END}""")
    assert out == "handled\nwent on with 40\n"


def test_an_interrupt_waits_for_no_other_threads_wait() -> None:
    out = quiet(f"""{BEGIN}
    ticket = busy()
    threading.Thread(target=lambda: queue.wait(ticket, 30), daemon=True).start()
    wait = lambda: queue.wait(ticket, 8)
{END}""")
    assert out == "ended\n"
