"""What several tests use."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List

import pytest
import warmheap

MIB = 1 << 20


def at_once(work: Callable[..., object], each: Iterable[Any]) -> None:
    """Runs the work in a thread for each argument, and waits for all of them."""
    threads = [threading.Thread(target=work, args=(argument,)) for argument in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own, for at most a minute."""
    command = [sys.executable, *options, "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def quiet(program: str, *options: str) -> str:
    """Runs a program that must end well and write nothing to standard error."""
    ended = run(program, *options)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    return ended.stdout


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """Collects the exceptions that reach :func:`sys.unraisablehook`."""
    seen: List[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: seen.append(told.exc_value))
    return seen


@pytest.fixture
def pool() -> Iterator[warmheap.MemoryPool]:
    """Opens a pool of two heaps of 8 MiB in host memory."""
    with warmheap.MemoryPool(heap_size_mb=8, num_heaps=2, warmup_sizes=[4], log_exhaustion=False) as pool:
        yield pool


@pytest.fixture
def real_trace() -> Path:
    """Returns the path of the bundled trace of a language model."""
    return Path(__file__).parents[3] / "traces" / "qwen05b_short.csv.zst"
