"""Weights as safetensors, a format that other programs read too; and files that are written wholly or not at all."""
import contextlib
import json
import os
import tempfile
from pathlib import Path

from gpt_helpers.model import GPTModel


def save_weights(path, model):
    """Write a model's weights and its configuration as safetensors, all or nothing. Raises as `save_checkpoint`."""
    from safetensors.torch import save_file

    check_finite(model)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    write_whole(path, lambda draft: save_file(weights, draft, metadata={"config": json.dumps(model.cfg)}))


def load_weights(path):
    """A GPTModel, in eval mode on the CPU, from a file of `save_weights`. Raises FileNotFoundError or ValueError."""
    from safetensors import safe_open

    check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            model = GPTModel(json.loads(file.metadata()["config"]))
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})      # noqa: SIM118
    except Exception as error:      # what a damaged byte raises depends on where it is
        raise ValueError(f"{Path(path).name} is damaged, or save_weights has not written it ({type(error).__name__}): "
                         "use another copy") from None
    return model.eval()


def writable_folder():
    """Where a lesson keeps its files: this folder, or where nothing can be written here, a temporary one, and says so."""
    try:
        with tempfile.TemporaryFile(dir="."):
            return Path()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="gpt_helpers_"))
        print(f"Nothing can be written here, so files go to {folder}")
        return folder


def write_whole(path, write):
    """Call write(draft) with a path beside `path`; when it is whole and on the disk, it takes the place of `path`."""
    path = Path(path)
    draft = path.with_name(path.name + ".draft")
    try:
        write(draft)
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)                       # safetensors writes for its owner alone
        os.replace(draft, path)
    except Exception as error:      # torch and safetensors each have their own for a full disk
        reason = next(iter(str(getattr(error, "strerror", None) or error).splitlines()), type(error).__name__)
        raise OSError(f"{path.name} could not be written ({reason}): is the disk full, or the folder missing or read-only? "
                      "What was there before is untouched") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_or_say(write, *args, **kwargs):
    """Call write(*args, **kwargs); when its file cannot be written, say so in one line, so that a training goes on without it."""
    try:
        write(*args, **kwargs)
    except (OSError, ValueError) as error:
        print(f"Not kept: {error}")


# Checks: each raises one line that says what was given, what was needed and what to do.

def check_file(path):
    """FileNotFoundError when there is no such file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check its name and folder, or start a new training")


def check_finite(model):
    """ValueError when a weight is not a finite number."""
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise ValueError(f"the weights {name} hold nan or infinity, so nothing was written: go back to an older checkpoint, "
                             "with a smaller learning rate")
