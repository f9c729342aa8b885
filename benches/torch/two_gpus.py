"""Checks several GPUs. Run it with torchrun, one process for each GPU.

The processes run NCCL's all-reduce on memory of the pool, and data-parallel training with equal losses
on all GPUs. The first process also copies between all GPUs.
"""

import os

import torch
import torch.distributed as dist

import allocators
import check
import workloads


def main():
    heap = allocators.install("warmheap")
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    for size in [1, 1000, 1 << 20, 64 << 20]:
        tensor = torch.full((size,), float(rank + 1), device="cuda")
        dist.all_reduce(tensor)
        assert bool((tensor == world * (world + 1) / 2).all()), size
    loss = workloads.train(3, batch=8, length=256)["losses"][-1]
    losses = [None] * world
    dist.all_gather_object(losses, loss)
    assert len(set(losses)) == 1, losses
    if rank == 0:
        check.devices_are_apart(heap)
        print(f"all-reduce and training agree on {world} GPUs; copies between them are right")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
