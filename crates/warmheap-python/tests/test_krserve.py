"""`krserve_native` in a process: an engine that uses it, interrupts, forks, the end, wrong arguments."""

from __future__ import annotations

import doctest
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
import warmheap

from conftest import quiet
from test_arguments import HOSTILE
from test_signals import END

kr = pytest.importorskip("krserve_native")


class Engine:
    """Starts, reports and stops as an inference engine does whose native parts are optional."""

    def __init__(self, settings: Dict[str, Any], pool_class: Any) -> None:
        self.pool: Any = None
        self.blit: Any = None
        self.ring: Any = None
        self.fell_back: List[BaseException] = []
        try:
            pool = kr.MetalMemoryPoolConfig()
            pool.heap_size_mb = settings["memory_pool"].get("heap_size_mb", 512)
            pool.track_statistics = settings["memory_pool"].get("track_statistics", True)
            pool.warmup_sizes = settings["memory_pool"].get("warmup_sizes", [])
            self.pool = pool_class(pool)
            self.pool.warmup()
            blit = kr.BlitQueueConfig()
            blit.enabled = True
            blit.max_pending_ops = settings["blit_queue"].get("max_pending_ops", 16)
            blit.use_shared_events = blit.track_metrics = True
            self.blit = kr.BlitQueue(blit)
            ring = kr.CommandBufferRingConfig()
            ring.ring_size = settings["command_ring"].get("ring_size", 3)
            ring.timeout_ms, ring.track_statistics, ring.log_wait_events = 0, True, False
            self.ring = kr.CommandBufferRing(ring)
        except Exception as error:
            self.fell_back.append(error)
            self.pool = self.blit = self.ring = None

    def stop(self) -> List[Dict[str, Any]]:
        if not (self.pool and self.blit and self.ring):
            return []
        self.blit.wait_for_all()
        self.ring.wait_all()
        return [
            self.pool.get_statistics().to_dict(), self.blit.get_metrics().to_dict(),
            self.ring.get_statistics().to_dict(),
        ]  # fmt: skip


SETTINGS: Dict[str, Any] = {
    "memory_pool": {"heap_size_mb": 8}, "blit_queue": {"max_pending_ops": 4}, "command_ring": {"ring_size": 2}
}  # fmt: skip


def test_an_engine_falls_back_where_there_is_no_metal() -> None:
    engine = Engine(SETTINGS, kr.MetalMemoryPool)
    if engine.fell_back:
        assert isinstance(engine.fell_back[0], RuntimeError) and engine.stop() == []
    else:
        assert len(engine.stop()) == 3


@pytest.mark.parametrize("device", ["host", "sim"])
def test_an_engine_serves_with_all_three(device: str) -> None:
    engine = Engine(SETTINGS, lambda config: kr.MemoryPool(config, device=device))
    assert not engine.fell_back
    pool, blit, ring = engine.pool, engine.blit, engine.ring
    work = pool.queue()
    tickets: List[Any] = []
    for token in range(32):
        place = ring.acquire_buffer()
        buffer = pool.allocate(4096)
        operation = blit.upload_async(bytes([token]) * 4096, 4096, buffer)
        assert blit.wait_for_completion(operation)
        tickets.append(work.signal())
        ring.release_buffer(place, tickets[-1])
        buffer.retire(tickets[-1])
        if len(tickets) == 2:
            work.complete(tickets.pop(0))
    work.complete(tickets[-1])
    pool_figures, blit_figures, ring_figures = engine.stop()
    assert pool_figures["total_allocations"] >= 32 and blit_figures["total_uploads"] == 32
    assert ring_figures["total_acquired"] == ring_figures["total_released"] == 32
    assert ring_figures["in_flight_count"] == 0 and ring_figures["reuse_rate"] == 1


