"""The figures of several pools as one page of Prometheus text. The library writes the text."""

from __future__ import annotations

from typing import Iterable, Mapping, Optional, Union

from . import _native
from ._errors import ArgumentError, RequestError
from ._native import MemoryPool, Statistics


def to_prometheus(
    pools: Union[Mapping[str, Union[MemoryPool, Statistics]], Iterable[MemoryPool], None] = None,
) -> str:
    """Returns the figures of several pools as one page of Prometheus text, for an endpoint ``/metrics``. Each
    pool has its name as the label ``pool="NAME"``. Sizes are bytes.

    Parameters
    ----------
    pools : dict or iterable, optional
        The pools, or snapshots of their figures, by name. Pools without names have their numbers
        (:attr:`MemoryPool.number`) as names. The default is every open :class:`MemoryPool` of the process.

    >>> import warmheap
    >>> with warmheap.MemoryPool() as weights, warmheap.MemoryPool() as caches:
    ...     page = warmheap.to_prometheus({"weights": weights, "caches": caches})
    >>> page.count("# TYPE warmheap_heaps gauge"), 'warmheap_active_allocations{pool="caches"} 0' in page
    (1, True)
    """
    if pools is None:
        return _native._to_prometheus([(str(number), figures) for number, figures in _native._all_statistics()])
    if isinstance(pools, Mapping):
        named = list(pools.items())
    else:
        try:
            listed = list(pools)
        except TypeError:
            raise ArgumentError(f"pools is of type {type(pools).__name__}; it must be a dict or an iterable") from None
        named = [(_number(pool), pool) for pool in listed]
    if len({name for name, _ in named}) < len(named):
        raise RequestError("pools has one pool twice; each sample needs a name of its own")
    return _native._to_prometheus([(name, _figures(pool)) for name, pool in named])


def _number(pool: object) -> str:
    if isinstance(pool, MemoryPool):
        return str(pool.number)
    raise ArgumentError(f"pools has an object of type {type(pool).__name__}; without a name it must be a MemoryPool")


def _figures(pool: object) -> Statistics:
    if isinstance(pool, MemoryPool):
        return pool.get_statistics()
    if isinstance(pool, Statistics):
        return pool
    raise ArgumentError(f"pools has an object of type {type(pool).__name__}; it must be a MemoryPool or Statistics")
