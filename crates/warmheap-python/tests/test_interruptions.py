"""Exceptions, handlers and callbacks. What a program raises, or does at an odd moment, is never lost and
never blocks."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any, Callable, Iterator, List

import pytest
import warmheap

from conftest import MIB, at_once, quiet


def tight() -> warmheap.MemoryPool:
    """Opens a pool that can hold 64 MiB in all."""
    return warmheap.MemoryPool(device="sim:discrete,budget=64", heap_size_mb=8, num_heaps=1, warmup_sizes=[])


@contextlib.contextmanager
def handling(emit: Callable[[logging.LogRecord], object], level: int = logging.DEBUG) -> Iterator[None]:
    """Calls `emit` with the package's records."""
    handler, logger = logging.Handler(level), logging.getLogger("warmheap")
    handler.emit = emit  # type: ignore[method-assign,assignment]
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def freed_view() -> object:
    buffer = warmheap.MemoryPool().allocate(1000)
    view = memoryview(buffer)
    buffer.free()
    return view


def in_flight() -> object:
    pool = warmheap.MemoryPool()
    queue = pool.queue()
    ticket = queue.signal()
    pool.allocate(1000).retire(ticket)
    queue.complete(ticket)
    return [queue, ticket]


THINGS: List[Callable[[], object]] = [
    warmheap.MemoryPool,
    lambda: warmheap.MemoryPool().allocate(1000),
    lambda: warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[]).allocate(2 * MIB),
    lambda: warmheap.MemoryPool().queue(),
    in_flight,
    freed_view,
    lambda: warmheap.MemoryPool().allocate(1000).__dlpack__(),
    lambda: warmheap.MemoryPool().allocate(1000).__dlpack__(max_version=(1, 0)),
]


@pytest.mark.parametrize("make", THINGS)
def test_an_exception_survives_what_ends_meanwhile(make: Callable[[], object]) -> None:
    told: List[str] = []
    with handling(lambda record: told.append(record.getMessage())):
        with pytest.raises(ZeroDivisionError):
            [make(), 1 / 0]
        warmheap.MemoryPool().close()
    # Records made meanwhile are delivered later, and none is dropped: each of the two pools has ended.
    assert len([text for text in told if "eak" in text]) >= 2, told


def test_an_exception_survives_numpys_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    for lend in [numpy.from_dlpack, lambda buffer: numpy.frombuffer(buffer, numpy.uint8)]:
        with pytest.raises(ZeroDivisionError):
            [lend(warmheap.MemoryPool().allocate(1000)), 1 / 0]


def test_a_request_of_a_pool_that_nothing_else_holds_says_what_failed() -> None:
    with pytest.raises(warmheap.OutOfMemoryError, match="262144.0 MiB requested"):
        tight().allocate(1 << 38)


def test_what_handlers_raise_goes_to_the_hook(unraisable: List[Any]) -> None:
    told = []

    def emit(record: logging.LogRecord) -> None:
        told.append(record.getMessage())
        raise RuntimeError("a handler's")

    with handling(emit):
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[])
        kept = pool.allocate(2 * MIB)
        pool.close()
    assert kept.size == 2 * MIB
    assert len(told) >= 2 and len(unraisable) == len(told)
    assert all(isinstance(error, RuntimeError) for error in unraisable)


@pytest.mark.parametrize("during", ["handler", "callback"])
def test_an_interrupt_reaches_the_program(during: str, unraisable: List[Any]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    pool = tight()
    with pytest.raises(KeyboardInterrupt):
        if during == "callback":
            pool.on_pressure(interrupt)
            with contextlib.suppress(warmheap.OutOfMemoryError):
                pool.allocate(1 << 38)
        else:
            with handling(interrupt):
                pool.close()
        time.sleep(10)
    assert not unraisable


def test_a_handler_may_do_anything_with_the_pool_that_logs() -> None:
    pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[])
    kept: List[Any] = [pool.allocate(1000)]
    acts: List[Callable[[], object]] = [
        lambda: pool.allocate(3 * MIB).free(), kept.clear, pool.trim, pool.reset_statistics, pool.get_statistics,
        pool.leaks, lambda: pool.queue().poll(), pool.close,
    ]
    done = []

    def emit(_: logging.LogRecord) -> None:
        while acts:
            acts.pop(0)()
            done.append(True)

    with handling(emit):
        pool.allocate(4 * MIB)
    assert len(done) == 8 and pool.closed


