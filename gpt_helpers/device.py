"""Where to compute, and what a training will cost there."""
import ctypes
import os
import sys
import time

import torch

from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPTModel


def pick_device():
    """The best device this machine offers, as a torch.device: cuda, then mps, then cpu. Prints which, and why.

    It is also made ready: on cuda, matrix products use TF32; on the cpu, `keep_freed_memory`.
    """
    if torch.cuda.is_available():
        device, why = "cuda", f"PyTorch found {torch.cuda.get_device_name()}"
        torch.set_float32_matmul_precision("high")
    elif torch.backends.mps.is_available():
        device, why = "mps", "PyTorch found an Apple GPU and no CUDA"
    else:
        device, why = "cpu", "PyTorch found no GPU"
        keep_freed_memory()
    print(f"Device: {device} ({why})")
    return torch.device(device)


def keep_freed_memory():
    """On Linux, let this process keep the large pieces of memory that it frees, for its next training step.

    Otherwise each step gets them from the system page by page: with GPT-2's smallest size, at context 256 and batch 2,
    220,000 page faults and 1.15 times the time, against 6,000. The process holds up to a tenth more memory at its peak.
    Elsewhere, and with a C library other than GNU's, it does nothing.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 2**30)             # M_MMAP_THRESHOLD: pieces below 1 GiB come from the heap
        mallopt(-1, 2**31 - 1)         # M_TRIM_THRESHOLD: which does not shrink


def training_memory(cfg, batch_size):
    """What training GPTModel(cfg) with AdamW in float32 holds at once, in bytes, part by part.

    Counted on PyTorch's meta device, where tensors have shapes but no numbers, so it costs next to nothing.
    The activations are those of one batch of full windows that backward needs again; temporary copies come on top.
    """
    with torch.device("meta"):
        model = GPTModel(cfg)
        ids = torch.zeros(batch_size, cfg["context_length"], dtype=torch.int64)
    weights = sum(p.nbytes for p in model.parameters())
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage       # held on to, so that no other storage gets the same address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        calc_loss_batch(ids, ids, model, "meta")
    return {"weights": weights, "gradients": weights, "AdamW's two averages": 2 * weights,
            "activations": sum(storage.nbytes() for storage in kept.values())}


def step_seconds(cfg, batch_size, device, steps=2):
    """Seconds for one training step (forward, backward, fused AdamW) of GPTModel(cfg) on this device, the best of a few.

    Trains a throwaway model on one made-up batch; the random state is put back, so nothing that follows changes.
    """
    step, times = throwaway_step(cfg, batch_size, device), []
    for _ in range(1 + steps):                    # the first one also sets things up: not counted
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def throwaway_step(cfg, batch_size, device):
    """A function that makes one training step of a model that nobody keeps, and leaves the random state as it was."""
    def step():
        with torch.random.fork_rng():
            optimizer.zero_grad()
            loss = calc_loss_batch(ids, ids, model, device)
            loss.backward()
            optimizer.step()
            model.out_head.weight[0, 0].item()    # wait until the device has finished

    with torch.random.fork_rng():
        model = GPTModel(cfg).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        ids = torch.randint(cfg["vocab_size"], (batch_size, cfg["context_length"]))
    return step


def step_shares(cfg, batch_size, device):
    """Where the time of one training step goes: {part: its share of the whole}, by PyTorch's profiler.

    Parts: matrix products, optimizer, dropout, the rest (norms, GELU, softmax, embedding, copies).
    """
    kinds = {"mm": "matrix products", "addmm": "matrix products", "bmm": "matrix products", "baddbmm": "matrix products",
             "_fused_adamw_": "optimizer", "bernoulli_": "dropout", "native_dropout": "dropout"}
    step = throwaway_step(cfg, batch_size, device)
    step()                                        # the first one also sets things up
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")      # or the profiler writes its own log onto the page
    with torch.profiler.profile() as profiler:
        step()
    shares = dict.fromkeys(["matrix products", "optimizer", "dropout", "the rest"], 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        time = event.self_device_time_total if torch.device(device).type == "cuda" else event.self_cpu_time_total
        shares[kinds.get(name, "the rest")] += time
    return {part: time / sum(shares.values()) for part, time in shares.items()}


def rough_duration(seconds):
    """A duration in words, coarse on purpose: it is an estimate, and says so by its width."""
    steps = [(60, "less than a minute"), (120, "1 to 2 minutes"), (300, "2 to 5 minutes"), (900, "5 to 15 minutes"),
             (1800, "15 to 30 minutes"), (3600, "half an hour to an hour"), (4 * 3600, "1 to 4 hours")]
    return next((words for limit, words in steps if seconds < limit), "more than 4 hours")
