"""The stub names every setting and every figure, and no others."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Set

import warmheap


def attributes(name: str) -> Set[str]:
    """Returns the attributes and properties of a class in the stub."""
    stub = Path(warmheap.__file__).with_name("_native.pyi").read_text(encoding="utf-8")
    body = next(node.body for node in ast.parse(stub).body if isinstance(node, ast.ClassDef) and node.name == name)
    named = {node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return named | {node.name for node in body if isinstance(node, ast.FunctionDef) and node.decorator_list
                    and ast.unparse(node.decorator_list[0]) == "property"}


def test_settings() -> None:
    keys = warmheap.PoolConfig.keys()
    assert attributes("PoolConfig") == {key.split(".")[0] for key in keys}
    assert attributes("Section") == {key.split(".")[1] for key in keys if "." in key}


def test_figures() -> None:
    with warmheap.MemoryPool(device="sim") as pool:
        figures = {name.split(".")[0] for name in pool.get_statistics().to_dict()}
    assert attributes("Statistics") == figures | {"fallback_rate"}


def test_every_public_name_has_a_text() -> None:
    for name in warmheap.__all__:
        thing = getattr(warmheap, name)
        assert name.startswith("__") or thing.__doc__, name
        if isinstance(thing, type):
            for part, value in vars(thing).items():
                assert part.startswith("_") or not callable(value) or value.__doc__, f"{name}.{part}"
