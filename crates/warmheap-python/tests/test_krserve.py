"""`krserve_native`: copies on a thread of their own, a bound on work in flight, and their configuration."""

from __future__ import annotations

import copy
import doctest
import gc
import logging
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
import warmheap

from conftest import MIB, at_once, quiet
from test_arguments import HOSTILE
from test_signals import END
from test_waiting import Meanwhile

kr = pytest.importorskip("krserve_native")

SLOW = "sim:discrete,latency=50000"
"""Every copy between buffers takes 0.05 seconds."""


def queue(**settings: Any) -> Any:
    return kr.BlitQueue(kr.BlitQueueConfig(**settings))


def ring(**settings: Any) -> Any:
    return kr.CommandBufferRing(kr.CommandBufferRingConfig(**settings))


def slow_pair() -> List[warmheap.Buffer]:
    """Returns two buffers; a copy from one to the other is slow."""
    pool = warmheap.MemoryPool(device=SLOW, heap_size_mb=8, num_heaps=1, warmup_sizes=[])
    return [pool.allocate(1000), pool.allocate(1000)]


class Gate:
    """Holds a queue up inside a completion until it is opened."""

    def __init__(self, held: Any) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        self.operation = held.upload_async(b"x", 1, warmheap.MemoryPool().allocate(1), completion=self.wait)
        assert self.reached.wait(10)

    def wait(self, error: object) -> None:
        self.reached.set()
        assert self.opened.wait(10)


# Copies


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, "buffer", "array"])
def test_what_is_uploaded_comes_back(wrap: Any, pool: warmheap.MemoryPool) -> None:
    copies, data = queue(), os.urandom(3 * MIB)
    source: Any
    if wrap == "buffer":
        source = pool.allocate(3 * MIB)
        memoryview(source)[:] = data
    elif wrap == "array":
        source = pytest.importorskip("numpy").frombuffer(data, "int32")
    else:
        source = wrap(data)
    middle = pool.allocate(4 * MIB, zeroed=True)
    back: Any = pool.allocate(3 * MIB) if wrap == "buffer" else bytearray(3 * MIB)
    copies.upload_async(source, 3 * MIB, middle, MIB)
    last = copies.download_async(middle, MIB, back, 3 * MIB)
    assert copies.wait_for_completion(last) and copies.is_completed(1)
    assert bytes(memoryview(back)) == data
    assert not any(memoryview(middle)[:MIB])


def test_only_the_range_is_copied(pool: warmheap.MemoryPool) -> None:
    copies, buffer, back = queue(), pool.allocate(10, zeroed=True), bytearray(b"........")
    copies.upload_async(b"abcdef", 3, buffer, 5)
    copies.download_async(buffer, 4, back, 5)
    copies.wait_for_all()
    assert bytes(memoryview(buffer)) == b"\0" * 5 + b"abc\0\0"
    assert back == b"\0abc\0..."


def test_a_range_may_overlap_itself(pool: warmheap.MemoryPool) -> None:
    copies, buffer = queue(), pool.allocate(10)
    memoryview(buffer)[:] = b"0123456789"
    copies.upload_async(buffer, 8, buffer, 2)
    copies.wait_for_all()
    assert bytes(memoryview(buffer)) == b"0101234567"


def test_a_device_copies_between_its_own_buffers() -> None:
    copies, (first, second) = queue(), slow_pair()
    begun = time.monotonic()
    operation = copies.upload_async(first, 1000, second)
    submitted = time.monotonic() - begun
    assert not copies.is_completed(operation) and not copies.wait_for_completion(operation, 1)
    assert copies.wait_for_completion(operation) and time.monotonic() - begun >= 0.05
    assert submitted < 0.05, "submitting waits for the copy"
    with pytest.raises(warmheap.RequestError, match="overlap"):
        copies.upload_async(first, 600, first, 300)
    # There is no memory to copy from or to, and the rest is as elsewhere.
    back = bytearray(b"kept")
    copies.upload_async(b"abc", 3, first)
    copies.download_async(first, 0, back, 4)
    copies.wait_for_all()
    assert back == b"kept" and copies.get_metrics().total_uploads == 2


