"""What a training step costs: memory held, operations, bits, bytes sent. For lesson 10."""
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
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


class BytesHeld(TorchDispatchMode):
    """Within it, `now` counts the bytes of the tensors made there that still live, and `peak` says how many it was at most.

    known: tensors from before, which do not count, nor do views of them.
    """

    def __init__(self, known: Iterable[torch.Tensor]):
        super().__init__()
        self.sizes, self.peak = {tensor.untyped_storage().data_ptr(): 0 for tensor in known}, 0

    @property
    def now(self) -> int:
        return sum(self.sizes.values())

    def __torch_dispatch__(self, operation: Callable, types: Sequence, args: tuple = (), kwargs: dict | None = None) -> Any:
        outputs = operation(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(outputs)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.sizes:
                self.sizes[storage.data_ptr()] = storage.nbytes()
                weakref.finalize(storage, self.sizes.pop, storage.data_ptr())
        self.peak = max(self.peak, self.now)
        return outputs


class StepCost(NamedTuple):
    """What a training step costs: bytes kept between forward and backward, bytes held at the peak, operations as counted."""
    kept: int
    peak: int
    operations: int


def step_cost(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> StepCost:
    """The cost of forward and backward: bytes beside the batch, the weights and their gradients; operations in matrix products.

    inputs, targets: (B, T), on the model's device. The gradients of the step are left in the model.
    """
    model.zero_grad()
    with FlopCounterMode(display=False) as counter:
        calc_loss_batch(inputs, targets, model, inputs.device).backward()
    model.zero_grad(set_to_none=False)      # and once more, since the counter keeps tensors longer than the step does
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    with BytesHeld([inputs, targets, *model.buffers(), *model.parameters(), *gradients]) as held:
        loss = calc_loss_batch(inputs, targets, model, inputs.device)
        kept = held.now
        loss.backward()
    return StepCost(kept, held.peak, counter.get_total_flops())


def output_types(model: nn.Module, inputs: torch.Tensor) -> dict[str, torch.dtype]:
    """What each kind of layer gives in a forward pass: {class: dtype}."""
    types = {}

    def note(layer: nn.Module, _: tuple, output: torch.Tensor) -> None:
        if not list(layer.children()):
            types[type(layer).__name__] = output.dtype

    with register_module_forward_hook(note):
        model(inputs)
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
