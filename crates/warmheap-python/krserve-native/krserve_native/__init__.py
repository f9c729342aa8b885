"""Warmheap under the module name and the names that existing programs import.

The pool is :class:`warmheap.MemoryPool`. ``BlitQueue`` is a queue of copies on a thread of its own, for buffers
of any pool on any device. ``CommandBufferRing`` bounds how much work is in flight on queues of any pool.

>>> import krserve_native, warmheap
>>> pool = warmheap.MemoryPool()
>>> weights = pool.allocate(5)
>>> queue = krserve_native.BlitQueue(krserve_native.BlitQueueConfig())
>>> operation = queue.upload_async(b"12345", 5, weights)
>>> queue.wait_for_completion(operation)
True
>>> bytes(memoryview(weights))
b'12345'
"""

import atexit as _atexit

from warmheap import (
    Buffer,
    MemoryPool,
    MetalMemoryPool,
    MetalMemoryPoolConfig,
    Statistics,
    _native,
)

from ._blit_queue import BlitQueue, BlitQueueConfig, BlitQueueMetrics
from ._command_ring import (
    CommandBuffer,
    CommandBufferRing,
    CommandBufferRingConfig,
    CommandBufferRingStatistics,
)
from ._configuration import Configuration, read_config

__all__ = [
    "BlitQueue",
    "BlitQueueConfig",
    "BlitQueueMetrics",
    "Buffer",
    "CommandBuffer",
    "CommandBufferRing",
    "CommandBufferRingConfig",
    "CommandBufferRingStatistics",
    "Configuration",
    "MemoryPool",
    "MetalMemoryPool",
    "MetalMemoryPoolConfig",
    "Statistics",
    "read_config",
]

# Pending copies are made before the interpreter ends. No thread calls a completion after that.
_atexit.register(_native._end_transfers)
