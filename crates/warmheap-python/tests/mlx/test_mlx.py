"""MLX from PyPI on a pool. Each test is a program of its own, because a pool serves MLX to the end of the process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conftest import quiet as quiet_program

pytest.importorskip("mlx.core", reason="MLX is not installed")

HERE = Path(__file__).parent
START = "import warmheap, warmheap.mlx\nimport mlx.core as mx\n"
INSTALL = START + "pool = warmheap.mlx.install()\n"


def quiet(start: str, program: str) -> str:
    """Runs a program behind a start; it must end well and write nothing to standard error."""
    return quiet_program(start + textwrap.dedent(program))


def test_the_programs_of_mlx_lm_say_the_same(tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm", reason="mlx-lm is not installed")

    def run(*arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=300, cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    run(str(HERE / "small_model.py"), "model")
    programs = str(HERE / "mlx_lm_programs.py")
    plain, pooled = (json.loads(run(programs, "model", on)) for on in ("plain", "pool"))
    assert pooled.pop("allocations") > 10_000
    assert plain == pooled
    generate = ["mlx_lm.generate", "--model", "model", "--prompt", "To be", "--max-tokens", "16", "--seed", "3"]
    said = [run("-m", *before, *generate).splitlines()[:3] for before in ((), ("warmheap.mlx", "-m"))]
    assert said[0] == said[1]


def test_the_document_runs_as_written() -> None:
    text = (HERE.parents[3] / "docs" / "mlx.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert quiet("", snippet) == "1.0\n"


def test_arrays_come_from_the_pool_and_go_back() -> None:
    quiet(
        START,
        """
        before = mx.arange(1000)
        mx.eval(before)
        pool = warmheap.mlx.install()
        assert warmheap.mlx.pool() is pool
        old = mx.get_active_memory()
        arrays = [mx.full((1 << size,), size) for size in range(20)]
        empty = mx.zeros((0,))
        mx.eval(arrays, empty)
        assert pool.get_statistics().active_allocations >= 20
        assert mx.get_active_memory() - old >= 4 << 19, mx.get_active_memory()
        assert [int(array.sum()) for array in arrays] == [size << size for size in range(20)]
        assert int(before.sum()) == 499_500
        assert {leak["site"] for leak in pool.leaks()} == {"mlx.core:0"}, pool.leaks()
        del arrays, empty, before
        mx.clear_cache()
        assert pool.get_statistics().active_allocations == 0, pool.leak_report()
        assert pool.reserved_bytes == 0, pool.reserved_bytes
        """,
    )


def test_the_functions_about_memory_speak_of_the_pool() -> None:
    quiet(
        INSTALL,
        """
        start = mx.get_active_memory()
        large = mx.zeros((4 << 20,))
        mx.eval(large)
        assert mx.get_active_memory() - start >= 16 << 20
        assert mx.get_peak_memory() >= 16 << 20
        del large
        assert mx.get_active_memory() - start < 1 << 20
        assert mx.get_cache_memory() >= 16 << 20
        mx.reset_peak_memory()
        assert mx.get_peak_memory() == 0, mx.get_peak_memory()
        before = mx.set_cache_limit(limit=3 << 20)
        assert mx.set_cache_limit(limit=before) == 3 << 20
        mx.set_cache_limit(3 << 20)
        assert mx.get_cache_memory() <= 3 << 20, mx.get_cache_memory()
        mx.eval(mx.zeros((4 << 20,)))
        assert mx.get_cache_memory() <= 3 << 20, mx.get_cache_memory()
        assert 16 << 20 <= mx.get_peak_memory() < 33 << 20, mx.get_peak_memory()
        mx.clear_cache()
        assert mx.get_cache_memory() == 0, mx.get_cache_memory()
        """,
    )


@pytest.mark.parametrize("settings", ["limits={'hard_mb': 64}", "quotas={'mlx': 64}"])
def test_out_of_memory_is_the_exception_of_mlx(settings: str) -> None:
    said = quiet(
        START,
        f"""
        warmheap.mlx.install({settings})
        for _ in range(3):
            try:
                mx.eval(mx.zeros((32 << 20,)))
            except RuntimeError as error:
                print(error)
            else:
                raise AssertionError("128 MiB of 64 were served")
        small = mx.ones((1 << 20,))
        assert int(small.sum()) == 1 << 20
        """,
    )
    assert said.count("[malloc] Unable to allocate 134217728 bytes. Warmheap: ") == 3, said


def test_threads_and_streams_share_the_pool() -> None:
    quiet(
        INSTALL,
        """
        import threading
        wrong = []
        def work(seed):
            stream = mx.new_stream(mx.cpu)
            with mx.stream(stream):
                for turn in range(200):
                    length = 1 + (seed * 7919 + turn * 104729) % 50_000
                    value = mx.full((length,), turn % 100) + seed
                    if int(value.sum()) != length * (turn % 100 + seed):
                        wrong.append((seed, turn))
        for count in (1, 2, 3, 16, 64):
            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(count)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        assert not wrong, wrong
        mx.synchronize()
        assert pool.get_statistics().active_allocations == 0, pool.leak_report()
        """,
    )


def test_what_clearing_left_counts_again_once_no_array_is_beside_it() -> None:
    quiet(
        INSTALL,
        """
        small, large = [], []
        for _ in range(100):
            small.append(mx.ones((100,)))
            large.append(mx.ones((1 << 18,)))
            mx.eval(small, large)
        del large
        mx.clear_cache()
        left = pool.reserved_bytes
        assert left > 0 and mx.get_cache_memory() == 0, (left, mx.get_cache_memory())
        del small
        assert mx.get_cache_memory() == pool.reserved_bytes, (mx.get_cache_memory(), pool.reserved_bytes)
        warmheap.mlx.give_back()
        assert pool.reserved_bytes == 0
        for wrong in (-1, 1.5, True, "1", None, 1 << 70):
            try:
                warmheap.mlx.give_back(wrong)
            except warmheap.ArgumentError:
                continue
            raise AssertionError(wrong)
        """,
    )


def test_clearing_waits_for_all_streams() -> None:
    quiet(
        INSTALL,
        """
        stream = mx.new_stream(mx.cpu)
        for _ in range(5):
            with mx.stream(stream):
                x = mx.random.normal((200, 200))
                for _ in range(5):
                    x = x @ x / 200
                mx.async_eval(x)
            del x
            mx.clear_cache()
        mx.synchronize(stream)
        mx.clear_cache()
        # MLX keeps the state of its random numbers.
        assert pool.reserved_bytes <= 4 << 20, pool.leak_report()
        """,
    )


def test_an_unknown_version_or_a_second_pool_leaves_mlx_alone() -> None:
    said = quiet(
        START,
        """
        version, functions = mx.__version__, (mx.clear_cache, mx.get_active_memory)
        for unknown in ("0.30.6", "0.99.1", "1.0", "", "abc"):
            mx.__version__ = unknown
            try:
                warmheap.mlx.install()
            except warmheap.WarmheapError as error:
                print(error)
        assert functions == (mx.clear_cache, mx.get_active_memory)
        try:
            warmheap.mlx.statistics()
        except warmheap.WarmheapError as error:
            print(error)
        mx.__version__ = version
        pool = warmheap.mlx.install()
        mx.eval(mx.ones((100,)))
        assert pool.get_statistics().total_allocations > 0
        try:
            warmheap.mlx.install()
        except warmheap.WarmheapError as error:
            print(error)
        """,
    )
    lines = said.splitlines()
    assert lines[1] == "MLX 0.99.1 is not a version that Warmheap knows; it knows 0.31 and 0.32", said
    assert lines[5] == "no pool serves MLX; call warmheap.mlx.install() first", said
    assert lines[6].startswith("a pool serves MLX already"), said


def test_a_closed_pool_goes_on_serving_mlx() -> None:
    quiet(
        INSTALL,
        """
        kept = mx.ones((1000,))
        mx.eval(kept)
        pool.close()
        assert int((kept + 1).sum()) == 2000
        mx.eval(mx.zeros((16 << 20,)))
        assert mx.get_cache_memory() >= 64 << 20, mx.get_cache_memory()
        del kept
        mx.clear_cache()
        assert mx.get_cache_memory() == 0, mx.get_cache_memory()
        mx.metal.clear_cache()
        """,
    )


@pytest.mark.parametrize(
    "end",
    [
        "",
        "del warmheap, pool",
        "pool.close()",
        "import sys; del mx, sys.modules['mlx.core']",
        "import atexit; atexit.register(lambda: mx.eval(mx.ones((1000,)) + kept))",
        "import os; mx.synchronize(); os._exit(0)",
        "import sys; sys.exit(0)",
        "import threading; threading.Thread(target=lambda: [mx.eval(kept + n) for n in range(500)]).start()",
        """
class Late:
    def __init__(self): self.array = mx.ones((10,))
    def __del__(self): self.array = None
late = Late(); late.itself = late
""",
    ],
)
def test_the_process_ends_well(end: str) -> None:
    quiet(INSTALL + "kept = mx.ones((1000,)); mx.eval(kept)\n", end)


def test_a_child_of_a_fork_gets_memory_from_mlx_itself() -> None:
    quiet(
        INSTALL,
        """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # MLX has a thread, so Python warns of the fork
        kept = mx.ones((1000,))
        mx.eval(kept)
        child = os.fork()
        if child == 0:
            made = mx.array([1.0, 2.0])  # evaluation needs threads that a child does not have
            assert mx.get_cache_memory() >= 0 and mx.get_active_memory() > 0
            del made, kept
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert int((kept + 1).sum()) == 2000
        """,
    )