@pytest.mark.parametrize(
    "prepare, wait",
    [
        ("pass", "copies.wait_for_all()"),
        ("pass", "copies.wait_for_completion(1)"),
        ("pass", "copies.wait_for_completion(1, 8000)"),
        ("copies.upload_async(b'x', 1, buffer)", "copies.upload_async(b'x', 1, buffer)"),
        ("copies.upload_async(b'x', 1, buffer)", "copies.download_async(buffer, 0, bytearray(1), 1)"),
        ("pass", "warmheap._native._end_transfers()"),
        ("place = places.acquire_buffer()", "places.acquire_buffer()"),
        ("places.release_buffer(places.acquire_buffer(), order.signal())", "places.acquire_buffer()"),
        ("places.release_buffer(places.acquire_buffer(), order.signal())", "places.wait_all()"),
        ("pass", "kr.read_config({pipe!r})"),
    ],
)
def test_an_interrupt_ends_the_wait(tmp_path: Path, prepare: str, wait: str) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    program = f"""
    import os, signal, sys, threading, time, warmheap
    import krserve_native as kr
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool = warmheap.MemoryPool()
    buffer, order = pool.allocate(1), pool.queue()
    places = kr.CommandBufferRing(kr.CommandBufferRingConfig(ring_size=1))
    copies = kr.BlitQueue(kr.BlitQueueConfig(max_pending_ops=2))
    stop = threading.Event()
    copies.upload_async(b"x", 1, buffer, completion=lambda: stop.wait(30))
    {prepare}
    wait = lambda: {wait.format(pipe=pipe)}
    {END}
    stop.set()
    """
    assert quiet(program).strip() == "ended"


def test_a_child_of_a_fork_has_queues_of_its_own() -> None:
    assert quiet("""
        import os, warnings, warmheap, krserve_native as kr
        warnings.simplefilter("ignore")
        pool = warmheap.MemoryPool()
        copies, places, buffer = kr.BlitQueue(), kr.CommandBufferRing(), pool.allocate(4)
        copies.wait_for_completion(copies.upload_async(b"1234", 4, buffer))
        held, order = places.acquire_buffer(), pool.queue()
        calls = [
            lambda: copies.upload_async(b"1", 1, buffer), lambda: copies.wait_for_completion(1), copies.wait_for_all,
            lambda: copies.is_completed(1), copies.get_metrics, copies.reset_metrics, places.acquire_buffer,
            lambda: places.release_buffer(held), places.wait_all, places.get_statistics, places.reset_statistics,
        ]
        child = os.fork()
        if child == 0:
            refused = 0
            for call in calls:
                try:
                    call()
                except warmheap.ForkError:
                    refused += 1
            assert refused == len(calls), refused
            del copies, places, held, calls, call
            own, mine = kr.BlitQueue(), warmheap.MemoryPool().allocate(3)
            own.wait_for_completion(own.upload_async(b"abc", 3, mine))
            assert bytes(memoryview(mine)) == b"abc"
            print("child", flush=True)
        else:
            assert os.waitpid(child, 0)[1] == 0
            copies.wait_for_completion(copies.upload_async(b"4321", 4, buffer))
            print(bytes(memoryview(buffer)))
    """, "-X", "dev").split("\n")[:2] == ["child", "b'4321'"]


def test_pending_copies_are_made_before_the_interpreter_ends() -> None:
    assert quiet("""
        import threading, time, warmheap, krserve_native as kr
        pool = warmheap.MemoryPool(device="sim:discrete,latency=20000", heap_size_mb=8, num_heaps=1, warmup_sizes=[])
        first, second = pool.allocate(1000), pool.allocate(1000)
        copies = kr.BlitQueue()
        for number in range(4):
            copies.upload_async(first, 1000, second, completion=lambda n=number: print(n, flush=True))
        def submit():
            while True:
                try:
                    copies.upload_async(first, 1000, second)
                except warmheap.ClosedError:
                    time.sleep(0.001)
        threading.Thread(target=submit, daemon=True).start()
    """) == "0\n1\n2\n3\n"


