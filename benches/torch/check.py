"""Checks that Warmheap works under PyTorch: streams, sharing, threads, out of memory, graphs.

The program prints a line for each check. Its exit status is 1 if a check fails.
"""

import sys
import threading
import traceback

import torch

import allocators

GIB = 1 << 30


def numbers_survive(_):
    """Tensors of many sizes keep their contents while others come and go."""
    generator = torch.Generator().manual_seed(0)
    kept = []
    for step in range(3000):
        size = int(torch.randint(1, 2_000_000, (), generator=generator))
        kept.append((step, torch.full((size,), step, dtype=torch.int32, device="cuda")))
        if len(kept) > 40:
            number, tensor = kept.pop(int(torch.randint(40, (), generator=generator)))
            assert bool((tensor == number).all()), f"tensor {number} was overwritten"


def streams_share(_):
    """A side stream reads tensors that the main stream frees and allocates over at once."""
    side = torch.cuda.Stream()
    wrong = torch.zeros((), dtype=torch.int64, device="cuda")
    for step in range(200):
        tensor = torch.full((4 << 20,), step, dtype=torch.int32, device="cuda")
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            torch.cuda._sleep(2_000_000)
            wrong += (tensor != step).sum()
        tensor.record_stream(side)
        del tensor
        torch.full((4 << 20,), -1, dtype=torch.int32, device="cuda")
    torch.cuda.synchronize()
    assert wrong.item() == 0, f"{wrong.item()} numbers were overwritten while in use"


def streams_are_apart(_):
    """Memory that one stream freed with work in flight is not given to another stream."""
    streams = [torch.cuda.Stream() for _ in range(4)]
    wrong = [torch.zeros((), dtype=torch.int64, device="cuda") for _ in streams]
    torch.cuda.synchronize()
    for step in range(100):
        for number, stream in enumerate(streams):
            with torch.cuda.stream(stream):
                tensor = torch.full((1 << 20,), number, dtype=torch.int32, device="cuda")
                torch.cuda._sleep(200_000)
                wrong[number] += (tensor != number).sum()
                del tensor
    torch.cuda.synchronize()
    assert sum(w.item() for w in wrong) == 0


def giving_back_is_safe(_):
    """Memory goes back to the device while kernels that use it run."""
    for step in range(30):
        tensor = torch.full((64 << 20,), step, dtype=torch.int32, device="cuda")
        torch.cuda._sleep(20_000_000)
        total = (tensor == step).sum()
        del tensor
        torch.cuda.empty_cache()
        assert total.item() == 64 << 20


def threads_work(_):
    """Threads with their own streams work, and so do backward passes in autograd's threads."""
    failures = []

    def work(seed):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for step in range(100):
                    x = torch.full((512, 512), float(seed), device="cuda", requires_grad=True)
                    (x * x).sum().backward()
                    assert bool((x.grad == 2 * seed).all())
        except BaseException:  # noqa: BLE001
            failures.append(traceback.format_exc())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures, failures[0]


