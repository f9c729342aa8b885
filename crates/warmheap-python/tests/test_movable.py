"""Movable buffers: compaction moves what is not in use, and nothing else."""

from __future__ import annotations

import gc
import itertools
from typing import List, Tuple

import pytest
import warmheap

from conftest import MIB, at_once, quiet

KINDS = [
    {"device": "host", "heap_size_mb": 32, "num_heaps": 1, "warmup_sizes": []},
    {"device": "host", "thread_cache_mb": 0},
    {"device": "host"},
]


def fill(buffer: warmheap.MovableBuffer, value: int) -> None:
    with buffer.pin() as pinned, memoryview(pinned) as view:
        view[0] = view[-1] = value


def ends(buffer: warmheap.MovableBuffer) -> Tuple[int, int]:
    with buffer.pin() as pinned, memoryview(pinned) as view:
        return view[0], view[-1]


def scattered(pool: warmheap.MemoryPool, total: int = 160) -> List[warmheap.MovableBuffer]:
    """Returns every fourth of many buffers, with holes between them."""
    buffers = [pool.allocate_movable(100_000 + 512 * n, tag="kv") for n in range(total)]
    kept = buffers[3::4]
    for number, buffer in enumerate(kept):
        fill(buffer, number)
    return kept


@pytest.mark.parametrize("kind", KINDS)
def test_holes_close_and_contents_stay(kind: dict[str, object]) -> None:
    with warmheap.MemoryPool(**kind) as pool:  # type: ignore[arg-type]
        kept = scattered(pool)
        before = pool.get_statistics()
        report = pool.compact()
        after = pool.get_statistics()
        assert report["finished"] and report["moved_buffers"] == after.moved_buffers > 0
        assert after.fragmentation <= before.fragmentation
        assert sum(buffer.moves for buffer in kept) == report["moved_buffers"]
        assert [ends(buffer) for buffer in kept] == [(n, n) for n in range(len(kept))]


def test_a_pin_and_its_views_keep_the_place() -> None:
    with warmheap.MemoryPool() as pool:
        kept = scattered(pool)
        pins = [buffer.pin() for buffer in kept]
        views = [memoryview(pin) for pin in pins]
        addresses = [pin.device_address for pin in pins]
        for pin in pins:
            pin.free()
        report = pool.compact()
        assert (report["moved_buffers"], report["busy_buffers"]) == (0, len(kept))
        assert [buffer.pins for buffer in kept] == [1] * len(kept)
        assert [buffer.pin().device_address for buffer in kept] == addresses
        assert [view[0] for view in views] == list(range(len(kept)))
        views.clear()
        assert pool.compact()["moved_buffers"] > 0


def test_work_in_flight_keeps_the_place() -> None:
    with warmheap.MemoryPool() as pool:
        kept, queue = scattered(pool), pool.queue()
        ticket = queue.signal()
        for number, buffer in enumerate(kept):
            pinned = buffer.pin()
            if number % 2:
                buffer.in_flight_until(ticket)
                pinned.free()
            else:
                pinned.retire(ticket)
            assert pinned.is_freed and buffer.pins == 0
        assert pool.compact()["moved_buffers"] == 0
        queue.complete(ticket)
        assert pool.compact()["moved_buffers"] > 0


def test_a_freed_buffer_lives_until_its_last_pin_ends() -> None:
    with warmheap.MemoryPool() as pool:
        queue = pool.queue()
        buffer = pool.allocate_movable(1000, zeroed=True)
        first, second = buffer.pin(), buffer.pin()
        with pytest.raises(BufferError, match="2 pins"):
            buffer.retire(queue.signal())
        with pytest.raises(BufferError, match="2 pins"):
            buffer.into_buffer()
        buffer.free()
        buffer.free()
        assert buffer.is_freed and "freed" in repr(buffer)
        for use in (buffer.pin, buffer.into_buffer, lambda: buffer.moves):
            with pytest.raises(warmheap.ClosedError):
                use()
        first.free()
        assert memoryview(second)[0] == 0 and pool.get_statistics().active_allocations == 1
        # The last pin of a freed buffer is retired with it.
        ticket = queue.signal()
        second.retire(ticket)
        assert (pool.get_statistics().active_allocations, queue.retired_bytes) == (1, 1000)
        queue.complete(ticket)
        assert queue.poll() == 1 and pool.get_statistics().active_allocations == 0


