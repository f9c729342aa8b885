"""``BlitQueue``: copies between buffers and other memory, on a thread of their own."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, Optional

import warmheap
from warmheap import _native

from ._settings import Rule, Settings

Completion = Callable[[], object]


class BlitQueueConfig(Settings):
    """The settings of a :class:`BlitQueue`. They have the names of the file's keys.

    ``use_shared_events`` and ``staging_buffer_size_mb`` are accepted and have no effect: no wait polls, and no
    copy needs memory between its ends.
    """

    enabled: bool
    """Whether the queue takes copies."""
    max_pending_ops: int
    """The most copies that are pending at once. Submitting one more waits."""
    use_shared_events: bool
    staging_buffer_size_mb: int
    track_metrics: bool
    """Whether copies and waits are counted."""
    verbose_logging: bool
    """Whether each copy is logged, at the level ``DEBUG``."""

    _rules = {
        "enabled": Rule(True),
        "max_pending_ops": Rule(8, 1, 65536),
        "use_shared_events": Rule(True),
        "staging_buffer_size_mb": Rule(64, 0, 1 << 20),
        "track_metrics": Rule(True),
        "verbose_logging": Rule(False),
    }


@dataclass(frozen=True)
class BlitQueueMetrics:
    """What a :class:`BlitQueue` has counted. Times are those of the copies themselves, not of waiting for
    their turn."""

    total_uploads: int
    """The uploads that have been made."""
    total_downloads: int
    """The downloads that have been made."""
    avg_upload_ms: float
    """The mean time of an upload."""
    avg_download_ms: float
    """The mean time of a download."""
    total_overlap_ms: float
    """The time of all copies less the time that calls waited, or 0: an estimate of the time that copies saved."""
    overlap_ratio: float
    """``total_overlap_ms`` as a share of the time of all copies, from 0 to 1."""
    sync_wait_count: int
    """The calls that had to wait: for an operation, for all, or for room in the queue."""
    avg_sync_wait_ms: float
    """The mean time of these waits."""

    @property
    def total_operations(self) -> int:
        """Uploads and downloads."""
        return self.total_uploads + self.total_downloads

    @property
    def avg_io_ms(self) -> float:
        """The mean time of an upload or a download."""
        total = self.avg_upload_ms * self.total_uploads + self.avg_download_ms * self.total_downloads
        return mean(total, self.total_operations)

    def to_dict(self) -> Dict[str, Any]:
        """Returns every figure."""
        return {**asdict(self), "total_operations": self.total_operations, "avg_io_ms": self.avg_io_ms}


class BlitQueue:
    """A queue of copies, which run one after the other on a thread of their own.

    An upload copies into a :class:`warmheap.Buffer`, and a download out of one. The other end is another buffer,
    or anything that lends its bytes: ``bytes``, ``bytearray``, arrays. The program must not change the source,
    use the destination or resize either before the operation has completed. The memory stays until then, also if
    the program frees the buffers.

    Where the CPU reaches both ends, the queue's thread moves the bytes. Otherwise the device copies between its
    own buffers. Memory that only a GPU reaches cannot be copied from or to the CPU this way.

    Parameters
    ----------
    config : BlitQueueConfig, optional
        The settings, as they are now.

    Raises
    ------
    DeviceError
        The system has no further thread.
    """

    def __init__(self, config: Optional[BlitQueueConfig] = None) -> None:
        self._config = settings("config", config, BlitQueueConfig)
        limit, counts, logs = (
            self._config.max_pending_ops, self._config.track_metrics, self._config.verbose_logging,
        )  # fmt: skip
        self._queue = _native._TransferQueue(limit, counts, logs) if self._config.enabled else None

    def upload_async(
        self,
        source_data: Any,
        source_size: int,
        dest_buffer: warmheap.Buffer,
        dest_offset: int = 0,
        completion: Optional[Completion] = None,
    ) -> int:
        """Submits a copy of the first ``source_size`` bytes of ``source_data`` into a buffer.

        Parameters
        ----------
        completion : callable, optional
            Called without arguments on the queue's thread, once the copy is made. The operation completes when it
            returns, and it cannot wait for the queue. What it raises goes to ``sys.unraisablehook``. It is not
            called for a copy that failed: the log has the error, and waits raise it.

        Returns
        -------
        int
            The number of the operation. Numbers rise by 1 from 1.

        Raises
        ------
        RequestError
            The range is not inside the source or the buffer, or the source lends no bytes in one piece.
        DeviceError
            The CPU cannot reach the buffer's memory.
        ClosedError
            The queue is disabled by its configuration, or the buffer was freed.
        """
        return self._enabled().upload(source_data, source_size, dest_buffer, dest_offset, completion)

    def download_async(
        self,
        source_buffer: warmheap.Buffer,
        source_offset: int,
        dest_data: Any,
        dest_size: int,
        completion: Optional[Completion] = None,
    ) -> int:
        """Submits a copy of ``dest_size`` bytes of a buffer to the start of ``dest_data``, which is writable. The
        rest is as for :meth:`upload_async`."""
        return self._enabled().download(source_buffer, source_offset, dest_data, dest_size, completion)

    def wait_for_completion(self, operation_id: int, timeout_ms: int = 0) -> bool:
        """Waits for an operation, for at most ``timeout_ms`` milliseconds, or for ever if that is 0. Returns
        whether it has completed. A disabled queue returns ``True``.

        Raises
        ------
        DeviceError
            The copy failed. One wait raises it.
        RequestError
            There is no such operation, or the call is inside a completion.
        """
        return self._queue is None or self._queue.wait_for_completion(operation_id, timeout_ms)

    def wait_for_all(self) -> None:
        """Waits for all operations submitted before. Raises the first error that no wait has raised yet."""
        if self._queue is not None:
            self._queue.wait_for_all()

    def is_completed(self, operation_id: int) -> bool:
        """Returns whether an operation has completed. A disabled queue returns ``True``."""
        return self._queue is None or self._queue.is_completed(operation_id)

    def flush(self) -> None:
        """Does nothing: every copy is submitted at once."""

    def get_metrics(self) -> BlitQueueMetrics:
        """Returns what the queue has counted since it began or was reset."""
        figures = {} if self._queue is None else self._queue.metrics()
        uploads, downloads, waits = (int(figures.get(name, 0)) for name in ("uploads", "downloads", "waits"))
        upload_ms, download_ms, waited_ms = (
            figures.get(name, 0.0) for name in ("upload_ms", "download_ms", "waited_ms")
        )
        overlap_ms = max(0.0, upload_ms + download_ms - waited_ms)
        return BlitQueueMetrics(
            total_uploads=uploads,
            total_downloads=downloads,
            avg_upload_ms=mean(upload_ms, uploads),
            avg_download_ms=mean(download_ms, downloads),
            total_overlap_ms=overlap_ms,
            overlap_ratio=mean(overlap_ms, upload_ms + download_ms),
            sync_wait_count=waits,
            avg_sync_wait_ms=mean(waited_ms, waits),
        )

    get_statistics = get_metrics

    def reset_metrics(self) -> None:
        """Sets every count to zero."""
        if self._queue is not None:
            self._queue.reset()

    def __repr__(self) -> str:
        if self._queue is None:
            return "<BlitQueue, disabled>"
        return f"<BlitQueue, {self._queue.pending} of {self._config.max_pending_ops} operations pending>"

    def _enabled(self) -> _native._TransferQueue:
        if self._queue is None:
            raise warmheap.ClosedError("the queue is disabled: `enabled` is False in its configuration")
        return self._queue


def mean(total: float, count: float) -> float:
    """Returns the mean, or 0 of nothing."""
    return total / count if count else 0.0


def settings(name: str, given: Any, kind: Any) -> Any:
    """Returns a copy of the settings given, or the defaults."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise warmheap.ArgumentError(f"{name} is of type {type(given).__name__}; it must be a {kind.__name__}")
    return copy.copy(given)
