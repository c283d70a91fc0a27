"""Weights as safetensors, a format that other programs read too."""
import json
import math
from pathlib import Path

import torch
from torch import nn

from gpt_helpers.files import write_atomically
from gpt_helpers.model import GPTModel, plain_state
from gpt_helpers.parallel import rank
from gpt_helpers.sharding import gathered
from gpt_helpers.validate import require_file, require_finite_weights, require_model


def save_weights(path: str | Path, model: nn.Module, *, val_loss: float | None = None) -> None:
    """Write a model's weights and its configuration as safetensors, atomically.

    A compiled or wrapped model is saved as the model inside; tied weights are written once, under the first of their names.
    Of several processes all take part, and the first writes. val_loss: what these weights achieve, see `stored_loss`.
    Raises OSError when the file cannot be written, ValueError when a weight is nan or infinite, or does not belong to a GPTModel.
    """
    from safetensors.torch import save_file

    require_model(model)
    model = gathered(model)
    if rank() > 0:
        return
    require_plain(model)
    require_finite_weights(model)
    weights, names = plain_state(model), {}
    firsts = {name: names.setdefault((w.data_ptr(), w.shape, w.stride()), name) for name, w in weights.items()}
    tied = {name: first for name, first in firsts.items() if name != first}
    about = {"about": json.dumps({"config": model.cfg, "tied": tied, "val_loss": val_loss})}      # several have no fixed order
    once = {name: weight.contiguous() for name, weight in weights.items() if name not in tied}
    write_atomically(path, lambda temporary: save_file(once, temporary, metadata=about))


def require_plain(model: nn.Module) -> None:
    """ValueError when `load_weights` could not load a model's weights: a GPTModel of its configuration has others."""
    with torch.device("meta"):                  # shapes without numbers
        needed = GPTModel(model.cfg)
    ours, theirs = ({(name, weight.shape) for name, weight in plain_state(each).items()} for each in (model, needed))
    if ours != theirs:
        names = ", ".join(sorted({name for name, _ in ours ^ theirs}))
        raise ValueError(f"got a model that has not just the weights of a GPTModel ({names:.60}), so load_weights could not load "
                         "them: save them with torch.save(model.state_dict(), path)")


def stored_loss(path: str | Path) -> float:
    """The validation loss that `save_weights` noted in a file; infinity where there is none, so that any loss is lower."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return float(json.loads(file.metadata()["about"])["val_loss"])
    except Exception:      # no file, damaged, or of another program
        return math.inf


def load_weights(path: str | Path) -> GPTModel:
    """A GPTModel, in eval mode on the CPU, from a file that `save_weights` wrote, with numbers of the type that they had.

    Raises FileNotFoundError or ValueError.
    """
    from safetensors import safe_open
    from safetensors.torch import load_model

    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            about, dtype = json.loads(file.metadata()["about"]), file.get_tensor("final_norm.weight").dtype
        model = GPTModel(about["config"]).to(dtype)
        for name, first in about["tied"].items():
            module, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(module), attribute, model.get_parameter(first))
        load_model(model, path)
    except Exception as error:      # what a damaged byte raises depends on where it is
        raise ValueError(f"{Path(path).name} is damaged, or was not written by save_weights ({type(error).__name__}): "
                         "use another copy") from None
    return model.eval()
