"""Where to compute, and what training will cost there."""
import ctypes
import os
import sys
import time
from collections.abc import Callable, Mapping

import torch

from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPTModel
from gpt_helpers.validate import require_device


def pick_device(device: str | None = None) -> torch.device:
    """The device to compute on: the one that is named, else the best this machine has: cuda, then mps, then cpu.

    The environment variable GPT_HELPERS_DEVICE can name one, too; the argument comes first. Prints the device, and why.
    Raises ValueError when PyTorch has no device of that name here.
    """
    named = os.environ.get("GPT_HELPERS_DEVICE") if device is None else device
    if named is not None and named != "":
        device, why = named, "as you asked" if device is not None else "as GPT_HELPERS_DEVICE asks"
        require_device(device)
    elif torch.cuda.is_available():
        device, why = "cuda", f"PyTorch found {torch.cuda.get_device_name()}"
    elif torch.backends.mps.is_available():
        device, why = "mps", "PyTorch found an Apple GPU and no CUDA"
    else:
        device, why = "cpu", "PyTorch found no GPU"
    print(f"Device: {device} ({why})")
    return torch.device(device)


def prepare_device(device: torch.device) -> torch.device:
    """Get a device ready for training, and return it: TF32 matrix multiplication on cuda, `keep_freed_memory` on the cpu."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    if device.type == "cpu":
        keep_freed_memory()
    return device


def keep_freed_memory() -> None:
    """On Linux, let this process keep the large blocks of memory that it frees, for its next training step.

    Otherwise each step gets them from the system page by page: with GPT-2's smallest size, at context 256 and batch 2, that
    is 220,000 page faults instead of 6,000, and 1.15 times the time. Peak memory is up to a tenth higher.
    On other systems, and with C libraries other than GNU's, it does nothing.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(-3, 2**30)             # M_MMAP_THRESHOLD: blocks below 1 GiB come from the heap
        mallopt(-1, 2**31 - 1)         # M_TRIM_THRESHOLD: the heap does not shrink


def training_memory(cfg: Mapping, batch_size: int) -> dict[str, int]:
    """The memory that training GPTModel(cfg) with AdamW in float32 holds at once, in bytes, part by part.

    Counted on PyTorch's meta device, where tensors have shapes but no numbers, so it costs next to nothing.
    The activations are those that backward needs of one batch of full windows; temporary copies come on top.
    """
    with torch.device("meta"):
        model = GPTModel(cfg)
        ids = torch.zeros(batch_size, cfg["context_length"], dtype=torch.int64)
    weights = sum(p.nbytes for p in model.parameters())
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    saved = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage      # kept, so that no other storage gets the same address
        return tensor.detach()                   # the tensor itself would keep alive the graph that keeps it alive

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        calc_loss_batch(ids, ids, model, "meta")
    return {"weights": weights, "gradients": weights, "AdamW's two moment estimates": 2 * weights,
            "activations": sum(storage.nbytes() for storage in saved.values())}


def step_seconds(cfg: Mapping, batch_size: int, device: torch.device | str, steps: int = 2) -> float:
    """Seconds for one training step (forward, backward, fused AdamW) of GPTModel(cfg) on this device, the fastest of a few.

    Trains a throwaway model on one made-up batch; the random state is put back, so nothing that follows changes.
    """
    step, times = throwaway_step(cfg, batch_size, device), []
    for _ in range(1 + steps):                    # the first one also sets things up: not counted
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def throwaway_step(cfg: Mapping, batch_size: int, device: torch.device | str) -> Callable[[], None]:
    """A function that takes one training step with a model of its own, and leaves the random state as it was."""
    def step() -> None:
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


def step_shares(cfg: Mapping, batch_size: int, device: torch.device | str) -> dict[str, float]:
    """Where the time of one training step goes, by PyTorch's profiler: {part: its fraction of the whole}.

    Parts: matrix multiplication, optimizer, dropout, the rest (norms, GELU, softmax, embedding, copies).
    """
    kinds = {**dict.fromkeys(["mm", "addmm", "bmm", "baddbmm"], "matrix multiplication"),
             "_fused_adamw_": "optimizer", "bernoulli_": "dropout", "native_dropout": "dropout"}
    step = throwaway_step(cfg, batch_size, device)
    step()                                        # the first one also sets things up
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")      # or the profiler writes its own log onto the page
    with torch.profiler.profile() as profiler:
        step()
    shares = dict.fromkeys(["matrix multiplication", "optimizer", "dropout", "the rest"], 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        time = event.self_device_time_total if torch.device(device).type == "cuda" else event.self_cpu_time_total
        shares[kinds.get(name, "the rest")] += time
    return {part: time / sum(shares.values()) for part, time in shares.items()}


def rough_duration(seconds: float) -> str:
    """A duration in words, coarse on purpose: it is only an estimate."""
    steps = [(60, "less than a minute"), (120, "1 to 2 minutes"), (300, "2 to 5 minutes"), (900, "5 to 15 minutes"),
             (1800, "15 to 30 minutes"), (3600, "half an hour to an hour"), (4 * 3600, "1 to 4 hours")]
    return next((words for limit, words in steps if seconds < limit), "more than 4 hours")
