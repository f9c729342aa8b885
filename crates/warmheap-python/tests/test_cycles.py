"""Callbacks that own what they free. Such pools and buffers end like any others."""

from __future__ import annotations

import gc
import weakref
from typing import Any, Callable, List

import pytest
import warmheap

from conftest import MIB


def a_cache(pool: warmheap.MemoryPool) -> List[Any]:
    cached = [pool.allocate(8 * MIB)]
    pool.on_pressure(lambda pool, pressure: cached.clear())
    return cached


def the_pool_itself(pool: warmheap.MemoryPool) -> List[Any]:
    holder = [pool]
    pool.on_pressure(lambda _, pressure: holder.clear())
    return holder


def a_queue(pool: warmheap.MemoryPool) -> List[Any]:
    holder = [pool.queue()]
    pool.on_pressure(lambda _, pressure: holder.clear())
    return holder


def a_method(pool: warmheap.MemoryPool) -> List[Any]:
    class Engine:
        def __init__(self) -> None:
            self.pool, self.cached = pool, [pool.allocate(1000)]

        def shrink(self, *_: object) -> None:
            self.cached.clear()

    engine = Engine()
    pool.on_pressure(engine.shrink)
    return [engine]


def a_subclass(pool: warmheap.MemoryPool) -> List[Any]:
    class Engine(warmheap.MemoryPool):
        cached: List[Any]

    engine = Engine()
    engine.cached = [engine.allocate(1000), engine.queue(), memoryview(engine.allocate(1000))]
    return [engine]


WAYS: List[Callable[[warmheap.MemoryPool], List[Any]]] = [a_cache, the_pool_itself, a_queue, a_method, a_subclass]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("closed", [True, False])
def test_a_pool_ends_whose_callback_holds_it(way: Callable[[warmheap.MemoryPool], List[Any]], closed: bool) -> None:
    def use() -> List[Any]:
        pool = warmheap.MemoryPool()
        held = way(pool)
        if closed:
            pool.close()
        return [weakref.ref(pool)] + [weakref.ref(thing) for thing in held]

    gone = use()
    gc.collect()
    assert [thing() for thing in gone] == [None] * len(gone)


def test_closing_ends_callbacks_at_once() -> None:
    class Callback:
        def __call__(self, *_: object) -> None: ...

    pool = warmheap.MemoryPool()
    callback = Callback()
    pool.on_pressure(callback)
    gone = weakref.ref(callback)
    gc.disable()
    try:
        del callback
        assert gone() is not None
        pool.close()
        assert gone() is None
    finally:
        gc.enable()


def test_collecting_ends_no_callback_of_a_pool_in_use() -> None:
    pool = warmheap.MemoryPool(device="sim:discrete,budget=64", heap_size_mb=8, num_heaps=1, warmup_sizes=[])
    cached = [pool.allocate(40 * MIB)]
    pool.on_pressure(lambda pool, pressure: cached.clear())
    buffer = pool.allocate(1000)
    del pool
    gc.collect()
    assert buffer.pool.allocate(30 * MIB).size == 30 * MIB and not cached


def test_memory_comes_back_from_cycles() -> None:
    """A device of 64 MiB serves ten pools in turn, and the program closes none of them."""
    for _ in range(10):
        pool = warmheap.MemoryPool(device="host:budget=64")
        a_cache(pool)
        assert pool.allocate(32 * MIB).size == 32 * MIB
        del pool
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is warmheap.MemoryPool and not thing.closed
                and thing.device == "host:budget=64"]
