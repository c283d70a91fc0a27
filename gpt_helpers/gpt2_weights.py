"""GPT-2's published weights in a GPTModel."""
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from gpt_helpers.model import GPTModel
from gpt_helpers.validate import require_file

PUBLISHED = {"tok_emb": "wte", "pos_emb": "wpe", "trf_blocks": "h", "norm1": "ln_1", "att": "attn", "qkv": "c_attn",
             "out_proj": "c_proj", "norm2": "ln_2", "ff": "mlp", "fc_in": "c_fc", "fc_out": "c_proj", "final_norm": "ln_f"}
HEAD_WIDTH = 64      # in every size of GPT-2, and the file does not say. Source: hparams.json of OpenAI's releases, 2019


def load_gpt2(path: str | Path) -> GPTModel:
    """A GPTModel with GPT-2's published weights, in eval mode on the CPU: qkv_bias on, the head tied to the embedding.

    path: `model.safetensors` of gpt2 (124M), gpt2-medium (355M), gpt2-large (774M) or gpt2-xl (1558M) from the Hugging Face
    Hub, or of another GPT-2 with heads 64 wide, such as one that was trained further. Weights of any floating-point type
    become float32. They are copied one by one: the memory for one set of weights, besides what the system caches of the file.
    Raises FileNotFoundError or, for a file that does not fit, ValueError.
    """
    from safetensors import SafetensorError, safe_open

    require_file(path, "download it")
    try:
        with safe_open(path, framework="pt") as file:
            return read_gpt2(file)
    except (ValueError, SafetensorError) as error:
        what = "GPT-2 as published" if isinstance(error, ValueError) else "a whole safetensors file"
        raise ValueError(f"{Path(path).name} is not {what} ({' '.join(str(error).split()):.200}): download model.safetensors, "
                         "not pytorch_model.bin, of gpt2, gpt2-medium, gpt2-large or gpt2-xl from the Hugging Face Hub") from None


@torch.no_grad()
def read_gpt2(file: Any) -> GPTModel:
    """The model in an open safetensors file; ValueError says what in it is not as in GPT-2."""
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    prefix = "transformer." if "transformer.wte.weight" in shapes else ""
    with torch.device("meta"):                  # shapes without numbers: no memory, nothing drawn at random
        model = GPTModel(gpt2_config(shapes, prefix))
    require_gpt2(shapes, {prefix + name: tuple(weight.shape) for name, weight in as_published(model.named_parameters()).items()})
    model.to_empty(device="cpu")
    model.out_head.weight = model.tok_emb.weight
    for name, weight in as_published(model.named_parameters()).items():
        stored = file.get_tensor(prefix + name)
        if not stored.is_floating_point() or not weight.copy_(stored).isfinite().all():
            raise ValueError(f"{prefix + name} ({stored.dtype}) holds integers, nan or infinity")
    if "lm_head.weight" in shapes and not torch.equal(file.get_tensor("lm_head.weight").float(), model.tok_emb.weight):
        raise ValueError(f"lm_head.weight differs from {prefix}wte.weight, to which GPT-2's head is tied")
    return model.eval()


def gpt2_config(shapes: Mapping[str, tuple[int, ...]], prefix: str = "") -> dict[str, Any]:
    """The configuration of the GPT-2 whose weights have these shapes, {published name: shape}; ValueError if there is none."""
    tokens, positions = (shapes.get(f"{prefix}{name}.weight", ()) for name in ("wte", "wpe"))
    n_layers = sum(name.endswith(".ln_1.weight") for name in shapes)
    if len(tokens) != 2 or len(positions) != 2 or 0 in (*tokens, *positions, n_layers):
        raise ValueError(f"needs wte.weight (tokens, width), wpe.weight (positions, width) and blocks h.0, h.1 …, has "
                         f"{tokens or 'none'}, {positions or 'none'} and {n_layers}; what save_weights wrote is for load_weights")
    if tokens[1] % HEAD_WIDTH:
        raise ValueError(f"its embedding is {tokens[1]} wide, not a multiple of {HEAD_WIDTH}, the width of GPT-2's heads")
    return {"vocab_size": tokens[0], "context_length": positions[0], "emb_dim": tokens[1], "n_heads": tokens[1] // HEAD_WIDTH,
            "n_layers": n_layers, "drop_rate": 0.1, "qkv_bias": True}


def as_published(weights: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """GPTModel's weights, pairs of name and tensor, under GPT-2's published names and in its shapes, without the tied head.

    No copies: a Linear's weight, (out, in), is turned into a view of shape (in, out).
    """
    return {".".join(PUBLISHED.get(part, part) for part in name.split(".")): weight if "_emb" in name else weight.t()
            for name, weight in weights if name != "out_head.weight"}


def require_gpt2(shapes: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError when the named shapes in a file are not those that are needed; masks and a head may be there, too."""
    masks = (".attn.bias", ".attn.masked_bias")
    for name in [*needed, *shapes]:
        if name not in shapes:
            raise ValueError(f"{name} is missing")
        if name in needed and shapes[name] != needed[name]:
            raise ValueError(f"{name} has the shape {shapes[name]} where {needed[name]} is needed")
        if name not in needed and name != "lm_head.weight" and not name.endswith(masks):
            raise ValueError(f"{name} is not one of its weights")
