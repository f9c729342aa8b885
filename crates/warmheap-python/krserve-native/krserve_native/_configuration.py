"""Reads the configuration of the pool, the blit queue and the command ring from one file."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, Dict, List, NamedTuple, Type, TypeVar, Union

import warmheap
from warmheap import _native

from ._blit_queue import BlitQueueConfig
from ._command_ring import CommandBufferRingConfig
from ._settings import Settings, error, shown

S = TypeVar("S", bound=Settings)

ALIASES = {"command_buffer_ring": "command_ring", "max_concurrent_ops": "max_pending_ops"}
"""Other names of sections and keys, which files of programs have."""


class Configuration(NamedTuple):
    """What a file configures. A section that is not there has its defaults."""

    memory_pool: warmheap.PoolConfig
    blit_queue: BlitQueueConfig
    command_ring: CommandBufferRingConfig


def read_config(path: Union[str, "os.PathLike[str]"]) -> Configuration:
    """Reads ``memory_pool``, ``blit_queue`` and ``command_ring`` under ``metal_optimizations``.

    ``command_ring`` may also be named ``command_buffer_ring``, and its neighbour's key ``max_pending_ops`` also
    ``max_concurrent_ops``. If ``metal_optimizations.enabled`` is false, all three are disabled. Sections of
    others are passed over.

    Raises
    ------
    ConfigError
        The file cannot be read, or a setting is wrong. The error names the file, the line and what is allowed.
    """
    pool, switched_off, sections = _native._read_sections(path)
    problems: List[str] = []
    blit_queue = section(BlitQueueConfig, "blit_queue", sections, problems)
    command_ring = section(CommandBufferRingConfig, "command_ring", sections, problems)
    ours = ["memory_pool", "blit_queue", "command_ring", "command_buffer_ring"]
    for written, line, _ in sections:
        meant = [] if written in ours else get_close_matches(written, ours, 1, cutoff=0.85)
        problems += [f"line {line}: unknown section `{shown(written)}`; did you mean `{name}`?" for name in meant]
    if problems:
        raise error(*(f"{os.fspath(path)}: {problem}" for problem in problems))
    if switched_off:
        blit_queue.enabled = command_ring.enabled = False
    return Configuration(pool, blit_queue, command_ring)


def section(kind: Type[S], name: str, sections: List[Any], problems: List[str]) -> S:
    """Returns the settings of a section, and adds what is wrong with it."""
    config, first = kind(), 0
    for written, line, settings in sections:
        if ALIASES.get(written, written) != name:
            continue
        if first:
            problems.append(f"line {line}: `{written}` was already set on line {first}; keep one of the two")
        elif settings is None:
            hint = "settings as `key: value` lines, indented under it"
            problems.append(f"line {line}: `{written}` is no section; it must be a section: {hint}")
        else:
            assign(config, settings, problems)
        first = first or line
    return config


def assign(config: Settings, settings: List[Any], problems: List[str]) -> None:
    """Sets what the lines of a section say."""
    lines: Dict[str, int] = {}
    for written, line, text in settings:
        key = ALIASES.get(written, written)
        rule = config._rules.get(key)
        if rule is None:
            problems.append(f"line {line}: unknown key `{shown(written)}`; {config._remedy(key)}")
        elif key in lines:
            first = lines[key]
            problems.append(f"line {line}: `{written}` was already set on line {first}; keep one of the two")
        elif (value := rule.read(text)) is None:
            allowed = "true or false" if isinstance(rule.default, bool) else rule
            problems.append(f"line {line}: `{written}` is `{shown(text)}`; it must be {allowed}")
        else:
            setattr(config, key, value)
        lines.setdefault(key, line)
