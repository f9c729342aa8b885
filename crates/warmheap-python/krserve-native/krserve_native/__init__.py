"""Warmheap's memory pool, under the module name that existing programs import."""

from warmheap import (
    Buffer,
    MemoryPool,
    MetalMemoryPool,
    MetalMemoryPoolConfig,
    Statistics,
)

__all__ = ["Buffer", "MemoryPool", "MetalMemoryPool", "MetalMemoryPoolConfig", "Statistics"]