def test_a_failed_copy_is_told_once_and_to_its_completion(pool: warmheap.MemoryPool) -> None:
    copies, told = queue(), []
    host, simulated = pool.allocate(100), slow_pair()[0]
    first = copies.upload_async(host, 100, simulated, completion=told.append)
    with pytest.raises(warmheap.DeviceError, match="another device"):
        copies.wait_for_completion(first)
    assert copies.wait_for_completion(first), "it has completed, and its error was told"
    assert [type(error) for error in told] == [warmheap.DeviceError]
    copies.upload_async(host, 100, simulated)
    copies.upload_async(b"good", 4, host)
    with pytest.raises(warmheap.DeviceError, match="another device"):
        copies.wait_for_all()
    copies.wait_for_all()
    assert copies.get_metrics().total_uploads == 1


def test_completions_run_in_order_and_what_they_raise_goes_to_the_hook(
    pool: warmheap.MemoryPool, unraisable: List[Any]
) -> None:
    copies, buffer, told = queue(max_pending_ops=3), pool.allocate(8), []

    def completion(number: int) -> Callable[[object], None]:
        def done(error: object) -> None:
            told.append((number, error, threading.current_thread() is threading.main_thread()))
            if number == 5:
                raise ZeroDivisionError

        return done

    for number in range(20):
        copies.upload_async(b"12345678", 8, buffer, completion=completion(number))
    copies.wait_for_all()
    assert told == [(number, None, False) for number in range(20)]
    assert [type(error) for error in unraisable] == [ZeroDivisionError]


def test_a_completion_may_submit_and_cannot_wait_for_its_own_queue(pool: warmheap.MemoryPool) -> None:
    copies, buffer, told = queue(max_pending_ops=1), pool.allocate(8), []

    def done(error: object) -> None:
        for call in (copies.wait_for_all, lambda: copies.wait_for_completion(1), again):
            try:
                call()
            except warmheap.RequestError as refused:
                told.append(str(refused))

    def again() -> None:
        copies.upload_async(b"y", 1, buffer)

    copies.upload_async(b"x", 1, buffer, completion=done)
    copies.wait_for_all()
    assert len(told) == 3 and "would wait for itself" in told[0]
    two, submitted = queue(max_pending_ops=2), []
    two.upload_async(b"x", 1, buffer, completion=lambda _: submitted.append(two.upload_async(b"y", 1, buffer)))
    two.wait_for_all()
    assert submitted == [2] and two.wait_for_completion(2)


def test_a_full_queue_makes_the_next_copy_wait(pool: warmheap.MemoryPool) -> None:
    copies, buffer = queue(max_pending_ops=3), pool.allocate(8)
    gate = Gate(copies)
    for _ in range(2):
        copies.upload_async(b"x", 1, buffer)
    late: List[int] = []
    thread = threading.Thread(target=lambda: late.append(copies.upload_async(b"x", 1, buffer)))
    thread.start()
    thread.join(0.2)
    assert not late and "3 of 3" in repr(copies)
    gate.opened.set()
    thread.join()
    assert late == [4] and copies.wait_for_completion(4)
    assert copies.get_metrics().sync_wait_count >= 1


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 64])
def test_copies_of_many_threads_arrive(threads: int, pool: warmheap.MemoryPool) -> None:
    copies, told = queue(max_pending_ops=4), []

    def work(number: int) -> None:
        buffer, back = pool.allocate(4096), bytearray(4096)
        for turn in range(20):
            data = bytes([number, turn]) * 2048
            copies.upload_async(data, 4096, buffer, completion=told.append)
            last = copies.download_async(buffer, 0, back, 4096)
            assert copies.wait_for_completion(last) and back == data, (number, turn)

    at_once(work, range(threads))
    metrics = copies.get_metrics()
    assert told == [None] * 20 * threads
    assert metrics.total_uploads == metrics.total_downloads == 20 * threads


