"""Warmheap: pooled memory for inference engines, on GPUs and in host memory.

>>> import warmheap
>>> pool = warmheap.MemoryPool(heap_size_mb=64, num_heaps=1, warmup_sizes=[32])
>>> buffer = pool.allocate(1 << 20, tag="kv-cache")
>>> buffer.size
1048576
>>> del buffer                     # its memory serves the next request
>>> pool.get_statistics().hit_rate
1.0

Sizes named ``_mb`` are MiB (2**20 bytes), all others bytes. The library's log goes to the logger
``warmheap``. What a pool can be told is in ``docs/configuration.md``, its figures in
``docs/statistics.md``, all about this package in ``docs/python.md``.
"""

from __future__ import annotations

import atexit as _atexit
import logging as _logging
import os as _os
from typing import Any, Optional, Union

from . import _native
from ._advice import (
    Change,
    Finding,
    Grade,
    Grades,
    Recommendation,
    advise,
    findings,
    grade,
    recommend,
    recommend_for_run,
    review,
)
from ._errors import (
    ClosedError,
    ConfigError,
    DeviceError,
    ForkError,
    GrowError,
    OutOfMemoryError,
    QuotaError,
    RequestError,
    StartError,
    TraceError,
    WarmheapError,
)
from ._native import (
    Buffer,
    MemoryPool,
    PoolConfig,
    Pressure,
    Queue,
    Statistics,
    Ticket,
    Trace,
    __version__,
)

__all__ = [
    "Buffer",
    "Change",
    "ClosedError",
    "ConfigError",
    "DeviceError",
    "Finding",
    "ForkError",
    "Grade",
    "Grades",
    "GrowError",
    "MemoryPool",
    "MetalMemoryPool",
    "MetalMemoryPoolConfig",
    "OutOfMemoryError",
    "PoolConfig",
    "Pressure",
    "Queue",
    "QuotaError",
    "Recommendation",
    "RequestError",
    "StartError",
    "Statistics",
    "Ticket",
    "Trace",
    "TraceError",
    "WarmheapError",
    "__version__",
    "advise",
    "findings",
    "grade",
    "recommend",
    "recommend_for_run",
    "review",
]

MetalMemoryPoolConfig = PoolConfig
"""The settings under the name that goes with :class:`MetalMemoryPool`."""


class MetalMemoryPool(MemoryPool):
    """A pool of a Mac's GPU: ``MemoryPool(config, device="metal")``, with the default settings where
    :class:`MemoryPool` sizes itself.

    Raises
    ------
    DeviceError
        There is no Metal here.
    """

    def __new__(
        cls, config: Union[PoolConfig, dict[str, Any], str, _os.PathLike[str], None] = None, **settings: Any
    ) -> MetalMemoryPool:
        try:
            return super().__new__(cls, PoolConfig() if config is None else config, device="metal", **settings)
        except StartError:
            raise
        except DeviceError as error:
            others = 'MemoryPool(device=...) takes "host", "sim" and "cuda" too'
            raise DeviceError(f"{error}; {others}") from None


_logging.getLogger("warmheap").addHandler(_logging.NullHandler())
_atexit.register(_native._stop_logs)
if hasattr(_os, "register_at_fork"):
    # What is noted down is handed over before, so that a child does not log it again.
    _os.register_at_fork(before=_native._deliver_logs, after_in_child=_native._forked)
