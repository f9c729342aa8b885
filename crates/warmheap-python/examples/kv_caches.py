"""A small transformer writes text on numpy. Its weights and the KV caches of its requests come from a pool.

Each request has a cache for each layer, which grows in place as its text gets longer. Requests come and go, and
what their caches held goes back. The result is compared with arrays that numpy itself allocated.

    python kv_caches.py [--requests 12] [--tokens 48]
"""

from __future__ import annotations

import argparse
from typing import Any, Callable, List, Tuple

import numpy as np
import warmheap

LAYERS, HEADS, HEAD, WORDS = 3, 4, 16, 97
WIDTH = HEADS * HEAD
MOST_TOKENS = 4096
FLOAT = np.dtype(np.float32)

Array = Any
"""An array of float32."""


class Model:
    """The weights, each in a buffer of the pool."""

    def __init__(self, pool: warmheap.MemoryPool, seed: int) -> None:
        random = np.random.default_rng(seed)

        def weight(*shape: int) -> Array:
            buffer = pool.allocate(int(np.prod(shape)) * FLOAT.itemsize, tag="weights")
            # The array keeps the buffer.
            array = np.frombuffer(buffer, FLOAT).reshape(shape)
            array[:] = random.normal(0.0, shape[0] ** -0.5, shape)
            return array

        self.words = weight(WORDS, WIDTH)
        self.layers = [(weight(WIDTH, 3 * WIDTH), weight(WIDTH, WIDTH)) for _ in range(LAYERS)]

    def step(self, word: int, caches: List["Cache"]) -> int:
        """Reads a word and returns the next."""
        state = self.words[word]
        for (attend, mix), cache in zip(self.layers, caches):
            query, key, value = np.split(state @ attend, 3)
            keys, values = cache.add(key, value)
            scores = np.einsum("hd,thd->ht", query.reshape(HEADS, HEAD), keys) * HEAD**-0.5
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
            state = np.tanh(state + np.einsum("ht,thd->hd", scores, values).reshape(WIDTH) @ mix)
        return int((self.words @ state).argmax())


class Cache:
    """The keys and values of one layer of one request."""

    TOKEN = 2 * WIDTH * FLOAT.itemsize

    def __init__(self, pool: warmheap.MemoryPool) -> None:
        # Room for the longest text costs addresses, and no memory until the text is that long.
        self.buffer = pool.allocate(self.TOKEN, growable=MOST_TOKENS * self.TOKEN, tag="kv-cache")
        self.tokens = 0

    def add(self, key: Array, value: Array) -> Tuple[Array, Array]:
        """Adds a token and returns all keys and values."""
        self.tokens += 1
        self.buffer.grow(self.tokens * self.TOKEN)
        both = np.frombuffer(self.buffer, FLOAT).reshape(self.tokens, 2, HEADS, HEAD)
        both[-1] = np.stack([key, value]).reshape(2, HEADS, HEAD)
        return both[:, 0], both[:, 1]

    def end(self) -> None:
        """Gives the memory back."""
        self.buffer.free()


class NumpyCache(Cache):
    """The same in arrays of numpy's own."""

    def __init__(self) -> None:
        self.both, self.tokens = np.zeros((0, 2, HEADS, HEAD), FLOAT), 0

    def add(self, key: Array, value: Array) -> Tuple[Array, Array]:
        token = np.stack([key, value]).reshape(1, 2, HEADS, HEAD)
        self.both = np.concatenate([self.both, token.astype(FLOAT)])
        return self.both[:, 0], self.both[:, 1]

    def end(self) -> None:
        pass


def write(model: Model, first: int, tokens: int, cache: Callable[[], Cache]) -> List[int]:
    """Writes a text that begins with one word."""
    caches, text = [cache() for _ in range(LAYERS)], [first]
    for _ in range(tokens):
        text.append(model.step(text[-1], caches))
    for used in caches:
        used.end()
    return text


def main() -> None:
    """Writes texts with the pool and without, and prints what the pool did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=48)
    options = parser.parse_args()
    with warmheap.MemoryPool(quotas={"kv-cache": 64}) as pool:
        model = Model(pool, seed=7)
        for request in range(options.requests):
            text = write(model, request % WORDS, options.tokens, lambda: Cache(pool))
            assert text == write(model, request % WORDS, options.tokens, NumpyCache), "the texts differ"
        figures = pool.get_statistics()
        print(f"{options.requests} texts of {options.tokens} words, the same as without the pool")
        print(f"{figures.total_allocations} allocations, hit rate {figures.hit_rate:.0%}")
        held = pool.reserved_bytes
        pool.trim()
        print(f"held: {held >> 20} MiB, after a trim {pool.reserved_bytes >> 20} MiB")
        print(f"alive: {figures.active_allocations} buffers, the model's weights")
        del model


if __name__ == "__main__":
    main()
