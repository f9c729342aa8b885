"""`CommandBufferRing`: a bound on work in flight."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, List

import pytest
import warmheap

from test_waiting import Meanwhile

kr = pytest.importorskip("krserve_native")


def ring(**settings: Any) -> Any:
    return kr.CommandBufferRing(kr.CommandBufferRingConfig(**settings))


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


def test_a_disabled_ring_gives_no_places() -> None:
    with pytest.raises(warmheap.ClosedError, match="`enabled` is False"):
        ring(enabled=False).acquire_buffer()


def test_a_wait_is_counted_whole_and_ends_with_the_work_that_is_done_first(pool: warmheap.MemoryPool) -> None:
    places, work = ring(ring_size=2), pool.queue()
    first, second = places.acquire_buffer(), places.acquire_buffer()
    early, late = work.signal(), work.signal()
    places.release_buffer(first, late)
    places.release_buffer(second, early)
    finisher = threading.Timer(0.05, work.complete, (early,))
    finisher.start()
    places.release_buffer(places.acquire_buffer())
    finisher.join()
    assert 40 <= places.get_statistics().max_wait_time_ms
    work.complete(late)
