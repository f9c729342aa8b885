"""A wrong argument is an error of the package, whichever call gets it and whatever it is."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
import warmheap

SELF: List[Any] = []
SELF.append(SELF)


class Odd:
    """Compares, iterates and converts to nothing."""


HOSTILE: List[Any] = [
    None, -1, 2**63, 2**64, 2**70, 10**5000, -(10**400), True, 0.5, -0.5, math.inf, -math.inf, math.nan, 1e308,
    "", "x", "\0", "\ud800", b"x", [], [1], ["x"], [-1], [math.nan], [2**70], SELF, (), (1,), (1, "x"), {}, {1: 2},
    {"x": SELF}, {"num_heaps": "many"}, set(), object(), Odd(), Odd, len, range(3), 1j, Path("/no/such/file"),
    "/no/such/folder/file",
]  # fmt: skip


def calls(pool: warmheap.MemoryPool) -> Iterator[Tuple[str, Callable[..., Any], Dict[str, Any]]]:
    """Every public callable that takes arguments, with arguments that suit."""
    queue = pool.queue()
    ticket = queue.signal()
    queue.complete(ticket)
    statistics, config = pool.get_statistics(), warmheap.PoolConfig()
    trace = warmheap.Trace([(0, 0.0, "allocate", 1, 10, 0)])
    finding = warmheap.Finding("", "info", {}, [], "")
    request = {"size": 64, "align": 64, "zeroed": True, "tag": "x", "wait": 0.0}
    movable = pool.allocate_movable(64)
    pinned = movable.pin()
    known: Dict[str, Tuple[Any, Dict[str, Any]]] = {
        "MemoryPool": (warmheap.MemoryPool, {"config": None, "device": "sim", "environment": False}),
        "MemoryPool.allocate": (pool.allocate, {**request, "fallback": True, "growable": 128}),
        "MemoryPool.allocate_movable": (pool.allocate_movable, {**request, "fallback": True}),
        "MemoryPool.compact": (pool.compact, {"max_mb": 1, "max_seconds": 0.1}),
        "MemoryPool.on_pressure": (pool.on_pressure, {"callback": print}),
        "MemoryPool.queue": (pool.queue, {"stream": None}),
        "MemoryPool.quota": (pool.quota, {"tag": "x"}),
        "MemoryPool.record": (pool.record, {"path": "/no/such/folder/trace.csv"}),
        "MemoryPool.set_quota": (pool.set_quota, {"tag": "x", "quota": 2**40}),
        "MemoryPool.trim": (pool.trim, {"target": 0}),
        "MemoryPool.warmup": (pool.warmup, {"sizes_mb": [1]}),
        "MetalMemoryPool": (warmheap.MetalMemoryPool, {"config": None}),
        "Buffer.grow": (pool.allocate(64).grow, {"size": 64, "move": True}),
        "Buffer.retire": (lambda ticket: pool.allocate(64).retire(ticket), {"ticket": ticket}),
        "MovableBuffer.in_flight_until": (movable.in_flight_until, {"ticket": ticket}),
        "MovableBuffer.retire": (lambda ticket: pool.allocate_movable(9).retire(ticket), {"ticket": ticket}),
        "Queue.allocate": (queue.allocate, {**request, "growable": 128}),
        "Queue.complete": (queue.complete, {"ticket": ticket}),
        "Queue.wait": (queue.wait, {"ticket": ticket, "timeout": 0.0}),
        "PoolConfig": (warmheap.PoolConfig, {"warmup_sizes": [1], "compaction": {"step_mb": 1}, "quotas": {"x": 1}}),
        "PoolConfig.elastic": (warmheap.PoolConfig.elastic, {"wait_ms": 1, "scrub": "never", "limits": {}}),
        "PoolConfig.from_dict": (warmheap.PoolConfig.from_dict, {"settings": {"num_heaps": 1}}),
        "PoolConfig.from_json": (warmheap.PoolConfig.from_json, {"text": "{}"}),
        "PoolConfig.from_yaml": (warmheap.PoolConfig.from_yaml, {"text": "num_heaps: 1"}),
        "PoolConfig.from_yaml_file": (warmheap.PoolConfig.from_yaml_file, {"path": "/no/such/file"}),
        "PoolConfig.replace": (config.replace, {"quotas": {"x": 1}, "enabled": True}),
        "Statistics.from_dict": (warmheap.Statistics.from_dict, {"figures": statistics.to_dict()}),
        "Statistics.from_json": (warmheap.Statistics.from_json, {"text": statistics.to_json()}),
        "Statistics.to_prometheus": (statistics.to_prometheus, {"pool": "x"}),
        "Trace": (warmheap.Trace, {"events": [(0, 0.0, "allocate", 1, 10, 0)], "lenient": False}),
        "Trace.load": (warmheap.Trace.load, {"path": "/no/such/file", "lenient": False}),
        "Trace.replay": (trace.replay, {"pool": pool, "threads": 1, "rounds": 1, "verify": False}),
        "Trace.save": (trace.save, {"path": "/no/such/folder/trace.csv"}),
        "Finding.apply": (finding.apply, {"config": config}),
        "advise": (warmheap.advise, {"pool": pool}),
        "findings": (warmheap.findings, {"statistics": statistics, "config": config, "sizes": [1]}),
        "grade": (warmheap.grade, {"statistics": statistics}),
        "recommend": (warmheap.recommend, {"model_mb": 1, "ram_gb": 1, "base": config}),
        "recommend_for_run": (warmheap.recommend_for_run, {"statistics": statistics, "base": config}),
        "to_prometheus": (warmheap.to_prometheus, {"pools": {"x": pool}}),
        "review": (warmheap.review, {"config": config, "model_mb": 1, "ram_gb": 1}),
    }
    for name, (call, suits) in known.items():
        yield name, call, suits
    pinned.free()


def takes_arguments(thing: Any) -> bool:
    try:
        parameters = inspect.signature(thing).parameters
    except ValueError:
        return False
    return any(name not in ("self", "memo") for name in parameters)


def test_every_public_call_is_tried(pool: warmheap.MemoryPool) -> None:
    known = {name for name, _, _ in calls(pool)}
    plain = {"Change", "Finding", "Grade", "Grades", "Recommendation"}
    for name in warmheap.__all__:
        thing = getattr(warmheap, name)
        if not callable(thing) or name in plain or name.endswith(("Error", "Config")) and name != "PoolConfig":
            continue
        if not isinstance(thing, type):
            assert name in known
            continue
        parts = {f"{name}.{part}": value for part, value in vars(thing).items() if not part.startswith("_")}
        bound = {part: getattr(thing, part.split(".")[1]) for part in parts}
        tried = {part for part, value in bound.items() if callable(value) and takes_arguments(value)}
        assert tried <= known, tried - known


def test_a_wrong_argument_is_an_error_of_the_package(
    pool: warmheap.MemoryPool, unraisable: List[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some of the texts are names of files that a call may write.
    monkeypatch.chdir(tmp_path)
    for name, call, suits in calls(pool):
        for argument in suits:
            for value in HOSTILE:
                if name == "Trace.replay" and argument == "rounds" and isinstance(value, int) and value > 0:
                    continue  # it would play for ever
                try:
                    call(**{**suits, argument: value})
                except warmheap.WarmheapError as error:
                    assert isinstance(error, (ValueError, TypeError, MemoryError, RuntimeError)), (name, argument)
                    assert str(error) and len(str(error)) < 1000, (name, argument, error)
                except BaseException as error:
                    raise AssertionError(f"{name}({argument}={value!r:.60})") from error


@pytest.mark.parametrize(
    "call, kind, text",
    [
        (lambda pool: pool.allocate(-1), ValueError, "size is -1; it must be a whole number from 0"),
        (lambda pool: pool.allocate(2**70), ValueError, "size is 1180591620717411303424; it must"),
        (lambda pool: pool.allocate("x"), TypeError, "size is of type str; it must be a whole number"),
        (lambda pool: pool.allocate(1.5), TypeError, "size is of type float"),
        (lambda pool: pool.allocate(1, wait=math.inf), ValueError, "wait is inf; it must be a finite number of sec"),
        (lambda pool: pool.allocate(1, wait=math.nan), ValueError, "wait is nan"),
        (lambda pool: pool.allocate(1, wait="x"), TypeError, "wait is of type str"),
        (lambda pool: pool.allocate(1, tag="\ud800"), ValueError, "tag is '.ud800'; it must be a text"),
        (lambda pool: pool.on_pressure(5), TypeError, "callback is of type int; it must be callable"),
        (lambda pool: pool.allocate(1).retire(5), TypeError, "ticket is of type int; it must be a Ticket"),
        (lambda pool: pool.queue("x"), TypeError, "stream is of type str"),
        (lambda pool: pool.trim(-5), ValueError, "target is -5"),
        (lambda pool: pool.set_quota("x", -1), ValueError, "quota is -1"),
        (lambda pool: pool.warmup([-1.0]), ValueError, "sizes_mb is -1.0"),
        (lambda pool: warmheap.advise(5), TypeError, "pool is of type int"),  # type: ignore[arg-type]
        (lambda pool: warmheap.grade(5), TypeError, "statistics is of type int"),  # type: ignore[arg-type]
        (lambda pool: warmheap.Trace(5), TypeError, "events is of type int"),  # type: ignore[arg-type]
        (lambda pool: warmheap.Trace([(0, 0.0, "free", -1, 10, 0)]), ValueError, "an event is"),
        (lambda pool: warmheap.PoolConfig(quotas={"x": SELF}), ValueError, "not nested so deeply"),
        (lambda pool: warmheap.MemoryPool(5), TypeError, "config is of type int; it must be a PoolConfig, a dict"),  # type: ignore[arg-type]
    ],
)
def test_the_error_names_the_argument_and_what_is_allowed(
    pool: warmheap.MemoryPool, call: Callable[[Any], Any], kind: type, text: str
) -> None:
    with pytest.raises(warmheap.WarmheapError, match=text) as caught:
        call(pool)
    assert isinstance(caught.value, kind)


def test_what_an_arguments_own_code_raises_goes_on(pool: warmheap.MemoryPool) -> None:
    class Broken:
        def __index__(self) -> int:
            raise ZeroDivisionError

        def __float__(self) -> float:
            raise ZeroDivisionError

    def events() -> Iterator[Any]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        pool.allocate(Broken())  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        pool.allocate(1, wait=Broken())  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        warmheap.Trace(events())


def test_a_wait_of_any_length_is_taken(pool: warmheap.MemoryPool) -> None:
    queue = pool.queue()
    done = queue.signal()
    queue.complete(done)
    for seconds in (0, 1, 1e9, 1e18, 1e300):
        assert queue.wait(done, seconds)
        pool.allocate(64, wait=seconds).free()
