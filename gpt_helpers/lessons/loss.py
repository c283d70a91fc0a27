"""Pictures of lesson 02, the loss."""
from typing import Any

import torch

from gpt_helpers.plot import show_table


def show_targets(tokenizer: Any, inputs: torch.Tensor, targets: torch.Tensor, target_probs: torch.Tensor,
                 favourites: torch.Tensor, favourite_probs: torch.Tensor) -> None:
    """A table of one row of a batch: each token read, the target that came and its p, the model's favourite and its p.

    inputs, targets, favourites: (T,) token ids. target_probs, favourite_probs: (T,), from 0 to 1.
    """
    def quoted(token: torch.Tensor) -> str:
        """A token as code, so that no character of it is taken for Markdown."""
        text = repr(tokenizer.decode([token.item()])).replace("|", r"\|")
        return f"``{text}``" if "`" in text else f"`{text}`"

    show_table(["read", "came", "with p", "favourite", "with p"], [
        [quoted(read), quoted(came), f"{p:.5f}", quoted(favourite), f"{highest:.5f}"]
        for read, came, p, favourite, highest in zip(inputs, targets, target_probs, favourites, favourite_probs, strict=True)])
