"""Puts an allocator under PyTorch, and reads what it holds.

A process chooses its allocator before it first uses the GPU, and keeps it.
"""

import ctypes
import json
import os

import torch

MIB = 1 << 20

class BuiltIn:
    """PyTorch's own allocator, in any of its forms."""

    def reset_peaks(self):
        torch.cuda.reset_peak_memory_stats()
        self.calls_before = self._calls(torch.cuda.memory_stats())

    def peaks(self):
        stats = torch.cuda.memory_stats()
        live = stats.get("requested_bytes.all.peak") or stats.get("allocated_bytes.all.peak")
        return {
            "reserved_mib": stats.get("reserved_bytes.all.peak", 0) / MIB,
            "live_mib": (live or 0) / MIB,
            "device_calls": self._calls(stats) - self.calls_before,
        }

    def _calls(self, stats):
        """Returns the device calls. PyTorch does not count them for cudaMallocAsync or without caching."""
        return stats.get("num_device_alloc", 0) + stats.get("num_device_free", 0)


class Rmm:
    """RMM's pool. It never gives memory back, so its size is its peak."""

    def __init__(self):
        import rmm
        from rmm.allocators.torch import rmm_torch_allocator

        self.pool = rmm.mr.PoolMemoryResource(rmm.mr.CudaMemoryResource(), initial_pool_size=256 * MIB)
        rmm.mr.set_current_device_resource(self.pool)
        torch.cuda.memory.change_current_allocator(rmm_torch_allocator)

    def reset_peaks(self):
        pass

    def peaks(self):
        return {"reserved_mib": self.pool.pool_size() / MIB, "live_mib": 0}


class Warmheap:
    """Warmheap: the shared library that LIBWARMHEAP names, with all its hooks."""

    def __init__(self):
        path = os.path.abspath(os.environ["LIBWARMHEAP"])
        self.library = ctypes.CDLL(path)
        allocator = torch.cuda.memory.CUDAPluggableAllocator(path, "warmheap_malloc", "warmheap_free")
        hooks = allocator.allocator()
        hooks.set_reset_fn(self._address("warmheap_empty_cache"))
        hooks.set_record_stream_fn(self._address("warmheap_record_stream"))
        hooks.set_begin_allocate_to_pool(self._address("warmheap_begin_allocate_to_pool"))
        hooks.set_end_allocate_to_pool_fn(self._address("warmheap_end_allocate_to_pool"))
        hooks.set_release_pool(self._address("warmheap_release_pool"))
        torch.cuda.memory.change_current_allocator(allocator)
        self.library.warmheap_statistics_json.restype = ctypes.c_size_t

    def _address(self, name):
        return ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value

    def statistics(self):
        size = self.library.warmheap_statistics_json(None, ctypes.c_size_t(0)) + 4096
        text = ctypes.create_string_buffer(size)
        self.library.warmheap_statistics_json(text, ctypes.c_size_t(size))
        return json.loads(text.value)

    def reset_peaks(self):
        self.library.warmheap_reset_peaks()
        self.calls_before = self._sum(self.statistics(), "device_calls")

    def peaks(self):
        statistics = self.statistics()
        devices = statistics["devices"]
        return {
            "reserved_mib": sum(device["peak_reserved_bytes"] for device in devices) / MIB,
            "live_mib": self._sum(statistics, "peak_used_mb"),
            "device_calls": self._sum(statistics, "device_calls") - self.calls_before,
            "fallbacks": self._sum(statistics, "fallback_allocations"),
        }

    def _sum(self, statistics, key):
        """Returns the sum over all streams of all devices."""
        return sum(stream["statistics"][key] for device in statistics["devices"] for stream in device["streams"])


def install(name):
    """Puts the allocator `name` under PyTorch. Its environment must be set already."""
    return {"rmm-pool": Rmm, "warmheap": Warmheap}.get(name, BuiltIn)()
