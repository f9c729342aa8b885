"""Warmheap as MLX's allocator. ``docs/mlx.md`` says what holds then.

``python -m warmheap.mlx program.py ...`` runs a program on it that cannot be edited, and
``python -m warmheap.mlx -m mlx_lm.generate ...`` a module.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from . import _native
from ._errors import ArgumentError, WarmheapError
from ._native import MemoryPool, PoolConfig, Statistics

# MLX's allocator has one interface in these versions: from the first on, below the second.
_VERSIONS = ((0, 31), (0, 33))

_pool: Optional[MemoryPool] = None
# MLX's own function, where it waits for all streams.
_own_limit: Optional[Callable[[int], int]] = None


def install(
    config: Union[PoolConfig, Dict[str, Any], "os.PathLike[str]", str, None] = None, **settings: Any
) -> MemoryPool:
    """Makes MLX take its memory from a Warmheap pool, for the rest of the process.

    This serves MLX's builds for processors (``pip install "mlx[cpu]"``) and for Metal. Arrays that exist already
    stay where they are. Without a configuration the pool sizes itself. ``mlx.core``'s functions about memory
    (``get_active_memory``, ``get_peak_memory``, ``reset_peak_memory``, ``get_cache_memory``, ``clear_cache``,
    ``set_cache_limit``) speak of the pool from then on.

    Returns the pool, which :func:`pool` returns too. An allocation that the pool refuses is MLX's
    ``RuntimeError``; on Metal, MLX's own allocator serves it.

    Raises
    ------
    ConfigError
        A setting is wrong.
    StartError
        The heaps could not be created or warmed.
    WarmheapError
        MLX is missing, is not a version that Warmheap knows, or is not laid out as expected; or a pool serves
        it already. MLX is left as it is.

    >>> import warmheap.mlx
    >>> pool = warmheap.mlx.install()                # doctest: +SKIP
    >>> import mlx.core as mx                        # doctest: +SKIP
    >>> mx.eval(mx.ones((1024, 1024)))               # doctest: +SKIP
    >>> warmheap.mlx.statistics().hit_rate           # doctest: +SKIP
    1.0
    """
    global _pool
    if _pool is not None:
        raise WarmheapError("a pool serves MLX already, and stays for the rest of the process")
    try:
        core: Any = importlib.import_module("mlx.core")
    except ImportError as error:
        raise WarmheapError(f"MLX cannot be imported ({error}); install it, or use MemoryPool without it") from error
    version = getattr(core, "__version__", "")
    first, below = _VERSIONS
    if not first <= _numbers(version) < below:
        known = " and ".join(f"{first[0]}.{minor}" for minor in range(first[1], below[1]))
        raise WarmheapError(f"MLX {version} is not a version that Warmheap knows; it knows {known}")
    if "device" in settings:
        raise ArgumentError("MLX's build chooses the device; install() takes none")
    on_metal = bool(core.metal.is_available())
    # As MLX itself allocates on Metal.
    made = MemoryPool(config, device="metal:shared,untracked" if on_metal else "host", **settings)
    _native._mlx_install(made, str(_library(core)))
    _pool = made
    _speak_of_the_pool(core, on_metal)
    return made


def pool() -> MemoryPool:
    """Returns the pool that serves MLX.

    Raises
    ------
    WarmheapError
        None does: :func:`install` was not called.
    """
    if _pool is None:
        raise WarmheapError("no pool serves MLX; call warmheap.mlx.install() first")
    return _pool


def statistics() -> Statistics:
    """Returns the statistics of the pool that serves MLX, as :meth:`MemoryPool.get_statistics` does."""
    return pool().get_statistics()


def _numbers(version: str) -> Tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _library(core: Any) -> Path:
    """The file that MLX's code is in: a library beside the extension module, or the module itself."""
    module = Path(core.__file__)
    libraries = (module.parent / "lib" / name for name in ("libmlx.so", "libmlx.dylib"))
    return next((library for library in libraries if library.exists()), module)


def give_back(keep: int = 0) -> None:
    """Gives memory that MLX does not use back to the device, until ``keep`` bytes of it are left.

    Waits for MLX's work before: for all streams without Metal, and for the calling thread's default stream with
    it. On Metal, wait for the other streams before you call this.

    Raises
    ------
    ArgumentError
        ``keep`` is no number of bytes.
    WarmheapError
        No pool serves MLX: :func:`install` was not called.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or not 0 <= keep <= sys.maxsize:
        raise ArgumentError(f"keep is {keep!r}; it must be a number of bytes from 0 on")
    pool()
    core: Any = importlib.import_module("mlx.core")
    # Work that is queued may still write to arrays that the program has dropped.
    core.synchronize()
    if _own_limit is not None:
        # A new limit of MLX's own cache waits for all streams. That cache is empty.
        _own_limit(0)
    _native._mlx_give_back(keep)


def _speak_of_the_pool(core: Any, on_metal: bool) -> None:
    """Replaces MLX's functions about memory by functions that add what the pool has."""
    global _own_limit
    own_active, own_peak, own_reset = core.get_active_memory, core.get_peak_memory, core.reset_peak_memory
    own_cache, own_clear, own_limit = core.get_cache_memory, core.clear_cache, core.set_cache_limit
    said_limit = 0
    if not on_metal:
        # MLX's own cache would keep what nothing asks it for any more. On Metal it serves what the pool refuses.
        said_limit = int(own_limit(0))
        _own_limit = own_limit
    # The pool has no limit until the program sets one.
    allowed = sys.maxsize
    # What the last clearing could not give back, because it lies in pages with arrays.
    left = 0

    def get_active_memory() -> int:
        return int(own_active()) + _native._mlx_usage()[0]

    def get_peak_memory() -> int:
        peak = _native._mlx_usage()[1]
        return max(int(own_peak()), int(own_active()) + peak if peak else 0)

    def reset_peak_memory() -> None:
        own_reset()
        _native._mlx_reset_peak()

    def get_cache_memory() -> int:
        if not on_metal and unused() > allowed:
            give_back(allowed)
        return int(own_cache()) + unused()

    def clear_cache() -> None:
        nonlocal left
        own_clear()
        give_back()
        left = 0
        left = unused()

    def set_cache_limit(limit: int) -> int:
        nonlocal allowed, said_limit
        before = said_limit
        allowed = said_limit = limit
        get_cache_memory()
        return before

    def unused() -> int:
        nonlocal left
        active, _, reserved = _native._mlx_usage()
        held = max(0, reserved - active)
        left = min(left, held) if active else 0
        return held - left

    functions: List[Callable[..., Any]] = [
        get_active_memory,
        get_peak_memory,
        reset_peak_memory,
        get_cache_memory,
    ]
    if not on_metal:
        functions += [clear_cache, set_cache_limit]
    for function in functions:
        name = function.__name__
        function.__doc__ = getattr(core, name).__doc__
        # Older programs find some of them in `mlx.core.metal`.
        for module in (core, core.metal):
            if hasattr(module, name):
                setattr(module, name, function)


def _main() -> None:
    arguments = sys.argv[1:]
    usage = "usage: python -m warmheap.mlx (PROGRAM.py | -m MODULE) [ARGUMENT]...; WARMHEAP_CONFIG names its settings"
    if arguments[:1] in (["-h"], ["--help"]):
        print(usage)
        return
    if not arguments or arguments == ["-m"]:
        sys.exit(usage)
    # The module's other copy is the one that programs import.
    importlib.import_module("warmheap.mlx").install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _main()
