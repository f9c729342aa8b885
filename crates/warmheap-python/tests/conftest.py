"""What the tests share."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

import pytest
import warmheap

MIB = 1 << 20


def at_once(work: Callable[..., object], each: Iterable[Any]) -> None:
    """Has a thread for each argument do the work, and waits for all."""
    threads = [threading.Thread(target=work, args=(argument,)) for argument in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture
def pool() -> Iterator[warmheap.MemoryPool]:
    """A pool of two heaps of 8 MiB in host memory."""
    with warmheap.MemoryPool(heap_size_mb=8, num_heaps=2, warmup_sizes=[4], log_exhaustion=False) as pool:
        yield pool


@pytest.fixture
def real_trace() -> Path:
    """The bundled trace of a language model."""
    return Path(__file__).parents[3] / "traces" / "qwen05b_short.csv.zst"
