"""What a training step costs: memory kept, operations, bits, bytes sent. For lesson 10."""
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.progress import Callback

COMPARE = """
import torch
from torch.utils.benchmark import Timer
torch.set_num_threads(1)
pairs = [(torch.randn(256, 768).to(kind), torch.randn(768, 3072).to(kind)) for kind in (torch.float32, torch.bfloat16)]
full, half = (min(Timer("a @ b", globals={"a": a, "b": b}).timeit(5).mean for _ in range(5)) for a, b in pairs)
print("faster" if half < full / 1.5 else "slower" if half > 1.5 * full else "about as fast")
"""


def kept_and_computed(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[int, int]:
    """A step's cost: bytes that forward keeps for backward, without the weights; operations in matrix products, as counted.

    inputs, targets: (B, T), on the model's device. The gradients of the step are left in the model.
    """
    kept, weights = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = calc_loss_batch(inputs, targets, model, inputs.device)
        loss.backward()
    return sum(kept.values()), counter.get_total_flops()


def output_types(model: nn.Module, inputs: torch.Tensor) -> dict[str, torch.dtype]:
    """What each kind of layer gives in a forward pass: {class: dtype}."""
    types = {}

    def note(layer: nn.Module, _: tuple, output: torch.Tensor) -> None:
        types[type(layer).__name__] = output.dtype

    hooks = [layer.register_forward_hook(note) for layer in model.modules() if not list(layer.children())]
    model(inputs)
    for hook in hooks:
        hook.remove()
    return types


def bfloat16_speed(**environment: str) -> str:
    """How a matrix product in bfloat16 compares with float32 on one core, in words; in a process with these variables."""
    return subprocess.check_output([sys.executable, "-c", COMPARE], env=os.environ | environment, text=True).strip()


class BytesSent(Callback):
    """Counts the bytes that this process writes between two updates, in `sent`: [] where the system does not say."""

    def __init__(self):
        self.sent, self.before = [], None

    def on_step(self, step: int, loss: float) -> None:
        counts = Path("/proc/self/io")      # Linux's
        if counts.exists():
            written = int(counts.read_text(encoding="utf-8").split("wchar: ")[1].split()[0])
            self.sent += [] if self.before is None else [written - self.before]
            self.before = written