def running_out_is_survived(heap):
    """Filling the GPU raises PyTorch's own error. The process goes on, and memory comes back."""
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    kept = []
    try:
        while True:
            kept.append(torch.empty(2 * GIB, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError as error:
        print(f"    after {len(kept)} tensors of 2 GiB: {error}")
    assert kept
    side = torch.cuda.Stream()
    kept.pop()
    with torch.cuda.stream(side):
        kept.append(torch.empty(2 * GIB, dtype=torch.uint8, device="cuda"))
    kept.clear()
    assert torch.ones(1000, device="cuda").sum().item() == 1000
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    after = torch.cuda.mem_get_info()[0]
    assert before - after < GIB // 4, f"{(before - after) >> 20} MiB did not come back"


def graphs_replay(heap):
    """Captured graphs compute the same at each replay, whatever was allocated in between. Their memory
    comes back when they end."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    model = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(8)]).cuda()
    fixed = torch.zeros(64, 512, device="cuda")

    def capture(pool=None):
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph, pool=pool):
            hidden = model(fixed)
            wide = hidden.repeat(1, 64).relu()  # This is temporary, and larger than all tensors before it.
            output = hidden + wide[:, :512]
        return graph, output

    with torch.no_grad():
        model(fixed)  # Libraries create their workspaces outside of the capture.
    first, one = capture()
    second, two = capture(first.pool())
    for step in range(50):
        others = [torch.full((1 << 18,), -1.0, device="cuda") for _ in range(20)]
        fixed.copy_(torch.randn(64, 512, generator=torch.Generator().manual_seed(step)))
        with torch.no_grad():
            hidden = model(fixed)
            expected = hidden + hidden.relu()
        for graph, output in [(first, one), (second, two)]:
            graph.replay()
            assert torch.equal(output, expected), f"replay {step} computed something else"
        assert all(bool((other == -1).all()) for other in others), "a replay wrote into other memory"
        del others
        if step % 10 == 0:
            torch.cuda.empty_cache()
    held = heap.statistics()["devices"][0]["graph_bytes"]
    assert held > 0
    print(f"    {held >> 20} MiB held for two graphs")
    del first, second, one, two, graph, output, model, fixed, hidden, expected
    torch._C._cuda_clearCublasWorkspaces()  # PyTorch keeps those that the capture created.
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    assert heap.statistics()["devices"][0]["graph_bytes"] == 0
    after = torch.cuda.mem_get_info()[0]
    assert before - after < GIB // 8, f"{(before - after) >> 20} MiB did not come back"


def graphed_training_is_the_same(_):
    """Training with make_graphed_callables computes the same losses. Its forward and backward passes run
    in graphs, on side streams and on autograd's streams."""
    def train(graphed):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8)).cuda()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        inputs = torch.randn(32, 256, device="cuda")
        call = torch.cuda.make_graphed_callables(model, (inputs.clone(),)) if graphed else model
        losses = []
        for _ in range(20):
            optimizer.zero_grad(set_to_none=True)
            loss = call(inputs).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    eager, graphed = train(False), train(True)
    assert eager == graphed, (eager, graphed)


def a_capture_that_fails_leaves_things_working(_):
    """A call that breaks a capture raises an error. Ordinary work and the next capture still succeed."""
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            torch.ones(10, device="cuda").sum().item()  # This waits, which a capture does not allow.
    except RuntimeError:
        pass
    else:
        raise AssertionError("the capture succeeded")
    torch.cuda.synchronize()
    assert torch.ones(10, device="cuda").sum().item() == 10
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ones = torch.ones(10, device="cuda") * 2
    graph.replay()
    assert ones.sum().item() == 20


def statistics_are_told(heap):
    """Statistics can be read while tensors are alive."""
    held = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    device = heap.statistics()["devices"][0]
    assert device["reserved_bytes"] >= held.numel(), device
    print(f"    {device['device']}: {device['reserved_bytes'] >> 20} MiB reserved, "
          f"{sum(s['statistics']['device_calls'] for s in device['streams'])} device calls")


def devices_are_apart(heap):
    """Each GPU has its own memory, and copies between GPUs work."""
    for number in range(torch.cuda.device_count()):
        with torch.cuda.device(number):
            tensor = torch.full((1 << 20,), number, device="cuda")
            assert bool((tensor == number).all())
            other = f"cuda:{(number + 1) % torch.cuda.device_count()}"
            there = tensor.to(other)
            assert bool((there == number).all())
            # Memory that a stream of another GPU uses waits for that stream, and then comes back.
            del tensor, there
            held = lambda: heap.statistics()["devices"][number]["reserved_bytes"]  # noqa: E731
            torch.cuda.empty_cache()
            before = held()
            shared = torch.full((48 << 20,), number, dtype=torch.uint8, device="cuda")
            shared.record_stream(torch.cuda.Stream(other))
            del shared
            torch.cuda.synchronize(other)
            torch.cuda.empty_cache()
            assert held() <= before, f"{(held() - before) >> 20} MiB did not come back to cuda:{number}"


CHECKS = [numbers_survive, streams_share, streams_are_apart, giving_back_is_safe, threads_work,
          running_out_is_survived, statistics_are_told, devices_are_apart, graphs_replay,
          graphed_training_is_the_same, a_capture_that_fails_leaves_things_working]


def main():
    heap = allocators.install("warmheap")
    failed = 0
    for check in CHECKS:
        try:
            check(heap)
            print(f"ok      {check.__name__}", flush=True)
        except BaseException:  # noqa: BLE001  (the other checks still run)
            failed += 1
            print(f"FAILED  {check.__name__}\n{traceback.format_exc()}", flush=True)
    sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
