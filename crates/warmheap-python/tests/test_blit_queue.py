"""`BlitQueue`: copies on a thread of their own."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from typing import Any, Callable, List

import pytest
import warmheap

from conftest import MIB, at_once
from test_waiting import Meanwhile

kr = pytest.importorskip("krserve_native")

SLOW = "sim:discrete,latency=50000"
"""Every copy between buffers takes 0.05 seconds."""


def queue(**settings: Any) -> Any:
    return kr.BlitQueue(kr.BlitQueueConfig(**settings))


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

    def wait(self) -> None:
        self.reached.set()
        assert self.opened.wait(10)


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


def test_a_failed_copy_is_told_once_and_logged(
    pool: warmheap.MemoryPool, caplog: pytest.LogCaptureFixture
) -> None:
    copies = queue()
    told: List[Any] = []
    host, simulated = pool.allocate(100), slow_pair()[0]
    first = copies.upload_async(host, 100, simulated, completion=lambda: told.append(1))
    with pytest.raises(warmheap.DeviceError, match="another device"):
        copies.wait_for_completion(first)
    assert copies.wait_for_completion(first), "it has completed, and its error was told"
    assert told == [], "the completion of a copy that failed is not called"
    assert "a copy failed" in caplog.text
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

    def completion(number: int) -> Callable[[], None]:
        def done() -> None:
            told.append((number, threading.current_thread() is threading.main_thread()))
            if number == 5:
                raise ZeroDivisionError

        return done

    for number in range(20):
        copies.upload_async(b"12345678", 8, buffer, completion=completion(number))
    copies.wait_for_all()
    assert told == [(number, False) for number in range(20)]
    assert [type(error) for error in unraisable] == [ZeroDivisionError]


def test_a_completion_may_submit_and_cannot_wait_for_its_own_queue(pool: warmheap.MemoryPool) -> None:
    copies, buffer = queue(max_pending_ops=1), pool.allocate(8)
    told: List[str] = []

    def done() -> None:
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
    two.upload_async(b"x", 1, buffer, completion=lambda: submitted.append(two.upload_async(b"y", 1, buffer)))
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
    copies = queue(max_pending_ops=4)
    told: List[Any] = []

    def work(number: int) -> None:
        buffer, back = pool.allocate(4096), bytearray(4096)
        for turn in range(20):
            data = bytes([number, turn]) * 2048
            copies.upload_async(data, 4096, buffer, completion=lambda: told.append(number))
            last = copies.download_async(buffer, 0, back, 4096)
            assert copies.wait_for_completion(last) and back == data, (number, turn)

    at_once(work, range(threads))
    metrics = copies.get_metrics()
    assert sorted(told) == sorted(list(range(threads)) * 20)
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
    copies.upload_async(b"12345", 5, buffer, completion=done.set)
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
