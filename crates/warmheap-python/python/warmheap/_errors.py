"""The exceptions of the package. The library writes their texts: what happened, with figures, and what
to do."""

from __future__ import annotations

from typing import Optional, Sequence


class WarmheapError(Exception):
    """The base of all exceptions of this package."""


class ArgumentError(WarmheapError, TypeError):
    """An argument has the wrong type."""


class ConfigError(WarmheapError, ValueError):
    """Settings are wrong."""

    problems: Sequence[str]
    """Everything that is wrong, a line for each problem."""

    def __init__(self, message: str = "", *, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class RequestError(WarmheapError, ValueError):
    """A request makes no sense: its size is 0, its alignment is not a power of two, or an argument has a value
    that nothing can have, such as a negative number of bytes."""


class OutOfMemoryError(WarmheapError, MemoryError):
    """Neither the heaps nor the device have the memory. Figures are bytes, or ``None`` where unknown."""

    requested: Optional[int]
    """The requested bytes."""
    free: Optional[int]
    """The free bytes: of all heaps together, or of the device if it refused a heap."""
    largest_free: Optional[int]
    """The longest free block of any heap."""
    reserved: Optional[int]
    """The bytes held from the device."""

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
    """The request would exceed the quota of its tag. Figures are bytes."""

    tag: str
    """The tag."""
    quota: int
    """The most requested bytes that may be alive under the tag."""
    used: int
    """The requested bytes that are alive under the tag."""
    requested: int
    """The bytes of this request."""

    def __init__(
        self, message: str = "", *, tag: str = "", quota: int = 0, used: int = 0, requested: int = 0
    ) -> None:
        super().__init__(message)
        self.tag = tag
        self.quota = quota
        self.used = used
        self.requested = requested


class GrowError(WarmheapError, MemoryError):
    """A buffer cannot grow in place. Figures are bytes."""

    size: int
    """The buffer's size."""
    requested: int
    """The requested size."""

    def __init__(self, message: str = "", *, size: int = 0, requested: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.requested = requested


class DeviceError(WarmheapError, RuntimeError):
    """The device is missing, cannot do this, or failed."""


class StartError(DeviceError):
    """The heaps of a pool could not be created or warmed. The pool has given back what it had taken."""


class TraceError(WarmheapError, ValueError):
    """A trace cannot be read or written, or contradicts itself."""

    line: Optional[int]
    """The line of the fault, counted from 1, or ``None`` if it concerns the whole file."""

    def __init__(self, message: str = "", *, line: Optional[int] = None) -> None:
        super().__init__(message)
        self.line = line


class ClosedError(WarmheapError, ValueError):
    """The pool is closed, or the buffer was freed."""


class ForkError(WarmheapError, RuntimeError):
    """The pool or buffer belongs to another process, of which this one is a fork."""
