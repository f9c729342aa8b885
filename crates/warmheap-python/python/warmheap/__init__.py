"""Warmheap: pooled memory for inference engines, on GPUs and in host memory.

>>> import warmheap
>>> pool = warmheap.MemoryPool(heap_size_mb=64, num_heaps=1, warmup_sizes=[32])
>>> buffer = pool.allocate(1 << 20, tag="kv-cache")
>>> buffer.size
1048576
>>> del buffer                     # the next request gets its memory
>>> pool.get_statistics().hit_rate
1.0

Sizes whose names end in ``_mb`` are MiB (2**20 bytes). All other sizes are bytes. The library logs to the
logger ``warmheap``. ``docs/configuration.md`` describes the settings, ``docs/statistics.md`` the figures,
and ``docs/python.md`` this package.
"""

from __future__ import annotations

import atexit as _atexit
import logging as _logging
import os as _os
import sysconfig as _sysconfig
from typing import Any, Mapping, Optional, Union

if _sysconfig.get_config_var("Py_GIL_DISABLED"):
    raise ImportError(
        "warmheap has no build for free-threaded CPython; use the build with the interpreter's lock, in which "
        "threads also run while a call of warmheap waits"
    )

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
    ArgumentError,
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
    MovableBuffer,
    PoolConfig,
    Pressure,
    Queue,
    Statistics,
    Ticket,
    Trace,
    __version__,
)
from ._prometheus import to_prometheus

__all__ = [
    "ArgumentError",
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
    "MovableBuffer",
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
    "to_prometheus",
]

MetalMemoryPoolConfig = PoolConfig
"""Another name of :class:`PoolConfig`, which goes with :class:`MetalMemoryPool`."""


class MetalMemoryPool(MemoryPool):
    """A pool on a Mac's GPU: ``MemoryPool(config, device="metal")``. Without a configuration, it has the
    default fixed heaps, while :class:`MemoryPool` sizes itself.

    Raises
    ------
    DeviceError
        This system has no Metal.
    """

    def __new__(
        cls, config: Union[PoolConfig, Mapping[str, Any], str, _os.PathLike[str], None] = None, **settings: Any
    ) -> MetalMemoryPool:
        try:
            return super().__new__(cls, PoolConfig() if config is None else config, device="metal", **settings)
        except StartError:
            raise
        except DeviceError as error:
            others = 'MemoryPool(device=...) also takes "host", "sim" and "cuda"'
            raise DeviceError(f"{error}; {others}") from None


_logging.getLogger("warmheap").addHandler(_logging.NullHandler())
_atexit.register(_native._stop_logs)
if hasattr(_os, "register_at_fork"):
    # Pending log records are delivered before a fork, so that the child does not log them again.
    _os.register_at_fork(after_in_child=_native._forked)
