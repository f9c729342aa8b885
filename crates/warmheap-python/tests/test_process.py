"""A program's surroundings: its log, its forks, its end."""

from __future__ import annotations

import logging
import os
import sys

import pytest
import warmheap

from conftest import MIB, at_once, quiet, run


def test_the_log_is_pythons(pool: warmheap.MemoryPool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "warmheap")
    with warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[64]) as small:
        small.allocate(2 * MIB)
        kept = small.allocate(1000, tag="kept")
    texts = {(record.levelname, record.getMessage().splitlines()[0]) for record in caplog.records}
    warned = [record for record in caplog.records if "Heap exhausted for 2.0MB" in record.getMessage()]
    assert warned[0].levelname == "WARNING" and warned[0].name == "warmheap"
    assert warned[0].fields == {"size": 2 * MIB, "fallback_allocations": 1}  # type: ignore[attr-defined]
    assert ("INFO", "Consider increasing heap_size_mb or num_heaps") in texts
    assert any(level == "WARNING" and "warm-up size 64 MiB" in text for level, text in texts)
    leaked = caplog.records[-1]
    assert leaked.levelname == "ERROR"
    assert f"allocated at {kept.site}, tagged \"kept\"" in leaked.getMessage()


def test_other_threads_log_too(caplog: pytest.LogCaptureFixture) -> None:
    with warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[]) as pool:
        at_once(lambda _: pool.allocate(2 * MIB), range(4))
    assert "Heap exhausted" in caplog.text


def test_a_handler_may_use_the_pool_that_logs(caplog: pytest.LogCaptureFixture) -> None:
    pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[])
    asked = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            asked.append(pool.allocate(2 * MIB).size)

    handler = Handler()
    logging.getLogger("warmheap").addHandler(handler)
    try:
        pool.allocate(2 * MIB)
    finally:
        logging.getLogger("warmheap").removeHandler(handler)
    assert asked


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_shows_its_own_pools_only() -> None:
    out = quiet("""
        import os, warmheap
        pool = warmheap.MemoryPool()
        if os.fork() == 0:
            print(repr(warmheap.to_prometheus()), flush=True)
            own = warmheap.MemoryPool()
            print(f'pool="{own.number}"' in warmheap.to_prometheus(), own.number > pool.number, flush=True)
            del pool
            print(warmheap.to_prometheus().count("warmheap_heaps{"), flush=True)
            os._exit(0)
        os.wait()
        print(warmheap.to_prometheus().count("warmheap_heaps{"))
        """)
    assert out.splitlines() == ["''", "True True", "1", "1"]


def test_nothing_is_printed() -> None:
    assert quiet("""
        import warmheap
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[64])
        kept = pool.allocate(2 << 20)
        pool.close()
        """) == ""


@pytest.mark.parametrize("end", ["pass", "raise SystemExit", "import os; os._exit(0)", "del sys.modules['warmheap']"])
def test_an_interpreter_ends_with_everything_alive(end: str) -> None:
    quiet(f"""
        import sys, warmheap
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[])
        closed = warmheap.MemoryPool()
        buffers = [pool.allocate(1000), pool.allocate(2 << 20), closed.allocate(10)]
        views = [memoryview(buffer) for buffer in buffers]
        capsules = [buffer.__dlpack__() for buffer in buffers]
        queue = pool.queue()
        pool.allocate(100).retire(queue.signal())
        queue.complete(queue.signal())
        closed.close()
        class Late:
            def __init__(self):
                self.buffer, self.pool = pool.allocate(3 << 20), pool
            def __del__(self):
                self.pool.allocate(2 << 20)
        sys.late = Late()
        cycle = [Late()]
        cycle.append(cycle)
        {end}
        """, "-X", "dev")


