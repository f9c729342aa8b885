"""Runs small models under Warmheap for a short time. compute-sanitizer compares the accesses of every
kernel with the mapped memory."""

import torch

import allocators
import workloads


def main():
    allocators.install("warmheap")
    model = workloads.qwen("tiny")
    print(workloads.decode(model, [16, 40], 4))
    print(workloads.serve(model, 3, 2))
    del model
    print(workloads.train(2, batch=4, length=64, n_layer=2, n_embd=64, n_head=2, vocab_size=500))
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    print(torch.ones(100, device="cuda").sum().item())


if __name__ == "__main__":
    main()
