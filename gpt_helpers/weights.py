"""Weights as safetensors, a format that other programs read too."""
import json
from pathlib import Path

from torch import nn

from gpt_helpers.files import write_atomically
from gpt_helpers.model import GPTModel, plain_state, unwrap
from gpt_helpers.validate import require_file, require_finite_weights


def save_weights(path: str | Path, model: nn.Module) -> None:
    """Write a model's weights and its configuration as safetensors, atomically.

    A compiled or wrapped model is saved as the model inside; tied weights are written once, under the first of their names.
    Raises OSError when the file cannot be written, ValueError when a weight is nan or infinite.
    """
    from safetensors.torch import save_file

    require_finite_weights(model)
    weights, names, tied = plain_state(model), {}, {}
    for name, weight in weights.items():
        first = names.setdefault((weight.data_ptr(), weight.shape, weight.stride()), name)
        if first != name:
            tied[name] = first
    about = {"config": json.dumps(unwrap(model).cfg)} | ({"tied": json.dumps(tied)} if tied else {})
    once = {name: weight.contiguous() for name, weight in weights.items() if name not in tied}
    write_atomically(path, lambda temporary: save_file(once, temporary, metadata=about))


def load_weights(path: str | Path) -> GPTModel:
    """A GPTModel, in eval mode on the CPU, from a file that `save_weights` wrote. Raises FileNotFoundError or ValueError."""
    from safetensors import safe_open

    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            model = GPTModel(json.loads(about["config"]))
            for name, first in json.loads(about.get("tied", "{}")).items():
                module, _, attribute = name.rpartition(".")
                setattr(model.get_submodule(module), attribute, model.get_parameter(first))
            names = {name for name, _ in model.named_parameters()}
            if names != set(file.keys()):
                raise KeyError(*names.symmetric_difference(file.keys()))
            model.load_state_dict({name: file.get_tensor(name) for name in names}, strict=False)
    except Exception as error:      # what a damaged byte raises depends on where it is
        raise ValueError(f"{Path(path).name} is damaged, or was not written by save_weights ({type(error).__name__}): "
                         "use another copy") from None
    return model.eval()
