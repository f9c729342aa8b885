"""What the package raises. Texts are the library's: what happened, with figures, and what to do."""

from __future__ import annotations

from typing import Optional, Sequence


class WarmheapError(Exception):
    """The base of all exceptions of this package."""


class ConfigError(WarmheapError, ValueError):
    """Settings that cannot stand."""

    problems: Sequence[str]
    """Everything that is wrong, a line each."""

    def __init__(self, message: str = "", *, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class RequestError(WarmheapError, ValueError):
    """A request that makes no sense: a size of 0, an alignment that is no power of two."""


class OutOfMemoryError(WarmheapError, MemoryError):
    """Neither the heaps nor the device have the memory. Figures are bytes, ``None`` where unknown."""

    requested: Optional[int]
    """Asked for."""
    free: Optional[int]
    """Free: in all heaps together, or on the device if it was asked for a heap."""
    largest_free: Optional[int]
    """The longest free block of any heap."""
    reserved: Optional[int]
    """Held from the device."""

    def __init__(
        self,
        message: str = "",
        *,
        requested: Optional[int] = None,
        free: Optional[int] = None,
        largest_free: Optional[int] = None,
        reserved: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.requested = requested
        self.free = free
        self.largest_free = largest_free
        self.reserved = reserved


class QuotaError(WarmheapError, MemoryError):
    """The request's tag has a quota, and this would pass it. Figures are bytes."""

    tag: str
    """The tag."""
    quota: int
    """The most requested bytes that may be alive under it."""
    used: int
    """How many are."""
    requested: int
    """Asked for."""

    def __init__(
        self, message: str = "", *, tag: str = "", quota: int = 0, used: int = 0, requested: int = 0
    ) -> None:
        super().__init__(message)
        self.tag = tag
        self.quota = quota
        self.used = used
        self.requested = requested


class GrowError(WarmheapError, MemoryError):
    """A buffer cannot be made longer where it is. Figures are bytes."""

    size: int
    """What it has."""
    requested: int
    """What it was to have."""

    def __init__(self, message: str = "", *, size: int = 0, requested: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.requested = requested


class DeviceError(WarmheapError, RuntimeError):
    """The device is not there, cannot do this, or failed."""


class StartError(DeviceError):
    """A pool's heaps could not be created or warmed. Everything taken on the way was given back."""


class TraceError(WarmheapError, ValueError):
    """A trace that cannot be read or written, or that contradicts itself."""

    line: Optional[int]
    """The line it is on, from 1; ``None`` when it is about the file as a whole."""

    def __init__(self, message: str = "", *, line: Optional[int] = None) -> None:
        super().__init__(message)
        self.line = line


class ClosedError(WarmheapError, ValueError):
    """The pool is closed, or the buffer was freed."""


class ForkError(WarmheapError, RuntimeError):
    """A pool or buffer of another process, of which this one is a fork."""
