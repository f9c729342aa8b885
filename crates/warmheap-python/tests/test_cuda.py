"""CUDA on a GPU where PyTorch sees one, and on the double of the driver that scripts/test-python.sh
builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any, Dict

import pytest

try:
    import torch

    GPU = torch.cuda.is_available()
except ImportError:
    GPU = False
DOUBLE = os.environ.get("CUDA_DOUBLE", "")

on_gpu = pytest.mark.skipif(not GPU, reason="PyTorch sees no GPU here")
on_double = pytest.mark.skipif(not DOUBLE, reason="CUDA_DOUBLE does not name the double of the driver")


def run(program: str, **variables: str) -> Any:
    """Runs a program of its own, and returns the last line that it prints, as JSON."""
    environment = {**os.environ, **variables}
    environment.pop("CUDA_DOUBLE", None)
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@on_double
def test_memory_waits_for_a_stream() -> None:
    """Work on the stream is held up. Its scratch memory comes back when the work goes on, and not before."""
    said = run(
        """
        import ctypes, json, os, warmheap
        driver = ctypes.CDLL(os.environ["LD_PRELOAD"])
        hold, violations = driver.double_hold, driver.double_violations
        hold.argtypes, violations.restype = [ctypes.c_size_t, ctypes.c_bool], ctypes.c_char_p
        with warmheap.MemoryPool(device="cuda", heap_size_mb=32, num_heaps=1, warmup_sizes=[]) as pool:
            buffer = pool.allocate(1 << 20, zeroed=True)
            try:
                memoryview(buffer)
                refused = False
            except BufferError:
                refused = True
            device = buffer.__dlpack_device__()
            lent = "dltensor_versioned" in repr(buffer.__dlpack__(stream=1, max_version=(1, 0)))
            queue = pool.queue(stream=7)
            hold(7, True)
            ticket = queue.signal()
            buffer.retire(ticket)
            waits = [queue.wait(ticket, 0.01), queue.poll(), queue.retired_bytes]
            hold(7, False)
            done = [queue.wait(ticket, 10), queue.poll(), queue.retired_bytes]
            live = pool.get_statistics().active_allocations
            queue = ticket = None
        print(json.dumps([refused, device, lent, waits, done, live, violations().decode()]))
        """,
        LD_PRELOAD=DOUBLE,
    )
    assert said == [True, [2, 0], True, [False, 0, 1 << 20], [True, 1, 0], 0, ""]


@on_double
def test_a_gpu_copies_between_its_own_buffers() -> None:
    pytest.importorskip("krserve_native")
    said = run(
        """
        import ctypes, json, os, warmheap, krserve_native
        driver = ctypes.CDLL(os.environ["LD_PRELOAD"])
        driver.double_violations.restype = ctypes.c_char_p
        copies, told = krserve_native.BlitQueue(), []
        with warmheap.MemoryPool(device="cuda", heap_size_mb=32, num_heaps=1, warmup_sizes=[]) as pool:
            first, second = pool.allocate(1 << 20, zeroed=True), pool.allocate(1 << 20)
            copies.upload_async(first, 1 << 20, second, completion=lambda: told.append("made"))
            copies.wait_for_all()
            try:
                copies.upload_async(b"x", 1, first)
            except warmheap.DeviceError as error:
                told.append(str(error))
            # A mark on a stream, which the GPU passes by itself.
            ring, queue = krserve_native.CommandBufferRing(), pool.queue(stream=7)
            driver.double_hold.argtypes = [ctypes.c_size_t, ctypes.c_bool]
            driver.double_hold(7, True)
            ring.release_buffer(ring.acquire_buffer(), queue.signal())
            held = ring.get_statistics().in_flight_count
            driver.double_hold(7, False)
            ring.wait_all()
            left = ring.get_statistics().in_flight_count
            queue = first = second = None
        print(json.dumps([told, held, left, driver.double_violations().decode()]))
        """,
        LD_PRELOAD=DOUBLE,
    )
    refused = "the CPU cannot reach the memory of cuda:0; copy between two buffers of that device"
    assert said == [["made", refused], 1, 0, ""]


@on_double
def test_the_functions_that_pytorch_finds_are_in_the_module() -> None:
    said = run(
        """
        import ctypes, json, warmheap.torch
        from warmheap import PoolConfig, _native
        module = ctypes.CDLL(_native.__file__)
        malloc, free = module.warmheap_malloc, module.warmheap_free
        malloc.restype = ctypes.c_void_p
        malloc.argtypes = [ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p]
        free.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p]
        _native._torch_configure(None, {})
        try:
            _native._torch_configure(PoolConfig(), {})
            twice = True
        except warmheap.WarmheapError:
            twice = False
        address = malloc(3 << 20, 0, 7)
        device = warmheap.torch.statistics()["devices"][0]
        held = device["reserved_bytes"] >= 3 << 20, len(device["streams"])
        free(address, 3 << 20, 0, 7)
        left = [s["statistics"]["active_allocations"] for s in warmheap.torch.statistics()["devices"][0]["streams"]]
        names = ["record_stream", "empty_cache", "begin_allocate_to_pool", "end_allocate_to_pool", "release_pool"]
        hooks = [hasattr(module, "warmheap_" + name) for name in names]
        print(json.dumps([twice, *held, left, all(hooks)]))
        """,
        LD_PRELOAD=DOUBLE,
    )
    assert said == [False, True, 1, [0], True]


@on_gpu
def test_torch_and_the_pool_lend_each_other_memory() -> None:
    import warmheap

    with warmheap.MemoryPool(device="cuda", heap_size_mb=256, num_heaps=1, warmup_sizes=[256]) as pool:
        buffer = pool.allocate(4 << 20, zeroed=True)
        tensor = torch.from_dlpack(buffer)
        assert tensor.is_cuda and tensor.data_ptr() == buffer.device_address and tensor.sum().item() == 0
        numbers = tensor.view(torch.float32)
        numbers.copy_(torch.arange(1 << 20, dtype=torch.float32))
        assert torch.from_dlpack(buffer).view(torch.float32)[4095].item() == 4095
        with pytest.raises(BufferError):
            memoryview(buffer)
        # The other way: PyTorch's own protocol takes the pool's memory, still without a copy.
        again = torch.from_dlpack(numbers)
        assert again.data_ptr() == buffer.device_address
        buffer.free()
        del buffer, tensor, numbers
        assert pool.get_statistics().active_allocations == 1
        assert again[17].item() == 17
        del again
        assert pool.get_statistics().active_allocations == 0


@on_gpu
def test_memory_waits_for_a_real_stream() -> None:
    import warmheap

    with warmheap.MemoryPool(device="cuda", heap_size_mb=256, num_heaps=1, warmup_sizes=[]) as pool:
        stream = torch.cuda.Stream()
        queue = pool.queue(stream=stream.cuda_stream)
        scratch = pool.allocate(64 << 20)
        with torch.cuda.stream(stream):
            tensor = torch.from_dlpack(scratch)
            # The first use of a kernel loads it, which waits for earlier work.
            for cycles in [1, 500_000_000]:
                stream.synchronize()
                torch.cuda._sleep(cycles)
                total = tensor.fill_(7).sum(dtype=torch.int64)
        del tensor
        ticket = queue.signal()
        scratch.retire(ticket)
        assert (queue.poll(), queue.retired_bytes) == (0, 64 << 20)
        assert not queue.wait(ticket, 0.001)
        # On the same stream, the memory may be used again before the work is done.
        assert queue.allocate(64 << 20).size == 64 << 20
        stream.synchronize()
        assert total.item() == 7 * (64 << 20)
        assert queue.wait(ticket, 10)
        queue.poll()
        assert queue.retired_bytes == 0


INSTALLED = """
    import json, warmheap.torch
    warmheap.torch.install(%s)
    import torch
    try:
        warmheap.torch.install()
        twice = True
    except warmheap.WarmheapError:
        twice = False
    torch.manual_seed(1)
    with torch.device("cuda"):
        layer = lambda: torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
        model = torch.nn.Sequential(*[layer() for _ in range(4)])
        data = torch.randn(8, 64, 256)
    optimiser = torch.optim.AdamW(model.parameters())
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = (model(data) - data).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    device = warmheap.torch.statistics()["devices"][0]
    totals = [stream["statistics"] for stream in device["streams"]]
    print(json.dumps({
        "twice": twice, "first": losses[0], "last": losses[-1], "reserved": device["reserved_bytes"],
        "live": sum(t["active_allocations"] for t in totals), "asked": sum(t["total_allocations"] for t in totals),
        "hit_rate": min(t["hit_rate"] for t in totals), "torch": torch.__version__, "gpu": torch.cuda.get_device_name(),
    }))
"""


@on_gpu
def test_a_model_trains_on_the_pool() -> None:
    said: Dict[str, Any] = run(INSTALLED % "")
    print(said)
    assert not said["twice"] and said["last"] < said["first"]
    assert said["asked"] > 1000 and said["live"] > 100 and said["hit_rate"] == 1.0
    assert said["reserved"] > 10 << 20
    # This call takes settings, as MemoryPool does.
    fixed: Dict[str, Any] = run(INSTALLED % "dict(heap_size_mb=512, num_heaps=1), thread_heaps=False")
    assert fixed["last"] == pytest.approx(said["last"], rel=0.05) and fixed["reserved"] >= 512 << 20