@pytest.mark.parametrize("kind", KINDS + [{"device": "sim:discrete"}])
@pytest.mark.parametrize("count", [1, 2, 3, 16])
@pytest.mark.parametrize("end", ["free", "free first", "drop", "retire", "into_buffer"])
def test_memory_waits_for_the_work_of_every_pin(kind: dict[str, object], count: int, end: str) -> None:
    """Pins end in both orders, and so do the queues that use the memory."""
    with warmheap.MemoryPool(**kind) as pool:  # type: ignore[arg-type]
        forward = list(range(count))
        for unpinned, finished in itertools.product([forward, forward[::-1]], repeat=2):
            queues = [pool.queue() for _ in forward]
            tickets = [queue.signal() for queue in queues]
            held = [pool.allocate_movable(1000)]
            pins = [held[0].pin() for _ in forward]
            if end == "free first":
                held[0].free()
            for number in unpinned:
                pins[number].retire(tickets[number])
            if end == "free":
                held[0].free()
            elif end == "retire":
                held[0].retire(tickets[unpinned[0]])
            elif end == "into_buffer":
                held[0].into_buffer().free()
            held.clear()
            for number in finished:
                assert pool.get_statistics().active_allocations == 1, (unpinned, finished)
                queues[number].complete(tickets[number])
                for queue in queues:
                    queue.poll()
            assert pool.get_statistics().active_allocations == 0, (unpinned, finished)


def test_work_is_noted_only_on_a_buffer_that_stays() -> None:
    with warmheap.MemoryPool() as pool:
        buffer, ticket = pool.allocate_movable(1000), pool.queue().signal()
        with pytest.raises(warmheap.RequestError, match="pin it before"):
            buffer.in_flight_until(ticket)
        with buffer.pin():
            buffer.in_flight_until(ticket)


def test_a_compaction_ends_however_many_buffers_cannot_move() -> None:
    assert quiet("""
        import warmheap
        pool = warmheap.MemoryPool(device="sim")
        ticket = pool.queue().signal()
        kept = [pool.allocate_movable(64) for _ in range(150_000)]
        for buffer in kept:
            buffer.pin().retire(ticket)
        report = pool.compact()
        print(report["finished"], report["busy_buffers"])
        """) == "True 150000\n"


def test_what_a_movable_buffer_becomes() -> None:
    with warmheap.MemoryPool() as pool:
        buffer = pool.allocate_movable(1000, align=4096, tag="kv")
        assert (buffer.size, buffer.pool, buffer.moves) == (1000, pool, 0)
        assert repr(buffer) == "<warmheap.MovableBuffer of 1000 bytes, 0 pins>"
        with buffer.pin() as pinned:
            assert isinstance(pinned, warmheap.Buffer) and pinned.device_address % 4096 == 0
            assert pinned.tag == "kv" and pinned.site is not None and __file__ in pinned.site
            with pytest.raises(warmheap.RequestError, match="pin cannot grow"):
                pinned.grow(2000)
        fill(buffer, 9)
        fixed = buffer.into_buffer()
        assert memoryview(fixed)[0] == 9 and buffer.is_freed
        fixed.free()
        with pool.allocate_movable(64) as scoped:
            pass
        assert scoped.is_freed
        pool.allocate_movable(64)
        gc.collect()
        assert pool.get_statistics().active_allocations == 0


def test_a_budget_bounds_a_compaction() -> None:
    with warmheap.MemoryPool() as pool:
        kept = scattered(pool)
        report = pool.compact(max_mb=0.1)
        assert not report["finished"] and 0 < report["moved_bytes"] < 400_000
        assert pool.compact(max_seconds=0)["moved_buffers"] <= 1
        while not pool.compact(max_mb=1, max_seconds=0.01)["finished"]:
            pass
        assert [ends(buffer) for buffer in kept] == [(n, n) for n in range(len(kept))]


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_threads_pin_and_free_while_others_compact(threads: int) -> None:
    with warmheap.MemoryPool() as pool:
        failures: List[BaseException] = []

        def work(number: int) -> None:
            try:
                if number == 0:
                    for _ in range(30):
                        pool.compact()
                    return
                for _ in range(10):
                    kept = scattered(pool, 24)
                    assert [ends(buffer) for buffer in kept] == [(n, n) for n in range(len(kept))]
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        at_once(work, range(threads + 1))
        assert not failures
        assert pool.get_statistics().active_allocations == 0


def test_a_closed_pool_leaves_movable_buffers_alive() -> None:
    pool = warmheap.MemoryPool(log_exhaustion=False)
    buffer = pool.allocate_movable(MIB)
    fill(buffer, 3)
    pool.close()
    assert ends(buffer) == (3, 3)
    with pytest.raises(warmheap.ClosedError):
        pool.compact()
    with pytest.raises(warmheap.ClosedError):
        pool.allocate_movable(64)
