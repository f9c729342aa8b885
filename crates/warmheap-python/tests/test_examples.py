"""The examples run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_a_model_writes_the_same_text_with_its_caches_in_a_pool() -> None:
    pytest.importorskip("numpy")
    path = Path(__file__).parents[1] / "examples" / "kv_caches.py"
    line = [sys.executable, str(path), "--requests", "5", "--tokens", "20"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    first, allocations, held, alive = ended.stdout.splitlines()
    assert first == "5 texts of 20 words, the same as without the pool"
    assert allocations == "22 allocations, hit rate 100%" and alive.startswith("alive: 7 buffers")
    before, after = (int(part.split()[-2]) for part in held.split(","))
    assert after <= min(before, 4)
