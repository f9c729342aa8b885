"""The settings that are lists and dicts. A change of one changes its configuration, or is refused there."""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List

from . import _native


def _passed_on(base: type, name: str) -> Callable[..., Any]:
    """Returns a method that changes the setting and then the object, which shows the setting."""
    method = getattr(base, name)

    @functools.wraps(method)
    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The setting may have changed since the object was made.
        now = self._config._plain(self._key)
        result = method(now, *args, **kwargs)
        setattr(self._config, self._key, now)
        self._show()
        return self if result is now else result

    return change


class Sizes(List[float]):
    """A list of sizes in MiB."""

    def __init__(self, config: _native.PoolConfig, key: str) -> None:
        super().__init__(config._plain(key))
        self._config, self._key = config, key

    def _show(self) -> None:
        super().__setitem__(slice(None), self._config._plain(self._key))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (list(self),)


class Quotas(Dict[str, float]):
    """Quotas in MiB, by tag."""

    def __init__(self, config: _native.PoolConfig, key: str) -> None:
        super().__init__(config._plain(key))
        self._config, self._key = config, key

    def _show(self) -> None:
        super().clear()
        super().update(self._config._plain(self._key))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (dict(self),)


for _name in ("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
              "__delitem__", "__iadd__", "__imul__", "__setitem__"):
    setattr(Sizes, _name, _passed_on(list, _name))
for _name in ("clear", "pop", "popitem", "setdefault", "update", "__delitem__", "__ior__", "__setitem__"):
    setattr(Quotas, _name, _passed_on(dict, _name))
