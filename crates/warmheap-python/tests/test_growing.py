"""Buffers that grow, in place or elsewhere, and what forbids it."""

from __future__ import annotations

from pathlib import Path

import pytest
import warmheap

from conftest import MIB, at_once


def test_a_buffer_grows_in_place() -> None:
    with warmheap.MemoryPool(device="host") as pool:
        cache = pool.allocate(1000, growable=256 * MIB, tag="kv-cache")
        address, view = cache.device_address, memoryview(cache)
        view[:5] = b"hello"
        assert cache.grow(100 * MIB) is None and cache.grow(10) is None
        assert (cache.size, cache.device_address, view.nbytes) == (100 * MIB, address, 1000)
        memoryview(cache)[100 * MIB - 1] = 1
        assert bytes(memoryview(cache)[:5]) == b"hello"
        assert pool.get_statistics().active_allocations == 1


def test_a_buffer_that_cannot_grow_may_move(pool: warmheap.MemoryPool) -> None:
    buffer, behind = pool.allocate(2 * MIB, tag="kv"), pool.allocate(2 * MIB)
    others = [pool.allocate(2 * MIB) for _ in range(4)]
    memoryview(buffer)[:5] = b"hello"
    with pytest.raises(warmheap.GrowError, match="no room") as caught:
        buffer.grow(8 * MIB)
    assert isinstance(caught.value, MemoryError)
    assert (caught.value.size, caught.value.requested) == (2 * MIB, 8 * MIB)
    view = memoryview(buffer)
    with pytest.raises(warmheap.GrowError, match="view"):
        buffer.grow(8 * MIB, move=True)
    view.release()
    left = buffer.grow(8 * MIB, move=True)
    assert left is not None and (left.size, buffer.size, buffer.tag) == (2 * MIB, 8 * MIB, "kv")
    assert bytes(memoryview(buffer)[:5]) == bytes(memoryview(left)[:5]) == b"hello"
    assert buffer.device_address != left.device_address and buffer.site is not None and __file__ in buffer.site
    before = pool.get_statistics().active_allocations
    left.free()
    assert pool.get_statistics().active_allocations == before - 1
    buffer.free()
    with pytest.raises(warmheap.ClosedError):
        buffer.grow(9 * MIB)
    del behind, others


def test_a_recorded_buffer_grows_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    with warmheap.MemoryPool() as pool:
        pool.record(path)
        buffer = pool.allocate(1000, growable=MIB)
        address = buffer.device_address
        buffer.grow(5000)
        behind = buffer.grow(1 << 32, move=True)
        pool.stop_recording()
        buffer.grow((1 << 32) + 5000)
        assert (behind is None) == (buffer.device_address == address)
        del behind
    events = [(action, size) for _, _, action, _, size, _ in warmheap.Trace.load(path)]
    assert events[:4] == [("allocate", 1000), ("free", 1000), ("allocate", 5000), events[3]]
    assert ("allocate", 1 << 32) in events


def test_buffers_grow_while_other_threads_look() -> None:
    with warmheap.MemoryPool(device="host") as pool:
        cache = pool.allocate(MIB, growable=512 * MIB)
        failures: list[BaseException] = []

        def look(_: int) -> None:
            try:
                for _ in range(300):
                    try:
                        memoryview(cache).release()
                    except warmheap.ClosedError as error:
                        assert "growing" in str(error)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        def grow(_: int) -> None:
            for size in range(2, 200):
                cache.grow(size * MIB)

        at_once(lambda work: work(0), [grow, look, look])
        assert not failures and cache.size == 199 * MIB
        cache.free()
        assert pool.get_statistics().active_allocations == 0
