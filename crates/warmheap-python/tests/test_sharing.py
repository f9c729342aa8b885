"""Memory lent through the buffer protocol and DLPack, without a copy, and kept as long as it is used."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import pytest
import warmheap

from conftest import MIB


def test_a_view_is_of_the_memory_itself(pool: warmheap.MemoryPool) -> None:
    buffer = pool.allocate(4096)
    view = memoryview(buffer)
    assert (view.format, view.itemsize, view.shape, view.strides) == ("B", 1, (4096,), (1,))
    assert not view.readonly and view.c_contiguous and view.obj is buffer
    view[10:15] = b"hello"
    assert bytes(memoryview(buffer)[10:15]) == b"hello"
    assert view.cast("d").nbytes == 4096
    with open("/dev/zero", "rb") as zeroes:
        assert zeroes.readinto(buffer) == 4096
    assert bytes(view) == bytes(4096)


@pytest.mark.parametrize("way", ["del", "free", "with", "close"])
def test_views_keep_the_memory(pool: warmheap.MemoryPool, way: str) -> None:
    buffer = pool.allocate(MIB)
    view = memoryview(buffer)
    half = view[: MIB // 2]
    if way == "with":
        with buffer:
            pass
    elif way == "free":
        buffer.free()
    elif way == "close":
        pool.close()
    if way in ("free", "with"):
        with pytest.raises(warmheap.ClosedError):
            memoryview(buffer)
    del buffer
    half[:] = b"z" * (MIB // 2)
    if way != "close":
        other = pool.allocate(MIB)
        memoryview(other)[:] = b"a" * MIB
        assert pool.get_statistics().active_allocations == 2
        del other
    assert bytes(half[:3]) == b"zzz"
    view.release()
    half.release()
    del view, half
    if way != "close":
        assert pool.get_statistics().active_allocations == 0


def test_memory_that_the_cpu_cannot_reach_is_not_lent() -> None:
    buffer = warmheap.MemoryPool(device="sim").allocate(1000)
    for lend in [lambda: memoryview(buffer), buffer.__dlpack__, buffer.__dlpack_device__]:
        with pytest.raises(BufferError):
            lend()
    buffer.free()
    assert buffer.pool.get_statistics().active_allocations == 0


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_that_no_consumer_takes_gives_the_memory_back(pool: warmheap.MemoryPool, version: Any) -> None:
    buffer = pool.allocate(1000)
    capsule = buffer.__dlpack__(max_version=version)
    assert ("versioned" in repr(capsule)) == (version is not None)
    gone = weakref.ref(buffer)
    del buffer
    assert gone() is not None and pool.get_statistics().active_allocations == 1
    del capsule
    assert gone() is None and pool.get_statistics().active_allocations == 0


def test_what_dlpack_cannot_promise_is_refused(pool: warmheap.MemoryPool) -> None:
    buffer = pool.allocate(1000)
    assert buffer.__dlpack_device__() == (1, 0)
    unkept: list[dict[str, Any]] = [{"copy": True}, {"dl_device": (2, 0)}]
    for wrong in unkept:
        with pytest.raises(BufferError, match="as it is"):
            buffer.__dlpack__(**wrong)
    del buffer
    assert pool.get_statistics().active_allocations == 0


def test_numpy_uses_pool_memory(pool: warmheap.MemoryPool) -> None:
    numpy = pytest.importorskip("numpy")
    buffer = pool.allocate(4 * 1000)
    through_view = numpy.frombuffer(buffer, numpy.float32)
    through_view[:] = numpy.arange(1000)
    through_dlpack = numpy.from_dlpack(buffer)
    assert through_dlpack.dtype == numpy.uint8 and through_dlpack.shape == (4000,)
    assert through_dlpack.ctypes.data == buffer.device_address == through_view.ctypes.data
    assert through_dlpack.view(numpy.float32).sum() == 499500
    del buffer, through_view
    gc.collect()
    assert pool.get_statistics().active_allocations == 1
    assert through_dlpack.view(numpy.float32)[999] == 999
    del through_dlpack
    assert pool.get_statistics().active_allocations == 0


def test_torch_uses_pool_memory(pool: warmheap.MemoryPool) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_dlpack(pool.allocate(4 * 1000)).view(torch.float32)
    tensor.fill_(2)
    assert tensor.sum().item() == 2000
    assert pool.get_statistics().active_allocations == 1
    del tensor
    assert pool.get_statistics().active_allocations == 0


def test_no_object_is_left_behind(pool: warmheap.MemoryPool) -> None:
    """Counts references and blocks of memory over thousands of calls of every kind."""
    queue = pool.queue()

    def everything() -> None:
        buffer = pool.allocate(1000, tag="kv")
        memoryview(buffer).release()
        buffer.__dlpack__()
        buffer.__dlpack__(max_version=(1, 0))
        repr(buffer), buffer.site, buffer.pool
        pool.allocate(1000).retire(queue.signal())
        pool.get_statistics().to_dict(), pool.leaks(), pool.config.compaction.to_dict()
        pool.config.replace(num_heaps=3).heap_size_mb
        with pytest.raises(warmheap.RequestError):
            pool.allocate(0)
        with pytest.raises(warmheap.ConfigError):
            pool.config.replace(nothing=1)
        with pool.allocate(100):
            pass
        pool.allocate(9 * MIB).free()

    def count() -> list[int]:
        gc.collect()
        counted = [pool, warmheap.Buffer, warmheap.Buffer.__mro__[1], warmheap.Ticket, queue, None]
        return [sys.getrefcount(thing) for thing in counted] + [len(gc.get_objects())]

    for _ in range(100):
        everything()
    before, blocks = count(), sys.getallocatedblocks()
    for _ in range(1000):
        everything()
    after = count()
    # A few references come and go with the test's own machinery. A leak would be a thousand.
    assert all(abs(b - a) < 100 for a, b in zip(before, after)), (before, after)
    assert sys.getallocatedblocks() - blocks < 500
