"""The memory pool under the name that programs import it by: everything here is Warmheap's."""

from warmheap import (
    Buffer,
    MemoryPool,
    MetalMemoryPool,
    MetalMemoryPoolConfig,
    Statistics,
)

__all__ = ["Buffer", "MemoryPool", "MetalMemoryPool", "MetalMemoryPoolConfig", "Statistics"]