def test_memory_stays_until_its_copies_are_made(pool: warmheap.MemoryPool) -> None:
    copies = queue()
    gate = Gate(copies)
    source, target = bytearray(b"12345"), pool.allocate(5)
    view = memoryview(target)
    copies.upload_async(source, 5, target)
    target.free()
    view.release()
    with pytest.raises(BufferError):
        source.append(1)
    assert pool.get_statistics().active_allocations == 1
    del target
    gc.collect()
    assert pool.get_statistics().active_allocations == 1
    gate.opened.set()
    copies.wait_for_all()
    assert pool.get_statistics().active_allocations == 0
    source.append(1)


def test_a_queue_that_the_program_lets_go_makes_its_copies(pool: warmheap.MemoryPool) -> None:
    copies, buffer, done = queue(), pool.allocate(5), threading.Event()
    gate = Gate(copies)
    copies.upload_async(b"12345", 5, buffer, completion=lambda error: done.set())
    with Meanwhile() as meanwhile:
        del copies
    meanwhile.check()
    assert not done.is_set()
    gate.opened.set()
    assert done.wait(10) and bytes(memoryview(buffer)) == b"12345"


def test_other_threads_run_while_a_call_waits() -> None:
    copies, (first, second) = queue(), slow_pair()
    for _ in range(4):
        last = copies.upload_async(first, 1000, second)
    with Meanwhile() as meanwhile:
        copies.wait_for_completion(last)
    meanwhile.check(0.1)


def test_metrics_are_of_the_copies_made(pool: warmheap.MemoryPool) -> None:
    copies, (first, second) = queue(max_pending_ops=8), slow_pair()
    for _ in range(2):
        last = copies.upload_async(first, 1000, second)
    time.sleep(0.3)
    copies.wait_for_completion(last)
    metrics = copies.get_metrics()
    assert metrics.total_uploads == metrics.total_operations == 2 and metrics.total_downloads == 0
    assert metrics.avg_upload_ms >= 50 and metrics.avg_io_ms == metrics.avg_upload_ms
    assert metrics.overlap_ratio == 1 and metrics.total_overlap_ms >= 100 and metrics.sync_wait_count == 0
    copies.wait_for_completion(copies.download_async(first, 0, second, 1000))
    waited = copies.get_metrics()
    assert waited.sync_wait_count == 1 and waited.avg_sync_wait_ms >= 40
    assert waited.overlap_ratio < 0.9 and waited.avg_download_ms >= 50
    assert set(waited.to_dict()) > {"total_uploads", "overlap_ratio", "avg_io_ms"}
    assert copies.get_statistics() == waited
    copies.reset_metrics()
    assert set(copies.get_metrics().to_dict().values()) == {0}
    uncounted = queue(track_metrics=False)
    uncounted.wait_for_completion(uncounted.upload_async(b"x", 1, pool.allocate(1)))
    assert uncounted.get_metrics().total_uploads == 0


def test_a_disabled_queue_takes_no_copies_and_waits_for_none(pool: warmheap.MemoryPool) -> None:
    copies = queue(enabled=False)
    with pytest.raises(warmheap.ClosedError, match="`enabled` is False"):
        copies.upload_async(b"x", 1, pool.allocate(1))
    with pytest.raises(warmheap.ClosedError, match="`enabled` is False"):
        copies.download_async(pool.allocate(1), 0, bytearray(1), 1)
    assert copies.wait_for_completion(1) and copies.is_completed(1)
    copies.wait_for_all(), copies.flush(), copies.reset_metrics()
    assert copies.get_metrics().total_operations == 0 and "disabled" in repr(copies)
    with pytest.raises(warmheap.ClosedError, match="`enabled` is False"):
        ring(enabled=False).acquire_buffer()


