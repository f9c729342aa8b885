"""The models and their work. Weights are random, because sizes and order do not depend on them.

Every workload returns its figures, the time of each step, and a checksum. With equal seeds, the model must
compute the same tokens and losses under all allocators.
"""

import random
import time

import torch

# A workload calls this before every step, while no clock runs. The server lets the process wait here.
pause = lambda: None  # noqa: E731

QWEN = {
    "7b": dict(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
               num_key_value_heads=4, vocab_size=152064, tie_word_embeddings=False),
    "05b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
                num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True),
    "tiny": dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
                 num_key_value_heads=1, vocab_size=1000, tie_word_embeddings=True),
}


def comparable():
    """Makes runs comparable: they compute the same tokens, and their time shows the allocator.

    cuDNN's attention prevents both. It makes a new plan for each length of a sequence, which takes more
    time than the rest of a step. Its plans differ from process to process.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def qwen(shape):
    """Returns a Qwen2.5 model with the shapes `shape`, in bfloat16 on the GPU."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(Qwen2Config(**QWEN[shape]))
    torch.set_default_dtype(before)
    return model.eval()


class Request:
    """A request, or a batch of requests that advance together: the prompt, the cache, the tokens so far."""

    def __init__(self, model, length, answer, seed, batch=1):
        from transformers import DynamicCache

        generator = torch.Generator("cuda").manual_seed(seed)
        vocabulary = model.config.vocab_size
        self.next = torch.randint(vocabulary, (batch, length), generator=generator, device="cuda")
        self.cache = DynamicCache()
        self.left = answer
        self.tokens = []

    def step(self, model):
        """Processes the prompt, or the next token. Waits for the new token, as a server does."""
        out = model(self.next, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.next = out.logits[:, -1].argmax(-1, keepdim=True)
        self.tokens += self.next.flatten().tolist()
        self.left -= 1


def milliseconds(seconds):
    return [round(1000 * each, 2) for each in seconds]


@torch.inference_mode()
def decode(model, prompts, answer, batch=1):
    """Runs prompts, or batches of prompts, one after another. The figures are the tokens per second after
    the first token, and the time to the first token."""
    first, steps, tokens = [], [], []
    for number, length in enumerate(prompts):
        request = Request(model, length, answer, number, batch)
        torch.cuda.synchronize()
        pause()
        start = time.perf_counter()
        request.step(model)
        first.append(time.perf_counter() - start)
        while request.left:
            pause()
            start = time.perf_counter()
            request.step(model)
            steps.append(time.perf_counter() - start)
        tokens += request.tokens
    return {
        "tokens_per_s": batch * len(steps) / sum(steps),
        "step_ms": milliseconds(steps),
        "first_token_ms": 1000 * sorted(first)[len(first) // 2],
        "first_ms": milliseconds(first),
        "checksum": hash(tuple(tokens)),
    }


@torch.inference_mode()
def serve(model, requests, together):
    """Runs requests of many lengths, some at a time, in turns. The figure is the tokens per second of all."""
    lengths = random.Random(1)
    waiting = [(lengths.randint(20, 1500), lengths.randint(10, 60), n) for n in range(requests)]
    active, steps, tokens = [], [], []
    torch.cuda.synchronize()
    while waiting or active:
        pause()
        start = time.perf_counter()
        while waiting and len(active) < together:
            active.append(Request(model, *waiting.pop()))
        for request in active:
            request.step(model)
        tokens += [token for request in active if not request.left for token in request.tokens]
        active = [request for request in active if request.left]
        steps.append(time.perf_counter() - start)
    return {
        "tokens_per_s": len(tokens) / sum(steps),
        "step_ms": milliseconds(steps),
        "checksum": hash(tuple(tokens)),
    }


def train(steps, batch=16, length=1024, **shape):
    """Trains GPT-2 under autocast. Batch and sequence length change every step. The figure is the tokens per
    second.

    Losses of two runs are equal to the last digit in the first steps. Later they are equal only if the
    attention of both adds up in the same order, as in `repeatable_train`.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    with torch.device("cuda"):
        model = GPT2LMHeadModel(GPT2Config(**shape)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    shapes = random.Random(2)
    losses, tokens = [], 0
    times = []
    torch.cuda.synchronize()
    for step in range(steps):
        pause()
        start = time.perf_counter()
        size = (shapes.randint(batch // 4, batch), shapes.randint(length // 8, length))
        generator = torch.Generator("cuda").manual_seed(step)
        ids = torch.randint(model.config.vocab_size, size, generator=generator, device="cuda")
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())  # This waits for the step.
        tokens += ids.numel()
        times.append(time.perf_counter() - start)
    return {
        "tokens_per_s": tokens / sum(times),
        "step_ms": milliseconds(times),
        "losses": losses,
        "checksum": hash(tuple(losses)),
    }


def repeatable_train(steps, **shape):
    """As `train`, with attention from plain matrix products. Unlike the fused kernels, its backward pass
    adds up in the same order every time, so losses can be compared bit for bit."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        torch.use_deterministic_algorithms(True)  # Any other operation that does not repeat is an error.
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            return train(steps, **shape)
        finally:
            torch.use_deterministic_algorithms(False)


def tensors():
    """Creates and drops an empty tensor again and again. The time includes the work of Python and PyTorch.
    The figures are the microseconds for a tensor of 4 KiB and of 64 MiB, the least of several repeats."""
    def cost(size, times):
        pause()
        start = time.perf_counter()
        for _ in range(times):
            torch.empty(size, dtype=torch.uint8, device="cuda")
        return (time.perf_counter() - start) / times * 1e6

    small, large = ([cost(size, 500) for _ in range(9)] for size in [4 << 10, 64 << 20])
    return {"small_us": min(small), "large_us": min(large), "checksum": 0}


def qwen05b_decode():
    return decode(qwen("05b"), [512, 64, 1200], 40)


def qwen05b_serve():
    return serve(qwen("05b"), 6, 3)


def qwen7b_decode():
    return decode(qwen("7b"), [512, 64, 1200], 40)


def qwen7b_batch():
    return decode(qwen("7b"), [700], 40, batch=32)


def gpt2_train():
    return train(24)


def gpt2_again():
    """Runs the same steps again, after `gpt2_train` in the same process. The kernels are loaded, and the
    allocator still holds its memory. The difference in time is the cost of a start."""
    return gpt2_train()


def gpt2_losses():
    return repeatable_train(8, batch=8, length=512)


WORKLOADS = {f.__name__: f for f in [tensors, qwen05b_decode, qwen05b_serve, gpt2_train, gpt2_again, gpt2_losses,
                                     qwen7b_decode, qwen7b_batch]}
# These workloads begin with the memory that the workload before them left unused.
GO_ON = ["gpt2_again"]
