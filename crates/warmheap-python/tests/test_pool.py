"""Pools and buffers: what a pool gives, when it takes it back, and what it reports."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
from pathlib import Path

import pytest
import warmheap

from conftest import MIB, at_once


def test_a_buffer_is_where_and_what_was_asked_for(pool: warmheap.MemoryPool) -> None:
    buffer = pool.allocate(3 * MIB, align=1 << 16, tag="weights")
    assert (buffer.size, buffer.nbytes, len(buffer)) == (3 * MIB, 3 * MIB, 3 * MIB)
    assert buffer.device_address % (1 << 16) == 0
    assert (buffer.device, buffer.tag, buffer.is_fallback) == ("host", "weights", False)
    assert buffer.pool is pool
    assert repr(buffer).startswith(f"<warmheap.Buffer of {3 * MIB} bytes at 0x")
    assert pool.allocate(10).tag is None


def test_the_line_that_asked_is_kept(pool: warmheap.MemoryPool) -> None:
    def ask() -> warmheap.Buffer:
        return pool.allocate(100)

    here = ask.__code__.co_firstlineno + 1
    for _ in range(3):
        assert ask().site == f"{__file__}:{here}"
    # Two calls on different lines of one function are told apart, and so are functions made at run time.
    first = pool.allocate(100)
    second = pool.allocate(100)
    assert first.site is not None and second.site is not None
    assert int(second.site.rsplit(":", 1)[1]) == int(first.site.rsplit(":", 1)[1]) + 1
    for number in range(2000):
        scope: dict[str, warmheap.Buffer] = {}
        exec(compile(f"{chr(10) * number}made = pool.allocate(100)", "made.py", "exec"), {"pool": pool}, scope)
        assert scope["made"].site == f"made.py:{number + 1}"


@pytest.mark.parametrize("way", ["del", "free", "with"])
def test_a_buffer_goes_back(pool: warmheap.MemoryPool, way: str) -> None:
    buffer = pool.allocate(MIB)
    address = buffer.device_address
    if way == "with":
        with buffer as held:
            assert held is buffer
    elif way == "free":
        buffer.free()
        buffer.free()
    if way == "del":
        del buffer
    else:
        assert buffer.is_freed and repr(buffer) == "<warmheap.Buffer on host, freed>"
        with pytest.raises(warmheap.ClosedError, match="freed"):
            buffer.device_address
    assert pool.get_statistics().active_allocations == 0
    assert pool.allocate(MIB).device_address == address


def test_garbage_that_holds_a_buffer_gives_it_back(pool: warmheap.MemoryPool) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self
            self.buffer = pool.allocate(MIB)

    Cycle()
    gc.collect()
    assert pool.get_statistics().active_allocations == 0


def test_zeroes_are_zeroes(pool: warmheap.MemoryPool) -> None:
    for _ in range(3):
        with pool.allocate(1000, zeroed=True) as buffer:
            view = memoryview(buffer)
            assert bytes(view) == bytes(1000)
            view[:] = b"x" * 1000
            view.release()


def test_fallback_is_said_and_can_be_ruled_out(pool: warmheap.MemoryPool) -> None:
    assert pool.allocate(20 * MIB).is_fallback
    with pytest.raises(warmheap.OutOfMemoryError) as caught:
        pool.allocate(20 * MIB, fallback=False)
    error = caught.value
    assert isinstance(error, MemoryError) and "20.0 MiB requested" in str(error)
    assert (error.requested, error.free, error.reserved) == (20 * MIB, 16 * MIB, 16 * MIB)
    assert error.largest_free == 8 * MIB


def test_quotas_hold(pool: warmheap.MemoryPool) -> None:
    pool.set_quota("kv-cache", 2 * MIB)
    kept = pool.allocate(MIB, tag="kv-cache")
    assert pool.quota("kv-cache") == (2 * MIB, MIB) and pool.quota("other") is None
    with pytest.raises(warmheap.QuotaError, match="kv-cache") as caught:
        pool.allocate(2 * MIB, tag="kv-cache")
    error = caught.value
    assert (error.tag, error.quota, error.used, error.requested) == ("kv-cache", 2 * MIB, MIB, 2 * MIB)
    pool.set_quota("kv-cache", None)
    pool.allocate(2 * MIB, tag="kv-cache")
    kept.free()
    with warmheap.MemoryPool(device="sim", quotas={"a.b": 1}) as limited:
        assert limited.config.quotas == {"a.b": 1}
        assert limited.config.replace(quotas={"c": 2}).quotas == {"c": 2}
        with pytest.raises(warmheap.QuotaError):
            limited.allocate(2 * MIB, tag="a.b")


def test_requests_that_make_no_sense_are_refused(pool: warmheap.MemoryPool) -> None:
    with pytest.raises(warmheap.RequestError, match="0 bytes"):
        pool.allocate(0)
    with pytest.raises(warmheap.RequestError, match="power of two"):
        pool.allocate(1, align=3)
    with pytest.raises(warmheap.RequestError, match="size is -1"):
        pool.allocate(-1)
    with pytest.raises(warmheap.ArgumentError, match="size is of type str"):
        pool.allocate("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pickle.dumps(pool)
    with pytest.raises(TypeError):
        warmheap.Buffer()
    assert pool.get_statistics().total_allocations == 0


@pytest.mark.parametrize("device", ["sim", "sim:discrete,budget=64", "host:budget=64"])
def test_devices_by_name(device: str) -> None:
    with warmheap.MemoryPool(device=device, heap_size_mb=1, num_heaps=1, warmup_sizes=[]) as pool:
        assert pool.device == device
        assert pool.allocate(1000).device == device


def test_devices_that_are_not_there_are_said() -> None:
    with pytest.raises(warmheap.DeviceError, match="host, sim, metal or cuda"):
        warmheap.MemoryPool(device="gpu")
    if sys.platform != "darwin":
        with pytest.raises(warmheap.DeviceError) as caught:
            warmheap.MetalMemoryPool(num_heaps=1)
        assert all(name in str(caught.value) for name in ["MemoryPool", "host", "sim", "cuda", "Apple"])


def test_a_start_that_fails_gives_everything_back() -> None:
    with pytest.raises(warmheap.StartError, match="heap 3 of 4"):
        warmheap.MemoryPool(device="host:budget=20", heap_size_mb=8, num_heaps=4, warmup_sizes=[])


def test_a_closed_pool_says_so_and_its_buffers_live_on(pool: warmheap.MemoryPool) -> None:
    buffer = pool.allocate(100)
    view = memoryview(buffer)
    pool.close()
    pool.close()
    assert pool.closed and "closed" in repr(pool)
    for call in [lambda: pool.allocate(1), pool.get_statistics, pool.trim, pool.leaks, pool.__enter__]:
        with pytest.raises(warmheap.ClosedError, match="closed"):
            call()
    view[:] = b"y" * 100
    assert bytes(view) == b"y" * 100 and buffer.size == 100


def test_a_buffer_keeps_its_pool() -> None:
    buffer = warmheap.MemoryPool().allocate(1000)
    assert buffer.pool.get_statistics().active_allocations == 1


def test_leaks_are_listed_with_their_lines(pool: warmheap.MemoryPool) -> None:
    kept = [pool.allocate(2 * MIB, tag="kv-cache") for _ in range(2)]
    assert pool.leaks() == [{"size": 2 * MIB, "tag": "kv-cache", "site": kept[0].site}] * 2
    report = pool.leak_report()
    assert report.startswith("Acquired: 2, Released: 0, Leaked: 2 buffers\n")
    assert f"2 x, {4 * MIB} bytes, allocated at {kept[0].site}, tagged \"kv-cache\"" in report


def test_memory_goes_back_to_the_device() -> None:
    with warmheap.MemoryPool() as pool:
        pool.warmup([8, 8])
        held = pool.reserved_bytes
        assert held >= 16 * MIB
        assert pool.trim(held) == 0
        assert pool.trim() == held - pool.reserved_bytes > 0
        assert pool.peak_reserved_bytes == held
        assert pool.make_purgeable() == 0


def test_retired_buffers_wait_for_their_ticket(pool: warmheap.MemoryPool) -> None:
    queue = pool.queue()
    buffer = pool.allocate(MIB)
    address = buffer.device_address
    ticket = queue.signal()
    view = memoryview(buffer)
    with pytest.raises(BufferError, match="1 views"):
        buffer.retire(ticket)
    view.release()
    buffer.retire(ticket)
    assert buffer.is_freed and queue.retired_bytes == MIB
    assert pool.get_statistics().active_allocations == 1
    with queue.allocate(MIB, tag="later") as same:
        assert same.device_address == address, "later work of the same queue may have it at once"
        same.retire(ticket)
    assert queue.poll() == 0 and not queue.wait(ticket, 0.01)
    queue.complete(ticket)
    assert queue.wait(ticket) and queue.poll() == 1
    assert pool.get_statistics().active_allocations == 0
    with pytest.raises(warmheap.DeviceError, match="no streams"):
        pool.queue(stream=0)
    with pytest.raises(warmheap.RequestError, match="timeout"):
        queue.wait(ticket, -1)


def test_tickets_of_others_are_refused(pool: warmheap.MemoryPool) -> None:
    queue, other = pool.queue(), pool.queue()
    ticket, foreign = queue.signal(), other.signal()
    kept, movable = pool.allocate(1000), pool.allocate_movable(1000)
    kept.retire(ticket)
    for mistake in (lambda: queue.complete(foreign), lambda: queue.wait(foreign), lambda: other.wait(ticket, 1)):
        with pytest.raises(warmheap.RequestError, match=r"the ticket is of queue \d+, and this is queue \d+"):
            mistake()
    assert (queue.poll(), queue.retired_bytes) == (0, 1000)
    queue.complete(ticket)
    assert (queue.poll(), queue.retired_bytes) == (1, 0) and not foreign.is_complete
    with warmheap.MemoryPool(device="sim") as second:
        elsewhere = second.queue().signal()
        kept = pool.allocate(1000)
        with movable.pin() as pinned:
            for retire in (kept.retire, movable.retire, movable.in_flight_until, pinned.retire):
                with pytest.raises(warmheap.RequestError, match="another pool's queue"):
                    retire(elsewhere)
            assert not (kept.is_freed or movable.is_freed or pinned.is_freed)


def test_other_threads_run_while_a_call_waits() -> None:
    queue = warmheap.MemoryPool(device="sim").queue()
    ticket = queue.signal()
    waiting = threading.Event()

    def complete() -> None:
        waiting.wait()
        queue.complete(ticket)

    thread = threading.Thread(target=complete)
    thread.start()
    waiting.set()
    assert queue.wait(ticket, 60)
    thread.join()


def test_threads_share_a_pool(pool: warmheap.MemoryPool) -> None:
    failures = []

    def work(seed: int) -> None:
        try:
            kept = []
            for step in range(2000):
                buffer = pool.allocate(1 + (seed * 7919 + step * 104729) % 30000)
                view = memoryview(buffer)
                view[0] = view[-1] = seed
                kept.append((buffer, view))
                if len(kept) > 20:
                    buffer, view = kept.pop(step % 20)
                    assert view[0] == view[-1] == seed
                    view.release()
                    buffer.free()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    at_once(work, range(4))
    assert not failures
    statistics = pool.get_statistics()
    assert statistics.total_allocations == 8000
    assert statistics.active_allocations == 0


def test_what_is_asked_is_recorded(pool: warmheap.MemoryPool, tmp_path: Path) -> None:
    path = tmp_path / "run.csv.gz"
    pool.record(path)
    kept = pool.allocate(1000)
    pool.allocate(2000)
    queue = pool.queue()
    ticket = queue.signal()
    pool.allocate(3000).retire(ticket)
    queue.allocate(4000).retire(ticket)
    with pytest.raises(warmheap.OutOfMemoryError):
        pool.allocate(20 * MIB, fallback=False)
    queue.complete(ticket)
    with pytest.raises(warmheap.OutOfMemoryError):
        pool.allocate(21 * MIB, fallback=False)
    pool.allocate(5000).retire(queue.signal())
    assert pool.stop_recording() == 10
    assert pool.stop_recording() == 0
    kept.free()
    trace = warmheap.Trace.load(path)
    number = trace[4][5]
    assert number > 0 and f"Queue {number}," in repr(queue)
    assert [(event[2], event[4], event[5]) for event in trace] == [
        ("allocate", 1000, 0),
        ("allocate", 2000, 0),
        ("free", 2000, 0),
        ("allocate", 3000, 0),
        ("allocate", 4000, number),
        ("allocate failure", 20 * MIB, 0),
        # The work is done, and both retired buffers are free.
        ("free", 3000, number),
        ("free", 4000, number),
        ("allocate failure", 21 * MIB, 0),
        ("allocate", 5000, 0),
    ]
    assert trace.summary()["end_live_bytes"] == 1000 + 5000


def test_a_recording_ends_with_its_pool(tmp_path: Path) -> None:
    path = tmp_path / "run.csv.zst"
    with warmheap.MemoryPool() as pool:
        pool.record(path)
        pool.allocate(1000).free()
    assert len(warmheap.Trace.load(path)) == 2


def test_the_program_is_told_of_pressure_and_helps() -> None:
    pool = warmheap.MemoryPool(
        device="sim:discrete,budget=64", heap_size_mb=8, num_heaps=1, warmup_sizes=[], log_exhaustion=False
    )
    kept, told = [pool.allocate(40 * MIB)], []

    def help(given: warmheap.MemoryPool, pressure: warmheap.Pressure) -> None:
        assert given is pool
        told.append((pressure.kind, pressure.requested))
        kept.clear()

    pool.on_pressure(help)
    assert pool.allocate(30 * MIB).size == 30 * MIB
    assert told == [("exhausted", 30 * MIB)]
    del pool
    gc.collect()


def test_the_program_is_told_of_a_soft_limit() -> None:
    limits = {"soft_mb": 16}
    told: list[warmheap.Pressure] = []
    with warmheap.MemoryPool(
        device="sim:discrete", heap_size_mb=8, num_heaps=1, warmup_sizes=[], log_exhaustion=False, limits=limits
    ) as pool:
        pool.on_pressure(lambda _, pressure: told.append(pressure))
        held = [pool.allocate(10 * MIB) for _ in range(2)]
        assert told and told[0].kind == "soft limit" and told[0].requested is None
        assert told[0].reserved is not None and told[0].reserved > 16 * MIB and "soft limit" in repr(told[0])
        del held


def test_what_goes_wrong_in_a_callback_does_not_reach_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: seen.append(event.exc_value))
    with warmheap.MemoryPool(device="sim:discrete,budget=16", heap_size_mb=8, num_heaps=1, warmup_sizes=[]) as pool:
        pool.on_pressure(lambda pool, pressure: 1 / 0)
        with pytest.raises(warmheap.OutOfMemoryError):
            pool.allocate(30 * MIB)
    assert isinstance(seen[0], ZeroDivisionError)


def test_a_request_waits_for_memory_in_flight_as_long_as_it_says() -> None:
    with warmheap.MemoryPool(
        device="sim:discrete,budget=8", heap_size_mb=8, num_heaps=1, warmup_sizes=[], log_exhaustion=False
    ) as pool:
        queue = pool.queue()
        ticket = queue.signal()
        pool.allocate(6 * MIB).retire(ticket)
        with pytest.raises(warmheap.OutOfMemoryError, match="waited|flight"):
            pool.allocate(6 * MIB, wait=0.01)
        timer = threading.Timer(0.1, queue.complete, [ticket])
        timer.start()
        assert pool.allocate(6 * MIB, wait=30).size == 6 * MIB
        timer.join()
        with pytest.raises(warmheap.RequestError, match="wait is -1"):
            pool.allocate(1, wait=-1)


@pytest.mark.parametrize("device", ["sim", "sim:discrete"])
@pytest.mark.parametrize("align", [1 << 40, 1 << 62, 1 << 63])
def test_huge_alignments_are_served_or_refused(device: str, align: int) -> None:
    pool = warmheap.MemoryPool(device=device)
    buffers = []
    for _ in range(6):
        try:
            buffers.append(pool.allocate(4096, align=align))
        except warmheap.OutOfMemoryError:
            pass
    addresses = [buffer.device_address for buffer in buffers]
    assert 0 not in addresses and len(set(addresses)) == len(addresses)
    assert all(address % align == 0 for address in addresses)
    assert pool.allocate(4096).device_address not in addresses
