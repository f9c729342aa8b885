"""A process that has imported everything and forks one child for each measurement.

Importing PyTorch and transformers takes longer than the measurements. The parent never touches the
GPU, so each child starts with a fresh one. An empty answer says that it is ready; then orders come
as JSON lines on standard input, answers go as JSON lines to standard output. In between the child says
"turn" before each step, and waits for an empty line.
"""

import gc
import json
import os
import sys
import traceback

import torch
import transformers  # noqa: F401  (imported here so that children need not)
from transformers import DynamicCache, GPT2LMHeadModel, Qwen2ForCausalLM  # noqa: F401

import allocators
import workloads


def measure(order, answers):
    """Runs the workloads of an order one after another under its allocator."""
    chosen = allocators.install(order["allocator"])
    torch.cuda.init()
    workloads.comparable()
    # The GPU's clocks and the libraries' first calls are no part of any figure.
    workloads.decode(workloads.qwen("tiny"), [64], 8)
    # At the first product of matrices PyTorch learns from this that products repeat, once. As long as it is set, every
    # product parses it anew, for longer than all else that the processor does for a product.
    del os.environ["CUBLAS_WORKSPACE_CONFIG"]
    # One core for all whose turns alternate: cores differ in speed, and change it. This is for the calling thread
    # and those it starts from here on.
    os.sched_setaffinity(0, {order["core"]})

    def take_turn():
        print("turn", file=answers, flush=True)
        os.read(0, 1)

    workloads.pause = take_turn
    results = {}
    for name in order["workloads"]:
        take_turn()  # Making a model, too, disturbs nobody's steps.
        gc.collect()
        if name not in workloads.GO_ON:
            torch.cuda.empty_cache()
        chosen.reset_peaks()
        results[name] = {**workloads.WORKLOADS[name](), **chosen.peaks()}
    return results


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print is no answer.
    gc.freeze()  # The children's collections leave what was imported alone.
    print("{}", file=answers, flush=True)  # Ready.
    for line in filter(str.strip, sys.stdin):  # A turn given to a child that had died is no order.
        order = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)  # Slow, and needed by the parent alone.
            try:
                answer = measure(order, answers)
            except BaseException as error:  # noqa: BLE001  (an answer is owed whatever happens)
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            os.write(writer, json.dumps(answer).encode())
            sys.stderr.flush()
            # Interpreter shutdown would free on a GPU that is being torn down.
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        text = answer.decode() or json.dumps({"error": "the process died"})
        print(text, file=answers, flush=True)


if __name__ == "__main__":
    main()
