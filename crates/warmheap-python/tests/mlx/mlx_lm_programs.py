"""What users of mlx-lm do, on a small random model. Prints the results as JSON.

    mlx_lm_programs.py FOLDER (plain|pool)
"""

from __future__ import annotations

import json
import sys
from typing import Any, Dict

if sys.argv[2] == "pool":
    import warmheap.mlx

    warmheap.mlx.install()

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import mlx_lm
from mlx_lm.models.cache import load_prompt_cache, make_prompt_cache, save_prompt_cache
from mlx_lm.sample_utils import make_sampler
from mlx_lm.tuner.utils import linear_to_lora_layers

mx.random.seed(3)
folder = sys.argv[1]
model, tokenizer = mlx_lm.load(folder)
results: Dict[str, Any] = {}

sampler = make_sampler(temp=1.0)
results["generate"] = mlx_lm.generate(model, tokenizer, "Once upon a time", max_tokens=64, sampler=sampler)
prompts = [tokenizer.encode(text) for text in ("To be", "or not to be,", "that is the question:")]
results["batch"] = mlx_lm.batch_generate(model, tokenizer, prompts, max_tokens=32).texts

cache = make_prompt_cache(model)
mlx_lm.generate(model, tokenizer, "A long beginning. " * 8, max_tokens=8, prompt_cache=cache)
save_prompt_cache(f"{folder}/{sys.argv[2]}.safetensors", cache)
cache = load_prompt_cache(f"{folder}/{sys.argv[2]}.safetensors")
results["cached"] = mlx_lm.generate(model, tokenizer, "And then", max_tokens=32, prompt_cache=cache)

model.freeze()
linear_to_lora_layers(model, 2, {"rank": 4, "scale": 10.0, "dropout": 0.0})
optimizer = optimizers.Adam(learning_rate=1e-2)
tokens = mx.array([tokenizer.encode("the same sentence again and again")])


def loss(model: Any, tokens: Any) -> Any:
    return nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).mean()


step = nn.value_and_grad(model, loss)
losses = []
for _ in range(10):
    value, gradients = step(model, tokens)
    optimizer.update(model, gradients)
    mx.eval(model.parameters(), optimizer.state)
    losses.append(value.item())
results["lora"] = losses
assert losses[-1] < losses[0], losses

nn.quantize(model, group_size=32, bits=4)
results["quantised"] = mlx_lm.generate(model, tokenizer, "Once upon a time", max_tokens=32)

if sys.argv[2] == "pool":
    figures = warmheap.mlx.statistics()
    assert figures.total_allocations > 10_000, figures
    assert figures.failed_allocations == 0, figures
    results["allocations"] = figures.total_allocations
print(json.dumps(results))