def test_copies_are_logged_if_wished(pool: warmheap.MemoryPool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "warmheap"):
        for verbose in (False, True):
            copies = queue(verbose_logging=verbose)
            copies.wait_for_completion(copies.upload_async(b"abc", 3, pool.allocate(3)))
            copies.get_metrics(), pool.trim()
    told = [record for record in caplog.records if "a copy" in record.getMessage()]
    assert [record.getMessage() for record in told] == ["a copy is submitted", "a copy has ended"]
    assert told[0].fields["bytes"] == 3 and told[1].fields["operation"] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda copies, buffer: copies.upload_async(b"x", 2, buffer), "2 bytes at 0 of source_data, which has 1"),
        (lambda copies, buffer: copies.upload_async(b"x", 0, buffer), "0 bytes at 0 of source_data"),
        (lambda copies, buffer: copies.upload_async(b"x", 1, buffer, 8), "1 bytes at 8 of dest_buffer, which has 8"),
        (lambda copies, buffer: copies.upload_async(b"x", 1, buffer, 2**64 - 1), "at 18446744073709551615 of dest"),
        (lambda copies, buffer: copies.download_async(buffer, 0, b"x", 1), "dest_data lends no such bytes: Object is"),
        (lambda copies, buffer: copies.upload_async(memoryview(b"1234")[::2], 2, buffer), "source_data lends no such"),
        (lambda copies, buffer: copies.wait_for_completion(1), "none was submitted"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(call: Callable[..., Any], text: str, pool: warmheap.MemoryPool) -> None:
    copies = queue()
    with pytest.raises(warmheap.RequestError, match=text):
        call(copies, pool.allocate(8))
    assert copies.get_metrics().total_operations == 0
    freed = pool.allocate(8)
    freed.free()
    with pytest.raises(warmheap.ClosedError, match="freed"):
        copies.upload_async(b"x", 1, freed)


# The ring


def test_a_place_comes_free_when_its_work_is_done(pool: warmheap.MemoryPool) -> None:
    places, work = ring(ring_size=2, timeout_ms=20), pool.queue()
    first, second = places.acquire_buffer(), places.acquire_buffer()
    ticket = work.signal()
    places.release_buffer(first, ticket)
    with pytest.raises(warmheap.DeviceError, match="all 2 command buffers stayed in use for 20 ms"):
        places.acquire_buffer()
    work.complete(ticket)
    third = places.acquire_buffer()
    places.release_buffer(second)
    places.release_buffer(third)
    figures = places.get_statistics()
    assert (figures.total_acquired, figures.total_released, figures.in_flight_count) == (3, 3, 0)
    assert (figures.wait_events, figures.timeout_events, figures.rotations) == (1, 1, 1)
    assert figures.max_wait_time_ms >= 20 and figures.reuse_rate == 0.75 and figures.current_index == 1
    assert figures.submission_overhead_us >= 1000
    assert set(figures.to_dict()) > {"ring_size", "wait_rate", "utilization_percent", "avg_wait_ms"}
    places.reset_statistics()
    assert places.get_statistics().total_acquired == 0 and places.get_statistics().reuse_rate == 1


def test_work_completes_in_any_order(pool: warmheap.MemoryPool) -> None:
    places, queues = ring(ring_size=3, timeout_ms=5000), [pool.queue() for _ in range(3)]
    tickets = [of.signal() for of in queues]
    for ticket in tickets:
        places.release_buffer(places.acquire_buffer(), ticket)
    threading.Timer(0.05, queues[2].complete, [tickets[2]]).start()
    begun = time.monotonic()
    kept = places.acquire_buffer()
    assert time.monotonic() - begun < 1
    threading.Timer(0.05, lambda: places.release_buffer(kept)).start()
    places.acquire_buffer()
    assert time.monotonic() - begun < 1


def test_a_place_that_is_forgotten_comes_free() -> None:
    places = ring(ring_size=1, timeout_ms=5000)
    for _ in range(3):
        places.acquire_buffer()
    place = places.acquire_buffer()
    places.release_buffer(place)
    with pytest.raises(warmheap.RequestError, match="released before"):
        places.release_buffer(place)
    with pytest.raises(warmheap.RequestError, match="another ring"):
        places.release_buffer(ring().acquire_buffer())
    assert places.get_statistics().in_flight_count == 0


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 64])
def test_no_more_than_the_ring_has_are_in_flight(threads: int, pool: warmheap.MemoryPool) -> None:
    places, lock, now, most = ring(ring_size=3), threading.Lock(), [0], [0]
    work = pool.queue()
    tickets: List[Any] = []

    def complete() -> None:
        while tickets or any(thread.is_alive() for thread in submitting):
            time.sleep(0.001)
            with lock:
                done, tickets[:] = tickets[:], []
                # Before the last completes: afterwards its place may be taken.
                now[0] -= len(done)
            for ticket in done:
                work.complete(ticket)

    def submit() -> None:
        for turn in range(20):
            place = places.acquire_buffer()
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            if turn % 3:
                with lock:
                    ticket = work.signal()
                    places.release_buffer(place, ticket)
                    tickets.append(ticket)
            else:
                with lock:
                    now[0] -= 1
                places.release_buffer(place)

    submitting = [threading.Thread(target=submit) for _ in range(threads)]
    for thread in submitting:
        thread.start()
    complete()
    places.wait_all()
    figures = places.get_statistics()
    assert figures.total_acquired == figures.total_released == 20 * threads and figures.in_flight_count == 0
    assert most[0] <= 3
    assert threads == 1 or figures.wait_events > 0