@pytest.mark.parametrize("last", ["copies", "pool", "buffer", "places", "place", "pass"])
def test_the_end_is_quiet_in_any_order(last: str) -> None:
    assert quiet(f"""
        import warmheap, krserve_native as kr
        pool = warmheap.MemoryPool()
        buffer, copies, places = pool.allocate(4 << 20), kr.BlitQueue(), kr.CommandBufferRing()
        place, order = places.acquire_buffer(), pool.queue()
        places.release_buffer(places.acquire_buffer(), order.signal())
        for _ in range(8):
            copies.upload_async(bytes(4 << 20), 4 << 20, buffer, completion=lambda: None)
        {last if last == "pass" else f"del {last}"}
    """, "-X", "dev") == ""


def calls(pool: warmheap.MemoryPool) -> Iterator[Tuple[str, Callable[..., Any], Dict[str, Any]]]:
    copies, places, work = kr.BlitQueue(), kr.CommandBufferRing(), pool.queue()
    buffer, ticket = pool.allocate(64), work.signal()
    work.complete(ticket)
    upload = {"source_data": b"x" * 8, "source_size": 8, "dest_buffer": buffer, "dest_offset": 0, "completion": print}
    download = {
        "source_buffer": buffer, "source_offset": 0, "dest_data": bytearray(8), "dest_size": 8, "completion": None,
    }  # fmt: skip
    known = copies.upload_async(b"x", 1, buffer)
    yield "BlitQueue", kr.BlitQueue, {"config": None}
    yield "BlitQueueConfig", kr.BlitQueueConfig, kr.BlitQueueConfig().to_dict()
    yield "BlitQueue.upload_async", copies.upload_async, {**upload, "completion": None}
    yield "BlitQueue.download_async", copies.download_async, download
    yield "BlitQueue.wait_for_completion", copies.wait_for_completion, {"operation_id": known, "timeout_ms": 1}
    yield "BlitQueue.is_completed", copies.is_completed, {"operation_id": known}
    yield "CommandBufferRing", kr.CommandBufferRing, {"config": None}
    yield "CommandBufferRingConfig", kr.CommandBufferRingConfig, kr.CommandBufferRingConfig().to_dict()
    yield "CommandBufferRing.release_buffer", (
        lambda **given: places.release_buffer(**{"buffer": places.acquire_buffer(), **given})
    ), {"ticket": ticket}
    yield "CommandBufferRing.release_buffer", places.release_buffer, {"buffer": places.acquire_buffer()}
    yield "read_config", kr.read_config, {"path": "/no/such/file"}


def test_a_wrong_argument_is_an_error_of_the_package(pool: warmheap.MemoryPool, unraisable: List[Any]) -> None:
    for name, call, suits in calls(pool):
        for argument in suits:
            for value in HOSTILE:
                if argument == "completion" and callable(value):
                    continue  # its own errors go to the hook
                try:
                    call(**{**suits, argument: value})
                except warmheap.WarmheapError as error:
                    assert isinstance(error, (ValueError, TypeError, RuntimeError)), (name, argument)
                    assert str(error) and len(str(error)) < 1000, (name, argument, error)
                except BaseException as error:
                    raise AssertionError(f"{name}({argument}={value!r:.60})") from error
    assert not unraisable


def test_every_public_name_has_a_text() -> None:
    for name in kr.__all__:
        thing = getattr(kr, name)
        assert thing.__doc__, name
        if isinstance(thing, type) and thing.__module__.startswith("krserve_native"):
            for part, value in vars(thing).items():
                assert part.startswith("_") or not callable(value) or value.__doc__, f"{name}.{part}"


@pytest.mark.parametrize("thing", [kr, kr.CommandBufferRing])
def test_examples(thing: Any) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(exclude_empty=True, recurse=False).find(thing, thing.__name__, module=False):
        runner.run(test)
    assert runner.summarize().failed == 0 and runner.tries > 5
