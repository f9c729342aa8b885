"""The examples in the docstrings of the package and in docs/python.md run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any, Dict

import pytest
import warmheap
import warmheap.mlx
import warmheap.torch

ROOT = Path(__file__).parents[3]


def test_examples_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    public = [getattr(warmheap, name) for name in warmheap.__all__]
    things = [warmheap, warmheap.mlx, warmheap.torch] + [thing for thing in public if getattr(thing, "__doc__", None)]
    for thing in things:
        name = getattr(thing, "__name__", "warmheap")
        for test in finder.find(thing, name, module=False):
            runner.run(test)
    assert runner.summarize().failed == 0
    assert runner.tries > 20


def test_examples_of_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs all snippets as one program. Those marked `no-run` need a GPU."""
    pytest.importorskip("numpy")
    pytest.importorskip("krserve_native")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 6
    scope: Dict[str, Any] = {}
    for number, snippet in enumerate(snippets):
        exec(compile(snippet, f"docs/python.md, snippet {number + 1}", "exec"), scope)
        said = re.findall(r"# prints (.*)$", snippet, re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == said
