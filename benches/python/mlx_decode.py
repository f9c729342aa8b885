"""Decodes with a small random transformer on MLX's build for processors, on MLX's own allocator and on a pool in
turns. Prints tokens a second and resident memory of both, and the ratio of their medians.

    mlx_decode.py [--pairs 10] [--tokens 300] [--hidden 256]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time


def resident(key: str) -> float:
    """MiB of this process: ``VmRSS`` now, or ``VmHWM`` at most."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def decode(pool: bool, tokens: int, hidden: int) -> dict:
    import mlx.core as mx
    import mlx.nn as nn

    if pool:
        import warmheap.mlx

        warmheap.mlx.install()

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(hidden, hidden) for _ in range(4))
            self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
            self.norm, self.other_norm = nn.RMSNorm(hidden), nn.RMSNorm(hidden)

        def __call__(self, x, cache):
            y = self.norm(x)
            heads = [
                layer(y).reshape(1, y.shape[1], 8, -1).transpose(0, 2, 1, 3) for layer in (self.q, self.k, self.v)
            ]
            if cache is not None:
                heads[1:] = [mx.concatenate(pair, 2) for pair in zip(cache, heads[1:])]
            scale = (hidden // 8) ** -0.5
            a = mx.fast.scaled_dot_product_attention(*heads, scale=scale)
            x = x + self.o(a.transpose(0, 2, 1, 3).reshape(1, -1, hidden))
            return x + self.down(nn.gelu(self.up(self.other_norm(x)))), heads[1:]

    mx.random.seed(1)
    embedding, blocks = nn.Embedding(2000, hidden), [Block() for _ in range(6)]
    mx.eval(embedding.parameters(), [block.parameters() for block in blocks])
    token, caches, said = mx.array([[7]]), [None] * len(blocks), []

    def step(token):
        x = embedding(token)
        for place, block in enumerate(blocks):
            x, caches[place] = block(x, caches[place])
        token = mx.argmax(embedding.as_linear(x), -1)
        mx.eval(token, caches)
        said.append(int(token.item()))
        return token

    for _ in range(20):
        token = step(token)
    start = time.perf_counter()
    for _ in range(tokens):
        token = step(token)
    speed = tokens / (time.perf_counter() - start)
    peak = resident("VmHWM")
    del token, caches, blocks, embedding
    gc.collect()
    mx.clear_cache()
    return {"speed": speed, "peak": peak, "after": resident("VmRSS"), "tokens": said}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--one", choices=["plain", "pool"])
    options = parser.parse_args()
    if options.one:
        print(json.dumps(decode(options.one == "pool", options.tokens, options.hidden)))
        return
    runs = {"plain": [], "pool": []}
    for pair in range(options.pairs):
        order = ["plain", "pool"] if pair % 2 == 0 else ["pool", "plain"]
        for name in order:
            command = [sys.executable, *sys.argv, "--one", name]
            runs[name].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    said = {tuple(run["tokens"]) for name in runs for run in runs[name]}
    assert len(said) == 1, "the tokens differ"
    for name, all_runs in runs.items():
        speeds = sorted(run["speed"] for run in all_runs)
        peak, after = (statistics.median(run[key] for run in all_runs) for key in ("peak", "after"))
        print(
            f"{name:5}  {statistics.median(speeds):7.1f} tokens/s ({speeds[0]:.1f} to {speeds[-1]:.1f})"
            f"  {peak:7.1f} MiB at the peak  {after:7.1f} MiB after it"
        )
    ratios = sorted(pool["speed"] / plain["speed"] for plain, pool in zip(runs["plain"], runs["pool"]))
    print(f"ratio  {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
