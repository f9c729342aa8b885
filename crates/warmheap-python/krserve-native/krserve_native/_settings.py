"""Settings as attributes, which are checked when they are set.

A class of settings names its keys with their rules. This module knows no key.
"""

from __future__ import annotations

import difflib
import math
import operator
from typing import Any, ClassVar, Dict, List, NamedTuple, Optional

import warmheap


class Rule(NamedTuple):
    """The values of a key. One whose default is a bool is a switch, and any other is a whole number."""

    default: Any
    least: int = 0
    most: int = 0

    def __str__(self) -> str:
        if isinstance(self.default, bool):
            return "True or False"
        return f"a whole number from {self.least} to {self.most}"

    def check(self, value: object) -> Optional[Any]:
        """Returns the value as the key has it, or ``None`` if the rule does not accept it."""
        if isinstance(self.default, bool) or isinstance(value, bool):
            return value if type(value) is type(self.default) else None
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            return None
        return number if self.least <= number <= self.most else None

    def read(self, text: str) -> Optional[Any]:
        """Does the same for the text of a file."""
        if isinstance(self.default, bool):
            return {"true": True, "false": False}.get(text.lower())
        try:
            # Python's underscores and other scripts' digits are no numbers in YAML.
            number = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            return None
        return self.check(int(number)) if number.is_integer() else None


class Settings:
    """The base of configurations. Setting a key to what it cannot be raises ``ConfigError`` and changes
    nothing."""

    _rules: ClassVar[Dict[str, Rule]] = {}

    def __init__(self, **settings: Any) -> None:
        for key, rule in self._rules.items():
            object.__setattr__(self, key, rule.default)
        for key, value in settings.items():
            setattr(self, key, value)

    def __setattr__(self, key: str, value: object) -> None:
        rule = self._rules.get(key)
        if rule is None:
            raise error(f"unknown key `{shown(key)}`; {self._remedy(key)}")
        checked = rule.check(value)
        if checked is None:
            raise error(f"`{key}` is {shown(value)}; it must be {rule}")
        object.__setattr__(self, key, checked)

    def __delattr__(self, key: str) -> None:
        raise error("a setting cannot be deleted; set it to another value")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in vars(self).items())
        return f"{type(self).__name__}({settings})"

    def to_dict(self) -> Dict[str, Any]:
        """Returns every setting."""
        return dict(vars(self))

    @classmethod
    def _remedy(cls, key: str) -> str:
        near = difflib.get_close_matches(key[:60], cls._rules, 1, 0.7)
        return f"did you mean `{near[0]}`?" if near else f"known keys are {', '.join(cls._rules)}"


def shown(value: object) -> str:
    """Returns a value's text for an error, cut where it is long."""
    try:
        text = str(value) if isinstance(value, str) else repr(value)
    except ValueError:
        text = "a number of thousands of digits"
    text = "".join(c if c.isprintable() else "\ufffd" for c in text[:61])
    return text if len(text) <= 60 else f"{text[:60]}..."


def error(*problems: str) -> warmheap.ConfigError:
    """Returns the error with a line for each problem."""
    found: List[str] = list(problems)
    return warmheap.ConfigError("\n".join(found), problems=found)
