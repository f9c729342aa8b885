"""``CommandBufferRing``: a bound on the work that is in flight."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Optional

import warmheap
from warmheap import _native
from warmheap._native import _CommandBuffer as CommandBuffer

from ._blit_queue import mean, settings
from ._settings import Rule, Settings

__all__ = ["CommandBuffer"]


class CommandBufferRingConfig(Settings):
    """The settings of a :class:`CommandBufferRing`. They have the names of the file's keys."""

    enabled: bool
    """Whether the ring gives places."""
    ring_size: int
    """The places: 2 for double buffering, 3 for triple buffering."""
    timeout_ms: int
    """The longest wait for a place, in milliseconds; 0 waits for ever."""
    track_statistics: bool
    """Whether places and waits are counted."""
    log_wait_events: bool
    """Whether each wait is logged, at the level ``INFO``."""

    _rules = {
        "enabled": Rule(True),
        "ring_size": Rule(2, 1, 1024),
        "timeout_ms": Rule(0, 0, 86_400_000),
        "track_statistics": Rule(True),
        "log_wait_events": Rule(False),
    }


@dataclass(frozen=True)
class CommandBufferRingStatistics:
    """What a :class:`CommandBufferRing` has counted, and how it is now."""

    ring_size: int
    """The places."""
    available_count: int
    """The free places."""
    in_flight_count: int
    """The places that are acquired, or whose work is not done."""
    total_acquired: int
    total_released: int
    wait_events: int
    """The calls of ``acquire_buffer()`` that had to wait."""
    timeout_events: int
    """Those that waited for longer than ``timeout_ms``."""
    avg_wait_time_us: float
    max_wait_time_us: float
    buffer_utilization: float
    """The share of the places in use now, from 0 to 1."""
    submission_overhead_us: float
    """The mean time from acquiring a place to releasing it."""
    rotations: int
    """How often as many places as there are have been acquired."""
    rotation_rate: float
    """Rotations in a second, since the ring began or was reset."""

    @property
    def total_acquisitions(self) -> int:
        """Another name of ``total_acquired``."""
        return self.total_acquired

    @property
    def total_releases(self) -> int:
        """Another name of ``total_released``."""
        return self.total_released

    @property
    def current_index(self) -> int:
        """The place in the present rotation."""
        return self.total_acquired % self.ring_size

    @property
    def wait_rate(self) -> float:
        """The share of the acquired places that had to be waited for."""
        return mean(self.wait_events, self.total_acquired + self.timeout_events)

    @property
    def reuse_rate(self) -> float:
        """The share that was free at once; 1 before the first."""
        return 1.0 - self.wait_rate

    @property
    def utilization_percent(self) -> float:
        """``buffer_utilization`` in per cent."""
        return self.buffer_utilization * 100.0

    @property
    def avg_wait_time_ms(self) -> float:
        """The mean wait in milliseconds."""
        return self.avg_wait_time_us / 1000.0

    @property
    def avg_wait_ms(self) -> float:
        """Another name of ``avg_wait_time_ms``."""
        return self.avg_wait_time_ms

    @property
    def max_wait_time_ms(self) -> float:
        """The longest wait in milliseconds."""
        return self.max_wait_time_us / 1000.0

    def to_dict(self) -> Dict[str, Any]:
        """Returns every figure."""
        derived = (
            "total_acquisitions", "total_releases", "current_index", "wait_rate", "reuse_rate",
            "utilization_percent", "avg_wait_time_ms", "avg_wait_ms", "max_wait_time_ms",
        )  # fmt: skip
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


class CommandBufferRing:
    """A bound on the work that is in flight, on queues of any pool and device.

    A caller acquires a place before it submits work, and releases it afterwards with a ticket. The place comes
    free when the ticket's work is done. The program submits the work itself, to a CUDA stream for example.

    Parameters
    ----------
    config : CommandBufferRingConfig, optional
        The settings, as they are now.

    Examples
    --------
    >>> import krserve_native, warmheap
    >>> queue = warmheap.MemoryPool().queue()
    >>> ring = krserve_native.CommandBufferRing()
    >>> buffer = ring.acquire_buffer()
    >>> ticket = queue.signal()               # after the work was submitted
    >>> ring.release_buffer(buffer, ticket)
    >>> ring.get_statistics().in_flight_count
    1
    >>> queue.complete(ticket)                # a CUDA stream does this by itself
    >>> ring.get_statistics().in_flight_count
    0
    """

    def __init__(self, config: Optional[CommandBufferRingConfig] = None) -> None:
        self._config = settings("config", config, CommandBufferRingConfig)
        self._ring = _native._Ring(
            self._config.ring_size, self._config.timeout_ms, self._config.track_statistics,
            self._config.log_wait_events,
        )  # fmt: skip

    def acquire_buffer(self) -> CommandBuffer:
        """Takes a place, and waits for one if all are in use. An object that ends without a release gives its
        place back.

        Raises
        ------
        DeviceError
            None came free within ``timeout_ms``.
        ClosedError
            The ring is disabled by its configuration.
        """
        if not self._config.enabled:
            raise warmheap.ClosedError("the ring is disabled: `enabled` is False in its configuration")
        return self._ring.acquire()

    def release_buffer(self, buffer: CommandBuffer, ticket: Optional[warmheap.Ticket] = None) -> None:
        """Gives a place back. It comes free once the work before ``ticket`` is done, or at once without a
        ticket.

        Raises
        ------
        RequestError
            The place was released before, or is another ring's.
        """
        self._ring.release(buffer, ticket)

    def wait_all(self) -> None:
        """Waits until the work of all released places is done."""
        self._ring.wait_all()

    def get_statistics(self) -> CommandBufferRingStatistics:
        """Returns what the ring has counted since it began or was reset, and how it is now."""
        figures = self._ring.statistics()
        size, in_use, acquired = (int(figures[name]) for name in ("size", "in_use", "acquired"))
        released, waits, timeouts = (int(figures[name]) for name in ("released", "waits", "timeouts"))
        return CommandBufferRingStatistics(
            ring_size=size,
            available_count=size - in_use,
            in_flight_count=in_use,
            total_acquired=acquired,
            total_released=released,
            wait_events=waits,
            timeout_events=timeouts,
            avg_wait_time_us=mean(figures["waited_us"], waits),
            max_wait_time_us=figures["longest_us"],
            buffer_utilization=in_use / size,
            submission_overhead_us=mean(figures["held_us"], released),
            rotations=acquired // size,
            rotation_rate=mean(acquired // size, figures["seconds"]),
        )

    def reset_statistics(self) -> None:
        """Sets every count to zero. Places stay in use."""
        self._ring.reset()

    def __repr__(self) -> str:
        figures = self._ring.statistics()
        return f"<CommandBufferRing, {int(figures['in_use'])} of {int(figures['size'])} buffers in use>"
