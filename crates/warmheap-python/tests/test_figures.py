"""Statistics, grades, advice and traces."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any, Callable, List

import pytest
import warmheap
from warmheap import PoolConfig

from conftest import MIB, at_once, quiet, run


def test_statistics_have_every_figure(pool: warmheap.MemoryPool) -> None:
    kept = pool.allocate(2 * MIB)
    pool.allocate(20 * MIB).free()
    statistics = pool.get_statistics()
    figures = statistics.to_dict()
    whole = json.loads(statistics.to_json())
    assert {name: getattr(statistics, name) for name in whole} == whole
    assert set(whole) <= set(dir(statistics))
    assert figures == whole
    assert figures["slow_path"]["fallback"]["tried"] == statistics.slow_path["fallback"]["served"] == 1
    assert all(isinstance(value, (int, float)) for name, value in figures.items() if name != "slow_path")
    assert (statistics.total_allocations, statistics.active_allocations) == (2, 1)
    assert statistics.hit_rate == statistics.fallback_rate == 0.5
    assert statistics.largest_allocation_mb == 20.0 and isinstance(statistics.largest_allocation_mb, float)
    assert 'warmheap_allocations_total{pool="mine"} 2' in statistics.to_prometheus("mine")
    assert repr(statistics).startswith("Statistics(") and "total_allocations=2" in repr(statistics)
    with pytest.raises(AttributeError, match='no figure "hits"'):
        statistics.hits  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        statistics.hit_rate = 1.0  # type: ignore[misc]

    pool.reset_statistics()
    assert pool.get_statistics().total_allocations == 0
    assert pool.get_statistics().active_allocations == 1
    assert statistics != pool.get_statistics() and statistics == statistics
    del kept


def test_a_pool_too_small_gets_advice(pool: warmheap.MemoryPool) -> None:
    for _ in range(10):
        pool.allocate(12 * MIB)
    statistics = pool.get_statistics()
    grades = warmheap.grade(statistics)
    assert (grades.hit_rate.label, grades.hit_rate.severity) == ("Poor", "error")
    assert grades.fallback_rate.text == "Frequent fallbacks, pool too small"
    findings = warmheap.advise(pool)
    high = next(finding for finding in findings if finding.title.startswith("High Fallback Rate"))
    assert high.evidence["fallback_rate"] == 1.0 and high.changes and high.explanation
    better = high.apply(pool.config)
    assert better.heap_size_mb > 12
    for change in high.changes:
        assert pool.config.to_dict()[change.key] == change.before
        assert better.to_dict()[change.key] == change.after
    with warmheap.MemoryPool(better, device="sim") as second:
        second.allocate(12 * MIB)
        assert second.get_statistics().hit_rate == 1.0


def test_a_cold_start_names_the_sizes_to_warm() -> None:
    with warmheap.MemoryPool(device="sim", heap_size_mb=64, num_heaps=1, warmup_sizes=[1]) as pool:
        held = [pool.allocate(size * MIB) for size in (16, 16, 4, 4)]
        cold = next(finding for finding in warmheap.advise(pool) if finding.title == "Cold Start")
        assert cold.severity == "warning" and cold.explanation
        assert cold.evidence == {"peak_used_mb": 40.0, "used_mb_of_each_heap": 40.0, "warmed_mb_of_each_heap": 1.0}
        assert [(change.key, change.before) for change in cold.changes] == [("warmup_sizes", [1])]
        warm = cold.apply(pool.config)
        assert warm.warmup_sizes == [4, 16, 20]
        # A finding of the sizes is one of the figures, the settings and the sizes.
        sizes = [buffer.size for buffer in held]
        assert warmheap.findings(pool.get_statistics(), pool.config, sizes) == warmheap.advise(pool)
        titles = [finding.title for finding in warmheap.findings(pool.get_statistics(), pool.config)]
        assert "Cold Start" not in titles
        del held
    with warmheap.MemoryPool(warm, device="sim") as pool:
        held = [pool.allocate(size * MIB) for size in (16, 16, 4, 4)]
        assert "Cold Start" not in [finding.title for finding in warmheap.advise(pool)]
        del held


def test_one_page_has_the_figures_of_several_pools() -> None:
    def samples(page: str) -> List[str]:
        """Returns the values of a metric, and checks that the page says once what it is."""
        lines = page.splitlines()
        heads = [line for line in lines if line.startswith("#")]
        assert len(heads) == len(set(heads)) and len(heads) % 2 == 0
        assert len({line.rsplit(" ", 1)[0] for line in lines}) == len(lines)
        return [line for line in lines if line.startswith("warmheap_active_allocations{")]

    with warmheap.MemoryPool() as one, warmheap.MemoryPool(device="sim") as other:
        held = [one.allocate(1000), other.allocate(1000), other.allocate(1000)]
        named = {"weights": one, 'a "cache"': other}
        assert samples(warmheap.to_prometheus(named)) == [
            'warmheap_active_allocations{pool="weights"} 1', 'warmheap_active_allocations{pool="a \\"cache\\""} 2',
        ]  # fmt: skip
        snapshots = {name: pool.get_statistics() for name, pool in named.items()}
        held.clear()
        assert samples(warmheap.to_prometheus(snapshots))[1].endswith(" 2")
        assert samples(warmheap.to_prometheus(named))[1].endswith(" 0")
        assert one.number < other.number
        assert samples(warmheap.to_prometheus([other, one])) == [
            f'warmheap_active_allocations{{pool="{pool.number}"}} 0' for pool in (other, one)
        ]
        everything = samples(warmheap.to_prometheus())
        assert [line for line in samples(warmheap.to_prometheus([one, other])) if line not in everything] == []
        assert one.get_statistics().to_prometheus("x") == warmheap.to_prometheus({"x": one})
        with pytest.raises(warmheap.RequestError, match="twice"):
            warmheap.to_prometheus([one, one])
        wrongs: List[Any] = ["ab", 5, one, [one.get_statistics()], {"x": 5}, {5: one}]
        for wrong in wrongs:
            with pytest.raises(warmheap.ArgumentError):
                warmheap.to_prometheus(wrong)
    assert not set(samples(warmheap.to_prometheus())) & {f'warmheap_active_allocations{{pool="{one.number}"}} 0'}
    with pytest.raises(warmheap.ClosedError):
        warmheap.to_prometheus([one])
    assert warmheap.to_prometheus({}) == warmheap.to_prometheus([]) == ""


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 64])
def test_pools_open_and_close_while_all_are_shown(threads: int) -> None:
    wrong: List[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                with warmheap.MemoryPool(device="sim") as pool:
                    assert f'pool="{pool.number}"' in warmheap.to_prometheus()
        except BaseException as error:
            wrong.append(error)

    at_once(work, range(threads))
    assert not wrong


def test_a_pool_is_graded_by_what_it_is() -> None:
    def labels(**settings: Any) -> List[str]:
        with warmheap.MemoryPool(device="sim", environment=False, **settings) as pool:
            kept = pool.allocate(3 * MIB)
            grades = warmheap.grade(pool.get_statistics())
            del kept
        return [grades.hit_rate.label, grades.utilization.label, grades.fallback_rate.label]

    small = {"heap_size_mb": 4, "num_heaps": 1, "warmup_sizes": []}
    assert labels() == ["Excellent", "Not graded", "Excellent"]
    assert labels(**small) == ["Excellent", "Optimal", "Excellent"]
    assert labels(**small, track_statistics=False) == ["Not graded", "Optimal", "Not graded"]
    assert labels(**small, enabled=False) == ["Not graded", "Not graded", "Not graded"]


def test_a_failed_start_names_the_pool_that_fits() -> None:
    with pytest.raises(warmheap.StartError, match=r"2 heaps of 128 MiB would fit$"):
        warmheap.MemoryPool(PoolConfig(), device="sim:budget=600", environment=False)


def test_sizes_are_recommended() -> None:
    base = PoolConfig(log_exhaustion=False)
    recommendation = warmheap.recommend(model_mb=8192, ram_gb=32, base=base)
    assert (recommendation.config.heap_size_mb, recommendation.config.num_heaps) == (3072, 4)
    assert recommendation.config.log_exhaustion is False
    assert "8192 / 4" in recommendation.explanation
    assert warmheap.recommend(ram_gb=16).config.num_heaps == 3
    review = warmheap.review(PoolConfig(heap_size_mb=4096, num_heaps=8), ram_gb=16)
    assert review[0].title == "Pool Larger Than Memory" and review[0].severity == "error"
    with warmheap.MemoryPool(device="sim") as pool:
        held = [pool.allocate(3 * MIB) for _ in range(10)]
        measured = warmheap.recommend_for_run(pool.get_statistics())
        del held
    assert measured.config.heap_size_mb * measured.config.num_heaps >= 30
    assert measured.config.heap_sizing == "fixed"


def test_statistics_are_copied_compared_and_read_back(pool: warmheap.MemoryPool) -> None:
    kept = pool.allocate(2 * MIB + 3)
    pool.allocate(20 * MIB).free()
    statistics = pool.get_statistics()
    for again in (
        warmheap.Statistics.from_json(statistics.to_json()),
        warmheap.Statistics.from_dict(statistics.to_dict()),
        pickle.loads(pickle.dumps(statistics)),
        copy.copy(statistics),
        copy.deepcopy([statistics])[0],
    ):
        assert again == statistics and again.to_dict() == json.loads(statistics.to_json())
    kept.free()
    assert pool.get_statistics() != statistics
    for wrong in ("", "[]", "{", "1", '{"total_allocations": "x"}'):
        with pytest.raises(warmheap.RequestError, match="these are no statistics"):
            warmheap.Statistics.from_json(wrong)
    grades = warmheap.grade(statistics)
    assert pickle.loads(pickle.dumps([grades, warmheap.recommend(ram_gb=16)])) == [grades, warmheap.recommend(ram_gb=16)]


def test_notebooks_and_shells_see_what_a_thing_is(pool: warmheap.MemoryPool) -> None:
    queue = pool.queue()
    ticket = queue.signal()
    pool.allocate(1000).retire(ticket)
    assert re.fullmatch(r"<warmheap.Queue \d+, the program's order, 1000 bytes retired>", repr(queue))
    assert re.fullmatch(r"<warmheap.Ticket 1 of queue \d+, not done>", repr(ticket)) and not ticket.is_complete
    queue.complete(ticket)
    assert repr(ticket).endswith(", done>") and ticket.is_complete
    html = pool._repr_html_()
    assert "&lt;warmheap.MemoryPool on host" in html and "<th" in html and "total_allocations" in html
    assert "<td>1</td>" in pool.get_statistics()._repr_html_()
    pool.close()
    assert "closed" in pool._repr_html_() and "total_allocations" not in pool._repr_html_()


@pytest.mark.parametrize("error", [
    lambda pool: pool.allocate(1 << 50, fallback=False),
    lambda pool: pool.allocate(-1),
    lambda pool: warmheap.PoolConfig(num_heap=1),
    lambda pool: pool.allocate(64, tag="none left"),
    lambda pool: warmheap.Trace([(0, 0.0, "free", 1, 1, 0)]),
])
def test_errors_are_pickled_with_their_figures(pool: warmheap.MemoryPool, error: Callable[[Any], Any]) -> None:
    pool.set_quota("none left", 0)
    with pytest.raises(warmheap.WarmheapError) as caught:
        error(pool)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    assert {**vars(again), "__notes__": 0} == {**vars(caught.value), "__notes__": 0}


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zst"])
def test_traces_are_saved_and_loaded(tmp_path: Path, name: str) -> None:
    events = [
        (0, 0.5, "allocate", 0x1000, 4096, 0),
        (1, 0.625, "allocate failure", 0, 1 << 40, 7),
        (1, 0.75, "free", 0x1000, 4096, 0),
    ]
    trace = warmheap.Trace(events)
    trace.save(tmp_path / name)
    again = warmheap.Trace.load(str(tmp_path / name))
    assert list(again) == list(trace) == events
    assert (len(again), again[-1], repr(again)) == (3, events[2], "<warmheap.Trace of 3 events>")
    for missing in (3, -4, 1 << 70, -(1 << 70)):
        with pytest.raises(IndexError):
            again[missing]
    for part in (slice(1), slice(None, None, -1), slice(-2, None), slice(0, 3, 2), slice(5, 9), slice(-(1 << 70), 1 << 70)):
        assert again[part] == events[part]
    summary = again.summary()
    assert (summary["events"], summary["recorded_failures"], summary["duration"]) == (2, 1, 0.25)


def test_traces_of_the_same_events_are_equal(tmp_path: Path) -> None:
    events = [(0, 0.5, "allocate", 1, 10, 0), (0, 0.7, "free", 1, 10, 0)]
    trace = warmheap.Trace(events)
    trace.save(tmp_path / "t.csv.gz")
    assert trace == warmheap.Trace(iter(events)) == warmheap.Trace.load(tmp_path / "t.csv.gz")
    others = [events[:1], [(1, *event[1:]) for event in events], [(0, 0.6, *events[0][2:]), events[1]]]
    for other in others:
        assert trace != warmheap.Trace(other)
    assert trace != events and not trace == None  # noqa: E711
    twice = warmheap.Trace(events[:1] * 2, lenient=True)
    for original in (trace, twice):
        for again in (pickle.loads(pickle.dumps(original)), copy.copy(original), copy.deepcopy([original])[0]):
            assert again == original and list(again) == list(original)


def test_a_summary_counts_frees_of_another_size() -> None:
    trace = warmheap.Trace([(0, 0.0, "allocate", 1, 100, 0), (0, 0.0, "free", 1, 50, 0)])
    assert trace.summary()["other_sizes"] == 1
    assert warmheap.Trace([]).summary() == {**dict.fromkeys(trace.summary(), 0), "duration": 0.0}


@pytest.mark.parametrize("name", ["run.csv", "run.csv.gz", "run.csv.zst"])
def test_a_file_has_one_recording_at_a_time(tmp_path: Path, name: str) -> None:
    path, linked = tmp_path / name, tmp_path / f"linked {name}"
    linked.symlink_to(path)
    with warmheap.MemoryPool() as one, warmheap.MemoryPool() as other:
        one.record(path)
        one.allocate(1000).free()
        for pool, again in [(other, path), (other, linked), (one, path)]:
            with pytest.raises(warmheap.TraceError, match="another recording writes this file") as caught:
                pool.record(again)
            assert str(again) in str(caught.value)
        with pytest.raises(warmheap.TraceError, match="another recording"):
            warmheap.Trace([]).save(path)
        one.allocate(2000).free()
        assert one.stop_recording() == 4
        assert [event[4] for event in warmheap.Trace.load(path)] == [1000, 1000, 2000, 2000]
        # The file is free again, and a new recording of the pool ends the one before.
        other.record(path)
        other.record(tmp_path / f"next {name}")
        one.record(path)
        assert (one.stop_recording(), other.stop_recording()) == (0, 0)
    one.close()
    with pytest.raises(warmheap.ClosedError):
        one.record(path)
    assert len(warmheap.Trace.load(path)) == 0


def test_other_processes_leave_a_recording_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    with warmheap.MemoryPool() as pool:
        pool.record(path)
        ended = run(f"import warmheap; warmheap.MemoryPool().record({str(path)!r})")
        assert "TraceError" in ended.stderr and "another recording writes this file" in ended.stderr
        pool.allocate(1000)
        assert pool.stop_recording() == 2 and len(warmheap.Trace.load(path)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_lives_on_keeps_no_recording(tmp_path: Path) -> None:
    """It has the file open as well."""
    assert quiet(f"""
        import os, warmheap
        pool = warmheap.MemoryPool()
        pool.record({str(tmp_path / "run.csv")!r})
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        pool.stop_recording()
        pool.record({str(tmp_path / "run.csv")!r})
        pool.allocate(1000)
        print(pool.stop_recording())
        os.close(writer)
        os.waitpid(child, 0)
        """) == "2\n"


def test_traces_that_cannot_be_are_refused_with_their_line(tmp_path: Path) -> None:
    twice = [(0, 0.0, "allocate", 1, 10, 0), (0, 0.0, "allocate", 1, 10, 0)]
    with pytest.raises(warmheap.TraceError, match="still live") as caught:
        warmheap.Trace(twice)
    assert caught.value.line == 3
    assert warmheap.Trace(twice, lenient=True).summary()["skipped"] == 1
    path = tmp_path / "bad.csv"
    path.write_text("Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,0x1,none,0\n")
    with pytest.raises(warmheap.TraceError, match=r"bad\.csv:2: Size is `none`") as caught:
        warmheap.Trace.load(path)
    assert caught.value.line == 2
    with pytest.raises(warmheap.TraceError, match="opened") as caught:
        warmheap.Trace.load(tmp_path / "none.csv")
    assert caught.value.line is None
    with pytest.raises(warmheap.TraceError, match='action is "grow"'):
        warmheap.Trace([(0, 0.0, "grow", 1, 10, 0)])
    with pytest.raises(warmheap.TraceError, match="time is -1"):
        warmheap.Trace([(0, -1.0, "free", 1, 10, 0)])


def test_a_real_trace_replays(real_trace: Path) -> None:
    trace = warmheap.Trace.load(real_trace)
    with warmheap.MemoryPool(device="sim") as pool:
        report = trace.replay(pool, rounds=1, threads=2)
    assert report["failed"] == 0 and report["hit_rate"] == 1.0
    assert report["threads"] == 2 and report["events"] == 2 * trace.summary()["events"]
    assert report["ns_per_op"] > 0 and set(report["alloc_ns"]) == {"p50", "p99", "p999"}
    small = warmheap.Trace([(0, 0.0, "allocate", n, 1 + n * 1000, 0) for n in range(100)])
    with warmheap.MemoryPool() as pool:
        assert small.replay(pool, verify=True)["end_live_bytes"] == 100 + 1000 * 4950
