"""Calls that wait let other Python threads run: for devices, queues and files, and at the end of objects
too."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest
import warmheap

from conftest import MIB, at_once, quiet


class Meanwhile:
    """Counts the milliseconds of a block in which another thread could run."""

    def __enter__(self) -> Meanwhile:
        self.ran, self.ended = 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        self.begun, self.before = time.monotonic(), self.ran
        return self

    def run(self) -> None:
        while not self.ended:
            self.ran += 1
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        self.took, self.ran_meanwhile = time.monotonic() - self.begun, self.ran - self.before
        self.ended = True
        self.thread.join()

    def check(self, at_least: float = 0.0) -> None:
        assert self.took >= at_least
        # A busy machine wakes a thread late. A call that holds the interpreter's lock lets it run only once.
        assert self.took < 0.1 or self.ran_meanwhile >= 20 * self.took, (self.took, self.ran_meanwhile)


def test_a_buffer_reused_early_outlives_its_queue_without_a_halt() -> None:
    pool = warmheap.MemoryPool(device="sim")
    queue = pool.queue()
    buffer = pool.allocate(MIB)
    ticket = queue.signal()
    buffer.retire(ticket)
    early = queue.allocate(MIB)
    with Meanwhile() as meanwhile:
        del queue, ticket, buffer
        del early
    meanwhile.check()


SLOW = "sim:discrete,latency=300000"
"""Every call of the device takes 0.3 seconds."""


def slow(**settings: Any) -> warmheap.MemoryPool:
    return warmheap.MemoryPool(device=SLOW, heap_size_mb=1, num_heaps=1, warmup_sizes=[], log_exhaustion=False,
                               **settings)


def drop_a_fallback_buffer() -> Callable[[], object]:
    held = [slow().allocate(2 * MIB)]
    return held.clear


def free_a_fallback_buffer() -> Callable[[], object]:
    return slow().allocate(2 * MIB).free


def drop_what_must_be_cleared() -> Callable[[], object]:
    held = [slow(scrub="on_free").allocate(1000)]
    return held.clear


def free_what_must_be_cleared() -> Callable[[], object]:
    return slow(scrub="on_free").allocate(1000).free


def drop_the_last_buffer_of_a_closed_pool() -> Callable[[], object]:
    pool = slow()
    held = [pool.allocate(1000)]
    pool.close()
    return held.clear


def drop_a_pool() -> Callable[[], object]:
    held = [slow()]
    return held.clear


def drop_a_queue_that_keeps_its_pool() -> Callable[[], object]:
    pool = slow()
    held = [pool.queue()]
    pool.close()
    return held.clear


def collect_a_cycle() -> Callable[[], object]:
    pool = slow()
    held = [pool.allocate(2 * MIB)]
    pool.on_pressure(lambda pool, pressure: held.clear())
    gc.disable()

    def collect() -> None:
        gc.enable()
        gc.collect()

    return collect


def leave_a_context() -> Callable[[], object]:
    pool = slow()
    return lambda: pool.__exit__(None, None, None)


def make_and_allocate() -> Callable[[], object]:
    return lambda: slow().allocate(2 * MIB)


@pytest.mark.parametrize("prepare", [
    drop_a_fallback_buffer, free_a_fallback_buffer, drop_what_must_be_cleared, free_what_must_be_cleared,
    drop_the_last_buffer_of_a_closed_pool, drop_a_pool, drop_a_queue_that_keeps_its_pool, collect_a_cycle,
    leave_a_context, make_and_allocate,
])
def test_other_threads_run_while_the_device_is_slow(prepare: Callable[[], Callable[[], object]]) -> None:
    act = prepare()
    with Meanwhile() as meanwhile:
        act()
    meanwhile.check(at_least=0.25)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """Makes a named pipe. Opening it waits for the other side, and so do reading and writing."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    yield path


@pytest.mark.parametrize("read", [
    "warmheap.PoolConfig.from_yaml_file({!r})", "warmheap.MemoryPool({!r})", "warmheap.Trace.load({!r})",
])
def test_files_are_read_while_other_threads_run(pipe: Path, read: str) -> None:
    program = f"""
        import threading, time, warmheap
        def write():
            time.sleep(0.2)
            with open({str(pipe)!r}, "w") as file:
                file.write({"Thread,Time,Action,Pointer,Size,Stream" if "Trace" in read else "heap_size_mb: 8"!r} + chr(10))
        thread = threading.Thread(target=write)
        thread.start()
        {read.format(str(pipe))}
        thread.join()
        """
    quiet(program)