def test_an_interpreter_ends_with_threads_at_work() -> None:
    quiet("""
        import threading, time, warmheap
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[], log_exhaustion=False)
        queue = pool.queue()
        ticket = queue.signal()
        def work():
            while True:
                pool.allocate(2 << 20)
                pool.allocate(1000)
                pool.trim()
        def wait():
            queue.wait(ticket, 1000)
        for target in [work, work, wait]:
            threading.Thread(target=target, daemon=True).start()
        time.sleep(0.2)
        """)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_may_not_use_what_it_inherited() -> None:
    out = quiet("""
        import gc, os, sys, warmheap
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[])
        buffer, view = pool.allocate(100), memoryview(pool.allocate(100))
        queue = pool.queue()
        ticket = queue.signal()
        view[:5] = b"hello"
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            refused = 0
            for use in [lambda: pool.allocate(1), pool.get_statistics, pool.close, lambda: buffer.device_address,
                        buffer.free, lambda: memoryview(buffer), lambda: buffer.retire(ticket),
                        queue.signal, queue.poll, buffer.__dlpack__]:
                try:
                    use()
                except warmheap.ForkError as error:
                    assert f"process {parent}" in str(error) and "spawn" in str(error), error
                    refused += 1
            assert bytes(view[:5]) == b"hello"
            # What goes, goes quietly; and a pool of its own works.
            del pool, buffer, queue, ticket, view
            gc.collect()
            with warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[]) as own:
                own.allocate(2 << 20)
                own.allocate(100)
                assert own.get_statistics().total_allocations == 2
            print("refused", refused, flush=True)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("alive", pool.get_statistics().active_allocations, pool.allocate(1).size)
        """)
    assert out.split("\n")[:2] == ["refused 10", "alive 2 1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_amid_threads() -> None:
    quiet("""
        import os, sys, threading, warmheap
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[], log_exhaustion=False)
        ended = False
        def work():
            while not ended:
                pool.allocate(2 << 20)
                pool.allocate(1000, tag="busy")
        threads = [threading.Thread(target=work) for _ in range(2)]
        [thread.start() for thread in threads]
        for _ in range(20):
            child = os.fork()
            if child == 0:
                with warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[]) as own:
                    own.allocate(1000, tag="own")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        ended = True
        [thread.join() for thread in threads]
        """, "-W", "ignore::DeprecationWarning")


@pytest.mark.skipif(not hasattr(os, "fork") or not os.path.exists("/proc/self/maps"), reason="no fork or maps here")
@pytest.mark.parametrize("lend", ["memoryview(buffer)", "buffer.__dlpack__()"])
def test_a_child_leaves_memory_alone_whose_last_view_it_drops(lend: str) -> None:
    out = quiet(f"""
        import os, sys, warmheap
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[], log_exhaustion=False)
        buffer = pool.allocate(64 << 20)
        view, address = {lend}, buffer.device_address
        def mapped():
            ranges = [line.split()[0].split("-") for line in open("/proc/self/maps")]
            return any(int(start, 16) <= address < int(end, 16) for start, end in ranges)
        buffer.free()
        del buffer
        if os.fork() == 0:
            del view
            print("child", mapped(), flush=True)
            os._exit(0)
        os.wait()
        print("parent", mapped(), pool.get_statistics().active_allocations)
        del view
        print("later", pool.get_statistics().active_allocations)
        """)
    assert out.splitlines() == ["child True", "parent True 1", "later 0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_log_for_its_parent() -> None:
    out = quiet("""
        import logging, os, sys, threading, warmheap
        class Handler(logging.Handler):
            def emit(self, record):
                print("parent" if os.getpid() == parent else "child", flush=True)
        parent = os.getpid()
        logging.getLogger("warmheap").setLevel("DEBUG")
        logging.getLogger("warmheap").addHandler(Handler())
        def work():
            pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[])
            del pool        # its end is logged by the thread that waits for this one
            child = os.fork()
            if child == 0:
                with warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[]):
                    pass
                os._exit(0)
            os.waitpid(child, 0)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """, "-W", "ignore::DeprecationWarning")
    assert sorted(out.split()) == ["child", "parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_python_does_not_know_of_is_refused_too() -> None:
    """The C library's fork, as an extension calls it, runs none of Python's hooks."""
    out = quiet("""
        import ctypes, logging, os, warmheap
        pool = warmheap.MemoryPool(heap_size_mb=1, num_heaps=1, warmup_sizes=[])
        buffer = pool.allocate(100)
        if ctypes.PyDLL(None).fork() == 0:
            for use in [lambda: pool.allocate(1), buffer.free, lambda: memoryview(buffer), pool.close]:
                try:
                    use()
                except warmheap.ForkError as error:
                    print("refused", "spawn" in str(error), flush=True)
            del pool, buffer
            os._exit(0)
        print("child", os.wait()[1], pool.get_statistics().active_allocations)
        """, "-W", "ignore::DeprecationWarning")
    assert out.splitlines() == ["refused True"] * 4 + ["child 0 1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_ends_well_with_all_that_it_inherited() -> None:
    """The child ends through the interpreter's own end with exit code 0, with a pool that has a thread, a
    queue and a recording."""
    quiet("""
        import os, sys, tempfile, warmheap
        path = os.path.join(tempfile.mkdtemp(), "trace.csv")
        pool = warmheap.MemoryPool(trim_after_ms=1)
        pool.record(path)
        queue, buffers = pool.queue(), [pool.allocate(1000) for _ in range(10)]
        ticket = queue.signal()
        pool.allocate(1000).retire(ticket)
        pool.on_pressure(lambda pool, pressure: buffers.clear())
        child = os.fork()
        if child == 0:
            try:
                pool.allocate(1)
            except warmheap.ForkError:
                sys.exit(0)
            sys.exit(1)
        assert os.waitpid(child, 0)[1] == 0
        queue.complete(ticket)
        buffers.clear()
        # The pool's own thread may have freed it already.
        assert queue.poll() in (0, 1)
        assert (pool.stop_recording(), pool.leaks()) == (22, [])
        """, "-X", "dev", "-W", "ignore::DeprecationWarning")


def test_a_build_of_python_without_the_lock_is_refused_with_words() -> None:
    ended = run("""
        import sysconfig
        sysconfig.get_config_vars()["Py_GIL_DISABLED"] = 1
        import warmheap
        """)
    assert ended.returncode == 1
    assert "ImportError: warmheap has no build for free-threaded CPython; use the build with" in ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts addresses so")
def test_a_process_that_gets_no_further_thread_opens_pools_all_the_same() -> None:
    out = quiet("""
        import resource, threading, warmheap
        with open("/proc/self/statm") as file:
            addresses = int(file.read().split()[0]) * resource.getpagesize()
        # There is no room for a thread's stack.
        resource.setrlimit(resource.RLIMIT_AS, (addresses + (1 << 20), -1))
        try:
            threading.Thread(target=print).start()
        except RuntimeError:
            print("no thread")
        with warmheap.MemoryPool(device="sim", heap_size_mb=1, num_heaps=1, warmup_sizes=[]) as pool:
            print(pool.allocate(1000).size)
        """)
    assert out == "no thread\n1000\n"
