"""Where to compute, and what training will cost there."""
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator, Mapping

import torch
from torch import nn

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


def require_same_device(device: torch.device | str, model: nn.Module) -> None:
    """ValueError when PyTorch cannot compute on this device here, or the model is on another one."""
    require_device(device)
    weights, batches = next(model.parameters()).device, torch.zeros(1, device=device).device
    if weights != batches:
        raise ValueError(f"the model is on {weights}, and its batches would go to {batches}: call model.to({str(batches)!r}) "
                         "before you make the optimizer")


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


@contextlib.contextmanager
def fresh_casts() -> Iterator[None]:
    """In the body every forward under `torch.autocast` casts the weights as they are then.

    Otherwise an autocast around a whole training run would keep the copies that the first forward made, until it ends.
    """
    kept = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(kept)
        torch.clear_autocast_cache()


def saved_for_backward(inputs: torch.Tensor, targets: torch.Tensor, model: nn.Module) -> list[torch.Tensor]:
    """The tensors that autograd saves for backward when it computes the loss of one batch: each once, weights left out.

    inputs, targets: (B, T) token ids on the model's device. Under `torch.no_grad()` the list is empty.
    """
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:            # what is in `kept` lives on, so that no other storage gets its address
            place = storage._cdata, tensor.storage_offset()
            kept[place] = max(kept.get(place, tensor), tensor, key=lambda each: each.nbytes).detach()      # not a part of it
        return tensor.detach()                   # the tensor itself would keep alive the graph that keeps it alive

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        calc_loss_batch(inputs, targets, model, inputs.device)
    return list(kept.values())


def training_memory(cfg: Mapping, batch_size: int) -> dict[str, int]:
    """The memory that training GPTModel(cfg) with AdamW in float32 holds at once, in bytes, part by part.

    Counted on PyTorch's meta device, where tensors have shapes but no numbers, so it costs next to nothing.
    The activations are those that backward needs of one batch of full windows; temporary copies come on top.
    """
    with torch.device("meta"):
        model = GPTModel(cfg)
        ids = torch.zeros(batch_size, cfg["context_length"], dtype=torch.int64)
    weights = sum(p.nbytes for p in model.parameters())
    kept = [tensor.untyped_storage() for tensor in saved_for_backward(ids, ids, model)]
    return {"weights": weights, "gradients": weights, "AdamW's two moment estimates": 2 * weights,
            "activations": sum({storage._cdata: storage.nbytes() for storage in kept}.values())}


def step_seconds(cfg: Mapping, batch_size: int, device: torch.device | str, steps: int = 2) -> float:
    """Seconds for one training step (forward, backward, fused AdamW) of GPTModel(cfg) on this device, the fastest of a few.

    Trains a throwaway model on one made-up batch; the random state is put back, so nothing that follows changes.
    """
    times = []
    with torch.random.fork_rng():
        model = GPTModel(cfg).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        ids = torch.randint(cfg["vocab_size"], (batch_size, cfg["context_length"]))
        for _ in range(1 + steps):                # the first one also sets things up: not counted
            start = time.perf_counter()
            optimizer.zero_grad()
            calc_loss_batch(ids, ids, model, device).backward()
            optimizer.step()
            model.out_head.weight[0, 0].item()    # wait until the device has finished
            times.append(time.perf_counter() - start)
    return min(times[1:])


def rough_duration(seconds: float) -> str:
    """A duration in words, coarse on purpose: it is only an estimate."""
    minute, hour, day = 60, 3600, 86_400
    steps = [(minute, "less than a minute"), (2 * minute, "1 to 2 minutes"), (5 * minute, "2 to 5 minutes"),
             (15 * minute, "5 to 15 minutes"), (30 * minute, "15 to 30 minutes"), (hour, "half an hour to an hour"),
             (4 * hour, "1 to 4 hours"), (day, "4 hours to a day"), (7 * day, "1 to 7 days"), (30 * day, "1 to 4 weeks"),
             (365 * day, "1 to 12 months"), (3650 * day, "1 to 10 years")]
    return next((words for limit, words in steps if seconds < limit), "more than 10 years")
