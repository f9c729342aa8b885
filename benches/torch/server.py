"""A process that has imported everything and forks a child for each measurement.

Importing PyTorch and transformers takes longer than the measurements. The parent never uses the GPU, so
each child starts with a fresh one. The server first writes an empty answer, which says that it is ready.
Then it reads orders from standard input and writes answers to standard output, both as JSON lines. Before
each step, the child writes "turn" and waits for an empty line.
"""

import gc
import json
import os
import sys
import traceback

import torch
import transformers  # noqa: F401  (children then need no import)
from transformers import DynamicCache, GPT2LMHeadModel, Qwen2ForCausalLM  # noqa: F401

import allocators
import workloads


def measure(order, answers):
    """Runs the workloads of an order, one after another, under the order's allocator."""
    chosen = allocators.install(order["allocator"])
    torch.cuda.init()
    workloads.comparable()
    # This warms up the GPU's clocks and the libraries, so that no figure includes that.
    workloads.decode(workloads.qwen("tiny"), [64], 8)
    # PyTorch reads this variable at the first matrix product, to make products repeatable. While it is set,
    # every product parses it again, which takes longer than the rest of the processor's work for a product.
    del os.environ["CUBLAS_WORKSPACE_CONFIG"]
    # Processes that take turns share one core, because cores differ in speed. This affects the calling thread
    # and the threads that it starts from now on.
    os.sched_setaffinity(0, {order["core"]})

    def take_turn():
        print("turn", file=answers, flush=True)
        os.read(0, 1)

    workloads.pause = take_turn
    results = {}
    for name in order["workloads"]:
        take_turn()  # Creating a model must not disturb the steps of other processes either.
        gc.collect()
        if name not in workloads.GO_ON:
            torch.cuda.empty_cache()
        chosen.reset_peaks()
        results[name] = {**workloads.WORKLOADS[name](), **chosen.peaks()}
    return results


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Output of libraries must not look like an answer.
    gc.freeze()  # Collections in the children then skip the imported objects.
    print("{}", file=answers, flush=True)  # Ready.
    for line in filter(str.strip, sys.stdin):  # Empty lines are turns for a child that has died.
        order = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)  # It is slow, and only the parent needs it.
            try:
                answer = measure(order, answers)
            except BaseException as error:  # noqa: BLE001  (the parent always waits for an answer)
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            os.write(writer, json.dumps(answer).encode())
            sys.stderr.flush()
            # A normal exit would free memory on a GPU that is being shut down.
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        text = answer.decode() or json.dumps({"error": "the process died"})
        print(text, file=answers, flush=True)


if __name__ == "__main__":
    main()