def test_a_handler_that_ends_a_pool_inside_its_own_lock_is_not_called_inside_it() -> None:
    assert quiet("""
        import logging, threading, warmheap
        pools = [warmheap.MemoryPool() for _ in range(3)]
        lock = threading.Lock()
        class Handler(logging.Handler):
            def emit(self, record):
                with lock:
                    if pools:
                        pools.pop()
                    print(record.getMessage())
        logging.getLogger("warmheap").setLevel("DEBUG")
        logging.getLogger("warmheap").addHandler(Handler())
        warmheap.MemoryPool().close()
        warmheap.MemoryPool().close()
        warmheap.MemoryPool().close()
        """).lower().count("leak") == 6


def test_a_handler_that_logs_for_each_record_does_not_hold_up_the_call() -> None:
    out = quiet("""
        import logging, os, warmheap
        class Handler(logging.Handler):
            def emit(self, record):
                warmheap.MemoryPool(device="sim").close()
        logging.getLogger("warmheap").setLevel("DEBUG")
        logging.getLogger("warmheap").addHandler(Handler())
        warmheap.MemoryPool(device="sim").close()
        print("returned", flush=True)
        os._exit(0)
        """)
    assert out == "returned\n"


def close_and_clear(pool: warmheap.MemoryPool, cached: List[warmheap.Buffer]) -> None:
    cached.clear()
    pool.close()


def free_each(_: warmheap.MemoryPool, cached: List[warmheap.Buffer]) -> None:
    for buffer in cached:
        buffer.free()


Act = Callable[[warmheap.MemoryPool, List[warmheap.Buffer]], object]
ACTS: List[Act] = [
    lambda pool, cached: 1 / 0,
    lambda pool, cached: cached.clear(),
    free_each,
    lambda pool, cached: cached.append(pool.allocate(1000)),
    lambda pool, cached: pool.allocate(1 << 38),
    lambda pool, cached: pool.trim(),
    lambda pool, cached: pool.reset_statistics(),
    lambda pool, cached: pool.on_pressure(print),
    lambda pool, cached: pool.close(),
    close_and_clear,
    lambda pool, cached: [warmheap.MemoryPool(), 1 / 0],
]


@pytest.mark.parametrize("device", ["sim:discrete,budget=64", "sim:budget=64", "host:budget=64"])
@pytest.mark.parametrize("act", ACTS)
def test_a_callback_may_do_anything(act: Act, device: str, unraisable: List[Any]) -> None:
    pool = warmheap.MemoryPool(device=device, heap_size_mb=8, num_heaps=1, warmup_sizes=[])
    cached = [pool.allocate(40 * MIB)]
    address, calls = cached[0].device_address, []

    def callback(pool: warmheap.MemoryPool, _: warmheap.Pressure) -> None:
        calls.append(True)
        act(pool, cached)

    later: List[bool] = []
    pool.on_pressure(callback)
    pool.on_pressure(lambda pool, pressure: later.append(True))
    served = None
    with contextlib.suppress(warmheap.OutOfMemoryError):
        served = pool.allocate(30 * MIB)
    assert len(calls) == 1 and len(later) == 1
    assert all(isinstance(error, (ZeroDivisionError, warmheap.OutOfMemoryError)) for error in unraisable)
    # The request succeeds exactly if there was room. What was not freed is unchanged.
    assert (served is not None) == (not any(not buffer.is_freed and buffer.size > 1000 for buffer in cached[:1]))
    assert not cached or cached[0].is_freed or cached[0].device_address == address
    if pool.closed:
        return
    alive = len([buffer for buffer in cached if not buffer.is_freed]) + (served is not None)
    assert len(pool.leaks()) == alive
    cached.clear()
    served = None
    assert pool.leaks() == [] and pool.allocate(40 * MIB).size == 40 * MIB


def test_a_callback_may_drop_the_last_handle() -> None:
    pools = [tight()]
    cached = [pools[0].allocate(40 * MIB)]

    def let_go(*_: object) -> None:
        pools.clear()
        cached.clear()

    pools[0].on_pressure(let_go)
    assert pools.pop().allocate(30 * MIB).size == 30 * MIB


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 64])
def test_buffers_are_used_freed_and_viewed_by_all_threads_at_once(threads: int) -> None:
    """Several threads use each object at once, and no call finds its state in use."""
    pool = warmheap.MemoryPool()
    wrong: List[BaseException] = []
    shared: List[warmheap.Buffer] = [pool.allocate(1000)]

    def work() -> None:
        try:
            for _ in range(300):
                buffer = shared[0]
                try:
                    view = memoryview(buffer)
                    assert len(view) == 1000 and buffer.tag is None
                    buffer.free()
                    view.release()
                    buffer.grow(1000)
                except warmheap.ClosedError:
                    shared[0] = pool.allocate(1000)
        except BaseException as error:
            wrong.append(error)

    at_once(lambda _: work(), range(threads))
    assert not wrong
    shared.clear()
    assert pool.leaks() == []