@pytest.mark.parametrize("end", ["", ".free()", ".retire(queue.signal())"])
def test_frees_are_recorded_while_other_threads_run(pipe: Path, end: str) -> None:
    """The pipe takes more than 64 KiB only as the other thread reads."""
    out = quiet(f"""
        import threading, time, warmheap
        pool = warmheap.MemoryPool(device="sim")
        queue = pool.queue()
        lines = 0
        def read():
            global lines
            with open({str(pipe)!r}) as file:
                for line in file:
                    lines += 1
        thread = threading.Thread(target=read)
        thread.start()
        pool.record({str(pipe)!r})
        for _ in range(4):
            buffers = [pool.allocate(1000) for _ in range(5000)]
            while buffers:
                buffers.pop(){end}
        queue.complete(queue.signal())
        assert pool.stop_recording() == 40000
        thread.join()
        print(lines)
        """)
    assert out == "40001\n"


def test_handlers_wait_while_other_threads_run_and_log() -> None:
    """A slow handler in one thread does not hold up the records of other threads."""
    import logging

    began, go_on = threading.Event(), threading.Event()
    waited: List[bool] = []

    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            # Any thread may be the first, and waits for the record of another.
            if began.is_set():
                go_on.set()
            else:
                began.set()
                waited.append(go_on.wait(10))
            return True

    def close_later() -> None:
        began.wait(10)
        warmheap.MemoryPool(device="sim").close()

    handler, logger = Handler(), logging.getLogger("warmheap")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        pool = warmheap.MemoryPool(device="sim")
        at_once(lambda work: work(), [close_later, pool.close])
        assert waited == [True]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 64])
def test_a_pool_is_closed_amid_calls_of_other_threads(threads: int) -> None:
    """Whichever thread has the last handle, it waits for no thread that waits for it."""
    for _ in range(max(1, 64 // threads)):
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[], log_exhaustion=False)
        ready = threading.Barrier(threads + 1)

        calls: List[Callable[[], object]] = [
            pool.get_statistics, pool.leaks, pool.trim, lambda: pool.allocate(2 * MIB),
        ]

        def work(number: int) -> None:
            ready.wait()
            with contextlib.suppress(warmheap.ClosedError):
                while True:
                    calls[number % 4]()

        def close() -> None:
            ready.wait()
            pool.close()

        closer = threading.Thread(target=close)
        closer.start()
        at_once(work, range(threads))
        closer.join()


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 64])
def test_snapshots_taken_amid_threads_count_no_more_than_is_alive(threads: int) -> None:
    pool = warmheap.MemoryPool()
    ended = False

    def work(_: int) -> None:
        while not ended:
            pool.allocate(4096).free()

    worker = threading.Thread(target=at_once, args=(work, range(threads)))
    worker.start()
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            statistics = pool.get_statistics()
            assert 0 <= statistics.active_allocations <= statistics.total_allocations < 1 << 40
            # Each thread has one buffer at most. A snapshot reads their counts one after the other.
            assert statistics.active_allocations < 1 << 32
    finally:
        ended = True
        worker.join()


@pytest.mark.parametrize("device", ["sim", "host"])
def test_buffers_that_grow_after_the_close_do_not_overlap(device: str) -> None:
    pool = warmheap.MemoryPool(device=device)
    growing, holes, others = [], [], []
    for _ in range(100):
        growing.append(pool.allocate(65536 + 256))
        holes.append(pool.allocate(2 * 65536))
        others.append(pool.allocate(65536 + 512))
    holes.clear()
    pool.close()

    def grow(step: int, times: int) -> None:
        for buffer in growing:
            with contextlib.suppress(warmheap.GrowError):
                for _ in range(times):
                    buffer.grow(buffer.size + step)

    def free() -> None:
        while others:
            others.pop().free()

    freeing = threading.Thread(target=free)
    freeing.start()
    while freeing.is_alive():
        grow(256, 1)
    freeing.join()
    for step in [65536, 4096, 256]:
        grow(step, 64)
    places = sorted((buffer.device_address, buffer.size) for buffer in growing)
    assert all(a + size <= b for (a, size), (b, _) in zip(places, places[1:]))
