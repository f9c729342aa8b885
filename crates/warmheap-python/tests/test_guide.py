"""Every Python snippet of the guide, unchanged, on a pool of host memory."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import warmheap

from conftest import MIB

GUIDE = (Path(__file__).parent / "data" / "guide.md").read_text(encoding="utf-8")


def snippets() -> List[Tuple[int, str]]:
    """Returns the line and the text of each snippet."""
    found = re.finditer(r"^( *)```python\n(.*?)^\1```$", GUIDE, re.MULTILINE | re.DOTALL)
    return [(GUIDE[: match.start(2)].count("\n") + 1, textwrap.dedent(match[2])) for match in found]


def run(line: int, snippet: str, scope: Dict[str, Any]) -> None:
    exec(compile(snippet, f"guide.md:{line}", "exec"), scope)


@pytest.fixture
def scope() -> Dict[str, Any]:
    """Returns the names that the guide's snippets use: a pool in use, its settings, its figures, a size."""
    pytest.importorskip("krserve_native")
    config = warmheap.MetalMemoryPoolConfig(heap_size_mb=16, num_heaps=2, warmup_sizes=[4], log_exhaustion=False)
    pool = warmheap.MemoryPool(config, device="host")
    pool.warmup()
    scope = {"pool": pool, "config": config, "size": 3 * MIB}
    scope["kept"] = [pool.allocate(5 * MIB), pool.allocate(2 * MIB), pool.allocate(20 * MIB)]
    pool.allocate(MIB)
    scope["stats"] = pool.get_statistics()
    return scope


def test_the_guide_has_its_snippets() -> None:
    assert len(snippets()) == GUIDE.count("```python\n") == 13


@pytest.mark.parametrize("line, snippet", snippets(), ids=lambda value: str(value) if isinstance(value, int) else "")
def test_it_runs(line: int, snippet: str, scope: Dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(line, snippet, scope)
    printed = capsys.readouterr().out.splitlines()
    # Every `print` at the margin prints. Those in a chain of conditions print at most once.
    plain = len(re.findall(r"^print\(", snippet, re.MULTILINE))
    chains = len(re.findall(r"^if ", snippet, re.MULTILINE))
    assert plain <= len(printed) <= plain + chains, printed
    assert snippet in GUIDE or textwrap.indent(snippet, "   ").rstrip() in GUIDE


def printed_by(start: str, scope: Dict[str, Any], capsys: pytest.CaptureFixture[str]) -> List[str]:
    """Runs the one snippet with this text, and returns what it prints."""
    line, snippet = next((line, snippet) for line, snippet in snippets() if start in snippet)
    run(line, snippet, scope)
    return capsys.readouterr().out.splitlines()


def test_the_statistics_are_those_of_the_pool(scope: Dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert printed_by("from krserve_native import", scope, capsys) == [
        "Total allocations:     4",
        "Fallback allocations:  1",
        "Hit rate:              75.0%",
        "Active allocations:    3",
        "Total heaps:           2",
        "Active heaps:          2",
        "Heap utilization:      21.9%",
        "Largest allocation:    20.0MB",
        "Avg allocation:        7.0MB",
        "Total capacity:        32.0MB",
        "Used capacity:         7.0MB",
    ]


def test_the_judgements_are_the_grades(scope: Dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    grades = warmheap.grade(scope["stats"])
    for start, grade in [
        ("if stats.hit_rate < 0.80", grades.hit_rate),
        ("if stats.utilization > 0.95", grades.utilization),
        ("fallback_rate = ", grades.fallback_rate),
    ]:
        mark = {"info": "✅", "warning": "⚠️", "error": "❌"}[grade.severity]
        assert printed_by(start, scope, capsys) == [f"{mark} {grade.text}"]


def test_leaks_are_counted(scope: Dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert printed_by("leaked = ", scope, capsys) == ["Leaked buffers: 3"]


def test_del_gives_the_buffer_back(scope: Dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    before = scope["pool"].get_statistics()
    printed_by("del buffer", scope, capsys)
    after = scope["pool"].get_statistics()
    assert after.total_allocations == before.total_allocations + 1
    assert after.active_allocations == before.active_allocations
