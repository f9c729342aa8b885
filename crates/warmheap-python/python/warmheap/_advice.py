"""Judges the figures of a pool and says what to change. The library judges; this module adds classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from . import _native
from ._errors import ArgumentError
from ._native import MemoryPool, PoolConfig, Statistics

Value = Union[bool, int, float, str, Sequence[float]]
"""The value of a setting, in the key's own unit."""


@dataclass(frozen=True)
class Grade:
    """The judgement of one figure: a word such as ``Excellent``, and a sentence."""

    label: str
    text: str
    severity: str
    """``info``, ``warning`` or ``error``."""


@dataclass(frozen=True)
class Grades:
    """The grades of a snapshot."""

    hit_rate: Grade
    utilization: Grade
    fallback_rate: Grade


@dataclass(frozen=True)
class Change:
    """One setting to change."""

    key: str
    before: Value
    after: Value


@dataclass(frozen=True)
class Finding:
    """An observation about a pool, with the figures that show it and the settings that would help."""

    title: str
    severity: str
    """``info``, ``warning`` or ``error``."""
    evidence: Mapping[str, float]
    changes: Sequence[Change]
    """The settings to change. The list is empty where settings do not help."""
    explanation: str

    def apply(self, config: PoolConfig) -> PoolConfig:
        """Returns ``config`` with the changes made."""
        if not isinstance(config, PoolConfig):
            raise ArgumentError(f"config is of type {type(config).__name__}; it must be a PoolConfig")
        return config.replace(**{change.key: change.after for change in self.changes})


@dataclass(frozen=True)
class Recommendation:
    """A recommended configuration, with findings and an explanation."""

    config: PoolConfig
    findings: Sequence[Finding]
    explanation: str


def _finding(raw: Mapping[str, Any]) -> Finding:
    evidence: Dict[str, float] = {item["name"]: item["value"] for item in raw["evidence"]}
    changes = [Change(item["key"], item["from"], item["to"]) for item in raw["change"]]
    return Finding(raw["title"], raw["severity"], evidence, changes, raw["explanation"])


def _findings(raw: Sequence[Mapping[str, Any]]) -> List[Finding]:
    return [_finding(item) for item in raw]


def grade(statistics: Statistics) -> Grades:
    """Grades a snapshot.

    >>> import warmheap
    >>> warmheap.grade(warmheap.MemoryPool().get_statistics()).hit_rate.label
    'Excellent'
    """
    raw = _native._grades(statistics)
    return Grades(**{name: Grade(**judgement) for name, judgement in raw.items()})


def findings(
    statistics: Statistics, config: PoolConfig, sizes: Optional[Sequence[int]] = None
) -> List[Finding]:
    """Returns everything that the figures of a pool show, the gravest first.

    With ``sizes``, the bytes of each buffer that is alive under load, it also proposes warm-up sizes, if most of
    the memory that the run used was not warmed.
    """
    return _findings(_native._findings(statistics, config, sizes))


def advise(pool: MemoryPool) -> List[Finding]:
    """Returns the :func:`findings` of a pool as it is now, with the sizes of its live buffers. Call it under
    load: warm-up sizes are chosen from those."""
    return _findings(_native._advise(pool))


def recommend(
    model_mb: Optional[int] = None, ram_gb: Optional[int] = None, base: Optional[PoolConfig] = None
) -> Recommendation:
    """Recommends settings for a model whose weights take ``model_mb`` MiB, on a machine with ``ram_gb`` GiB.

    Either may be unknown. All other settings are those of ``base``.

    >>> import warmheap
    >>> warmheap.recommend(model_mb=8192, ram_gb=32).config.heap_size_mb
    3072
    """
    config, raw, explanation = _native._recommend(model_mb, ram_gb, PoolConfig() if base is None else base)
    return Recommendation(config, _findings(raw), explanation)


def recommend_for_run(statistics: Statistics, base: Optional[PoolConfig] = None) -> Recommendation:
    """Recommends the smallest pool of fixed heaps that would have served a measured run without fallback."""
    config, raw, explanation = _native._recommend_for_run(statistics, PoolConfig() if base is None else base)
    return Recommendation(config, _findings(raw), explanation)


def review(
    config: PoolConfig, model_mb: Optional[int] = None, ram_gb: Optional[int] = None
) -> List[Finding]:
    """Judges settings before they run. Returns the findings, the gravest first."""
    return _findings(_native._review(config, model_mb, ram_gb))
