"""Warmheap as PyTorch's CUDA allocator. ``docs/pytorch.md`` says what holds then."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Dict, Mapping, Optional, Union

from . import _native
from ._errors import DeviceError, WarmheapError
from ._native import PoolConfig


def install(
    config: Union[PoolConfig, Mapping[str, Any], "os.PathLike[str]", str, None] = None, **settings: Any
) -> None:
    """Makes PyTorch take all its CUDA memory from Warmheap, for the rest of the process.

    Call it before the first use of a GPU. When PyTorch first uses a GPU, Warmheap creates its pools, one for
    each stream. Without a configuration, pools size themselves. Variables ``WARMHEAP_<KEY>`` override the
    configuration.

    Raises
    ------
    DeviceError
        PyTorch sees no CUDA GPU.
    WarmheapError
        PyTorch is missing, has used a GPU already, or Warmheap was installed before.

    >>> import warmheap.torch
    >>> warmheap.torch.install()                     # doctest: +SKIP
    >>> import torch                                 # doctest: +SKIP
    >>> torch.ones(3, device="cuda").sum().item()    # doctest: +SKIP
    3.0
    >>> warmheap.torch.statistics()["devices"][0]["reserved_bytes"]    # doctest: +SKIP
    4194304
    """
    if sys.platform != "linux":
        raise DeviceError("warmheap.torch needs CUDA, which it supports on Linux only")
    try:
        import torch
    except ImportError as error:
        raise WarmheapError("PyTorch is not installed; install it, or use MemoryPool without it") from error
    if not torch.cuda.is_available():
        raise DeviceError("PyTorch sees no CUDA GPU; MemoryPool works without one")
    if torch.cuda.is_initialized():
        raise WarmheapError("PyTorch has used a GPU already; install Warmheap before the first use")
    _native._torch_configure(config, settings)

    path = _native.__file__
    library = ctypes.CDLL(path)

    def hook(name: str) -> Optional[int]:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value

    allocator = torch.cuda.memory.CUDAPluggableAllocator(path, "warmheap_malloc", "warmheap_free")
    hooks = allocator.allocator()
    hooks.set_record_stream_fn(hook("warmheap_record_stream"))
    hooks.set_reset_fn(hook("warmheap_empty_cache"))
    hooks.set_begin_allocate_to_pool(hook("warmheap_begin_allocate_to_pool"))
    hooks.set_end_allocate_to_pool_fn(hook("warmheap_end_allocate_to_pool"))
    hooks.set_release_pool(hook("warmheap_release_pool"))
    torch.cuda.memory.change_current_allocator(allocator)


def statistics() -> Dict[str, Any]:
    """Returns what the pools under PyTorch hold now: ``{"pid": ..., "devices": [...]}``.

    Each device has ``reserved_bytes``, ``peak_reserved_bytes`` and ``streams``. Each stream has a
    ``statistics`` dict with the names of :class:`warmheap.Statistics`.
    """
    return _native._torch_statistics()