def test_wait_all_waits_for_released_work_only(pool: warmheap.MemoryPool) -> None:
    places, work = ring(ring_size=2), pool.queue()
    held = places.acquire_buffer()
    places.wait_all()
    ticket = work.signal()
    places.release_buffer(places.acquire_buffer(), ticket)
    threading.Timer(0.2, work.complete, [ticket]).start()
    with Meanwhile() as meanwhile:
        places.wait_all()
    meanwhile.check(0.1)
    places.release_buffer(held)


def test_waits_for_a_place_are_logged_if_wished(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "warmheap"):
        for log in (False, True):
            places = ring(ring_size=1, log_wait_events=log)
            place = places.acquire_buffer()
            threading.Timer(0.02, places.release_buffer, [place]).start()
            places.acquire_buffer()
    assert [record.getMessage() for record in caplog.records] == ["waited for a command buffer"]


# Interrupts, forks, the end


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
    copies.upload_async(b"x", 1, buffer, completion=lambda error: stop.wait(30))
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
            copies.upload_async(first, 1000, second, completion=lambda error, n=number: print(n, error, flush=True))
        def submit():
            while True:
                try:
                    copies.upload_async(first, 1000, second)
                except warmheap.ClosedError:
                    time.sleep(0.001)
        threading.Thread(target=submit, daemon=True).start()
    """) == "0 None\n1 None\n2 None\n3 None\n"


@pytest.mark.parametrize("last", ["copies", "pool", "buffer", "places", "place", "pass"])
def test_the_end_is_quiet_in_any_order(last: str) -> None:
    assert quiet(f"""
        import warmheap, krserve_native as kr
        pool = warmheap.MemoryPool()
        buffer, copies, places = pool.allocate(4 << 20), kr.BlitQueue(), kr.CommandBufferRing()
        place, order = places.acquire_buffer(), pool.queue()
        places.release_buffer(places.acquire_buffer(), order.signal())
        for _ in range(8):
            copies.upload_async(bytes(4 << 20), 4 << 20, buffer, completion=lambda error: None)
        {last if last == "pass" else f"del {last}"}
    """, "-X", "dev") == ""


# Settings


ENGINE = """
mlx: {concurrency_limit: 1}
metal_optimizations:
  enabled: true
  memory_pool: {enabled: true, heap_size_mb: 64, num_heaps: 2, warmup_sizes: [32]}
  blit_queue:
    enabled: true
    use_shared_events: true
    staging_buffer_size_mb: 64
    max_concurrent_ops: 4
    verbose_logging: false
    track_metrics: true
  command_buffer_ring: {enabled: true, ring_size: 3, timeout_ms: 500, log_wait_events: true}
  graceful_fallback: true
  fallback_log_level: 'warn'
