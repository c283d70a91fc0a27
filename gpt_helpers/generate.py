"""Generating text with a model, one token at a time."""
import random
from collections.abc import Callable, Sequence

import torch
from torch import nn

from gpt_helpers.model import unwrap
from gpt_helpers.validate import require_drawable, require_generation, require_gpt, require_sampling, require_tensor


def generate_text_simple(model: nn.Module, idx: torch.Tensor | Sequence[int], max_new_tokens: int,
                         context_size: int) -> torch.Tensor:
    """Append the most likely token, max_new_tokens times (greedy decoding).

    idx: (B, T) token ids, T at least 1; or one prompt, (T,) or a list. Returns (B, T + max_new_tokens). The model sees the
    last context_size tokens; put it in `eval()` mode first, or dropout will change its mind. Raises ValueError.
    """
    return extend(model, idx, max_new_tokens, context_size, lambda logits: logits.argmax(dim=-1, keepdim=True))


def generate(model: nn.Module, idx: torch.Tensor | Sequence[int], max_new_tokens: int, context_size: int, *,
             temperature: float = 1.0, top_k: int | None = None, stop_token: int | None = None,
             generator: torch.Generator | None = None) -> torch.Tensor:
    """Append tokens drawn from the model's distribution, sharpened or flattened, max_new_tokens times.

    temperature: the logits are divided by it; below 1 is bolder, above 1 more varied, 0 is greedy.
    top_k: draw only among the k most likely tokens. stop_token: a row that has drawn it gets no other token; once all rows
    have, nothing more is appended. generator: a `torch.Generator` on the model's device, so that drawing does not touch
    the global random state. Shapes as in `generate_text_simple`. Raises ValueError.
    Source: Fan et al., "Hierarchical Neural Story Generation", 2018 (top-k sampling).
    """
    require_sampling(temperature, top_k)

    def draw(logits: torch.Tensor) -> torch.Tensor:
        if temperature < 1e-30:                 # too small to divide by in float32
            return logits.argmax(dim=-1, keepdim=True)
        best = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]))             # (B, k), descending
        probs = ((best.values - best.values[:, :1]) / temperature).softmax(dim=-1)       # (B, k)
        require_drawable(probs)
        return best.indices.gather(1, torch.multinomial(probs, 1, generator=generator))  # (B, 1)

    return extend(model, idx, max_new_tokens, context_size, draw, stop_token)


def prompt_ids(idx: torch.Tensor | Sequence[int], model: nn.Module) -> torch.Tensor:
    """A prompt, (B, T), (T,) or a list, as (B, T) ids on the model's device. ValueError when it is none, or the model no GPT."""
    require_gpt(model)
    idx = require_tensor(idx, next(model.parameters()).device)
    return idx.reshape(1, -1) if idx.ndim < 2 else idx


@torch.no_grad()
def extend(model: nn.Module, idx: torch.Tensor | Sequence[int], max_new_tokens: int, context_size: int,
           choose: Callable[[torch.Tensor], torch.Tensor], stop_token: int | None = None) -> torch.Tensor:
    """Append choose(logits) to idx, max_new_tokens times; logits: (B, V), those of the last position.

    As long as everything fits into the context, only the new token goes through the model, and a KV cache holds the past.
    After that the window slides, every position in it changes, and the cache is no longer valid.
    """
    model = unwrap(model)                       # a compiled one would be compiled again for every new length
    idx = prompt_ids(idx, model)
    require_generation(idx, model.cfg, max_new_tokens, context_size, stop_token)
    kv_cache, new = model.new_kv_cache(), idx
    stopped = torch.zeros(len(idx), 1, dtype=torch.bool, device=idx.device)
    for _ in range(max_new_tokens):
        if idx.shape[1] > context_size:
            kv_cache, new = None, idx[:, -context_size:]
        new = choose(model(new, last_only=True, kv_cache=kv_cache)[:, -1])               # (B, V) to (B, 1)
        if stop_token is not None:
            new = new.masked_fill(stopped, stop_token)
            stopped |= new == stop_token
        idx = torch.cat([idx, new], dim=1)
        if stop_token is not None and stopped.all():
            break
    return idx


def draw_tokens(next_probs: Callable[[torch.Tensor], torch.Tensor], idx: torch.Tensor, max_new_tokens: int,
                seed: int) -> torch.Tensor:
    """Append max_new_tokens tokens, each drawn by its probability. For writers of any kind, tables and models alike.

    next_probs: token ids, (B, T), to the probability of every token that may come next, (B, V). idx: (B, T) token ids.
    Returns (B, T + max_new_tokens). The same seed gives the same tokens, and touches no random number elsewhere.
    """
    draw = random.Random(seed)
    for _ in range(max_new_tokens):
        drawn = [draw.choices(range(len(probs)), probs) for probs in next_probs(idx).tolist()]      # (B, 1)
        idx = torch.cat([idx, idx.new_tensor(drawn)], dim=1)
    return idx


def longest_match(ids: torch.Tensor | Sequence[int], text_ids: torch.Tensor | Sequence[int]) -> int:
    """The length of the longest run of tokens in ids that is also in text_ids. Both (N,) or (1, N) token ids."""
    run, text = (torch.as_tensor(part).flatten().tolist() for part in (ids, text_ids))
    run, text = "".join(map(chr, run)), "".join(map(chr, text))      # a token is a character
    longest = 0
    for end in range(1, len(run) + 1):
        longest += run[end - longest - 1 : end] in text      # one longer than the longest before, if it is there
    return longest