cpu_optimizations: {enabled: true}
kv_cache_pool: {enabled: true}
"""


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "runtime.yaml"
    path.write_text(text, encoding="utf-8")
    return kr.read_config(path)


def test_the_three_sections_of_a_file_are_read(tmp_path: Path) -> None:
    config = read(tmp_path, ENGINE)
    assert config.memory_pool == warmheap.PoolConfig(heap_size_mb=64, num_heaps=2, warmup_sizes=[32])
    assert config.blit_queue == kr.BlitQueueConfig(max_pending_ops=4)
    assert config.command_ring == kr.CommandBufferRingConfig(ring_size=3, timeout_ms=500, log_wait_events=True)
    renamed = ENGINE.replace("command_buffer_ring", "command_ring").replace("max_concurrent_ops", "max_pending_ops")
    assert read(tmp_path, renamed) == config
    off = read(tmp_path, ENGINE.replace("  enabled: true\n  memory_pool", "  enabled: false\n  memory_pool"))
    assert not (off.memory_pool.enabled or off.blit_queue.enabled or off.command_ring.enabled)
    assert read(tmp_path, "memory_pool: {num_heaps: 2}").blit_queue == kr.BlitQueueConfig()


@pytest.mark.parametrize(
    "before, after, text",
    [
        ("max_concurrent_ops: 4", "max_concurrent_ops: many", "line 10: `max_concurrent_ops` is `many`; it must be a w"),
        ("max_concurrent_ops: 4", "max_concurrent_ops: 0", "line 10: `max_concurrent_ops` is `0`"),
        ("max_concurrent_ops: 4", "max_concurrent_ops: [1]", "line 10: `max_concurrent_ops` is `a list of 1`"),
        ("max_concurrent_ops: 4", "max_pendingops: 4", "line 10: unknown key `max_pendingops`; did you mean `max_pend"),
        ("track_metrics: true", "track_metrics: yes", "line 12: `track_metrics` is `yes`; it must be true or false"),
        ("track_metrics: true", "max_pending_ops: 1", "line 12: `max_pending_ops` was already set on line 10"),
        ("ring_size: 3", "ring_size: 3.5", "line 13: `ring_size` is `3.5`; it must be a whole number from 1 to 1024"),
        ("graceful_fallback: true", "command_ring: {}", "line 14: `command_ring` was already set on line 13; keep one"),
        ("  blit_queue:\n", "  blit_queue: 5\n  other:\n", "line 6: `blit_queue` is no section"),
        ("heap_size_mb: 64", "heap_size_mb: x", "line 5: `heap_size_mb` is `x`"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, before: str, after: str, text: str) -> None:
    assert before in ENGINE
    with pytest.raises(warmheap.ConfigError, match=text) as caught:
        read(tmp_path, ENGINE.replace(before, after))
    assert str(caught.value).startswith(str(tmp_path / "runtime.yaml")) and len(caught.value.problems) == 1


def test_settings_are_checked_when_they_are_set() -> None:
    config = kr.BlitQueueConfig(max_pending_ops=4)
    for key, value, text in [
        ("max_pending_ops", 0, "`max_pending_ops` is 0; it must be a whole number from 1 to 65536"),
        ("max_pending_ops", True, "is True; it must be a whole"),
        ("enabled", 1, "`enabled` is 1; it must be True or False"),
        ("max_pending", 1, "unknown key `max_pending`; did you mean `max_pending_ops`?"),
        ("heaps", 1, "unknown key `heaps`; known keys are enabled, max_pending_ops"),
    ]:
        with pytest.raises(warmheap.ConfigError, match=text.replace("?", "[?]")):
            setattr(config, key, value)
    with pytest.raises(warmheap.ConfigError, match="cannot be deleted"):
        del config.enabled
    assert config == kr.BlitQueueConfig(max_pending_ops=4) != kr.BlitQueueConfig()
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert "max_pending_ops=4" in repr(config) and config.to_dict()["enabled"] is True
    copies = kr.BlitQueue(config)
    config.max_pending_ops = 5
    assert "of 4" in repr(copies), "a queue has the settings that it began with"


# An engine's process


class Engine:
    """Starts, reports and stops as an inference engine does whose native parts are optional."""

    def __init__(self, settings: Dict[str, Any], pool_class: Any) -> None:
        self.pool = self.blit = self.ring = None
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


# Arguments


def calls(pool: warmheap.MemoryPool) -> Iterator[Tuple[str, Callable[..., Any], Dict[str, Any]]]:
    copies, places, work = queue(), ring(), pool.queue()
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
